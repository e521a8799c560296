"""A mosaic continued beyond its borders without mixing its colours."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def continuation(
    channels: np.ndarray, size: tuple[int, int], rows: tuple[int, int], cols: tuple[int, int]
) -> np.ndarray:
    """Where to read each site of a frame continued by (before, after) rows and columns: indices into the flat frame.

    channels: one period of the array, as CFA.channels. size: height, width. A site outside reads the sample of its
    own colour that is nearest to its mirror image: mirroring alone would mix colours in periods longer than 2.
    """
    (height, width), (top, bottom), (left, right) = size, rows, cols
    y = _mirror(np.arange(-top, height + bottom), height)
    x = _mirror(np.arange(-left, width + right), width)
    index = y[:, None] * width + x
    outside = np.ones(index.shape, dtype=bool)
    outside[top : top + height, left : left + width] = False
    row, col = outside.nonzero()
    period = channels.shape
    colour = channels[(row - top) % period[0], (col - left) % period[1]]
    reach = range(-max(period), max(period) + 1)
    for dy, dx in sorted(((dy, dx) for dy in reach for dx in reach), key=lambda step: math.hypot(*step)):
        to_y, to_x = y[row] + dy, x[col] + dx
        found = (to_y >= 0) & (to_y < height) & (to_x >= 0) & (to_x < width)
        found &= channels[to_y % period[0], to_x % period[1]] == colour
        index[row[found], col[found]] = to_y[found] * width + to_x[found]
        row, col, colour = row[~found], col[~found], colour[~found]
        if not len(row):
            break
    return index


def extend(x: Tensor, index: np.ndarray) -> Tensor:
    """B 1 H' W': the mosaic B 1 H W read at index, H' W', as `continuation` gives it."""
    flat = torch.from_numpy(index).to(x.device).flatten()
    return x.flatten(-2)[..., flat].view(*x.shape[:2], *index.shape)


def _mirror(at: np.ndarray, n: int) -> np.ndarray:
    """Positions reflected about the first and the last of n samples, as often as it takes."""
    period = max(2 * n - 2, 1)
    return np.minimum(at % period, -at % period)
