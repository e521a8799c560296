"""X-Trans demosaicing: Gaussian models along four directions, with numbers fitted to this array (see kriging)."""

from __future__ import annotations

from torch import Tensor

from isp.raw.cfa import CFA
from isp.stages.demosaic.kriging import Models, interpolate

MODELS = Models(
    length=7.61,
    stretch=2.36,
    exponent=1.59,
    colour_variance=0.244,
    colour_length=6.38,
    colour_stretch=2.48,
    colour_exponent=1.63,
    isotropic_length=2.98,
    isotropic_colour_variance=0.00571,
    noise_variance=4.11e-5,
    sharpness=4.65,
    grid=3,
    smoothing=3,
)
HALO = MODELS.halo


def xtrans(x: Tensor, cfa: CFA) -> Tensor:
    """B 3 H W from an X-Trans mosaic B 1 H W in any phase, or turned by 90 degrees."""
    return interpolate(x, cfa, MODELS)
