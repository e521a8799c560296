"""Where the optical centre of an image is, and what radius 1 means. DNG 1.7.1, chapter 7."""

from __future__ import annotations

from math import hypot
from typing import NamedTuple


class Lens(NamedTuple):
    """The optical centre in pixels and the radius that counts as 1: the distance to the pixel furthest from it.

    Pixel coordinates are those of the specification: (0, 0) is the centre of the top left pixel, (W - 1, H - 1) that
    of the bottom right one. (Adobe's SDK measures to the pixels' outer corners: up to half a pixel of difference.)
    Pixels are taken as square.
    """

    x: float
    y: float
    radius: float

    @classmethod
    def of(cls, height: int, width: int, cx: float, cy: float) -> Lens:
        """For an image of this size and a centre at cx, cy, 0 to 1 from its first to its last pixel."""
        x, y = cx * (width - 1), cy * (height - 1)
        radius = hypot(max(x, width - 1 - x), max(y, height - 1 - y))
        return cls(x, y, radius or 1.0)  # a single pixel lies in the centre
