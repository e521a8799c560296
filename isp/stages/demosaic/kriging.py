"""Interpolation of any colour filter array by a few Gaussian models of the picture, each with its own direction.

A model says how far samples of the picture agree with each other: all channels share a detail, whose correlation falls
with distance, and each adds a colour of its own, which is weaker and smoother. Under such a model the best linear
estimate of a channel at a site, from all samples of all colours in a window, follows in closed form (universal
kriging, G. Matheron, "Le krigeage universel", 1969): it leaves every picture that is a plane in each channel as it is,
and no filter has to be learned. One model is isotropic, the others are stretched along one direction each. Each also
predicts every measured sample from its neighbours; the models that do so well around a site make its estimate
(in the spirit of G. Yu, G. Sapiro, S. Mallat, "Solving inverse problems with piecewise linear estimators",
IEEE TIP 2012, who choose among directional Gaussian models by likelihood).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from isp.raw.cfa import CFA
from isp.stages.borders import continuation, extend

RADIUS = 5  # of the window, pixels
FLOOR = 1e-6  # prediction errors, squared, below which models do not differ


@dataclass(frozen=True)
class Models:
    """The Gaussian models of one kind of array. The numbers were fitted to photographs mosaicked with it.

    Lengths are in pixels; correlation at distance d is exp(-(d / length)^exponent). Variances are relative to the
    shared detail's.
    """

    length: float  # of the shared detail, across a model's direction
    stretch: float  # the length along the direction, over `length`
    exponent: float
    colour_variance: float
    colour_length: float
    colour_stretch: float
    colour_exponent: float
    isotropic_length: float  # the same for the model without a direction
    isotropic_colour_variance: float
    noise_variance: float
    sharpness: float  # a model's weight is its mean squared prediction error to the power of -sharpness
    grid: int  # weights are found for squares of this side, pixels, and interpolated
    smoothing: int  # side, in such squares, of the box that runs twice over the squared errors
    directions: int = 4

    @property
    def halo(self) -> int:
        """Pixels around a site that its estimate depends on: the window, the boxes, and the grid of the weights."""
        return RADIUS + self.grid * (2 * (self.smoothing // 2) + 1)


def interpolate(x: Tensor, cfa: CFA, models: Models) -> Tensor:
    """B 3 H W from a mosaic B 1 H W of any size; measured samples come through as they are."""
    height, width = x.shape[-2:]
    down, right, anchored = _anchor(cfa)
    bottom, right_end = -(height + down) % cfa.rows, -(width + right) % cfa.cols
    rows, cols = (down + RADIUS, bottom + RADIUS), (right + RADIUS, right_end + RADIUS)
    wide = extend(x, continuation(cfa.channels, (height, width), rows, cols))
    filters = torch.from_numpy(_bank(anchored, models)).to(x)  # 3M*cells 1 side side
    found = F.pixel_shuffle(F.conv2d(wide, filters, stride=cfa.rows), cfa.rows)  # B 3M H' W'
    y = wide[..., RADIUS:-RADIUS, RADIUS:-RADIUS]
    errors, first, second = found.unflatten(1, (3, -1)).unbind(1)  # B M H' W' each
    weights = _weights(F.avg_pool2d((errors - y).square(), models.grid), models)
    first = (weights * first).sum(1, keepdim=True)  # the channel after the measured one, R G B R
    second = (weights * second).sum(1, keepdim=True)
    measured = anchored.channel_map(*y.shape[-2:])
    at = [torch.from_numpy(measured == c).to(x.device) for c in range(3)]
    channels = [torch.where(at[c], y, torch.where(at[c - 1], first, second)) for c in range(3)]
    return torch.cat(channels, 1)[..., down : down + height, right : right + width]


def _weights(errors: Tensor, models: Models) -> Tensor:
    """Each model's share, B M grid*h grid*w, adding up to 1, from mean squared prediction errors B M h w."""
    for _ in range(2):
        errors = F.avg_pool2d(errors, models.smoothing, 1, models.smoothing // 2, count_include_pad=False)
    shares = torch.softmax(-models.sharpness * torch.log(errors + FLOOR), 1)
    return F.interpolate(shares, scale_factor=models.grid, mode="bilinear", align_corners=False)


def _anchor(cfa: CFA) -> tuple[int, int, CFA]:
    """Rows and columns to add before the frame so that it starts in a phase that all shifts of the array share."""
    shifts = [(down, right) for down in range(cfa.rows) for right in range(cfa.cols)]
    down, right = min(shifts, key=lambda shift: cfa.shifted(-shift[0], -shift[1]).pattern)
    return down, right, cfa.shifted(-down, -right)


@lru_cache(maxsize=8)
def _bank(cfa: CFA, models: Models) -> np.ndarray:
    """3M*cells 1 side side, float64, side = period + 2 RADIUS: strided convolution kernels, one per output and cell.

    M models; outputs are the measured sample predicted from the others, then the next channel and the one after it.
    """
    offsets = np.arange(-RADIUS, RADIUS + 1)
    at = np.stack(np.meshgrid(offsets, offsets, indexing="ij"), -1).reshape(-1, 2)  # N 2: dy, dx from the site
    centre = len(at) // 2
    apart = at[:, None] - at
    angles = [math.pi * i / models.directions for i in range(models.directions)]
    m = models
    detail = [_correlation(apart, 0, 1, m.isotropic_length, m.exponent)]
    colour = [m.isotropic_colour_variance * _correlation(apart, 0, 1, m.colour_length, m.colour_exponent)]
    for a in angles:
        detail.append(_correlation(apart, a, m.stretch, m.length, m.exponent))
        colour.append(m.colour_variance * _correlation(apart, a, m.colour_stretch, m.colour_length, m.colour_exponent))
    side = 2 * RADIUS + 1
    bank = np.zeros((3, len(detail), cfa.rows * cfa.cols, 2 * RADIUS + cfa.rows, 2 * RADIUS + cfa.cols))
    for cell in range(cfa.rows * cfa.cols):
        row, col = divmod(cell, cfa.cols)
        channel = cfa.channels[(row + at[:, 0]) % cfa.rows, (col + at[:, 1]) % cfa.cols]  # N
        own = (channel[:, None] == np.arange(3)).astype(float)
        planes = np.concatenate([own, own * at[:, :1], own * at[:, 1:]], 1)  # N 9: offset and slopes of each channel
        for output in range(3):
            wanted = (channel[centre] + output) % 3
            used = np.arange(len(at)) != centre if output == 0 else np.ones(len(at), dtype=bool)
            n = used.sum()
            system = np.zeros((n + 9, n + 9))
            system[:n, n:] = planes[used]
            system[n:, :n] = planes[used].T
            right_side = np.zeros(n + 9)
            right_side[n + wanted] = 1
            same = channel[:, None] == channel
            for i, (shared, separate) in enumerate(zip(detail, colour, strict=True)):
                covariance = shared + separate * same + m.noise_variance * np.eye(len(at))
                system[:n, :n] = covariance[np.ix_(used, used)]
                right_side[:n] = (shared[centre] + separate[centre] * (channel == wanted))[used]
                taps = np.zeros(len(at))
                taps[used] = np.linalg.solve(system, right_side)[:n]
                bank[output, i, cell, row : row + side, col : col + side] = taps.reshape(side, side)
    return bank.reshape(-1, 1, *bank.shape[-2:])


def _correlation(apart: np.ndarray, angle: float, stretch: float, length: float, exponent: float) -> np.ndarray:
    """exp(-(distance / length)^exponent), distances along `angle` counting 1 / stretch. apart: ... 2 (dy, dx)."""
    along = apart[..., 1] * math.cos(angle) + apart[..., 0] * math.sin(angle)
    across = apart[..., 0] * math.cos(angle) - apart[..., 1] * math.sin(angle)
    return np.exp(-((np.hypot(along / stretch, across) / length) ** exponent))
