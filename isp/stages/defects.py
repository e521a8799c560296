"""Hot and dead pixels: found against their neighbours of the same colour, and replaced from them.

A defect stands out of the eight nearest samples of its colour, one in each direction, while the samples of the other
colours around it know nothing of it; a real point of light, or a corner, shows in them too.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from isp.raw.cfa import CFA
from isp.stages.borders import continuation, extend

REACH = 6  # pixels in which every array here has a sample of each colour in each of eight directions
WINDOW = 9  # side of the box over which the spread of neighbours is averaged
HALO = 2 * REACH + WINDOW // 2  # a sample's neighbours, and what decides which of those are defective

# How far a defect must stand out beyond its second highest (lowest) neighbour, on a square root scale, where noise is
# nearly even: multiples of the spread of the neighbours, averaged around and at the site, and of what the adjacent
# samples show, and a floor. Chosen on photographs, as a balance of good samples lost and defects found.
AROUND, HERE, SHOWN, FLOOR = 1.2, 0.3, 2.0, 0.06
TOE = 4e-3  # of x / sqrt(|x| + TOE)


def correct_defects(x: Tensor, cfa: CFA | None) -> Tensor:
    """The mosaic B 1 H W, linear, black 0, white 1, with defective samples replaced; all others as they are.

    cfa: None for monochrome. Single defects and pairs of neighbours of one colour are found. Which samples are
    defective is decided on values alone, so gradients flow through the replacements and the rest.
    """
    if x.ndim != 4 or x.shape[1] != 1:
        raise ValueError(f"correct_defects needs a mosaic B 1 H W, got {tuple(x.shape)}")
    if min(x.shape[-2:]) < 3:
        return x  # too few neighbours to tell
    channels = np.zeros((1, 1), dtype=np.int64) if cfa is None else cfa.channels
    defective = find_defects(x.detach(), cfa)
    batch, row, col = defective[:, 0].nonzero(as_tuple=True)
    if not len(row):
        return x
    table = torch.from_numpy(_neighbours(channels.tobytes(), channels.shape)).to(x.device)  # rows cols 8 2
    height, width = x.shape[-2:]
    index = torch.from_numpy(continuation(channels, (height, width), (REACH, REACH), (REACH, REACH))).to(x.device)
    step = table[row % table.shape[0], col % table.shape[1]]  # N 8 2
    source = index[row[:, None] + REACH + step[..., 0], col[:, None] + REACH + step[..., 1]]  # N 8
    value = x.flatten(1)[batch[:, None], source]  # N 8
    usable = ~defective.flatten(1)[batch[:, None], source]
    distance = step.to(x.dtype).square().sum(-1).sqrt()
    # Each direction and its opposite: a straight line between the two samples, trusted where they agree.
    (a, b), (near_a, near_b), (ok_a, ok_b) = (t.view(-1, 2, 4).unbind(1) for t in (value, distance, usable))
    between = (a * near_b + b * near_a) / (near_a + near_b)
    trust = (ok_a & ok_b) / ((a - b).abs() + 0.02 * (a.abs() + b.abs()) + 1e-3).square() / (near_a + near_b)
    # Where no line has both ends, the mean of what there is.
    alone = (value * usable).sum(1) / usable.sum(1).clamp(min=1)
    total = trust.sum(1)
    mended = torch.where(total > 0, (trust * between).sum(1) / total.clamp(min=1e-30), alone)
    mended = torch.where(usable.any(1), mended, x[batch, 0, row, col])
    return x.index_put((batch, torch.zeros_like(batch), row, col), mended)


@torch.no_grad()
def find_defects(x: Tensor, cfa: CFA | None) -> Tensor:
    """B 1 H W, bool: the samples that stand out. x: B 1 H W, linear, black 0, white 1, at least 3x3.

    On photographs at half exposure with one sample in a thousand defective (hot 0.6 to 1 or dead 0, a fifth of them in
    pairs) it finds 0.9 of those that differ by more than 0.1 plus eight noise deviations, and takes about 2e-5 of the
    good ones along, 8e-5 at ISO 3200 (monochrome: 5e-5 and 2e-4); on sharper pictures (Kodak) 0.72 and 1e-5. The rest
    hides in texture.
    """
    channels = np.zeros((1, 1), dtype=np.int64) if cfa is None else cfa.channels
    rows, cols = channels.shape
    height, width = x.shape[-2:]
    x = x / (x.abs() + TOE).sqrt()
    below, right = REACH + -height % rows, REACH + -width % cols  # whole periods
    wide = extend(x, continuation(channels, (height, width), (REACH, below), (REACH, right)))
    table = _neighbours(channels.tobytes(), channels.shape)
    highest = lowest = _shifted(wide, table[:, :, 0])  # B 1 H' W'
    second_highest, second_lowest = torch.full_like(highest, -math.inf), torch.full_like(highest, math.inf)
    for direction in range(1, 8):
        v = _shifted(wide, table[:, :, direction])
        second_highest = torch.maximum(second_highest, torch.minimum(highest, v))
        second_lowest = torch.minimum(second_lowest, torch.maximum(lowest, v))
        highest, lowest = torch.maximum(highest, v), torch.minimum(lowest, v)
    high, low = (t[..., :height, :width] for t in (second_highest, second_lowest))
    here = high - low
    around = F.avg_pool2d(here, (1, WINDOW), 1, (0, WINDOW // 2), count_include_pad=False)
    around = F.avg_pool2d(around, (WINDOW, 1), 1, (WINDOW // 2, 0), count_include_pad=False)
    beyond = torch.maximum(x - high, low - x) - (AROUND * around + HERE * here + FLOOR)
    # What the adjacent samples show, at the few candidates only.
    batch, row, col = (beyond[:, 0] > 0).nonzero(as_tuple=True)
    contrast = F.pad(x - (high + low) / 2, (1, 1, 1, 1))  # B 1 H+2 W+2
    sign = contrast[batch, 0, row + 1, col + 1].sign()
    beside = [(dy, dx) for dy in range(3) for dx in range(3) if (dy, dx) != (1, 1)]
    shown = torch.stack([contrast[batch, 0, row + dy, col + dx] for dy, dx in beside], -1) * sign[:, None]  # N 8
    second_shown = shown.topk(2, -1).values[:, 1].clamp(min=0)  # one of them may be defective too
    found = torch.zeros_like(x, dtype=torch.bool)
    found[batch, 0, row, col] = beyond[batch, 0, row, col] > SHOWN * second_shown
    return found


def _shifted(wide: Tensor, steps: np.ndarray) -> Tensor:
    """B 1 H W: at each site the sample `steps[cell]` (dy, dx) away. wide: B 1 H+2REACH W+2REACH; H, W whole periods."""
    rows, cols = steps.shape[:2]
    height, width = (n - 2 * REACH for n in wide.shape[-2:])
    out = wide.new_empty((*wide.shape[:2], height, width))
    for row in range(rows):
        for col in range(cols):
            top, left = REACH + row + int(steps[row, col, 0]), REACH + col + int(steps[row, col, 1])
            out[..., row::rows, col::cols] = wide[
                ..., top : top + height - row : rows, left : left + width - col : cols
            ]
    return out


@lru_cache(maxsize=16)
def _neighbours(channels: bytes, shape: tuple[int, int]) -> np.ndarray:
    """rows cols 8 2: for each cell of the period the nearest sample of its colour in each of eight directions, as
    (dy, dx); direction i + 4 is opposite to i.
    """
    letters = np.frombuffer(channels, dtype=np.int64).reshape(shape)
    rows, cols = shape
    reach = range(-REACH, REACH + 1)
    steps = sorted(((dy, dx) for dy in reach for dx in reach if (dy, dx) != (0, 0)), key=lambda s: math.hypot(*s))
    table = np.zeros((rows, cols, 8, 2), dtype=np.int64)
    for row in range(rows):
        for col in range(cols):
            for dy, dx in reversed(steps):  # the nearest comes last and stays
                if letters[(row + dy) % rows, (col + dx) % cols] == letters[row, col]:
                    table[row, col, round(math.atan2(dy, dx) / (math.pi / 4)) % 8] = dy, dx
    assert (table != 0).any(-1).all()
    return table
