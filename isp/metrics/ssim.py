"""Structural similarity, at one scale and at five.

Z. Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE TIP 2004, Sec. III;
Z. Wang, E. Simoncelli, A. Bovik, "Multi-scale Structural Similarity for Image Quality Assessment", Asilomar 2003.
The arithmetic is that of the package pytorch-msssim: Gaussian window of 11 pixels and sigma 1.5, K1 0.01, K2 0.03, only
positions where the window fits, each channel by itself and then their mean.
Differs from the papers: they take luminance; colour here is three channels, as in the reports on image restoration.
"""

from __future__ import annotations

import pytorch_msssim
from torch import Tensor

from isp.metrics.images import paired

WINDOW = 11  # pixels
SMALLEST = (WINDOW - 1) * 2**4 + 1  # of MS-SSIM: the window must fit after four halvings


def ssim(x: Tensor, truth: Tensor, data_range: float, border: int) -> Tensor:
    """B: structural similarity, 1 for equal pictures.

    x, truth: B C H W, encoded sRGB, at least 11x11 after the border (its constants K1 and K2 are set for what the eye
    sees; on linear light dark noise goes unseen). data_range: white minus black. border: pixels left out on each side.
    """
    x, truth = paired(x, truth, border, WINDOW)
    return pytorch_msssim.ssim(x, truth, data_range=data_range, size_average=False, win_size=WINDOW)


def ms_ssim(x: Tensor, truth: Tensor, data_range: float, border: int) -> Tensor:
    """B: structural similarity over five scales, 1 for equal pictures, negative terms cut at 0.

    x, truth: B C H W, encoded sRGB, at least 161x161 after the border. Otherwise as ssim.
    """
    x, truth = paired(x, truth, border, SMALLEST)
    return pytorch_msssim.ms_ssim(x, truth, data_range=data_range, size_average=False, win_size=WINDOW)
