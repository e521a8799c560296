"""Opcode lists as bytes: written by hand here from DNG 1.7.1, chapter 7, and compared with what we parse and pack."""

import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isp.raw.errors import RawFileError
from isp.raw.opcodes import (
    KNOWN,
    DeltaPerColumn,
    DeltaPerRow,
    FixBadPixelsConstant,
    FixBadPixelsList,
    FixVignetteRadial,
    GainMap,
    MapPolynomial,
    MapTable,
    Opcode,
    ScalePerColumn,
    ScalePerRow,
    TrimBounds,
    UnknownOpcode,
    WarpFisheye,
    WarpRectilinear,
    WarpRectilinear2,
    pack_opcode_list,
    parse_opcode_list,
)

AREA = {"top": 1, "left": 2, "bottom": 7, "right": 9, "plane": 0, "planes": 3, "row_pitch": 2, "col_pitch": 3}
ONE_OF_EACH: list[Opcode] = [
    WarpRectilinear(kr=[[1.01, 0.02, -0.003, 0.0004], [1, 0, 0, 0]], kt=[[1e-3, -2e-3], [0, 0]], cx=0.4, cy=0.6),
    WarpFisheye(kr=[[1, 0.1, 0.2, 0.3]], flags=1),
    FixVignetteRadial(k=[0.1, 0.2, 0.3, 0.4, 0.5], cx=0.25, cy=0.75, flags=3),
    FixBadPixelsConstant(constant=0, bayer_phase=1),
    FixBadPixelsList(points=[[1, 2], [3, 4]], rects=[[5, 6, 7, 8]], bayer_phase=3),
    TrimBounds(top=1, left=2, bottom=3, right=4),
    MapTable(**AREA, table=[5, 4, 3]),
    MapPolynomial(**AREA, coefficients=[0, 1, 0.5]),
    GainMap(**AREA, map_gains=np.arange(12).reshape(2, 3, 2), map_spacing_v=1.0, map_spacing_h=0.5, map_origin_h=0.1),
    DeltaPerRow(**AREA, deltas=[0.1, 0.2, 0.3]),
    DeltaPerColumn(**AREA, deltas=[0.1, 0.2, -0.0]),
    ScalePerRow(**AREA, scales=[1, 2, 3]),
    ScalePerColumn(**AREA, scales=[1, 2, 3]),
    WarpRectilinear2(kr=np.eye(1, 15), kt=[[0, 0]], min_valid_radius=[0], max_valid_radius=[0.9], use_reciprocal=1),
    UnknownOpcode(id=4711, data=b"abc", flags=1, dng_version=0x01080000),
]


def header(identifier: int, size: int, flags: int = 0, version: int = 0x01030000) -> bytes:
    return struct.pack(">4I", identifier, version, flags, size)


def test_gain_map_by_hand() -> None:
    area = struct.pack(">8I", 0, 1, 100, 200, 0, 1, 2, 2)
    head = struct.pack(">II4dI", 2, 2, 0.9, 0.8, 0.05, 0.1, 1)
    gains = struct.pack(">4f", 1.0, 1.5, 2.0, 2.5)
    data = struct.pack(">I", 1) + header(9, 32 + 44 + 16) + area + head + gains
    (opcode,) = parse_opcode_list(data)
    assert isinstance(opcode, GainMap)
    assert (opcode.top, opcode.left, opcode.bottom, opcode.right) == (0, 1, 100, 200)
    assert (opcode.plane, opcode.planes, opcode.row_pitch, opcode.col_pitch) == (0, 1, 2, 2)
    assert (opcode.map_spacing_v, opcode.map_spacing_h) == (0.9, 0.8)
    assert (opcode.map_origin_v, opcode.map_origin_h) == (0.05, 0.1)
    assert opcode.map_gains.tolist() == [[[1.0], [1.5]], [[2.0], [2.5]]]
    assert not opcode.optional
    assert pack_opcode_list([opcode]) == data


def test_warp_rectilinear_by_hand() -> None:
    data = struct.pack(">I", 1) + header(1, 68, flags=1) + struct.pack(">I8d", 1, 1, 2, 3, 4, 5, 6, 0.5, 0.25)
    (opcode,) = parse_opcode_list(data)
    assert isinstance(opcode, WarpRectilinear)
    assert opcode.kr.tolist() == [[1, 2, 3, 4]]
    assert opcode.kt.tolist() == [[5, 6]]
    assert (opcode.cx, opcode.cy, opcode.optional) == (0.5, 0.25, True)


def test_every_known_opcode_is_in_the_sample() -> None:
    assert {type(opcode) for opcode in ONE_OF_EACH} == {*KNOWN.values(), UnknownOpcode}
    assert sorted(KNOWN) == list(range(1, 15))


@pytest.mark.parametrize("opcode", ONE_OF_EACH, ids=lambda opcode: opcode.name)
def test_pack_and_parse(opcode: Opcode) -> None:
    data = pack_opcode_list([opcode])
    (again,) = parse_opcode_list(data)
    assert again == opcode
    assert hash(again) == hash(opcode)
    assert (again.flags, again.dng_version) == (opcode.flags, opcode.dng_version)
    assert pack_opcode_list([again]) == data


def test_order_is_kept() -> None:
    data = pack_opcode_list(ONE_OF_EACH)
    assert parse_opcode_list(data) == tuple(ONE_OF_EACH)
    assert pack_opcode_list(parse_opcode_list(data)) == data
    assert parse_opcode_list(b"\0\0\0\0") == ()


