"""The DNG specification's arithmetic in NumPy float64, mostly one pixel at a time: what the tests compare with.

Written from DNG 1.7.1, chapters 5 (levels) and 7 (opcodes), and sharing no code with isp.stages. Images are H W or
H W planes; opcodes are passed as plain numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

Area = tuple[int, int, int, int, int, int, int, int]  # top, left, bottom, right, plane, planes, row and column pitch


def levels(
    counts: np.ndarray,
    black: np.ndarray,
    white: float | Sequence[float],
    delta_h: Sequence[float] | None = None,
    delta_v: Sequence[float] | None = None,
) -> np.ndarray:
    """counts: H W or H W planes, active area. black: rows cols [planes]. Black to 0, white to 1."""
    image = np.asarray(counts, dtype=np.float64)
    planes = image.reshape(*image.shape[:2], -1)
    table = np.asarray(black, dtype=np.float64)
    table = table.reshape(*table.shape[:2], -1)
    whites = np.broadcast_to(np.asarray(white, dtype=np.float64), planes.shape[2])
    computed = np.zeros_like(planes)
    for row, col, plane in np.ndindex(*planes.shape):
        computed[row, col, plane] = table[row % table.shape[0], col % table.shape[1], plane]
        computed[row, col, plane] += delta_v[row] if delta_v is not None else 0
        computed[row, col, plane] += delta_h[col] if delta_h is not None else 0
    scale = whites - computed.max(axis=(0, 1))
    return ((planes - computed) / scale).reshape(image.shape)


def touched(shape: tuple[int, ...], area: Area) -> Iterator[tuple[int, int, int]]:
    """(row, column, plane) of every sample that an area opcode touches in an image H W planes."""
    top, left, bottom, right, plane, planes, row_pitch, col_pitch = area
    for row, col, p in itertools.product(range(shape[0]), range(shape[1]), range(shape[2])):
        inside = top <= row < bottom and left <= col < right and plane <= p < plane + planes
        if inside and (row - top) % row_pitch == 0 and (col - left) % col_pitch == 0:
            yield row, col, p


def gain_at(
    row: int,
    col: int,
    size: tuple[int, int],
    gains: np.ndarray,
    spacing: tuple[float, float],
    origin: tuple[float, float],
) -> float:
    """Bilinear value of a map (rows, columns) at a pixel centre."""
    index, fraction = [], []
    for position, length, points, step, start in zip((row, col), size, gains.shape, spacing, origin, strict=True):
        where = ((position + 0.5) / length - start) / step if points > 1 else 0.0
        where = min(max(where, 0.0), points - 1.0)
        low = min(int(where), max(points - 2, 0))
        index.append((low, min(low + 1, points - 1)))
        fraction.append(where - low)
    (i0, i1), (j0, j1) = index
    upper = gains[i0, j0] * (1 - fraction[1]) + gains[i0, j1] * fraction[1]
    lower = gains[i1, j0] * (1 - fraction[1]) + gains[i1, j1] * fraction[1]
    return float(upper * (1 - fraction[0]) + lower * fraction[0])


def gain_map(
    image: np.ndarray, area: Area, gains: np.ndarray, spacing: tuple[float, float], origin: tuple[float, float]
) -> np.ndarray:
    """image: H W planes; gains: rows columns map_planes."""
    out = np.array(image, dtype=np.float64)
    for row, col, plane in touched(image.shape, area):
        of_plane = np.asarray(gains, np.float64)[:, :, min(plane, gains.shape[2] - 1)]
        out[row, col, plane] *= gain_at(row, col, image.shape[:2], of_plane, spacing, origin)
    return out


def on_area(image: np.ndarray, area: Area, function: Callable[[float, int, int], float]) -> np.ndarray:
    """image: H W planes; function(value, index of the row in the area, index of the column in the area)."""
    out = np.array(image, dtype=np.float64)
    for row, col, plane in touched(image.shape, area):
        out[row, col, plane] = function(
            float(image[row, col, plane]), (row - area[0]) // area[6], (col - area[1]) // area[7]
        )
    return out


def lens(size: tuple[int, int], cx: float, cy: float) -> tuple[float, float, float]:
    """Optical centre (x, y) and the distance from it to the furthest pixel, in pixels."""
    x0, y0, x1, y1 = 0, 0, size[1] - 1, size[0] - 1
    x, y = x0 + cx * (x1 - x0), y0 + cy * (y1 - y0)
    return x, y, max(math.dist((x, y), corner) for corner in itertools.product((x0, x1), (y0, y1)))


def vignette(image: np.ndarray, k: Sequence[float], cx: float, cy: float) -> np.ndarray:
    """image: H W planes."""
    out = np.array(image, dtype=np.float64)
    x0, y0, m = lens(image.shape[:2], cx, cy)
    for row, col in np.ndindex(*image.shape[:2]):
        r = math.hypot(col - x0, row - y0) / m
        out[row, col] *= 1 + sum(coefficient * r ** (2 * i + 2) for i, coefficient in enumerate(k))
    return out


def keys(t: float, a: float = -0.75) -> float:
    """The cubic convolution kernel."""
    t = abs(t)
    if t < 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def warp(
    image: np.ndarray,
    radial: Sequence[Callable[[float], float]],
    kt: Sequence[tuple[float, float]],
    cx: float,
    cy: float,
) -> np.ndarray:
    """image: H W planes; radial[plane](r) is the source radius over the destination radius r."""
    height, width, planes = image.shape
    out = np.zeros(image.shape, dtype=np.float64)
    x0, y0, m = lens((height, width), cx, cy)
    for row, col, plane in np.ndindex(height, width, planes):
        p = min(plane, len(radial) - 1)
        dx, dy = (col - x0) / m, (row - y0) / m
        r2 = dx * dx + dy * dy
        f = radial[p](math.sqrt(r2))
        kt0, kt1 = kt[p]
        x = x0 + m * (dx * f + kt0 * 2 * dx * dy + kt1 * (r2 + 2 * dx * dx))
        y = y0 + m * (dy * f + kt1 * 2 * dx * dy + kt0 * (r2 + 2 * dy * dy))
        x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
        for i, j in itertools.product(
            range(math.floor(y) - 1, math.floor(y) + 3), range(math.floor(x) - 1, math.floor(x) + 3)
        ):
            value = image[min(max(i, 0), height - 1), min(max(j, 0), width - 1), plane]
            out[row, col, plane] += value * keys(y - i) * keys(x - j)
    return out


# --- colour: DNG 1.7.1, chapter 6 ---

D50, D65 = (0.3457, 0.3585), (0.3127, 0.3290)
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))


def xyz(xy: tuple[float, float]) -> np.ndarray:
    return np.array([xy[0] / xy[1], 1.0, (1 - xy[0] - xy[1]) / xy[1]])


def adapt(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Linear Bradford, XYZ of one white to XYZ of the other."""
    cone = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    return np.linalg.inv(cone) @ np.diag((cone @ target) / (cone @ source)) @ cone


def xyz_d50_to_srgb() -> np.ndarray:
    """XYZ under D50 to linear sRGB, white to white."""
    columns = np.array([xyz(xy) for xy in SRGB]).T
    to_xyz = columns @ np.diag(np.linalg.inv(columns) @ xyz(D65))
    return np.linalg.inv(to_xyz) @ adapt(xyz(D50), xyz(D65))


def mix(first: np.ndarray, second: np.ndarray, temperature: float, t1: float, t2: float) -> np.ndarray:
    """Two calibrations at a temperature: linear in its inverse, the nearer one outside of t1 .. t2."""
    share = min(max((1 / temperature - 1 / t1) / (1 / t2 - 1 / t1), 0.0), 1.0)
    return first * (1 - share) + second * share
