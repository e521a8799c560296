"""What kernel.c takes, filled from a file's metadata and a render's parameters: the structures of the same names there.

The arrays that a structure points to are kept beside it, in `keep`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import POINTER, c_float, c_int32, c_int64, c_void_p
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from isp.parameters import RenderParameters
from isp.primaries import CURVES, SPACES, Curve
from isp.raw.metadata import RawMetadata
from isp.toe import toe

if TYPE_CHECKING:
    from isp.raw.opcodes import Opcode

METHODS = {"bilinear": 0, "malvar2004": 1, "msg": 2}  # the demosaics that the kernel knows
HIGHLIGHTS = {"none": 0, "clip": 1, "reconstruct": 2}
TILE = 512  # columns
GRID = 4  # pixels between the points of the grid that highlights look at
BINS = 1024  # of a spline, each of which knows its first piece


class _Structure(ctypes.Structure):
    def __init__(self, *fields: Any, **values: Any) -> None:
        super().__init__(*fields, **values)
        self.keep: list[Any] = []

    def point(self, name: str, array: np.ndarray) -> None:
        """Let a pointer field point to an array, which stays with the structure."""
        self.keep.append(array)
        setattr(self, name, array.ctypes.data)


class GainMapOf(_Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("gains", "below", "share")),
        *((name, c_int32) for name in ("top", "bottom", "pitch", "points")),
    ]


class Mosaic(_Structure):
    _fields_ = [
        ("counts", c_void_p),
        ("stride", c_int64),
        ("floating", c_int32),
        ("entries", c_int32),
        *((name, c_void_p) for name in ("linear", "black", "black_of_row", "scale", "maps")),
        *(
            (name, c_int32)
            for name in ("black_rows", "map_count", "height", "width", "down", "right", "method", "pairs")
        ),
        ("toe", c_float),
    ]


class Band(_Structure):
    _fields_ = [("planes", c_void_p), ("plane", c_int64), ("first", c_int32)]

    @classmethod
    def of(cls, rgb: np.ndarray, first: int) -> Band:
        """Camera RGB, float32 3 h W, of the frame's rows from the first on."""
        assert rgb.dtype == np.float32
        assert rgb.strides[1:] == (4 * rgb.shape[2], 4)
        band = cls(plane=rgb.strides[0] // rgb.itemsize, first=first)
        band.point("planes", rgb)
        return band


class Table(_Structure):
    _fields_ = [
        ("entries", c_void_p),
        *((name, c_int32) for name in ("hues", "saturations", "values", "srgb")),
    ]


class Spline(_Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("knots", "coefficients", "first")),
        *((name, c_int32) for name in ("pieces", "bins")),
        *((name, c_float) for name in ("low", "high", "slope_low", "slope_high")),
    ]


class Colour(_Structure):
    _fields_ = [
        ("first", c_float * 9),
        ("second", c_float * 9),
        ("gains", c_float * 3),
        ("exposure", c_float),
        ("hue_sat_map", POINTER(Table)),
        ("look", POINTER(Table)),
        ("tone", POINTER(Spline)),
        ("around", c_void_p),
        *((name, c_int32) for name in ("highlights", "two_matrices", "compress", "filmic", "bits")),
        *((name, c_float) for name in ("slope", "knee", "scale", "exponent", "offset", "stretch", "shift")),
        ("pieces", c_float * 128),
        ("filmic_pieces", c_float * 32 * 6),
    ]

    def look_up(self, curve: Curve, in_octave: int) -> None:
        """The curve to codes in so many pieces of an octave; 0: the kernel computes it."""
        if in_octave:
            self.stretch, self.shift, coefficients = pieces(curve, self.bits, in_octave)
            values = _floats(coefficients).ravel()
            self.pieces[: len(values)] = values.tolist()


class Picture(_Structure):
    _fields_ = [
        ("corner", c_void_p),
        ("row", c_int64),
        ("column", c_int64),
        *((name, c_int32) for name in ("top", "left", "bottom", "right")),
        ("seen", c_void_p),
        ("near", c_void_p),
        ("grid_cols", c_int32),
        ("tiles", c_int32),
    ]


