"""Quantisation: whole counts between 0 and the white level."""

from __future__ import annotations

import torch
from torch import Tensor

from isp.noise.spread import spread


def quantise(x: Tensor, scale: float | Tensor, black: float | Tensor = 0.0) -> Tensor:
    """x as whole counts would hold it, linear again and in the shape of x: clipped to [-black / scale, 1].

    scale: DN between black and white; black: DN, whole. N bits without a black level: scale = 2^N - 1. A tensor has
    one value per image, B 1. The step adds 1 / (12 scale^2) to the variance wherever the noise spans a step.
    The gradient passes through the rounding as if it were not there, and is 0 where x was clipped.
    """
    low, dn = spread(black, x), spread(scale, x)
    exact = torch.minimum(torch.maximum(x * dn, -low), dn)
    rounded = exact.round() if not exact.requires_grad else exact + (exact.round() - exact).detach()
    return rounded / dn
