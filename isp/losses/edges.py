"""L1 on derivatives: blurred and doubled edges weigh more than a shift of brightness, which weighs nothing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d


def gradient(x: Tensor, truth: Tensor) -> Tensor:
    """B: mean absolute error of the differences to the right and to the lower neighbour, both directions added.

    x, truth: B C H W of any domain, at least 2x2.
    """
    error = x - truth
    across, down = error.diff(dim=3), error.diff(dim=2)
    return across.abs().mean((1, 2, 3)) + down.abs().mean((1, 2, 3))


def sobel(x: Tensor, truth: Tensor) -> Tensor:
    """B: mean absolute error of the Sobel derivatives, both directions added, where the 3x3 window fits.

    x, truth: B C H W of any domain, at least 3x3. The windows are divided by 8: a ramp of 1 per pixel gives 1.
    """
    error = x - truth
    window = error.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    windows = torch.stack([window, window.T])[:, None]  # 2 1 3 3
    edges = conv2d(error.flatten(0, 1)[:, None], windows).unflatten(0, error.shape[:2])  # B C 2 H-2 W-2
    return edges.abs().sum(2).mean((1, 2, 3))
