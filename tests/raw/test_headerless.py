"""Mosaics without a header: what the YAML says against what the bytes are, packed here by numpy.packbits or by hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import yaml

import isp.raw
from isp.raw import RawFileError
from isp.raw.cfa import CANONICAL
from isp.raw.headerless import FIELDS, LAYOUT

RNG = np.random.default_rng(3)
MOSAIC = RNG.integers(0, 1024, (6, 10)).astype(np.uint16)


def put(path: Path, data: bytes | np.ndarray, **keys: object) -> Path:
    """A mosaic and its YAML; keys of None are left out of height, width and cfa."""
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        np.save(path, data)
    stated = {"cfa": "RGGB", **({} if path.suffix == ".npy" else {"height": 6, "width": 10, "bits": 10}), **keys}
    path.with_name(path.name + ".yaml").write_text(yaml.safe_dump({k: v for k, v in stated.items() if v is not ...}))
    return path


@pytest.mark.parametrize(("order", "letter"), [("little", "<"), ("big", ">")])
@pytest.mark.parametrize("offset", [0, 17])
@pytest.mark.parametrize("padding", [0, 12])
def test_words(tmp_path: Path, order: str, letter: str, offset: int, padding: int) -> None:
    rows = [row.astype(letter + "u2").tobytes() + b"\xff" * padding for row in MOSAIC]
    options = {"stride": 20 + padding} if padding else {}
    path = put(tmp_path / "a.raw", b"\xaa" * offset + b"".join(rows), byte_order=order, offset=offset, **options)
    raw = isp.raw.read(path)
    np.testing.assert_array_equal(raw.mosaic, MOSAIC)
    assert raw.mosaic.dtype == np.uint16
    assert raw.meta.white_level == [1023]
    assert raw.path == path
    path.write_bytes(path.read_bytes()[: -padding or None])  # the last row without its padding
    np.testing.assert_array_equal(isp.raw.read(path).mosaic, MOSAIC)


def test_eight_bits(tmp_path: Path) -> None:
    mosaic = MOSAIC.astype(np.uint8)
    raw = isp.raw.read(put(tmp_path / "a.raw", mosaic.tobytes(), bits=8))
    assert raw.mosaic.dtype == np.uint8
    np.testing.assert_array_equal(raw.mosaic, mosaic)


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 15])
@pytest.mark.parametrize("packing", ["msb", "lsb"])
def test_bits_one_after_the_other(tmp_path: Path, bits: int, packing: str) -> None:
    mosaic = RNG.integers(0, 1 << bits, (6, 11)).astype(np.uint16)
    positions = np.arange(bits)[::-1] if packing == "msb" else np.arange(bits)
    single = ((mosaic[..., None] >> positions) & 1).astype(np.uint8).reshape(6, -1)
    packed = np.packbits(single, axis=1, bitorder="big" if packing == "msb" else "little")
    raw = isp.raw.read(put(tmp_path / "a.raw", packed.tobytes(), width=11, bits=bits, packing=packing))
    np.testing.assert_array_equal(raw.mosaic, mosaic)


def test_mipi_raw10_by_hand(tmp_path: Path) -> None:
    """CSI-2 RAW10: P1[9:2] P2[9:2] P3[9:2] P4[9:2], then P4[1:0] P3[1:0] P2[1:0] P1[1:0] from the highest bit."""
    data = bytes([0xFF, 0x00, 0x80, 0x01, 0b11_10_01_00])
    path = put(tmp_path / "a.raw", data * 2, height=2, width=4, bits=10, packing="mipi")
    expected = [(0xFF << 2) | 0, (0x00 << 2) | 1, (0x80 << 2) | 2, (0x01 << 2) | 3]
    np.testing.assert_array_equal(isp.raw.read(path).mosaic, [expected] * 2)


def test_mipi_raw12_by_hand(tmp_path: Path) -> None:
    """CSI-2 RAW12: P1[11:4] P2[11:4], then P2[3:0] P1[3:0]; an odd width leaves half of a group unused."""
    data = bytes([0xAB, 0xCD, 0x21, 0x12, 0x34, 0x65])
    path = put(tmp_path / "a.raw", data * 2, height=2, width=3, bits=12, packing="mipi")
    np.testing.assert_array_equal(isp.raw.read(path).mosaic, [[0xAB1, 0xCD2, 0x125]] * 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2", np.uint32, np.float16, np.float32])
def test_npy(tmp_path: Path, dtype: object) -> None:
    mosaic = MOSAIC.astype(dtype)
    raw = isp.raw.read(put(tmp_path / "a.npy", mosaic, white_level=1000))
    np.testing.assert_array_equal(raw.mosaic, mosaic)
    assert raw.mosaic.dtype.isnative
    assert (raw.meta.height, raw.meta.width) == (6, 10)


def test_npy_of_linear_rgb_and_of_a_transposed_array(tmp_path: Path) -> None:
    linear = np.dstack([MOSAIC] * 3)
    raw = isp.raw.read(put(tmp_path / "a.npy", linear, cfa=..., black_level=[1, 2, 3], white_level=[9, 8, 7]))
    assert raw.meta.kind == "linear"
    np.testing.assert_array_equal(raw.meta.black_level, [[[1, 2, 3]]])
    np.testing.assert_array_equal(raw.meta.white_level, [9, 8, 7])
    raw = isp.raw.read(put(tmp_path / "b.npy", np.asfortranarray(MOSAIC), bits=12))
    np.testing.assert_array_equal(raw.mosaic, MOSAIC)
    assert raw.meta.white_level == [4095]


def test_any_field_of_the_metadata(tmp_path: Path) -> None:
    """A sensor of one's own: everything that the stages use, from the YAML."""
    fields = {
        "black_level": [[60, 61.5], [62, 63]],
        "white_level": 1000,
        "as_shot_neutral": [0.5, 1, 0.75],
        "color_matrix1": [1, 0, 0.1, 0, 1, 0, 0, 0, 1],
        "color_matrix2": [[1, 0, 0.2], [0, 1, 0], [0, 0, 1]],
        "calibration_illuminant1": 17,
        "calibration_illuminant2": 21,
        "active_area": [1, 2, 5, 10],
        "default_crop_origin": [1, 1],
        "default_crop_size": [4, 2],
        "orientation": 6,
        "noise_profile": [["1e-4", 1e-6]],
        "iso": 100,
        "make": "Own",
    }
    meta = isp.raw.read(put(tmp_path / "a.npy", MOSAIC, **fields)).meta
    np.testing.assert_array_equal(meta.black_level[..., 0], fields["black_level"])
    np.testing.assert_array_equal(meta.color_matrix1, np.reshape(fields["color_matrix1"], (3, 3)))
    np.testing.assert_array_equal(meta.color_matrix2, fields["color_matrix2"])
    np.testing.assert_array_equal(meta.noise_profile, [[1e-4, 1e-6]])
    assert (meta.area, meta.crop) == ((1, 2, 5, 10), (1, 1, 3, 5))
    assert (meta.orientation, meta.iso, meta.make) == (6, 100.0, "Own")
    assert meta.origins["black_level"] == "sidecar"
    assert meta.origins["forward_matrix1"] == "default"


