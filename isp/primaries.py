"""The output colour spaces: primaries, white points, transfer curves, and the matrices between them, in float64."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

XY = tuple[float, float]


class ColourSpace(NamedTuple):
    """primaries: x, y of red, green and blue. white: x, y. transfer: a name in CURVES."""

    primaries: tuple[XY, XY, XY]
    white: XY
    transfer: str


class Curve(NamedTuple):
    """From linear x to encoded y: y = slope x up to x = knee, scale x ** exponent - offset from there on."""

    slope: float
    knee: float
    scale: float
    exponent: float
    offset: float


D50: XY = (0.3457, 0.3585)  # the DNG connection space and ProPhoto's white (ISO 22028-2)
D65: XY = (0.3127, 0.3290)
SPACES = {
    "srgb": ColourSpace(((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), D65, "srgb"),  # IEC 61966-2-1
    "display-p3": ColourSpace(((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)), D65, "srgb"),  # SMPTE EG 432-1, D65
    "rec2020": ColourSpace(((0.708, 0.292), (0.17, 0.797), (0.131, 0.046)), D65, "bt2020"),  # ITU-R BT.2020-2
    "prophoto": ColourSpace(((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), D50, "romm"),  # ISO 22028-2
}
CURVES = {
    "srgb": Curve(12.92, 0.0031308, 1.055, 1 / 2.4, 0.055),  # IEC 61966-2-1; Display P3 shares it
    "bt2020": Curve(4.5, 0.018053968510807, 1.09929682680944, 0.45, 0.09929682680944),  # BT.2020-2, to full precision
    "romm": Curve(16.0, 1 / 512, 1.0, 1 / 1.8, 0.0),  # ISO 22028-2
}
# XYZ to the sharpened cone responses of the linear Bradford adaptation: ICC.1:2010, annex E.
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def xy_to_xyz(xy: XY) -> np.ndarray:
    """3: X, Y, Z of a chromaticity, with Y = 1."""
    x, y = xy
    return np.array([x / y, 1.0, (1.0 - x - y) / y])


def rgb_to_xyz(primaries: tuple[XY, XY, XY], white: XY) -> np.ndarray:
    """3x3 from a space's linear RGB to XYZ, its white (1, 1, 1) at Y = 1."""
    columns = np.stack([xy_to_xyz(xy) for xy in primaries], axis=1)
    return columns * np.linalg.solve(columns, xy_to_xyz(white))


def bradford(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """3x3 on XYZ that maps the white `source` to the white `target` (both 3, XYZ): linear Bradford."""
    gains = (BRADFORD @ target) / (BRADFORD @ source)
    return np.linalg.inv(BRADFORD) @ (gains[:, None] * BRADFORD)


def prophoto_to(space: str) -> np.ndarray:
    """3x3 from linear ProPhoto RGB (D50) to the linear RGB of a space, white to white; the identity for "camera".

    space: a key of SPACES or "camera"; ValueError for another.
    """
    if space in ("camera", "prophoto"):
        return np.eye(3)
    if space not in SPACES:
        raise ValueError(f"colour space {space!r} is unknown; expected one of {', '.join(SPACES)} or camera")
    primaries, white, _ = SPACES[space]
    adapt = bradford(xy_to_xyz(D50), xy_to_xyz(white))
    return np.linalg.inv(rgb_to_xyz(primaries, white)) @ adapt @ np.linalg.inv(XYZ_D50_TO_PROPHOTO)


XYZ_D50_TO_PROPHOTO = np.linalg.inv(rgb_to_xyz(*SPACES["prophoto"][:2]))
