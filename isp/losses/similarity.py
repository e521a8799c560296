"""Structural similarity as a loss: one minus the metric of isp.metrics.ssim, on encoded sRGB with white at 1."""

from __future__ import annotations

from torch import Tensor

from isp.metrics.ssim import ms_ssim, ssim


def ssim_loss(x: Tensor, truth: Tensor) -> Tensor:
    """B: 1 - SSIM, 0 to 2. x, truth: B C H W, at least 11x11."""
    return 1 - ssim(x, truth, data_range=1, border=0)


def ms_ssim_loss(x: Tensor, truth: Tensor) -> Tensor:
    """B: 1 - MS-SSIM, 0 to 1. x, truth: B C H W, at least 161x161.

    Negative terms are cut at 0 there: a picture with a scale that does not correlate gets 1 and no gradient from it.
    """
    return 1 - ms_ssim(x, truth, data_range=1, border=0)
