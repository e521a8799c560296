"""FixBadPixelsConstant and FixBadPixelsList: pixels that the file marks as bad, interpolated from good ones.

DNG 1.7.1, chapter 7, says which pixels are bad and leaves the interpolation to the reader. Here a bad pixel takes the
mean of the nearest good ones of its colour, all those at the same distance: on a Bayer array four diagonal neighbours
for green and four at two pixels for red and blue, as in Adobe's SDK.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from isp.raw.cfa import CFA
from isp.raw.opcodes import FixBadPixelsConstant, FixBadPixelsList
from isp.stages.opcodes.area import COUNTS_AT_ONE

SEARCH = 4  # pixels: how far a good neighbour is looked for

# bayer_phase: colour of the top left pixel as red, green in a red row, green in a blue row, blue
_PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")


def fix_bad_pixels(
    x: Tensor, opcode: FixBadPixelsConstant | FixBadPixelsList, cfa: CFA | None = None, counts: bool = False
) -> Tensor:
    """x, B 1 H W, with its bad pixels mended; one without a good neighbour within SEARCH stays as it is.

    cfa: the array seen from x's top left. A Bayer array's phase is taken from the opcode, which is always relative to
    the image it is applied to; other arrays, which the specification does not foresee, from here. counts: as in
    apply_opcodes; the constant is a 16-bit value otherwise.
    """
    if x.shape[1] != 1:
        raise ValueError(f"{opcode.name} needs an image with one plane, B 1 H W; got {tuple(x.shape)}")
    height, width = x.shape[-2:]
    if isinstance(opcode, FixBadPixelsConstant):
        stored = x.detach() if counts else (x.detach() * COUNTS_AT_ONE).round()
        bad = stored[:, 0] == opcode.constant  # B H W
    else:
        bad = _listed(opcode, height, width).to(x.device).expand(len(x), height, width)
    where, rows, cols = bad.nonzero(as_tuple=True)  # N each
    if len(where) == 0:
        return x
    if cfa is None or cfa.kind == "bayer":
        cfa = CFA(_PHASES[opcode.bayer_phase & 3])
    colours = torch.tensor(cfa.channels, device=x.device)
    values = x[where, 0, rows, cols]
    pending = torch.arange(len(where), device=x.device)  # bad pixels that have not met a good neighbour yet
    for ring in _rings():
        image, row, col = where[pending], rows[pending], cols[pending]
        mine = colours[row % cfa.rows, col % cfa.cols]
        total, found = x.new_zeros(len(pending)), x.new_zeros(len(pending))
        for down, right in ring:
            y_, x_ = row + down, col + right
            inside = (y_ >= 0) & (y_ < height) & (x_ >= 0) & (x_ < width)
            y_, x_ = y_.clamp(0, height - 1), x_.clamp(0, width - 1)
            use = inside & (colours[y_ % cfa.rows, x_ % cfa.cols] == mine) & ~bad[image, y_, x_]
            total = total + torch.where(use, x[image, 0, y_, x_], torch.zeros_like(total))
            found = found + use
        good = found > 0
        values = values.index_put((pending[good],), total[good] / found[good])
        pending = pending[~good]
        if len(pending) == 0:
            break
    return x.index_put((where, torch.zeros_like(where), rows, cols), values)


def _listed(opcode: FixBadPixelsList, height: int, width: int) -> Tensor:
    """1 H W, bool: the pixels that the opcode lists; those outside the image are left out."""
    bad = np.zeros((height, width), dtype=bool)
    points = opcode.points[(opcode.points[:, 0] < height) & (opcode.points[:, 1] < width)]
    bad[points[:, 0], points[:, 1]] = True
    for top, left, bottom, right in opcode.rects:
        bad[top:bottom, left:right] = True
    return torch.from_numpy(bad)[None]


def _rings() -> list[list[tuple[int, int]]]:
    """Offsets (rows, columns) within SEARCH, those at the same distance together, the nearest first."""
    rings: dict[int, list[tuple[int, int]]] = {}
    for down in range(-SEARCH, SEARCH + 1):
        for right in range(-SEARCH, SEARCH + 1):
            distance = down * down + right * right
            if 0 < distance <= SEARCH * SEARCH:
                rings.setdefault(distance, []).append((down, right))
    return [rings[distance] for distance in sorted(rings)]
