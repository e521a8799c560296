"""Bayer defects: hot, dead and stuck sites, single or in clusters, broken lines, and the lattice of phase-detection
pixels. The kinds are those that MiAlgo names in its report of NTIRE 2025 RAIM; it publishes no figures, so the shares,
the lengths and the lattice's arrangement are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from isp.noise.spread import spread
from isp.raw.cfa import CFA

HOT = (0.6, 1.0)  # level of a hot site, linear; a brighter scene outshines it
HOT_SHARE, DEAD_SHARE = 0.5, 0.25  # of the places; the rest is stuck at any level
CLUSTERED = 0.3  # share of the places where 2 to 4 neighbours of the same colour, two sites apart, are broken alike
NEIGHBOURS = ((0, 0), (0, 2), (2, 0), (2, 2))  # of a cluster's first site
SEGMENT = (8, 128)  # sites in a broken piece of a row or a column, log-uniform; it ends with the frame at the latest
SITES_PER_PLACE = 1 + CLUSTERED * 2  # clusters of 2, 3 and 4 are equally likely


def add_defects(
    x: Tensor, density: float | Sequence[float], lines: Sequence[int] = (), *, generator: torch.Generator | None = None
) -> Tensor:
    """x with broken sites at random places, others in each image; the shape of x, no gradient from broken sites.

    x: B 1 H W, Bayer mosaic of any phase, linear. density: expected share of broken sites without the lines, for all
    images or for each. lines: broken pieces of a row or a column in each image. generator: on the CPU, wherever x is.
    """
    batch, planes, height, width = x.shape
    if planes != 1:
        raise ValueError(f"add_defects needs a mosaic B 1 H W, got {tuple(x.shape)}")
    densities = [float(density)] * batch if isinstance(density, float | int) else [float(d) for d in density]
    counts = list(lines) or [0] * batch
    if len(densities) != batch or len(counts) != batch:
        raise ValueError(f"{len(densities)} densities and {len(counts)} line counts do not fit {batch} images")
    parts = []
    for image in range(batch):
        places = densities[image] * height * width / SITES_PER_PLACE
        whole = math.floor(places + float(torch.rand((), generator=generator)))
        broken = [
            _places(whole, height, width, generator),
            *(_line(height, width, generator) for _ in range(counts[image])),
        ]
        parts += [torch.stack([row + image * height * width * (i == 0) for i, row in enumerate(b)]) for b in broken]
    site, kind, level = torch.cat(parts, 1)  # N each, float64: exact for sites
    site, order = torch.sort(site.long(), stable=True)
    first = torch.ones_like(site, dtype=torch.bool)
    first[1:] = site[1:] != site[:-1]  # a site is broken once
    site, kind, level = site[first].to(x.device), kind[order][first], level[order][first]
    hot = kind < HOT_SHARE
    value = torch.where(hot, HOT[0] + (HOT[1] - HOT[0]) * level, level * (kind >= HOT_SHARE + DEAD_SHARE))
    flat, value, hot = x.reshape(-1), value.to(x.device, x.dtype), hot.to(x.device)
    value = torch.where(hot, torch.maximum(flat[site].detach(), value), value)
    return flat.index_put((site,), value).view(x.shape)


def _places(count: int, height: int, width: int, generator: torch.Generator | None) -> Tensor:
    """3 N: index of each broken site in the frame, its kind and level, both in [0, 1), for so many places."""
    u = torch.rand((5, count), generator=generator, dtype=torch.float64)
    top, left = (u[0] * height).long(), (u[1] * width).long()
    sizes = torch.where(u[2] < CLUSTERED, 2 + (u[2] / CLUSTERED * 3).long(), 1)
    down, right = torch.tensor(NEIGHBOURS).T[..., None]  # 4 1
    y, x = top + down, left + right  # 4 N, of each member of a cluster
    keep = (sizes > torch.arange(4)[:, None]) & (y < height) & (x < width)
    return torch.stack([(y * width + x).double(), u[3].expand(4, -1), u[4].expand(4, -1)])[:, keep]


def _line(height: int, width: int, generator: torch.Generator | None) -> Tensor:
    """The same for the sites of one piece of a row or a column."""
    u = torch.rand(6, generator=generator, dtype=torch.float64).tolist()
    top, left = int(u[0] * height), int(u[1] * width)
    length = int(SEGMENT[0] * (SEGMENT[1] / SEGMENT[0]) ** u[2])
    at = torch.arange(length, dtype=torch.float64)
    if u[3] < 0.5:
        sites = top * width + left + at[: width - left]
    else:
        sites = (top + at[: height - top]) * width + left
    return torch.stack([sites, torch.full_like(sites, u[4]), torch.full_like(sites, u[5])])


def pdaf_lattice(
    x: Tensor, period: int, gain: float | Tensor, cfa: CFA, *, generator: torch.Generator | None = None
) -> Tensor:
    """x with the half-covered pixels of phase detection: one green site in every period x period sees `gain` of its
    light, the one that covers the other half two rows below and as many green sites further. The shape of x.

    x: B 1 H W, Bayer mosaic, linear. period: sites, even, at least 4. gain: one number, or B 1.
    The lattice starts at a random block of the frame.
    """
    if x.shape[1] != 1 or cfa.kind != "bayer":
        raise ValueError(f"pdaf_lattice needs a Bayer mosaic B 1 H W, got {tuple(x.shape)} and CFA {cfa}")
    if period % 2 or period < 4:
        raise ValueError(f"the lattice's period is {period}; expected an even number of at least 4")
    row, col = divmod(cfa.pattern.index("G"), 2)
    down, right = (2 * n for n in torch.randint(period // 2, (2,), generator=generator).tolist())
    y = x.clone()
    for step in (0, 2):  # left half covered, right half covered
        top, left = (row + down + step) % period, (col + right + step) % period
        y[..., top::period, left::period] = x[..., top::period, left::period] * spread(gain, x)
    return y
