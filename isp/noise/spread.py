"""From noise parameters to the samples they belong to."""

from __future__ import annotations

import torch
from torch import Tensor

from isp.noise.normal import standard_normals


def spread(values: float | Tensor, x: Tensor) -> Tensor:
    """values in a shape that broadcasts over x.

    x: any shape for one number; else B 1 H W (a mosaic), or B C h w (packed planes).
    values: one number for every sample; C numbers, one per plane; B 1 or B C, one row per image. For a mosaic, 4
    numbers in a row belong to the sites of its 2x2 block, in reading order. A tensor with as many dimensions as x is
    taken as it is: a map. Raises ValueError for a shape that fits neither.
    """
    v = torch.as_tensor(values, dtype=x.dtype, device=x.device)
    if v.ndim == 0 or v.ndim == x.ndim > 2:
        return v
    if x.ndim == 4 and v.ndim in (1, 2):
        rows = v if v.ndim == 2 else v[None]
        batch, planes, height, width = x.shape
        if rows.shape[0] in (1, batch):
            if rows.shape[1] in (1, planes):
                return rows[:, :, None, None]
            if planes == 1 and rows.shape[1] == 4:
                block = rows.view(-1, 1, 2, 2)
                return block.repeat(1, 1, -(-height // 2), -(-width // 2))[..., :height, :width]
    raise ValueError(
        f"noise parameters of shape {tuple(v.shape)} do not fit samples of shape {tuple(x.shape)}; expected one "
        "number, one per plane (C, or 4 for the sites of a mosaic B 1 H W), B x 1, B x C, or a map like the samples"
    )


def like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal samples in the shape, type and device of x."""
    if x.device.type == "cpu" and x.dtype == torch.float32:
        return standard_normals(x.shape, generator)
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