def test_cut_anywhere() -> None:
    data = pack_opcode_list(ONE_OF_EACH)
    for size in range(len(data)):
        with pytest.raises(RawFileError) as caught:
            parse_opcode_list(data[:size])
        assert "\n" not in str(caught.value)


HUGE = 0xFFFFFFFF
LIES = {
    "empty": (b"", "0 bytes"),
    "count": (struct.pack(">I", HUGE), "says 4294967295 opcodes"),
    "trailing": (b"\0\0\0\0\0", "end after 4"),
    "size": (struct.pack(">I", 1) + header(9, HUGE), "says 4294967295 bytes"),
    "table": (struct.pack(">I", 1) + header(7, 36) + bytes(20) + struct.pack(">4I", 1, 1, 1, HUGE), "MapTable: 42949"),
    "gains": (
        struct.pack(">I", 1) + header(9, 76) + bytes(20) + struct.pack(">3I", 1, 1, 1)
        + struct.pack(">II4dI", HUGE, HUGE, 1, 1, 0, 0, HUGE),
        "GainMap: 4294967295 x 4294967295 x 4294967295 values need",
    ),
    "points": (struct.pack(">I", 1) + header(5, 12) + struct.pack(">3I", 0, HUGE, HUGE), "FixBadPixelsList"),
    "planes": (struct.pack(">I", 1) + header(1, 4) + struct.pack(">I", HUGE), "WarpRectilinear"),
    "degree": (
        struct.pack(">I", 1) + header(8, 36 + 80) + bytes(20) + struct.pack(">4I", 1, 1, 1, 9) + bytes(80),
        "degree 0 to 8, got 9",
    ),
    "nan": (
        struct.pack(">I", 1) + header(3, 56) + struct.pack(">7d", 0, 0, float("nan"), 0, 0, 0.5, 0.5),
        "FixVignetteRadial: k holds values that are not finite",
    ),
    "centre": (struct.pack(">I", 1) + header(3, 56) + struct.pack(">7d", 0, 0, 0, 0, 0, 0.5, 9), "centre"),
    "left over": (struct.pack(">I", 1) + header(4, 12) + bytes(12), "FixBadPixelsConstant: 12 bytes"),
    "no pitch": (struct.pack(">I", 1) + header(7, 38) + bytes(20) + struct.pack(">4IH", 1, 0, 1, 1, 0), "row_pitch"),
    "no plane": (struct.pack(">I", 1) + header(7, 38) + bytes(20) + struct.pack(">4IH", 0, 1, 1, 1, 0), "planes >= 1"),
    "no points": (
        struct.pack(">I", 1) + header(9, 76) + bytes(20) + struct.pack(">3I", 1, 1, 1)
        + struct.pack(">II4dI", 0, 3, 1, 1, 0, 0, 1),
        "at least one gain",
    ),
    "spacing": (
        struct.pack(">I", 1) + header(9, 84) + bytes(20) + struct.pack(">3I", 1, 1, 1)
        + struct.pack(">II4dIff", 2, 1, 0, 1, 0, 0, 1, 1, 1),
        "positive spacing",
    ),
    "lines": (
        struct.pack(">I", 1) + header(10, 40) + struct.pack(">9If", 0, 0, 4, 4, 0, 1, 1, 1, 1, 1.0),
        "expected 4 deltas",
    ),
    "trim": (struct.pack(">I", 1) + header(6, 16) + struct.pack(">4I", 5, 0, 5, 9), "top < bottom"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "message"), LIES.values(), ids=LIES)
def test_lies_are_refused_in_one_line_without_allocating(data: bytes, message: str) -> None:
    tracemalloc.start()
    with pytest.raises(RawFileError, match=message) as caught:
        parse_opcode_list(data)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert "\n" not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, 1400), value=st.integers(0, 255))
def test_one_damaged_byte(position: int, value: int) -> None:
    data = bytearray(pack_opcode_list(ONE_OF_EACH))
    data[position % len(data)] = value
    try:
        opcodes = parse_opcode_list(bytes(data))
    except RawFileError:
        return
    assert pack_opcode_list(opcodes) == bytes(data)


def test_constructors_name_the_field() -> None:
    with pytest.raises(ValueError, match=r"WarpRectilinear: expected kt of shape 1 2, got \(2, 2\)"):
        WarpRectilinear(kr=[[1, 0, 0, 0]], kt=[[0, 0], [0, 0]])
    with pytest.raises(ValueError, match="GainMap: map_gains should have 3 dimension"):
        GainMap(map_gains=[[1.0]], map_spacing_v=1.0, map_spacing_h=1.0)
    with pytest.raises(ValueError, match="ScalePerColumn: expected 3 scales for its area, got 1"):
        ScalePerColumn(bottom=2, right=3, scales=[1.0])


def test_arrays_are_read_only() -> None:
    table = np.arange(4, dtype=np.uint16)
    opcode = MapTable(table=table)
    table[0] = 9
    assert opcode.table[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        opcode.table[0] = 1


def test_a_printed_gain_map_is_a_line() -> None:
    gains = GainMap(
        top=0, left=0, bottom=40, right=50, map_gains=np.ones((13, 17, 1)), map_spacing_v=0.1, map_spacing_h=0.1
    )
    text = repr(gains)
    assert text.startswith("GainMap(")
    assert "map_gains=<13 x 17 x 1 numbers>" in text
    assert len(text) < 400
