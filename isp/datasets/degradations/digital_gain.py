"""Darkening with digital gain: a frame exposed too short and multiplied up afterwards.

C. Chen et al., "Learning to See in the Dark", CVPR 2018: night frames are amplified by up to 300. The noise belongs to
the short exposure, and so do the steps of its counts: x / g, noise, clipping and whole counts, times g.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from isp.datasets.degradations.quantise import quantise
from isp.noise.spread import spread


def expose_short(
    x: Tensor,
    digital_gain: float | Tensor,
    add_noise: Callable[[Tensor], Tensor],
    *,
    scale: float | Tensor,
    black: float | Tensor = 0.0,
) -> Tensor:
    """x as 1 / digital_gain of its light would have shown it, multiplied up again; the shape of x, linear.

    add_noise: of the sensor at its ISO. scale, black: DN, as in quantise. digital_gain: one number, or B 1.
    With noise of variance shot * x + read the result has the variance
    (shot g) x + (read + 1 / (12 scale^2)) g^2 (see effective_noise), and its counts stand g apart.
    """
    gain = spread(digital_gain, x)
    return quantise(add_noise(x / gain), scale, black) * gain


def effective_noise(
    shot: Tensor, read: Tensor, digital_gain: float | Tensor, scale: float | Tensor
) -> tuple[Tensor, Tensor]:
    """(shot, read) of what expose_short returns, in any shapes that broadcast: the steps of the counts are a part of
    read."""
    return shot * digital_gain, (read + 1 / (12 * scale**2)) * digital_gain**2
