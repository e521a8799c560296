"""The variance line through noisy samples of known means, for the tests of every noise model."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

SAMPLES = 1 << 20  # per level: the variance of normal noise is then known to sqrt(2 / 2^20) = 0.14 %
LEVELS = (0.0, 0.02, 0.3, 1.0)


def variance_line(
    noise: Callable[[Tensor], Tensor], shape: tuple[int, ...] = (1, 1, 1024, 1024)
) -> tuple[float, float]:
    """(a, b) of variance = a x + b, by weighted least squares over LEVELS; `noise` takes a flat x of `shape`."""
    variances = np.array([float((noise(torch.full(shape, x)) - x).double().var()) for x in LEVELS])
    design = np.stack([np.array(LEVELS), np.ones(len(LEVELS))], axis=1) / variances[:, None]
    a, b = np.linalg.lstsq(design, np.ones(len(LEVELS)), rcond=None)[0]
    return float(a), float(b)
