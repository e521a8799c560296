"""Opcode lists: what a DNG asks to be done to its pixels, from bytes and back.

DNG 1.7.1, chapter 7 ("Opcode List Processing"). A list is big-endian whatever the byte order of the file: a count,
then for each opcode its id, the DNG version that introduced it, flags, the number of bytes that follow, and those
bytes. `isp.stages.opcodes` applies them; this module only reads, checks and writes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from isp.raw.errors import RawFileError

OPTIONAL = 1  # flag: a reader that does not know the opcode may skip it
SKIP_FOR_PREVIEW = 2  # flag: a quick preview may skip it

MAX_POLYNOMIAL_DEGREE = 8  # DNG 1.7.1, MapPolynomial
WARP_TERMS = 15  # radial coefficients of WarpRectilinear2, for r^0 to r^14


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Opcode:
    """One opcode of a DNG opcode list. Two are equal where they pack to the same bytes.

    Constructors take keywords, named as in the specification; arrays are kept read-only. ValueError names a field
    that cannot be.
    """

    ID: ClassVar[int] = 0
    ARRAYS: ClassVar[dict[str, tuple[type, int]]] = {}  # field: (type, number of dimensions)

    flags: int = 0
    dng_version: int = 0x01030000

    def __post_init__(self) -> None:
        for name, (dtype, ndim) in self.ARRAYS.items():
            array: np.ndarray = np.array(getattr(self, name), dtype=dtype)
            if array.ndim != ndim:
                raise ValueError(f"{self.name}: {name} should have {ndim} dimension(s); got shape {array.shape}")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, (float, np.ndarray)) and not np.all(np.isfinite(value)):
                raise ValueError(f"{self.name}: {f.name} holds values that are not finite numbers")
        self._check()

    def __repr__(self) -> str:
        """The fields by name; a table by its shape, so that printed metadata stay readable."""
        shown = ((f.name, getattr(self, f.name)) for f in fields(self))
        texts = (
            f"{name}=<{' x '.join(map(str, value.shape))} numbers>"
            if isinstance(value, np.ndarray) and value.size > 9
            else f"{name}={value!r:.80}"
            for name, value in shown
        )
        return f"{type(self).__name__}({', '.join(texts)})"

    @property
    def name(self) -> str:
        """The specification's name of the opcode."""
        return type(self).__name__

    @property
    def opcode_id(self) -> int:
        return self.ID

    @property
    def optional(self) -> bool:
        """Whether a reader that cannot apply it may go on without it."""
        return bool(self.flags & OPTIONAL)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Opcode):
            return NotImplemented
        return type(self) is type(other) and pack_opcode_list([self]) == pack_opcode_list([other])

    def __hash__(self) -> int:
        return hash(pack_opcode_list([self]))

    def _check(self) -> None:
        """Raise ValueError where the fields contradict each other."""

    def _payload(self) -> bytes:
        raise TypeError(f"{self.name} is not an opcode that can be written")

    @classmethod
    def _read(cls, payload: _Payload) -> dict[str, Any]:
        raise TypeError(f"{cls.__name__} is not an opcode that can be read")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class UnknownOpcode(Opcode):
    """An opcode that this library does not know: kept, so that it survives a rewrite."""

    id: int
    data: bytes

    @property
    def name(self) -> str:
        return f"unknown opcode {self.id}"

    @property
    def opcode_id(self) -> int:
        return self.id

    def _payload(self) -> bytes:
        return self.data


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class WarpRectilinear(Opcode):
    """Opcode 1: distortion and lateral colour of a rectilinear lens.

    kr: N 4, the radial polynomial's coefficients of r^0, r^2, r^4, r^6; kt: N 2, tangential; N is 1 (all planes) or
    the number of planes. cx, cy: optical centre, 0 to 1 across and down the image.
    """

    ID: ClassVar[int] = 1
    ARRAYS: ClassVar[dict[str, tuple[type, int]]] = {"kr": (np.float64, 2), "kt": (np.float64, 2)}

    kr: np.ndarray
    kt: np.ndarray
    cx: float = 0.5
    cy: float = 0.5

    def _check(self) -> None:
        planes = len(self.kr)
        _expect(planes > 0 and self.kr.shape[1] == 4, self.name, f"kr of shape N 4, got {self.kr.shape}")
        _expect(self.kt.shape == (planes, 2), self.name, f"kt of shape {planes} 2, got {self.kt.shape}")
        _check_centre(self.name, self.cx, self.cy)

    def _payload(self) -> bytes:
        table = np.concatenate([self.kr, self.kt], axis=1)
        return struct.pack(">I", len(table)) + _bytes(table, ">f8") + struct.pack(">dd", self.cx, self.cy)

    @classmethod
    def _read(cls, payload: _Payload) -> dict[str, Any]:
        (planes,) = payload.take("I")
        table = payload.array(">f8", planes, 6)
        cx, cy = payload.take("dd")
        return {"kr": table[:, :4], "kt": table[:, 4:], "cx": cx, "cy": cy}


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class WarpFisheye(Opcode):
    """Opcode 2: from a fisheye lens to a rectilinear projection.

    kr: N 4, coefficients of t, t^3, t^5, t^7 with t = atan(r); cx, cy as in WarpRectilinear.
    """

    ID: ClassVar[int] = 2
    ARRAYS: ClassVar[dict[str, tuple[type, int]]] = {"kr": (np.float64, 2)}

    kr: np.ndarray
    cx: float = 0.5
    cy: float = 0.5

    def _check(self) -> None:
        _expect(len(self.kr) > 0 and self.kr.shape[1] == 4, self.name, f"kr of shape N 4, got {self.kr.shape}")
        _check_centre(self.name, self.cx, self.cy)

    def _payload(self) -> bytes:
        return struct.pack(">I", len(self.kr)) + _bytes(self.kr, ">f8") + struct.pack(">dd", self.cx, self.cy)

    @classmethod
    def _read(cls, payload: _Payload) -> dict[str, Any]:
        (planes,) = payload.take("I")
        kr = payload.array(">f8", planes, 4)
        cx, cy = payload.take("dd")
        return {"kr": kr, "cx": cx, "cy": cy}


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FixVignetteRadial(Opcode):
    """Opcode 3: gain 1 + k0 r^2 + k1 r^4 + k2 r^6 + k3 r^8 + k4 r^10, r = 1 at the corner furthest from the centre.

    k: 5; cx, cy as in WarpRectilinear.
    """

    ID: ClassVar[int] = 3
    ARRAYS: ClassVar[dict[str, tuple[type, int]]] = {"k": (np.float64, 1)}

    k: np.ndarray
    cx: float = 0.5
    cy: float = 0.5

    def _check(self) -> None:
        _expect(self.k.shape == (5,), self.name, f"5 coefficients k, got {len(self.k)}")
        _check_centre(self.name, self.cx, self.cy)

    def _payload(self) -> bytes:
        return _bytes(self.k, ">f8") + struct.pack(">dd", self.cx, self.cy)

    @classmethod
    def _read(cls, payload: _Payload) -> dict[str, Any]:
        k = payload.array(">f8", 5)
        cx, cy = payload.take("dd")
        return {"k": k, "cx": cx, "cy": cy}


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FixBadPixelsConstant(Opcode):
    """Opcode 4: pixels that hold this constant are bad.

    bayer_phase: colour of the top left pixel: 0 red, 1 green in a red row, 2 green in a blue row, 3 blue.
    """

    ID: ClassVar[int] = 4

    constant: int
    bayer_phase: int = 0

    def _payload(self) -> bytes:
        return struct.pack(">II", self.constant, self.bayer_phase)

    @classmethod
    def _read(cls, payload: _Payload) -> dict[str, Any]:
        constant, bayer_phase = payload.take("II")
        return {"constant": constant, "bayer_phase": bayer_phase}


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FixBadPixelsList(Opcode):
    """Opcode 5: these pixels and rectangles are bad.

    points: N 2, row and column; rects: N 4, top, left, bottom, right; bayer_phase as in FixBadPixelsConstant.
    """

    ID: ClassVar[int] = 5
    ARRAYS: ClassVar[dict[str, tuple[type, int]]] = {"points": (np.uint32, 2), "rects": (np.uint32, 2)}

    points: np.ndarray
    rects: np.ndarray
    bayer_phase: int = 0

    def _check(self) -> None:
        _expect(self.points.shape[1] == 2, self.name, f"points of shape N 2, got {self.points.shape}")
        _expect(self.rects.shape[1] == 4, self.name, f"rects of shape N 4, got {self.rects.shape}")

    def _payload(self) -> bytes:
        head = struct.pack(">III", self.bayer_phase, len(self.points), len(self.rects))
        return head + _bytes(self.points, ">u4") + _bytes(self.rects, ">u4")

    @classmethod
    def _read(cls, payload: _Payload) -> dict[str, Any]:
        bayer_phase, points, rects = payload.take("III")
        return {
            "bayer_phase": bayer_phase,
            "points": payload.array(">u4", points, 2),
            "rects": payload.array(">u4", rects, 4),
        }


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class TrimBounds(Opcode):
    """Opcode 6: keep only this rectangle of the image."""

    ID: ClassVar[int] = 6

    top: int
    left: int
    bottom: int
    right: int

    def _check(self) -> None:
        _expect(
            self.top < self.bottom and self.left < self.right,
            self.name,
            f"top < bottom and left < right, got {self.top}, {self.left}, {self.bottom}, {self.right}",
        )

    def _payload(self) -> bytes:
        return struct.pack(">4I", self.top, self.left, self.bottom, self.right)

    @classmethod
    def _read(cls, payload: _Payload) -> dict[str, Any]:
        return dict(zip(("top", "left", "bottom", "right"), payload.take("4I"), strict=True))


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class AreaOpcode(Opcode):
    """What the opcodes on an area have in common: every row_pitch-th row and col_pitch-th column from top, left to
    bottom, right (exclusive) of `planes` planes from `plane` on. An empty rectangle means the whole image."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0
    plane: int = 0
    planes: int = 1
    row_pitch: int = 1
    col_pitch: int = 1

    @property
    def everywhere(self) -> bool:
        """Whether the rectangle is empty, which stands for the whole image."""
        return self.bottom <= self.top or self.right <= self.left

    def _check(self) -> None:
        _expect(self.planes >= 1, self.name, f"planes >= 1, got {self.planes}")
        _expect(
            self.row_pitch >= 1 and self.col_pitch >= 1,
            self.name,
            f"row_pitch and col_pitch >= 1, got {self.row_pitch}, {self.col_pitch}",
        )
        _expect(
            not self.everywhere or (self.row_pitch, self.col_pitch) == (1, 1),
            self.name,
            f"pitches of 1 with an empty rectangle, got {self.row_pitch}, {self.col_pitch}",
        )

    def _area(self) -> bytes:
        return struct.pack(">8I", *(getattr(self, name) for name in _AREA))


_AREA = ("top", "left", "bottom", "right", "plane", "planes", "row_pitch", "col_pitch")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class MapTable(AreaOpcode):
    """Opcode 7: 16-bit values through a table; past its end the last entry holds. table: 1 to 65536 entries."""

    ID: ClassVar[int] = 7
    ARRAYS: ClassVar[dict[str, tuple[type, int]]] = {"table": (np.uint16, 1)}

    table: np.ndarray

    def _check(self) -> None:
        super()._check()
        _expect(1 <= len(self.table) <= 65536, self.name, f"1 to 65536 table entries, got {len(self.table)}")

    def _payload(self) -> bytes:
        return self._area() + struct.pack(">I", len(self.table)) + _bytes(self.table, ">u2")

    @classmethod
    def _read(cls, payload: _Payload) -> dict[str, Any]:
        area = payload.area()
        (size,) = payload.take("I")
        return {**area, "table": payload.array(">u2", size)}


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class MapPolynomial(AreaOpcode):
    """Opcode 8: x becomes c0 + c1 x + c2 x^2 ... coefficients: degree + 1 of them, the degree 8 at most."""

    ID: ClassVar[int] = 8
    ARRAYS: ClassVar[dict[str, tuple[type, int]]] = {"coefficients": (np.float64, 1)}

    coefficients: np.ndarray

    def _check(self) -> None:
        super()._check()
        degree = len(self.coefficients) - 1
        _expect(0 <= degree <= MAX_POLYNOMIAL_DEGREE, self.name, f"degree 0 to {MAX_POLYNOMIAL_DEGREE}, got {degree}")

    def _payload(self) -> bytes:
        return self._area() + struct.pack(">I", len(self.coefficients) - 1) + _bytes(self.coefficients, ">f8")

    @classmethod
    def _read(cls, payload: _Payload) -> dict[str, Any]:
        area = payload.area()
        (degree,) = payload.take("I")
        return {**area, "coefficients": payload.array(">f8", degree + 1)}


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class GainMap(AreaOpcode):
    """Opcode 9: gains on a coarse grid, interpolated bilinearly; this is how cameras state their lens shading.

    map_gains: points_v points_h map_planes. map_spacing_*, map_origin_*: distance between grid points and position of
    the first, 0 to 1 across the whole image, not across the area; without effect where there is a single point.
    """

    ID: ClassVar[int] = 9
    ARRAYS: ClassVar[dict[str, tuple[type, int]]] = {"map_gains": (np.float32, 3)}

    map_gains: np.ndarray
    map_spacing_v: float
    map_spacing_h: float
    map_origin_v: float = 0.0
    map_origin_h: float = 0.0

    def _check(self) -> None:
        super()._check()
        points_v, points_h, planes = self.map_gains.shape
        _expect(self.map_gains.size > 0, self.name, f"at least one gain, got {points_v} x {points_h} x {planes}")
        for points, spacing in ((points_v, self.map_spacing_v), (points_h, self.map_spacing_h)):
            _expect(points == 1 or spacing > 0, self.name, f"a positive spacing between map points, got {spacing}")

    def _payload(self) -> bytes:
        points_v, points_h, planes = self.map_gains.shape
        numbers = (self.map_spacing_v, self.map_spacing_h, self.map_origin_v, self.map_origin_h)
        head = struct.pack(">IIddddI", points_v, points_h, *numbers, planes)
        return self._area() + head + _bytes(self.map_gains, ">f4")

    @classmethod
    def _read(cls, payload: _Payload) -> dict[str, Any]:
        area = payload.area()
        points_v, points_h, spacing_v, spacing_h, origin_v, origin_h, planes = payload.take("IIddddI")
        return {
            **area,
            "map_spacing_v": spacing_v,
            "map_spacing_h": spacing_h,
            "map_origin_v": origin_v,
            "map_origin_h": origin_h,
            "map_gains": payload.array(">f4", points_v, points_h, planes),
        }


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class LineOpcode(AreaOpcode):
    """What the four opcodes with one number per row or per column of the area have in common."""

    FIELD: ClassVar[str] = ""
    ALONG: ClassVar[int] = 0  # 0: one number per row, 1: per column

    def _check(self) -> None:
        super()._check()
        start, stop, pitch = (
            (self.left, self.right, self.col_pitch) if self.ALONG else (self.top, self.bottom, self.row_pitch)
        )
        expected = -(-max(stop - start, 0) // pitch)
        _expect(
            len(getattr(self, self.FIELD)) == expected,
            self.name,
            f"{expected} {self.FIELD} for its area, got {len(getattr(self, self.FIELD))}",
        )

    def _payload(self) -> bytes:
        values = getattr(self, self.FIELD)
        return self._area() + struct.pack(">I", len(values)) + _bytes(values, ">f4")

    @classmethod
    def _read(cls, payload: _Payload) -> dict[str, Any]:
        area = payload.area()
        (size,) = payload.take("I")
        return {**area, cls.FIELD: payload.array(">f4", size)}


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class DeltaPerRow(LineOpcode):
    """Opcode 10: add deltas[i] to the i-th row of the area."""

    ID: ClassVar[int] = 10
    ARRAYS: ClassVar[dict[str, tuple[type, int]]] = {"deltas": (np.float32, 1)}
    FIELD: ClassVar[str] = "deltas"

    deltas: np.ndarray


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class DeltaPerColumn(LineOpcode):
    """Opcode 11: add deltas[i] to the i-th column of the area."""

    ID: ClassVar[int] = 11
    ARRAYS: ClassVar[dict[str, tuple[type, int]]] = {"deltas": (np.float32, 1)}
    FIELD: ClassVar[str] = "deltas"
    ALONG: ClassVar[int] = 1

    deltas: np.ndarray


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ScalePerRow(LineOpcode):
    """Opcode 12: multiply the i-th row of the area by scales[i]."""

    ID: ClassVar[int] = 12
    ARRAYS: ClassVar[dict[str, tuple[type, int]]] = {"scales": (np.float32, 1)}
    FIELD: ClassVar[str] = "scales"

    scales: np.ndarray


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ScalePerColumn(LineOpcode):
    """Opcode 13: multiply the i-th column of the area by scales[i]."""

    ID: ClassVar[int] = 13
    ARRAYS: ClassVar[dict[str, tuple[type, int]]] = {"scales": (np.float32, 1)}
    FIELD: ClassVar[str] = "scales"
    ALONG: ClassVar[int] = 1

    scales: np.ndarray


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class WarpRectilinear2(Opcode):
    """Opcode 14 (DNG 1.6): WarpRectilinear with odd powers, a valid range and a reciprocal form.

    kr: N 15, coefficients of r^0 to r^14, evaluated at r held to min_valid_radius .. max_valid_radius (N each, within
    0 to 1); use_reciprocal: other than 0, the radial factor is one over the polynomial. kt, cx, cy as there.
    """

    ID: ClassVar[int] = 14
    ARRAYS: ClassVar[dict[str, tuple[type, int]]] = {
        "kr": (np.float64, 2),
        "kt": (np.float64, 2),
        "min_valid_radius": (np.float64, 1),
        "max_valid_radius": (np.float64, 1),
    }

    dng_version: int = 0x01060000
    kr: np.ndarray
    kt: np.ndarray
    min_valid_radius: np.ndarray
    max_valid_radius: np.ndarray
    cx: float = 0.5
    cy: float = 0.5
    use_reciprocal: int = 0

    def _check(self) -> None:
        planes = len(self.kr)
        expected = f"kr of shape N {WARP_TERMS}, got {self.kr.shape}"
        _expect(planes > 0 and self.kr.shape[1] == WARP_TERMS, self.name, expected)
        _expect(self.kt.shape == (planes, 2), self.name, f"kt of shape {planes} 2, got {self.kt.shape}")
        low, high = self.min_valid_radius, self.max_valid_radius
        _expect(
            len(low) == len(high) == planes and bool(np.all((low >= 0) & (low < high) & (high <= 1))),
            self.name,
            f"0 <= min_valid_radius < max_valid_radius <= 1 for each of {planes} plane(s)",
        )
        _check_centre(self.name, self.cx, self.cy)

    def _payload(self) -> bytes:
        ranges = np.stack([self.min_valid_radius, self.max_valid_radius], axis=1)
        table = np.concatenate([self.kr, self.kt, ranges], axis=1)
        tail = struct.pack(">ddI", self.cx, self.cy, self.use_reciprocal)
        return struct.pack(">I", len(table)) + _bytes(table, ">f8") + tail

    @classmethod
    def _read(cls, payload: _Payload) -> dict[str, Any]:
        (planes,) = payload.take("I")
        table = payload.array(">f8", planes, WARP_TERMS + 4)
        cx, cy, use_reciprocal = payload.take("ddI")
        return {
            "kr": table[:, :WARP_TERMS],
            "kt": table[:, WARP_TERMS : WARP_TERMS + 2],
            "min_valid_radius": table[:, -2],
            "max_valid_radius": table[:, -1],
            "cx": cx,
            "cy": cy,
            "use_reciprocal": use_reciprocal,
        }


KNOWN: dict[int, type[Opcode]] = {
    kind.ID: kind
    for kind in (
        WarpRectilinear,
        WarpFisheye,
        FixVignetteRadial,
        FixBadPixelsConstant,
        FixBadPixelsList,
        TrimBounds,
        MapTable,
        MapPolynomial,
        GainMap,
        DeltaPerRow,
        DeltaPerColumn,
        ScalePerRow,
        ScalePerColumn,
        WarpRectilinear2,
    )
}


def parse_opcode_list(data: bytes) -> tuple[Opcode, ...]:
    """The opcodes of an OpcodeList1, 2 or 3 tag, in order. Allocates no more than the data is long.

    Raises RawFileError where lengths or counts contradict the data, and for values that cannot be (NaN, a map without
    points). Opcodes of an unknown id are kept as UnknownOpcode: whether they may be skipped is for who applies them.
    """
    if len(data) < 4:
        raise RawFileError(f"opcode list of {len(data)} bytes; expected at least 4")
    (count,) = struct.unpack_from(">I", data)
    if count > (len(data) - 4) // 16:
        raise RawFileError(f"opcode list says {count} opcodes; its {len(data)} bytes cannot hold them")
    opcodes: list[Opcode] = []
    position = 4
    for index in range(count):
        where = f"opcode {index + 1} of {count}"
        if position + 16 > len(data):
            raise RawFileError(f"{where}: its header ends past the list's {len(data)} bytes")
        identifier, version, flags, size = struct.unpack_from(">4I", data, position)
        position += 16
        if size > len(data) - position:
            raise RawFileError(f"{where} says {size} bytes; the list has {len(data) - position} left")
        body = bytes(data[position : position + size])
        position += size
        kind = KNOWN.get(identifier)
        if kind is None:
            opcodes.append(UnknownOpcode(id=identifier, data=body, flags=flags, dng_version=version))
            continue
        try:
            payload = _Payload(body, kind.__name__)
            values = kind._read(payload)
            payload.finish()
            opcodes.append(kind(**values, flags=flags, dng_version=version))
        except ValueError as error:
            raise RawFileError(f"{where}: {error}") from error
    if position != len(data):
        raise RawFileError(f"opcode list of {len(data)} bytes; its {count} opcodes end after {position}")
    return tuple(opcodes)


def pack_opcode_list(opcodes: Iterable[Opcode]) -> bytes:
    """The bytes of an OpcodeList tag: pack_opcode_list(parse_opcode_list(data)) == data."""
    parts = []
    for opcode in opcodes:
        body = opcode._payload()
        parts.append(struct.pack(">4I", opcode.opcode_id, opcode.dng_version, opcode.flags, len(body)) + body)
    return struct.pack(">I", len(parts)) + b"".join(parts)


class _Payload:
    """Reads one opcode's bytes from front to back and refuses to read past their end."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data = data
        self.name = name
        self.position = 0

    def _advance(self, size: int, what: str) -> int:
        if size > len(self.data) - self.position:
            raise ValueError(f"{self.name}: {what} need {size} bytes; {len(self.data) - self.position} are left")
        start = self.position
        self.position += size
        return start

    def take(self, codes: str) -> tuple[Any, ...]:
        layout = ">" + codes
        return struct.unpack_from(layout, self.data, self._advance(struct.calcsize(layout), "parameters"))

    def array(self, dtype: str, *shape: int) -> np.ndarray:
        count = 1
        for size in shape:  # Python integers: a product of lies cannot overflow
            count *= size
        start = self._advance(count * np.dtype(dtype).itemsize, f"{' x '.join(map(str, shape))} values")
        return np.frombuffer(self.data, dtype, count, start).reshape(shape)

    def area(self) -> dict[str, int]:
        return dict(zip(_AREA, self.take("8I"), strict=True))

    def finish(self) -> None:
        if self.position != len(self.data):
            raise ValueError(f"{self.name}: {len(self.data)} bytes of parameters; expected {self.position}")


def _bytes(array: np.ndarray, dtype: str) -> bytes:
    return np.ascontiguousarray(array, dtype=dtype).tobytes()


def _expect(ok: bool, name: str, what: str) -> None:
    if not ok:
        raise ValueError(f"{name}: expected {what}")


def _check_centre(name: str, cx: float, cy: float) -> None:
    _expect(0 <= cx <= 1 and 0 <= cy <= 1, name, f"an optical centre within 0 to 1, got {cx}, {cy}")
