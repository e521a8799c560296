"""The curve under which a mosaic is interpolated: close to how the eye, and a display, see its steps.

Interpolation errs in proportion to the steps it meets; on linear light, edges against darkness err far more than they
may show. Under a square root the error is spread as evenly as it is seen.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TOE = 1e-3  # the size of the linear part without noise


def toe(noise: tuple[float, float] | None) -> float:
    """The size of the curve's linear part."""
    return TOE


def encode(x: Tensor, t: float) -> Tensor:
    """sqrt(|x| + t) - sqrt(t) with the sign of x: odd, of slope 1 / (2 sqrt(t)) at 0, and defined for all x."""
    return x / (torch.sqrt(x.abs() + t) + math.sqrt(t))


def decode(y: Tensor, t: float) -> Tensor:
    """The inverse of `encode`."""
    return y * (y.abs() + 2 * math.sqrt(t))
