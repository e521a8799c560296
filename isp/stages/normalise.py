"""Black level and white level: from linear counts to black 0 and white 1, and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from isp.raw.metadata import RawMetadata


def normalise(x: Tensor, meta: RawMetadata) -> Tensor:
    """The mosaic with its black level at 0 and its white level at 1: linear, nothing clipped.

    x: B C H W, the active area in linear counts (DN). Black is computed at each pixel: BlackLevel, repeated from the
    active area's top left, plus BlackLevelDeltaV of the row and BlackLevelDeltaH of the column. The scale is one
    number per sample plane, white level minus the largest black computed in that plane, so that the colours of a
    mosaic keep their ratios. Values under black stay negative, so that the noise keeps its mean. Source: DNG 1.7.1,
    chapter 5, "Black Subtraction" and "Rescaling". Raises ValueError where white is not above black.
    """
    black, scale = _levels(x, meta)
    return (x - black) / scale


def denormalise(x: Tensor, meta: RawMetadata) -> Tensor:
    """Linear counts (DN), B C H W, whose normalise is x."""
    black, scale = _levels(x, meta)
    return x * scale + black


def _levels(x: Tensor, meta: RawMetadata) -> tuple[Tensor, Tensor]:
    """Black of each pixel, C H W (or C 1 1 where it is constant), and the scale of each plane, C 1 1; both in DN."""
    top, left, bottom, right = meta.area
    expected = (meta.samples, bottom - top, right - left)
    if x.ndim != 4 or tuple(x.shape[1:]) != expected:
        raise ValueError(f"expected the active area, B {' '.join(map(str, expected))}; got {tuple(x.shape)}")
    black = meta.black_level.transpose(2, 0, 1)  # C rows cols: one period
    delta_h, delta_v = meta.black_level_delta_h, meta.black_level_delta_v
    if black.shape[1:] != (1, 1) or delta_h is not None or delta_v is not None:
        rows, cols = np.arange(expected[1]) % black.shape[1], np.arange(expected[2]) % black.shape[2]
        black = black[:, rows[:, None], cols[None, :]]  # C H W
        if delta_v is not None:
            black = black + delta_v[:, None]
        if delta_h is not None:
            black = black + delta_h
    largest = black.max(axis=(1, 2))
    scale = meta.white_level - largest
    for plane in np.flatnonzero(scale <= 0):
        raise ValueError(
            f"white level {meta.white_level[plane]:g} of plane {plane} should be above its largest black, "
            f"{largest[plane]:g}"
        )
    return (
        torch.tensor(black, dtype=x.dtype, device=x.device),
        torch.tensor(scale[:, None, None], dtype=x.dtype, device=x.device),
    )
