"""FixVignetteRadial: a gain that grows with the distance from the optical centre. DNG 1.7.1, chapter 7."""

from __future__ import annotations

import torch
from torch import Tensor

from isp.raw.opcodes import FixVignetteRadial
from isp.stages.opcodes.lens import Lens


def apply_vignette(x: Tensor, opcode: FixVignetteRadial) -> Tensor:
    """x, B C H W, times 1 + k0 r^2 + k1 r^4 + k2 r^6 + k3 r^8 + k4 r^10."""
    return x * _gain(x, opcode)


def undo_vignette(x: Tensor, opcode: FixVignetteRadial) -> Tensor:
    """The inverse of apply_vignette. Raises ValueError where the gain is not positive everywhere."""
    gain = _gain(x, opcode)
    if not bool((gain > 0).all()):
        raise ValueError("FixVignetteRadial has no inverse: its gain should be positive everywhere")
    return x / gain


def _gain(x: Tensor, opcode: FixVignetteRadial) -> Tensor:
    """H W, in x's type."""
    height, width = x.shape[-2:]
    lens = Lens.of(height, width, opcode.cx, opcode.cy)
    rows = torch.arange(height, dtype=torch.float64, device=x.device)
    cols = torch.arange(width, dtype=torch.float64, device=x.device)
    squared_v = ((rows - lens.y) / lens.radius).square().to(x.dtype)[:, None]
    squared_h = ((cols - lens.x) / lens.radius).square().to(x.dtype)
    r2 = squared_v + squared_h  # H W
    gain = torch.full_like(r2, float(opcode.k[-1]))
    for coefficient in opcode.k[-2::-1]:
        gain = gain * r2 + float(coefficient)
    return gain * r2 + 1
