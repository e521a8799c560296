"""A 3x3 matrix on the channels: camera RGB to XYZ, and XYZ to the output's primaries."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def apply_matrix(x: Tensor, matrix: np.ndarray | Tensor) -> Tensor:
    """matrix @ x at every pixel: B 3 H W in, B 3 H W out, nothing clipped.

    matrix: 3x3 array, or a tensor, which gets its gradient. Its inverse undoes it.
    """
    if x.ndim != 4 or x.shape[1] != 3 or tuple(matrix.shape) != (3, 3):
        raise ValueError(f"apply_matrix needs B 3 H W and a 3x3 matrix, got {tuple(x.shape)}, {tuple(matrix.shape)}")
    weights = torch.as_tensor(matrix, dtype=x.dtype, device=x.device)
    return torch.einsum("dc,bchw->bdhw", weights, x)
