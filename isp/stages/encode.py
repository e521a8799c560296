"""The transfer curve of each output space: scene- or display-linear values to encoded ones, and back.

Sources: IEC 61966-2-1 (sRGB; Display P3 shares its curve), ITU-R BT.2020-2 table 4 with alpha and beta to full
precision (Rec.2020 pictures use the camera curve, as their ICC profile says), ISO 22028-2 (ROMM, ProPhoto).
"""

from __future__ import annotations

import torch
from torch import Tensor

from isp.primaries import CURVES, SPACES


def encode(x: Tensor, space: str) -> Tensor:
    """Linear to encoded values of a space ("camera": unchanged). Any shape; black 0 and white 1 stay.

    Odd for negatives, and the same power law above 1: nothing is clipped, and decode undoes it everywhere.
    """
    if space == "camera":
        return x
    curve = CURVES[SPACES[space].transfer]
    size = x.abs()
    # clamped, so that the branch not taken has a finite gradient; in place, to spare fresh memory
    power = size.clamp(min=curve.knee).pow_(curve.exponent).mul_(curve.scale).sub_(curve.offset)
    return torch.where(size < curve.knee, x * curve.slope, power.copysign_(x))


def decode(y: Tensor, space: str) -> Tensor:
    """Encoded to linear values: the inverse of encode."""
    if space == "camera":
        return y
    curve = CURVES[SPACES[space].transfer]
    knee = curve.slope * curve.knee
    size = y.abs()
    power = size.clamp(min=knee).add_(curve.offset).div_(curve.scale).pow_(1 / curve.exponent)
    return torch.where(size < knee, y / curve.slope, power.copysign_(y))
