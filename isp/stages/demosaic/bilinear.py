"""Bilinear demosaicing: the mean of the nearest samples of each colour."""

from __future__ import annotations

from torch import Tensor

from isp.raw.cfa import CFA
from isp.stages.demosaic.bayer import convolve, in_rggb

HALO = 2

# In quarters, rows and columns over the mosaic around the site; in a frame of 5x5, as `convolve` takes them.
CROSS = ((0,) * 5, (0, 0, 1, 0, 0), (0, 1, 0, 1, 0), (0, 0, 1, 0, 0), (0,) * 5)
CORNER = ((0,) * 5, (0, 1, 0, 1, 0), (0,) * 5, (0, 1, 0, 1, 0), (0,) * 5)
BESIDE = ((0,) * 5, (0,) * 5, (0, 2, 0, 2, 0), (0,) * 5, (0,) * 5)
ABOVE = tuple(zip(*BESIDE, strict=True))
ITSELF = ((0,) * 5, (0,) * 5, (0, 0, 4, 0, 0), (0,) * 5, (0,) * 5)
# red, green, blue, each at the sites r, gr, gb, b
FILTERS = (ITSELF, BESIDE, ABOVE, CORNER, CROSS, ITSELF, ITSELF, CROSS, CORNER, ABOVE, BESIDE, ITSELF)


def bilinear(x: Tensor, cfa: CFA) -> Tensor:
    """B 3 H W from a Bayer mosaic B 1 H W."""
    return in_rggb(x, cfa, HALO, lambda rggb: convolve(rggb, FILTERS) / 4)
