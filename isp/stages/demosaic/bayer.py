"""What the Bayer methods share: one phase, no borders, and convolutions that differ from site to site."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from isp.raw.cfa import CFA

ROWS, COLUMNS = -2, -1  # dimensions of a frame: along COLUMNS is horizontal


def in_rggb(x: Tensor, cfa: CFA, halo: int, method: Callable[[Tensor], Tensor]) -> Tensor:
    """B 3 H W from a method that knows only the phase RGGB and no border.

    x: B 1 H W, H and W at least 2. method: takes B 1 H' W', an RGGB mosaic with even sides, and returns B 3 H' W',
    right wherever `halo` (even) pixels surround. The frame is continued by reflection about its outermost samples,
    which keeps the phase.
    """
    height, width = x.shape[-2:]
    down, right = (int(n[0]) for n in (cfa.channels == 0).nonzero())  # row and column of the first red
    rows = (halo + down, halo + (height + down) % 2)
    cols = (halo + right, halo + (width + right) % 2)
    y = method(reflect(x, rows, cols))
    return y[..., rows[0] : rows[0] + height, cols[0] : cols[0] + width]


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
    """B 3 2h 2w from an RGGB mosaic B 1 2h 2w and twelve 5x5 filters: those that give red, then green, then blue at
    the sites r, gr, gb and b of the 2x2 cell. One strided convolution."""
    kernels = x.new_zeros(12, 1, 6, 6)
    for i, taps in enumerate(filters):
        down, right = divmod(i % 4, 2)  # the site in the cell
        kernels[i, 0, down : down + 5, right : right + 5] = x.new_tensor(taps)
    by_site = F.conv2d(x, kernels, stride=2, padding=2)  # B 12 h w
    y = x.new_empty(x.shape[0], 3, *x.shape[-2:])
    for site in range(4):  # ten times as fast as pixel_shuffle
        down, right = divmod(site, 2)
        y[..., down::2, right::2] = by_site[:, site::4]
    return y


# Fields. The directional methods compute planes that are defined at every site, each from its neighbours. All planes
# keep the mosaic's size; what leans on values beyond the edge is wrong there, and lies in the halo. Sites are chosen
# by masks of 0 and 1 with torch.lerp, which returns its ends exactly and is many times faster than torch.where.


def shift(x: Tensor, down: int, right: int) -> Tensor:
    """At each site the value `down` rows below and `right` columns to the right of it."""
    return torch.roll(x, (-down, -right), (ROWS, COLUMNS))


def along(dim: int, x: Tensor, taps: Sequence[float]) -> Tensor:
    """The weighted sum of the neighbours along ROWS or COLUMNS: an odd number of taps, the middle one on the site."""
    size = x.shape[dim] - len(taps) + 1
    (part, weight), *others = [(x.narrow(dim, i, size), weight) for i, weight in enumerate(taps) if weight]
    total = part * weight
    for part, weight in others:
        total.add_(part, alpha=weight)  # in place, on a tensor made here: a third faster
    half = len(taps) // 2
    return F.pad(total, (half, half) if dim == COLUMNS else (0, 0, half, half))


class Sites(NamedTuple):
    """Where an RGGB mosaic measures what: 1 1 H W, 1 there and 0 elsewhere."""

    red: Tensor
    green: Tensor
    blue: Tensor
    red_row: Tensor


def sites(x: Tensor) -> Sites:
    """The sites of an RGGB mosaic of x's size."""
    mask = x.new_zeros(4, 1, 1, *x.shape[-2:])
    red, green, blue, red_row = mask
    red[..., 0::2, 0::2] = green[..., 0::2, 1::2] = green[..., 1::2, 0::2] = blue[..., 1::2, 1::2] = 1
    red_row[..., 0::2, :] = 1
    return Sites(red, green, blue, red_row)
