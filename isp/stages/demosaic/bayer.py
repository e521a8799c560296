"""What the Bayer methods share: one phase, no borders, and convolutions that differ from site to site."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from isp.raw.cfa import CFA


def in_rggb(x: Tensor, cfa: CFA, halo: int, method: Callable[[Tensor], Tensor]) -> Tensor:
    """B 3 H W from a method that knows only the phase RGGB and no border.

    x: B 1 H W, H and W at least 2. method: takes B 1 H'+2halo W'+2halo, an RGGB mosaic with even sides that has
    `halo` (even) pixels around what is asked for, and returns B 3 H' W' without them. The frame is continued by
    reflection about its outermost samples, which keeps the phase.
    """
    height, width = x.shape[-2:]
    down, right = (int(n[0]) for n in (cfa.channels == 0).nonzero())  # row and column of the first red
    rows = (halo + down, halo + (height + down) % 2)
    cols = (halo + right, halo + (width + right) % 2)
    return method(reflect(x, rows, cols))[..., down : down + height, right : right + width]


def reflect(x: Tensor, rows: tuple[int, int], cols: tuple[int, int]) -> Tensor:
    """x with (before, after) more rows and columns, mirrored about the outermost ones as often as it takes."""
    height, width = x.shape[-2:]
    if max(rows) < height and max(cols) < width:
        return F.pad(x, (*cols, *rows), mode="reflect")
    for dim, n, (before, after) in ((-2, height, rows), (-1, width, cols)):
        index = torch.arange(-before, n + after, device=x.device) % (2 * n - 2)
        x = x.index_select(dim, torch.minimum(index, 2 * n - 2 - index))
    return x


def convolve(x: Tensor, filters: Sequence[Sequence[Sequence[float]]]) -> Tensor:
    """B 3 2h-2m 2w-2m from an RGGB mosaic B 1 2h 2w and twelve square filters of side 2m + 1, m even: those that give
    red, then green, then blue at the sites r, gr, gb and b of the 2x2 cell. One strided convolution."""
    side = len(filters[0])
    kernels = x.new_zeros(12, 1, side + 1, side + 1)
    for i, taps in enumerate(filters):
        down, right = divmod(i % 4, 2)  # the site in the cell
        kernels[i, 0, down : down + side, right : right + side] = x.new_tensor(taps)
    return F.pixel_shuffle(F.conv2d(x, kernels, stride=2), 2)
