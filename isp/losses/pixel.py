"""Losses on pixels: each takes two pictures B C H W of one domain and gives B, a mean over pixels and channels."""

from __future__ import annotations

import math

from torch import Tensor


def l1(x: Tensor, truth: Tensor) -> Tensor:
    """B: mean absolute error. In linear light the dark parts hardly count: train on encoded values, or weigh them."""
    return (x - truth).abs().mean((1, 2, 3))


def l2(x: Tensor, truth: Tensor) -> Tensor:
    """B: mean square error."""
    return (x - truth).square().mean((1, 2, 3))


def charbonnier(x: Tensor, truth: Tensor, epsilon: float = 1e-3) -> Tensor:
    """B: mean of sqrt(error² + epsilon²) - epsilon, an L1 that is smooth near 0.

    P. Charbonnier et al., "Two deterministic half-quadratic regularization algorithms for computed imaging", ICIP 1994;
    epsilon as W.-S. Lai et al., CVPR 2017, in units of white. Differs: epsilon is taken off, so that equality gives 0.
    """
    return ((x - truth).square() + epsilon**2).sqrt().mean((1, 2, 3)) - epsilon


def psnr_loss(x: Tensor, truth: Tensor, floor: float = 1e-8) -> Tensor:
    """B: minus the PSNR in dB, of values with white at 1; -80 for equal pictures.

    L. Chen et al., "HINet: Half Instance Normalization Network for Image Restoration", CVPRW 2021. floor: added to the
    mean square error (1e-8 as there), so that the gradient stays finite.
    """
    return ((x - truth).square().mean((1, 2, 3)) + floor).log() * (10 / math.log(10))


def cast(x: Tensor, truth: Tensor) -> Tensor:
    """B: the absolute mean error of each channel over the picture, its mean over channels.

    A colour cast of a tenth of an 8-bit code is lost in the other losses among errors of pixels that are ten times as
    large, and is all there is to see on a smooth wall.
    """
    return (x - truth).mean((2, 3)).abs().mean(1)