def mosaic_of(meta: RawMetadata, p: RenderParameters) -> Mosaic:
    """Levels, gains, phase and shading of a Bayer frame; without its counts."""
    assert meta.cfa is not None
    top, left, bottom, right = meta.area
    height, width = bottom - top, right - left
    down, across = (int(n[0]) for n in (meta.cfa.channels == 0).nonzero())
    mosaic = Mosaic(
        height=height, width=width, down=down, right=across, method=METHODS.get(p.demosaic, 0), toe=toe(p.noise)
    )
    period = meta.black_level[:, np.arange(width) % meta.black_level.shape[1], 0]  # rows width
    if meta.black_level_delta_h is not None:
        period = period + meta.black_level_delta_h
    rows = np.zeros(height) if meta.black_level_delta_v is None else meta.black_level_delta_v
    largest = (period.max(1)[np.arange(height) % len(period)] + rows).max()
    if largest >= meta.white_level[0]:
        raise ValueError(
            f"white level {meta.white_level[0]:g} of plane 0 should be above its largest black, {largest:g}"
        )
    mosaic.black_rows = len(period)
    mosaic.pairs = width >= 2 and np.array_equal(period, period[:, np.arange(width) % 2])
    mosaic.point("black", _floats(period))
    if meta.black_level_delta_v is not None:
        mosaic.point("black_of_row", _floats(rows))
    gains = p.gains[meta.cfa.channels] / (meta.white_level[0] - largest)  # 2 2
    mosaic.point("scale", _floats(gains[:, np.arange(width) % 2]))
    if meta.linearization_table is not None:
        mosaic.entries = len(meta.linearization_table)
        mosaic.point("linear", _floats(meta.linearization_table))
    given = [_gain_map(opcode, height, width) for opcode in meta.opcode_list2]
    if maps := [one for one in given if one is not None]:
        array = (GainMapOf * len(maps))(*maps)
        mosaic.keep += [array, maps]
        mosaic.maps = ctypes.addressof(array)
        mosaic.map_count = len(maps)
    return mosaic


def _gain_map(opcode: Opcode, height: int, width: int) -> GainMapOf | None:
    """The map on the columns of the frame, interpolated between its points, and where each row lies between them; None
    for one that touches no sample. See isp.stages.opcodes.area."""
    from isp.raw.opcodes import GainMap

    assert isinstance(opcode, GainMap)
    top, left, bottom, right = (0, 0, height, width)
    if not opcode.everywhere:
        top, left, bottom, right = opcode.top, opcode.left, min(opcode.bottom, height), min(opcode.right, width)
    if opcode.plane > 0 or top >= bottom or left >= right:
        return None
    points_v, points_h, _ = opcode.map_gains.shape

    def positions(size: int, points: int, origin: float, spacing: float) -> np.ndarray:
        if points == 1:  # origin and spacing have no meaning then
            return np.zeros(size)
        return np.clip(((np.arange(size) + 0.5) / size - origin) / spacing, 0, points - 1)

    at_v = positions(height, points_v, opcode.map_origin_v, opcode.map_spacing_v)
    at_h = positions(width, points_h, opcode.map_origin_h, opcode.map_spacing_h)
    touched = slice(left, right, opcode.col_pitch)
    gains = np.ones((points_v, width), np.float32)
    for row, points in zip(gains, opcode.map_gains[..., 0], strict=True):
        row[touched] = np.interp(at_h[touched], np.arange(points_h), points)
    below = at_v.astype(np.int32)
    one = GainMapOf(top=top, bottom=bottom, pitch=opcode.row_pitch, points=points_v)
    one.point("gains", gains)
    one.point("below", below)
    one.point("share", _floats(at_v - below))
    return one


def colour_of(p: RenderParameters, bits: int, kernel: ctypes.CDLL) -> Colour:
    """What is done to white-balanced camera RGB, for this kernel."""
    colour = Colour(gains=tuple(p.gains), exposure=1.0, highlights=HIGHLIGHTS[p.highlights], bits=bits)
    exposure = 2.0**p.exposure_ev
    curve = Curve(1.0, 2.0, 1.0, 1.0, 0.0) if p.space == "camera" else CURVES[SPACES[p.space].transfer]
    for name, value in curve._asdict().items():
        setattr(colour, name, value)
    colour.look_up(curve, int(kernel.isp_pieces()))
    if p.space == "camera":
        colour.first = (c_float * 9)(*(exposure * np.eye(3)).ravel())
        return colour
    colour.compress = p.look == "standard"
    colour.filmic_pieces = (c_float * 32 * 6).from_buffer_copy(_floats(filmic_pieces()).tobytes())
    colour.filmic = p.look == "standard" and p.tone_curve is None
    if p.hue_sat_map is None and p.look_table is None and p.tone_curve is None:
        first = exposure * p.prophoto_to_output @ p.cam_to_prophoto
    else:
        before = p.hue_sat_map is None  # nothing then stands between the exposure and the first matrix
        first = p.cam_to_prophoto * (exposure if before else 1.0)
        colour.exposure = 1.0 if before else exposure
        colour.two_matrices = True
        colour.second = (c_float * 9)(*p.prophoto_to_output.ravel())
        for name, table, encoding in (
            ("hue_sat_map", p.hue_sat_map, p.hue_sat_map_encoding),
            ("look", p.look_table, p.look_table_encoding),
        ):
            if table is not None:
                setattr(colour, name, ctypes.pointer(_table(table, encoding)))
        if p.tone_curve is not None:
            colour.tone = ctypes.pointer(_spline(p.tone_curve))
    colour.first = (c_float * 9)(*first.ravel())
    return colour


