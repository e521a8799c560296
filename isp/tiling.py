"""Running local operations tile by tile, so that their temporaries stay in the cache and memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import torch
from torch import Tensor

PERIOD = 12  # tiles start at multiples of every CFA period (2, 4 and 6), so that each sees the frame's own phase
TILE = 528  # pixels; on CPUs with 1 to 2 MB of cache a core, 396 to 792 measure alike


def tiled(function: Callable[[Tensor], Tensor], x: Tensor, halo: int, tile: int = TILE) -> Tensor:
    """function(x), computed in tiles that see `halo` pixels around them; equal to the whole wherever the function
    looks no further than that. On a CPU each of PyTorch's threads works on a tile of its own.

    x: B C H W. function: keeps H and W, may change C. tile: side in pixels, rounded down to a multiple of PERIOD.
    """
    height, width = x.shape[-2:]
    tile = max(tile // PERIOD, 1) * PERIOD
    halo = -(-halo // PERIOD) * PERIOD
    corners = [(top, left) for top in range(0, height, tile) for left in range(0, width, tile)]
    if len(corners) == 1:
        return function(x)

    def compute(corner: tuple[int, int]) -> tuple[slice, slice, Tensor]:
        top, left = corner
        bottom, right = min(top + tile, height), min(left + tile, width)
        y0, x0 = max(top - halo, 0), max(left - halo, 0)
        part = function(x[..., y0 : min(bottom + halo, height), x0 : min(right + halo, width)])
        return slice(top, bottom), slice(left, right), part[..., top - y0 : bottom - y0, left - x0 : right - x0]

    rows, columns, first = compute(corners[0])
    out = first.new_empty((*first.shape[:-2], height, width))
    out[..., rows, columns] = first

    inference = torch.is_inference_mode_enabled()

    def place(corner: tuple[int, int]) -> None:
        with torch.inference_mode() if inference else nullcontext():  # the mode belongs to the thread
            rows, columns, part = compute(corner)
            out[..., rows, columns] = part

    threads = torch.get_num_threads() if x.device.type == "cpu" else 1
    if threads == 1:
        for corner in corners[1:]:
            place(corner)
    else:  # one thread a tile: threads that share each small operation would mostly wait for each other
        with ThreadPoolExecutor(threads, initializer=_start_thread, initargs=(torch.is_grad_enabled(),)) as pool:
            for done in [pool.submit(place, corner) for corner in corners[1:]]:
                done.result()
    return out


def _start_thread(gradients: bool) -> None:
    """Both settings belong to the thread: PyTorch's own threads stay as they are elsewhere."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(gradients)
