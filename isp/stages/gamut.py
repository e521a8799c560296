"""Colours beyond the output's primaries drawn softly inside, instead of their negative channels being cut off."""

from __future__ import annotations

import torch
from torch import Tensor

# d is how far the smallest channel lies below the largest, as a share of the largest: HSV saturation, and above 1 where
# the smallest is negative. Up to THRESHOLD nothing changes; beyond, d' = T + (1 - T) u / (1 + u^2)^(1/2) with
# u = (d - T) / (1 - T), which rises towards 1 and never reaches it. Pure primaries (d = 1) keep 0.956 of it.
THRESHOLD = 0.85
BLACK = 2e-3  # added to the largest channel, so that noise around black is left alone
LARGEST = 1 - 1e-6  # of d', so that the inverse is finite


def compress_gamut(x: Tensor) -> Tensor:
    """Linear RGB without negative channels (to BLACK): B 3 H W in, the same out; HSV hue and the largest channel stay.

    After the ACES reference gamut compression (J. Schäfer et al., Academy S-2020-001): the same distance from the
    achromatic axis, but one factor for all channels, so that hue holds.
    """
    largest, distance = _distance(x)
    excess = (distance - THRESHOLD).clamp(min=0) / (1 - THRESHOLD)
    wanted = distance.clamp(max=THRESHOLD) + (1 - THRESHOLD) * excess * torch.rsqrt(1 + excess * excess)
    return largest + (x - largest) * _factor(wanted, distance)


def expand_gamut(y: Tensor) -> Tensor:
    """The inverse of compress_gamut."""
    largest, distance = _distance(y)
    excess = (distance.clamp(max=LARGEST) - THRESHOLD).clamp(min=0) / (1 - THRESHOLD)
    wanted = distance.clamp(max=THRESHOLD) + (1 - THRESHOLD) * excess * torch.rsqrt(1 - excess * excess)
    return largest + (y - largest) * _factor(wanted, distance)


def _distance(x: Tensor) -> tuple[Tensor, Tensor]:
    """The largest channel and d, both B 1 H W."""
    largest = x.amax(1, keepdim=True)
    return largest, (largest - x.amin(1, keepdim=True)) / (largest.abs() + BLACK)


def _factor(wanted: Tensor, distance: Tensor) -> Tensor:
    """wanted / distance, and exactly 1 below the threshold."""
    return torch.where(distance > THRESHOLD, wanted / distance.clamp(min=THRESHOLD), 1.0)
