"""Colours beyond the output's primaries drawn softly inside, at their luminance, instead of clipped channel by channel."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# k is how far a colour lies from the grey of its luminance towards the gamut's boundary: 0 grey, 1 on it, above 1
# outside. Up to THRESHOLD nothing changes; beyond, k' = T + (1 - T) u / (1 + u^2)^(1/2) with u = (k - T) / (1 - T),
# which rises to 1 and never reaches it. Pure primaries keep 0.956 of their distance from grey.
THRESHOLD = 0.85
BLACK = 2e-3  # added to the distances to black and to white, so that noise around black is left alone
LARGEST = 1 - 1e-6  # of k', so that the inverse is finite


def compress_gamut(x: Tensor, luminance: np.ndarray) -> Tensor:
    """Linear RGB with every colour inside [0, 1] (to BLACK), luminance kept: B 3 H W in, the same out.

    luminance: 3, the weights of R, G and B in Y of the output's primaries. Not from a paper: the distance measure of
    the ACES reference gamut compression, along lines of equal luminance instead of from the largest channel.
    """
    grey, reach = _reach(x, luminance)
    excess = (reach - THRESHOLD).clamp(min=0) / (1 - THRESHOLD)
    wanted = reach.clamp(max=THRESHOLD) + (1 - THRESHOLD) * excess * torch.rsqrt(1 + excess * excess)
    return grey + (x - grey) * (wanted / reach.clamp(min=THRESHOLD / 2)).where(excess > 0, torch.ones_like(reach))


def expand_gamut(y: Tensor, luminance: np.ndarray) -> Tensor:
    """The inverse of compress_gamut."""
    grey, reach = _reach(y, luminance)
    excess = (reach.clamp(max=LARGEST) - THRESHOLD).clamp(min=0) / (1 - THRESHOLD)
    wanted = THRESHOLD + (1 - THRESHOLD) * excess * torch.rsqrt(1 - excess * excess)
    return grey + (y - grey) * (wanted / reach.clamp(min=THRESHOLD / 2)).where(excess > 0, torch.ones_like(reach))


def _reach(x: Tensor, luminance: np.ndarray) -> tuple[Tensor, Tensor]:
    """The grey of x's luminance and k, both B 1 H W."""
    red, green, blue = (float(weight) for weight in luminance)
    grey = red * x[:, 0:1] + green * x[:, 1:2] + blue * x[:, 2:3]
    up = (x.amax(1, keepdim=True) - grey) / ((1 - grey).abs() + BLACK)
    down = (grey - x.amin(1, keepdim=True)) / (grey.abs() + BLACK)
    return grey, torch.maximum(up, down)
