"""Gradient-corrected linear interpolation.

H. S. Malvar, L. He, R. Cutler, "High-quality linear interpolation for demosaicing of Bayer-patterned color images",
ICASSP 2004: the bilinear estimate plus a share of the Laplacian of the colour measured at the site.
"""

from __future__ import annotations

from torch import Tensor

from isp.raw.cfa import CFA
from isp.stages.demosaic.bayer import convolve, in_rggb

HALO = 2

# Figure 2 of the paper, in eighths. Rows and columns run over the mosaic around the site.
GREEN = ((0, 0, -1, 0, 0), (0, 0, 2, 0, 0), (-1, 2, 4, 2, -1), (0, 0, 2, 0, 0), (0, 0, -1, 0, 0))  # at red or blue
BESIDE = ((0, 0, 0.5, 0, 0), (0, -1, 0, -1, 0), (-1, 4, 5, 4, -1), (0, -1, 0, -1, 0), (0, 0, 0.5, 0, 0))  # at green
ABOVE = tuple(zip(*BESIDE, strict=True))  # at green: the colour of the rows above and below
CORNER = ((0, 0, -1.5, 0, 0), (0, 2, 0, 2, 0), (-1.5, 0, 6, 0, -1.5), (0, 2, 0, 2, 0), (0, 0, -1.5, 0, 0))
ITSELF = ((0,) * 5, (0,) * 5, (0, 0, 8, 0, 0), (0,) * 5, (0,) * 5)
# red, green, blue, each at the sites r, gr, gb, b
FILTERS = (ITSELF, BESIDE, ABOVE, CORNER, GREEN, ITSELF, ITSELF, GREEN, CORNER, ABOVE, BESIDE, ITSELF)


def malvar2004(x: Tensor, cfa: CFA) -> Tensor:
    """B 3 H W from a Bayer mosaic B 1 H W."""
    return in_rggb(x, cfa, HALO, lambda rggb: convolve(rggb, FILTERS) / 8)
