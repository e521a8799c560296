"""Running local operations tile by tile, so that their temporaries stay in the cache and memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

PERIOD = 12  # tiles start at multiples of every CFA period (2, 4 and 6), so that each sees the frame's own phase


def tiled(function: Callable[[Tensor], Tensor], x: Tensor, halo: int, tile: int = 528) -> Tensor:
    """function(x), computed in tiles that see `halo` pixels around them; equal to the whole wherever the function
    looks no further than that.

    x: B C H W. function: keeps H and W, may change C. tile: side in pixels, rounded to a multiple of PERIOD.
    """
    height, width = x.shape[-2:]
    tile = max(tile // PERIOD, 1) * PERIOD
    halo = -(-halo // PERIOD) * PERIOD
    if height <= tile + halo and width <= tile + halo:
        return function(x)
    out: Tensor | None = None
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            y0, x0 = max(top - halo, 0), max(left - halo, 0)
            part = function(x[..., y0 : min(bottom + halo, height), x0 : min(right + halo, width)])
            if out is None:
                out = torch.empty((*part.shape[:-2], height, width), dtype=part.dtype, device=part.device)
            out[..., top:bottom, left:right] = part[..., top - y0 : bottom - y0, left - x0 : right - x0]
    assert out is not None
    return out
