"""Degradations: what turns a clean frame into what a camera would have stored. Plain functions on linear tensors,
batched, seeded by a torch.Generator, differentiable where the physics is.
"""

from isp.datasets.degradations.amplification import amplify_noise as amplify_noise
from isp.datasets.degradations.blur import blur as blur
from isp.datasets.degradations.blur import disc_kernel as disc_kernel
from isp.datasets.degradations.blur import gaussian_kernels as gaussian_kernels
from isp.datasets.degradations.channels import scale_channels as scale_channels
from isp.datasets.degradations.defects import add_defects as add_defects
from isp.datasets.degradations.defects import pdaf_lattice as pdaf_lattice
from isp.datasets.degradations.digital_gain import effective_noise as effective_noise
from isp.datasets.degradations.digital_gain import expose_short as expose_short
from isp.datasets.degradations.downsample import downsample as downsample
from isp.datasets.degradations.edge_blur import edge_blur as edge_blur
from isp.datasets.degradations.quantise import quantise as quantise

__all__ = [
    "add_defects",
    "amplify_noise",
    "blur",
    "disc_kernel",
    "downsample",
    "edge_blur",
    "effective_noise",
    "expose_short",
    "gaussian_kernels",
    "pdaf_lattice",
    "quantise",
    "scale_channels",
]