def pieces(curve: Curve, bits: int, in_octave: int) -> tuple[float, float, np.ndarray]:
    """The curve from linear x to codes in pieces that a vector's lanes can look up: stretch, shift, and terms pieces,
    the coefficients of 1, u, u ** 2 ... with u = stretch * x + shift, at the lowest bits of u's exponent and of what
    stands first in its mantissa.

    in_octave 4: what lies above the knee, up to 1, is stretched to [5/4 * 2 ** -8, 1]: 31 pieces. Cubics are within
    0.06 of a 16-bit code, and squares, for 8 bits, within 0.005. in_octave 1: to [2 ** -7, 1], 7 pieces, of degree 6
    within 0.16 of a 16-bit code and of degree 5 within 0.003 of 8 bits. Under them stands the line, as the piece that
    begins at 2 ** -8.
    """
    number, terms = 8 * in_octave, {4: {8: 3, 16: 4}, 1: {8: 6, 16: 7}}[in_octave][bits]
    low, knee = (1 + 1 / in_octave) * 2.0**-8, curve.knee if curve.knee < 1 else 0.0  # above 1: a line everywhere
    stretch = (1 - low) / (1 - knee)
    shift = 1 - stretch

    def codes(u: np.ndarray) -> np.ndarray:
        x = (u - shift) / stretch
        above = curve.scale * np.maximum(x, knee) ** curve.exponent - curve.offset
        return (2**bits - 1) * np.where((x < knee) | (u < low), curve.slope * x, above)

    coefficients = _fitted(codes, 2.0**-8, number, in_octave, terms)
    coefficients[2:, in_octave * (127 - 8) % number] = 0
    return stretch, shift, coefficients


@cache
def filmic_pieces() -> np.ndarray:
    """isp.stages.tone's filmic curve of x >= 0, 6 32: the coefficients of 1 ... u ** 5 with u = x + 0.004 from 2 ** -8
    to 2 ** 8, at the lowest five bits of u's first ten. Within 0.07 of a 16-bit code of sRGB."""

    def filmic(u: np.ndarray) -> np.ndarray:
        y = 1.75 * (u**1.16 - 0.004**1.16)
        return y / np.cbrt(1 + np.abs(y) ** 3)

    return _fitted(filmic, 2.0**-8, 32, 2, 6)


def _fitted(
    function: Callable[[np.ndarray], np.ndarray], low: float, number: int, in_octave: int, terms: int
) -> np.ndarray:
    """terms number: polynomials through a function at Chebyshev's nodes, on so many pieces from the power of two `low`
    on, so many in each octave, at the lowest bits of what stands first in a float32 there. The nodes are drawn a little
    to the beginning, where these curves bend more: the errors on both sides are then the same."""
    piece = np.arange(number)
    octave = low * 2.0 ** (piece // in_octave)
    begin = octave * (1 + piece % in_octave / in_octave)
    share = (0.5 - 0.5 * np.cos(np.pi * (np.arange(terms) + 0.5) / terms)) ** (1.05 if in_octave > 1 else 1.1)
    nodes = begin[:, None] + (octave / in_octave)[:, None] * share
    powers = (nodes / begin[:, None])[..., None] ** np.arange(terms)
    fitted = np.linalg.solve(powers, function(nodes)[..., None])[..., 0] / begin[:, None] ** np.arange(terms)
    coefficients = np.empty((terms, number))
    coefficients[:, (piece + in_octave * (127 + round(np.log2(low)))) % number] = fitted.T
    return coefficients


def _table(table: np.ndarray, encoding: int) -> Table:
    wrapped = np.concatenate([table, table[:1]])  # hues + 1: the first again, at 360 degrees
    entries = np.zeros((table.shape[2], *wrapped.shape[:2], 4), np.float32)  # four numbers each, of which three count
    entries[..., :3] = np.moveaxis(wrapped, 2, 0)
    made = Table(hues=table.shape[0], saturations=table.shape[1], values=table.shape[2], srgb=encoding == 1)
    made.point("entries", entries)
    return made


def _spline(curve: np.ndarray) -> Spline:
    """The natural cubic spline through N 2 points: second derivative 0 at both ends."""
    x, y = curve.T
    width, slope = np.diff(x), np.diff(y) / np.diff(x)
    second = _second_derivatives(width, slope)
    left, right = second[:-1], second[1:]
    linear = slope - width * (2 * left + right) / 6
    made = Spline(pieces=len(width), bins=BINS, low=x[0], high=x[-1], slope_low=linear[0])
    made.slope_high = slope[-1] + width[-1] * (left[-1] + 2 * right[-1]) / 6
    made.point("knots", _floats(x))
    made.point("coefficients", _floats(np.stack([(right - left) / (6 * width), left / 2, linear, y[:-1]], 1)))
    starts = np.linspace(x[0], x[-1], BINS, endpoint=False)
    first = np.clip(np.searchsorted(x, starts, side="right") - 1, 0, len(width) - 1)
    made.point("first", first.astype(np.int32))
    return made


def _second_derivatives(width: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """At each knot of a natural spline: a tridiagonal system, by elimination."""
    size = len(width) - 1  # inner knots
    diagonal, right = 2 * (width[:-1] + width[1:]), 6 * np.diff(slope)
    for i in range(1, size):
        share = width[i] / diagonal[i - 1]
        diagonal[i] -= share * width[i]
        right[i] -= share * right[i - 1]
    second = np.zeros(size + 2)
    for i in reversed(range(size)):
        second[i + 1] = (right[i] - width[i + 1] * second[i + 2]) / diagonal[i]
    return second


def _floats(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float32)