@pytest.mark.parametrize(
    ("black", "expected"),
    [(64, [[64]]), ([1, 2, 3, 4], [[1, 2], [3, 4]]), ([[1, 2], [3, 4], [5, 6]], [[1, 2], [3, 4], [5, 6]])],
)
def test_black_levels(tmp_path: Path, black: object, expected: list) -> None:
    meta = isp.raw.read(put(tmp_path / "a.npy", MOSAIC, black_level=black)).meta
    np.testing.assert_array_equal(meta.black_level[..., 0], expected)


@pytest.mark.parametrize(("cfa", "kind"), [("gbrg", "bayer"), ("none", "monochrome"), (None, "monochrome")] + [
    (letters, kind) for kind, (letters, _, _) in CANONICAL.items()
])  # fmt: skip
def test_cfa_kinds(tmp_path: Path, cfa: str | None, kind: str) -> None:
    assert isp.raw.read(put(tmp_path / "a.npy", MOSAIC, cfa=cfa)).meta.kind == kind


def test_the_sidecars_name(tmp_path: Path) -> None:
    path = put(tmp_path / "a.raw", MOSAIC.tobytes())
    (tmp_path / "a.raw.yaml").rename(tmp_path / "a.yaml")
    assert isp.raw.read(path).meta.kind == "bayer"
    (tmp_path / "a.yaml").unlink()
    with pytest.raises(RawFileError, match=r"a\.raw\.yaml"):
        isp.raw.read(path)
    np.save(tmp_path / "b.npy", MOSAIC)
    with pytest.raises(RawFileError, match=r"needs b\.npy\.yaml or b\.yaml"):
        isp.raw.read(tmp_path / "b.npy")


