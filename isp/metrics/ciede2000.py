"""Colour difference CIEDE2000.

G. Sharma, W. Wu, E. Dalal, "The CIEDE2000 Color-Difference Formula: Implementation Notes, Supplementary Test Data, and
Mathematical Observations", Color Research and Application 2005; parametric factors kL = kC = kH = 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isp.metrics.images import paired
from isp.primaries import D65, SPACES, rgb_to_xyz, xy_to_xyz
from isp.stages.colour import apply_matrix
from isp.stages.encode import decode


def ciede2000(x: Tensor, truth: Tensor, data_range: float, border: int) -> Tensor:
    """B: mean CIEDE2000 over the pixels; about 1 is just noticeable in large patches side by side.

    x, truth: B 3 H W, encoded sRGB from 0 to data_range, clipped here: the difference is of what a display shows.
    border: pixels left out on each side. Computed in float64. A metric, not a loss: its gradient is not finite at grey.
    """
    x, truth = paired(x, truth, border)
    return delta_e_2000(lab(x / data_range), lab(truth / data_range)).mean((1, 2))


def lab(x: Tensor) -> Tensor:
    """CIE L*a*b* (white D65) of encoded sRGB in [0, 1], clipped to it: B 3 H W to B 3 H W, float64."""
    primaries, white, _ = SPACES["srgb"]
    xyz = apply_matrix(decode(x.double().clamp(0, 1), "srgb"), rgb_to_xyz(primaries, white))
    relative = xyz / xyz.new_tensor(xy_to_xyz(D65)).view(1, 3, 1, 1)
    # CIE 15:2004, 8.2.1: a cube root with a linear part below (6/29)³
    root = torch.where(
        relative > (6 / 29) ** 3, relative.clamp(min=1e-9).pow(1 / 3), relative * (29 / 6) ** 2 / 3 + 4 / 29
    )
    fx, fy, fz = root.unbind(1)
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], dim=1)


def delta_e_2000(first: Tensor, second: Tensor) -> Tensor:
    """B H W: CIEDE2000 between colours, B 3 H W each, CIE L*a*b*. Symmetric. Equation numbers of Sharma 2005."""
    (l1, a1, b1), (l2, a2, b2) = first.unbind(1), second.unbind(1)
    chroma = (torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2  # (2), (3)
    g = 0.5 * (1 - (chroma**7 / (chroma**7 + 25**7)).sqrt())  # (4)
    a1, a2 = (1 + g) * a1, (1 + g) * a2  # (5)
    c1, c2 = torch.hypot(a1, b1), torch.hypot(a2, b2)  # (6)
    h1, h2 = (torch.atan2(b, a).remainder(2 * math.pi) for b, a in ((b1, a1), (b2, a2)))  # (7); 0 for grey
    both = c1 * c2 > 0

    dl, dc = l2 - l1, c2 - c1  # (8), (9)
    turn = h2 - h1
    turn = torch.where(turn > math.pi, turn - 2 * math.pi, torch.where(turn < -math.pi, turn + 2 * math.pi, turn))
    turn = torch.where(both, turn, 0)  # (10)
    dh = 2 * (c1 * c2).sqrt() * (turn / 2).sin()  # (11)

    l, c = (l1 + l2) / 2, (c1 + c2) / 2  # (12), (13)  # noqa: E741
    h = (h1 + h2) / 2
    far = (h1 - h2).abs() > math.pi
    h = torch.where(far, torch.where(h < math.pi, h + math.pi, h - math.pi), h)
    h = torch.where(both, h, h1 + h2)  # (14)
    t = 1 - 0.17 * (h - _rad(30)).cos() + 0.24 * (2 * h).cos()
    t = t + 0.32 * (3 * h + _rad(6)).cos() - 0.20 * (4 * h - _rad(63)).cos()  # (15)
    rotation = _rad(30) * (-((h - _rad(275)) / _rad(25)).square()).exp()  # (16)
    rc = 2 * (c**7 / (c**7 + 25**7)).sqrt()  # (17)
    sl = 1 + 0.015 * (l - 50).square() / (20 + (l - 50).square()).sqrt()  # (18)
    sc, sh = 1 + 0.045 * c, 1 + 0.015 * c * t  # (19), (20)
    rt = -(2 * rotation).sin() * rc  # (21)
    dl, dc, dh = dl / sl, dc / sc, dh / sh
    return (dl.square() + dc.square() + dh.square() + rt * dc * dh).clamp(min=0).sqrt()  # (22)


def _rad(degrees: float) -> float:
    return math.radians(degrees)
