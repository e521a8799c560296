"""Directional filtering with an a-posteriori decision, and its refining step.

D. Menon, S. Andriani, G. Calvagno, "Demosaicing with directional filtering and a posteriori decision", IEEE TIP 16(1),
2007. Green is interpolated along the row and along the column; the direction in which the colour difference changes
least is kept. Red and blue follow from colour differences, and all three are refined along the chosen direction.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isp.raw.cfa import CFA
from isp.stages.demosaic.bayer import COLUMNS, ROWS, along, in_rggb, sites

HALO = 10

GREEN = (-0.25, 0.5, 0.5, 0.5, -0.25)  # eq. 1: mean of the greens beside plus half the site's own second difference
BESIDE = (0.5, 0.0, 0.5)
SMOOTH = (1 / 3, 1 / 3, 1 / 3)  # Sec. IV: the low-pass filter of the refining step


def menon2007(x: Tensor, cfa: CFA) -> Tensor:
    """B 3 H W from a Bayer mosaic B 1 H W."""
    return in_rggb(x, cfa, HALO, _rggb)


def _rggb(x: Tensor) -> Tensor:
    red, green, blue, red_row = sites(x)

    # Sec. II and III: green along rows and along columns, and the decision for the direction of less change
    green_h, green_v = along(COLUMNS, x, GREEN), along(ROWS, x, GREEN)
    change_h = _change(COLUMNS, ROWS, (x - green_h) * (1 - green))
    change_v = _change(ROWS, COLUMNS, (x - green_v) * (1 - green))
    horizontal = (change_v >= change_h).to(x.dtype)
    g = torch.lerp(torch.lerp(green_v, green_h, horizontal), x, green)
    r, b = _at_green(x, x, g, red_row, green)
    red_less_blue = _directed(r - b, BESIDE, horizontal)
    r, b = torch.lerp(r, b + red_less_blue, blue), torch.lerp(b, r - red_less_blue, red)

    # Sec. IV: refining of green, of red and blue at green, of red at blue and of blue at red
    red_less_green, blue_less_green = (_directed(c - g, SMOOTH, horizontal) for c in (r, b))
    g = torch.lerp(torch.lerp(g, r - red_less_green, red), b - blue_less_green, blue)
    r, b = _at_green(r, b, g, red_row, green)
    red_less_blue = _directed(r - b, SMOOTH, horizontal)
    return torch.cat([torch.lerp(r, b + red_less_blue, blue), g, torch.lerp(b, r - red_less_blue, red)], dim=1)


def _change(dim: int, across: int, difference: Tensor) -> Tensor:
    """How much the colour difference, given at red and blue sites and 0 at green ones, changes along dim: eq. 9.
    Steps of two sites on either side in the site's own row (weight 3) and the rows two off, and around the site itself
    in the rows one off."""
    step = along(dim, difference, (-1, 0, 1)).abs()
    return along(across, along(dim, step, (1, 0, 1)), (1, 0, 3, 0, 1)) + along(across, step, (1, 0, 1))


def _directed(x: Tensor, taps: tuple[float, ...], horizontal: Tensor) -> Tensor:
    """x filtered along the decided direction."""
    return torch.lerp(along(ROWS, x, taps), along(COLUMNS, x, taps), horizontal)


def _at_green(r: Tensor, b: Tensor, g: Tensor, red_row: Tensor, green: Tensor) -> tuple[Tensor, Tensor]:
    """Red and blue with new values at the green sites: green plus the mean difference of the two neighbours that
    measured the colour, which lie along the row for one and along the column for the other."""
    red_h, red_v = along(COLUMNS, r - g, BESIDE), along(ROWS, r - g, BESIDE)
    blue_h, blue_v = along(COLUMNS, b - g, BESIDE), along(ROWS, b - g, BESIDE)
    return (
        torch.lerp(r, g + torch.lerp(red_v, red_h, red_row), green),
        torch.lerp(b, g + torch.lerp(blue_h, blue_v, red_row), green),
    )