WRONG = {
    "unknown key 'blck_level'; known keys: .*black_level": {"blck_level": 64},
    "does not say width": {"width": ...},
    "does not say cfa": {"cfa": ...},
    "has 120 bytes; a.raw.yaml describes 240": {"height": 12},
    "has 120 bytes; .* describes 90": {"bits": 10, "packing": "mipi", "height": 6, "width": 10},
    "9 x 10|-6": {"height": -6},
    "1048576 x 1048576": {"height": 1 << 20, "width": 1 << 20},
    "expected a whole number, got '6'": {"height": "6"},
    "7 bits": {"bits": 7},
    "packing mipi": {"packing": "mipi", "bits": 14},
    "byte_order 'middle'": {"byte_order": "middle"},
    "stride 3": {"stride": 3},
    "offset -2": {"offset": -2},
    "count of .*says 8|has 120 bytes": {"bits": 8},
    "says 9 bits": {"bits": 9},
    "is not supported": {"cfa": "RGBG"},
    "not finite": {"black_level": float("nan")},
    "white_level is not above": {"black_level": 1023},
    "color_matrix1 should be a 3x3": {"color_matrix1": [1, 2, 3]},
    "color_matrix1: expected a number, got None": {"color_matrix1": [1, None, 3]},
    "active_area: expected a list of 4": {"active_area": [0, 0, 6]},
    "active_area should be": {"active_area": [0, 0, 7, 10]},
    "as_shot_neutral should be": {"as_shot_neutral": [1, 0, 1]},
    "orientation": {"orientation": 9},
    "opcode_list2": {"opcode_list2": []},
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_yaml_is_one_line(tmp_path: Path, message: str) -> None:
    data = np.full((6, 10), 1000, np.uint16).tobytes()
    with pytest.raises(RawFileError, match=message) as caught:
        isp.raw.read(put(tmp_path / "a.raw", data, **WRONG[message]))
    assert "\n" not in str(caught.value)


def test_yaml_that_is_none(tmp_path: Path) -> None:
    path = put(tmp_path / "a.raw", MOSAIC.tobytes())
    laughs = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    for text, message in (
        ("{", "is not YAML"),
        ("- 1\n- 2\n", "keys and values"),
        ("\0", "is not YAML"),
        ("", "keys and values"),
        (laughs, "aliases"),
        ("width: !!python/object/apply:os.system [true]", "is not YAML"),
        ("[" * 250_000, "deep|nesting depth"),  # PyYAML has a limit of its own since 6.1
        ("- " * 100_000, "deep|nesting depth"),
        ("#" * (1 << 19), "bytes; expected at most"),
        ("black_level: [[1], [2, 3]]", "black_level"),
        (f"width: {1 << 90}\nheight: 6\ncfa: RGGB", "says"),
        ("? " * 100_000, "deep|nesting depth"),
    ):
        (tmp_path / "a.raw.yaml").write_text(text)
        with pytest.raises(RawFileError, match=message) as caught:
            isp.raw.read(path)
        assert "\n" not in str(caught.value)


def test_npy_that_lies(tmp_path: Path) -> None:
    path = put(tmp_path / "a.npy", MOSAIC)
    whole = path.read_bytes()
    for old, new, message in (
        (b"(6, 10)", b"(6, 99)", "needs 1188 bytes; found 120"),
        (b"(6, 10)", b"(6,1 0)", r".*"),
        (b"(6, 10), }" + b" " * 12, b"(99999999999, 99999999)".ljust(20) + b"}", r".*"),
        (b"'<u2'", b"'<i2'", "int16; expected unsigned"),
        (b"'<u2'", b"'|O' ", ".*"),
        (b"\x93NUMPY\x01", b"\x93NUMPY\x09", "."),
        (b"\x93NUMPY", b"\x93NUMPX", "."),
    ):
        assert old in whole
        path.write_bytes(whole.replace(old, new))
        with pytest.raises(RawFileError, match=message) as caught:
            isp.raw.read(path)
        assert "\n" not in str(caught.value)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(RawFileError):
            isp.raw.read(path)
    with pytest.raises(RawFileError, match="not finite"):
        isp.raw.read(put(path, np.full((6, 10), np.nan, np.float32)))
    with pytest.raises(RawFileError, match="expected H W"):
        isp.raw.read(put(path, np.zeros((6, 10, 4), np.uint16)))
    with pytest.raises(RawFileError, match="the array has 6"):
        isp.raw.read(put(path, MOSAIC, height=7))
    np.save(path, np.array([object()]), allow_pickle=True)
    with pytest.raises(RawFileError, match="object"):
        isp.raw.read(path)


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.raw")
    with pytest.raises(RawFileError, match="pipe"):
        isp.raw.read(tmp_path / "a.raw")


def test_known_keys_are_the_fields() -> None:
    assert {"width", "height", "cfa", "black_level", "profile_tone_curve"} <= set(FIELDS)
    assert not {"origins", "opcode_list1", "opcode_list2", "opcode_list3"} & set(FIELDS)
    assert not set(LAYOUT) & set(FIELDS)
