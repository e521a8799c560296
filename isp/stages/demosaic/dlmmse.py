"""Directional linear minimum mean-square-error estimation.

L. Zhang, X. Wu, "Color demosaicking via directional linear minimum mean square-error estimation", IEEE TIP 14(12),
2005. The difference between green and the site's own colour, estimated along the row, is the true one plus an error
that a low-pass filter removes; local variances of both give the LMMSE estimate and its error. The same along the
column, and the two are joined by their errors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isp.raw.cfa import CFA
from isp.stages.demosaic.bayer import COLUMNS, ROWS, along, in_rggb, sites

HALO = 14

OTHER = (-0.25, 0.5, 0.5, 0.5, -0.25)  # the colour of the neighbours on the line: Hamilton and Adams
SMOOTH = tuple(n / 128 for n in (4, 9, 15, 23, 26, 23, 15, 9, 4))  # the Gaussian of Sec. III
WINDOW = (1 / 9,) * 9  # over which mean and variances are taken
TINY = 1e-9  # variance, full scale 1: keeps flat fields from 0 / 0


def dlmmse(x: Tensor, cfa: CFA) -> Tensor:
    """B 3 H W from a Bayer mosaic B 1 H W."""
    return in_rggb(x, cfa, HALO, _rggb)


def _rggb(x: Tensor) -> Tensor:
    red, green, blue, _ = sites(x)
    sign = 1 - 2 * green  # so that the difference is green less red or blue, whichever of them the site measured
    estimate_h, error_h = _lmmse(COLUMNS, (along(COLUMNS, x, OTHER) - x) * sign)
    estimate_v, error_v = _lmmse(ROWS, (along(ROWS, x, OTHER) - x) * sign)
    d = (error_v * estimate_h + error_h * estimate_v) / (error_h + error_v) * (1 - green)
    # Red at blue and blue at red from the four corners, then both at green from the four neighbours
    corner = along(ROWS, along(COLUMNS, d, (0.5, 0, 0.5)), (0.5, 0, 0.5))
    less_red, less_blue = d * red + corner * blue, d * blue + corner * red
    g = x + d
    return torch.cat(
        [g - torch.lerp(less_red, _cross(less_red), green), g, g - torch.lerp(less_blue, _cross(less_blue), green)],
        dim=1,
    )


def _lmmse(dim: int, observed: Tensor) -> tuple[Tensor, Tensor]:
    """The estimate of the colour difference and its mean square error (eq. 10 to 18)."""
    smooth = along(dim, observed, SMOOTH)
    mean = along(dim, smooth, WINDOW)
    signal = (along(dim, smooth.square(), WINDOW) - mean.square()).clamp(min=0)
    noise = along(dim, (observed - smooth).square(), WINDOW)
    gain = signal / (signal + noise + TINY)
    return mean + gain * (observed - mean), gain * noise + TINY


def _cross(x: Tensor) -> Tensor:
    """The mean of the four neighbours."""
    return (along(ROWS, x, (0.5, 0, 0.5)) + along(COLUMNS, x, (0.5, 0, 0.5))) / 2
