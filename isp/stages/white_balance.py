"""White balance: one gain per channel, on a mosaic or on RGB."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from isp.raw.cfa import CFA


def white_balance(x: Tensor, gains: np.ndarray | Tensor, cfa: CFA | None = None) -> Tensor:
    """Every sample times its channel's gain, so that a neutral has equal channels. Nothing is clipped.

    x: B 1 H W with its cfa, or B 3 H W; linear. gains: red, green, blue; a tensor gets its gradient.
    """
    return x * _gain_map(x, torch.as_tensor(gains, dtype=x.dtype, device=x.device), cfa)


def undo_white_balance(x: Tensor, gains: np.ndarray | Tensor, cfa: CFA | None = None) -> Tensor:
    """The inverse of white_balance."""
    return x * _gain_map(x, 1.0 / torch.as_tensor(gains, dtype=x.dtype, device=x.device), cfa)


def _gain_map(x: Tensor, gains: Tensor, cfa: CFA | None) -> Tensor:
    """The gain of each sample: 1 3 1 1 for RGB, 1 1 H W for a mosaic."""
    planes = 3 if cfa is None else 1
    if x.ndim != 4 or x.shape[1] != planes or gains.shape != (3,):
        raise ValueError(
            f"white balance needs B {planes} H W {'without' if cfa is None else 'with'} a CFA and 3 gains, "
            f"got {tuple(x.shape)} and gains of shape {tuple(gains.shape)}"
        )
    if cfa is None:
        return gains.view(1, 3, 1, 1)
    height, width = x.shape[-2:]
    period = gains[torch.as_tensor(cfa.channels, device=x.device)]  # rows cols
    tiles = (-(-height // cfa.rows), -(-width // cfa.cols))
    return period.repeat(tiles)[None, None, :height, :width]
