"""Files that lie: every outcome is a RawImage or a RawFileError in one line, soon and without a large allocation."""

from __future__ import annotations

import resource
import struct
import sys
import time
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from dng_factory import make_dng

import isp.raw
from isp.raw import RawFileError, lossless_jpeg

RNG = np.random.default_rng(4)
MOSAIC = RNG.integers(100, 4000, (64, 96)).astype(np.uint16)
SECONDS = 1.0
MOST_BYTES = 100_000_000  # of all that a read may allocate; the pixels of these files are 12 kB
LOSSLESS = {"compression": 7, "compressionargs": {"lossless": True, "predictor": 1}}
BASES = {
    "uncompressed": {},
    "tiles": {"tile": (16, 16), "byteorder": ">"},
    "lossless JPEG": {**LOSSLESS, "tile": (32, 32)},
    "deflate": {"compression": 8, "predictor": 2, "tile": (32, 32)},
    "JPEG XL": {"compression": 52546, "compressionargs": {"lossless": True}},
    "SubIFD": {"subifd": True, **LOSSLESS},
}
TAGS = {
    "black_level_repeat_dim": (2, 2),
    "black_level": (60, 61, 62, 63),
    "white_level": 4095,
    "active_area": (2, 2, 62, 94),
    "black_level_delta_v": np.zeros(60),
    "linearization_table": np.arange(4096),
    "noise_profile": (1e-4, 1e-6),
    "default_crop_origin": (2, 2),
    "default_crop_size": (80, 50),
    "color_matrix2": np.eye(3),
    "calibration_illuminant2": 17,
    "profile_hue_sat_map_dims": (6, 2, 1),
    "profile_hue_sat_map_data1": np.ones(36),
    "profile_tone_curve": (0, 0, 1, 1),
    "iso": 100,
    "baseline_exposure": 0.5,
    # one FixBadPixelsConstant: count, then identifier, version, flags, bytes of parameters, constant, phase
    "opcode_list1": struct.pack(">7I", 1, 4, 0x01030000, 0, 8, 7, 0),
}


def outcome(path: Path) -> isp.raw.RawImage | RawFileError:
    """What reading gives, after checks of time, memory and the message. Warnings are fine."""
    tracemalloc.start()
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    result: isp.raw.RawImage | RawFileError
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = isp.raw.read(path)
    except RawFileError as error:
        result = error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    unit = 1 if sys.platform == "darwin" else 1024
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit
    assert max(peak, grown) < MOST_BYTES, f"{peak} bytes in Python, {grown} in the process: {result}"
    assert time.process_time() - start < SECONDS, result
    assert isinstance(result, isp.raw.RawImage) or ("\n" not in str(result) and len(str(result)) < 600)
    return result


@pytest.fixture(autouse=True)
def _imported(tmp_path: Path) -> None:
    """What the first read imports is not what a damaged file costs."""
    for options in BASES.values():
        isp.raw.read(make_dng(tmp_path / "first.dng", MOSAIC, **options))
    isp.raw.read(make_dng(tmp_path / "first.nef", MOSAIC, dng_version=None, dng_backward_version=None))


def patch(
    path: Path, code: int, *, kind: int | None = None, count: int | None = None, value: int | None = None
) -> Path:
    """Overwrite parts of a tag's entry in IFD0 of a little-endian TIFF."""
    data = bytearray(path.read_bytes())
    for part, form, new in ((2, "<H", kind), (4, "<I", count), (8, "<I", value)):
        if new is not None:
            struct.pack_into(form, data, entry(data, code) + part, new)
    path.write_bytes(data)
    return path


def entry(data: bytes, code: int) -> int:
    """Where a tag's entry in IFD0 is."""
    start = struct.unpack_from("<I", data, 4)[0]
    entries = range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12)
    return next(at for at in entries if struct.unpack_from("<H", data, at)[0] == code)


def listed(data: bytes, code: int) -> tuple[str, int]:
    """(format for struct, place) of a tag's numbers, which do not fit into its entry."""
    kind, count, where = struct.unpack_from("<HII", data, entry(data, code) + 2)
    return f"<{count}{'H' if kind == 3 else 'I'}", where


def tables(path: Path, **values: int) -> Path:
    """A tiled DNG whose TileOffsets and TileByteCounts all have these values."""
    make_dng(path, MOSAIC, tile=(16, 16), compression=8)
    data = bytearray(path.read_bytes())
    for code, value in ((324, values["offset"]), (325, values["count"])):
        form, where = listed(data, code)
        struct.pack_into(form, data, where, *[value] * len(struct.unpack_from(form, data, where)))
    path.write_bytes(data)
    return path


def replace(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert data.count(old) == 1
    assert len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    return path


def encoded(path: Path, segment: bytes, compression: int) -> Path:
    """The mosaic's DNG with one strip of these bytes at its end."""
    make_dng(path, MOSAIC)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + segment)
    patch(path, 259, value=compression)
    patch(path, 273, value=size)
    return patch(path, 279, value=len(segment))


def dng(**options: object) -> Callable[[Path], Path]:
    return lambda path: make_dng(path, MOSAIC, **options)  # type: ignore[arg-type]


def patched(code: int, **entry: int) -> Callable[[Path], Path]:
    return lambda path: patch(make_dng(path, MOSAIC, **TAGS), code, **entry)


def sized(width: int, height: int, **options: object) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        patch(make_dng(path, MOSAIC, **options), 256, kind=4, count=1, value=width)  # type: ignore[arg-type]
        patch(path, 257, kind=4, count=1, value=height)
        return path if "tile" in options else patch(path, 278, kind=4, count=1, value=height)

    return make


def tiles_of(cols: int, rows: int, image: int = 96) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        sized(image, image, tile=(16, 16))(path)
        patch(path, 322, kind=4, value=cols)
        return patch(path, 323, kind=4, value=rows)

    return make


def moved_ifd(offset: int) -> Callable[[Path], Path]:
    return lambda path: replace(make_dng(path, MOSAIC), b"II*\0\x08\0\0\0", b"II*\0" + struct.pack("<I", offset))


def rewritten_jpeg(**frame: int) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        data = bytearray(imagecodecs.jpeg8_encode(MOSAIC, lossless=True, predictor=1, bitspersample=16))
        at = data.index(b"\xff\xc3")
        struct.pack_into(">HH", data, at + 5, frame.get("height", 64), frame.get("width", 96))
        data[at + 1] = frame.get("marker", 0xC3)
        return encoded(path, bytes(data)[: frame.get("length")], 7)

    return make


def floats(value: float) -> Callable[[Path], Path]:
    return lambda path: make_dng(path, np.full((8, 8), value, np.float32))


def loop(path: Path) -> Path:
    make_dng(path, MOSAIC, subifd=True)
    return patch(path, 330, value=struct.unpack_from("<I", path.read_bytes(), 4)[0])


# count; identifier, version, flags, bytes; area, planes and pitch; 2^20 x 2^20 points, their spacing, origin and planes
GAIN_MAP = struct.pack(">15I4dI", 1, 9, 1 << 24, 0, 76, 0, 0, 64, 96, 0, 1, 1, 1, 1 << 20, 1 << 20, 0, 0, 0, 0, 1)

DAMAGE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "strip offset outside the file": (patched(273, value=1 << 31), "outside the file"),
    "strip byte count beyond the end": (patched(279, value=1 << 31), "outside the file"),
    "strip byte count too small": (patched(279, value=12287), "needs 12288"),
    "strip count absurd": (patched(273, kind=4, count=1 << 30), "1073741824 value"),
    "rows per strip 0": (patched(278, value=0), "segments of"),
    "width 0": (sized(0, 64), "here 0"),
    "2^32 pixels": (sized(1 << 16, 1 << 16), "expected 1 to"),
    "2^62 pixels": (sized(1 << 31, 1 << 31), "expected 1 to"),
    "2^30 pixels in 12 kB": (sized(1 << 15, 1 << 15), "needs 2147483648"),
    "2^30 pixels in 12 kB of deflate": (sized(1 << 15, 1 << 15, compression=8), "hold at most"),
    "2^30 pixels in 12 kB of lossless JPEG": (sized(1 << 15, 1 << 15, **LOSSLESS), "hold at most"),
    "2^30 pixels in 12 kB of JPEG XL": (sized(1 << 15, 1 << 15, **BASES["JPEG XL"]), "hold at most"),
    "tiles of 2^40 pixels": (tiles_of(1 << 20, 1 << 20), "segments of"),
    "tiles of 0 pixels": (tiles_of(0, 16), "segments of"),
    "a tile for every pixel": (tiles_of(1, 1, image=4096), "strips or tiles"),
    "all tiles are the whole file": (lambda p: tables(p, offset=0, count=9000), "claims 216000 bytes"),
    "tiles outside the file": (lambda p: tables(p, offset=60000, count=60000), "outside the file"),
    "BitsPerSample is text": (patched(258, kind=2), "expected integers"),
    "BitsPerSample 0": (patched(258, value=0), "0-bit"),
    "BitsPerSample 65535": (patched(258, value=65535), "65535-bit"),
    "BitsPerSample 1": (patched(258, value=1), "1-bit"),
    "SamplesPerPixel 65535": (patched(277, value=65535), "65535 planes"),
    "ImageWidth is a fraction": (patched(256, kind=5, value=8), "expected integers"),
    "ImageWidth has an unknown type": (patched(256, kind=99), "expected integers"),
    "ImageWidth counts 0": (patched(256, count=0), "0 value"),
    "Compression unknown": (patched(259, value=12345), "compression 12345"),
    "BlackLevelRepeatDim is negative": (patched(50713, kind=8, value=0xFFFEFFFE), "expected positive"),
    "BlackLevelRepeatDim is large": (patched(50713, value=0xFFFFFFFF), "expected 4294836225"),
    "BlackLevel is undefined": (dng(extratags=[(50714, 5, 1, (5, 0))]), "undefined number"),
    "BlackLevel is infinite": (dng(extratags=[(50714, 11, 1, float("inf"))]), "undefined number"),
    "BlackLevel above WhiteLevel": (dng(black_level=5000, white_level=4095), "not above"),
    "BlackLevelDeltaH of another length": (dng(black_level_delta_h=np.zeros(95)), "95 value"),
    "WhiteLevel 0": (dng(white_level=0), "not above"),
    "WhiteLevel counts 2^32 - 1": (patched(50717, count=0xFFFFFFFF), "4294967295 value"),
    "ActiveArea outside the mosaic": (dng(active_area=(0, 0, 65, 96)), "active_area"),
    "ActiveArea upside down": (dng(active_area=(10, 0, 10, 96)), "active_area"),
    "LinearizationTable empty": (patched(50712, count=0), "0 value"),
    "LinearizationTable outside": (patched(50712, value=1 << 30), "outside the file"),
    "CFAPattern too short": (patched(33422, count=3), "3 value"),
    "CFARepeatPatternDim 0": (patched(33421, value=0), "repeats every 0"),
    "ColorMatrix1 without an inverse": (dng(color_matrix1=np.zeros(9)), "no inverse"),
    "ColorMatrix1 is text": (patched(50721, kind=2), "expected numbers"),
    "ColorMatrix1 of 4 colours": (dng(color_matrix1=np.ones(12)), "12 value"),
    "opcode list counts 2^32 - 1": (dng(opcode_list2=b"\xff\xff\xff\xff"), "opcode"),
    "opcode says 2^31 bytes": (dng(opcode_list2=struct.pack(">5I", 1, 9, 1 << 24, 0, 1 << 31)), "opcode"),
    "opcode list is cut": (dng(opcode_list1=b"\0\0"), "OpcodeList1"),
    "GainMap of 2^40 points": (dng(opcode_list2=GAIN_MAP), "OpcodeList2"),
    "OpcodeList1 is numbers": (patched(51008, kind=5, count=1), "expected bytes"),
    "interleaved 0 times": (dng(extratags=[(50975, 3, 1, 0)]), "RowInterleaveFactor"),
    "interleaved 60000 times": (dng(extratags=[(52547, 3, 1, 60000)]), "ColumnInterleaveFactor"),
    "IFD0 outside the file": (moved_ifd(0x7FFFFFFF), "IFD0"),
    "IFD0 is the header": (moved_ifd(0), "IFD0"),
    "SubIFD is IFD0": (loop, "without a raw image"),
    "SubIFD outside the file": (
        lambda p: patch(make_dng(p, MOSAIC, subifd=True), 330, value=0x7FFFFFFF), "SubIFD0 should be"
    ),
    "10^6 SubIFDs": (lambda p: patch(make_dng(p, MOSAIC, subifd=True), 330, count=10**6), "1000000 value"),
    "pixels are NaN": (floats(float("nan")), "64 pixels that are not finite"),
    "pixels are infinite": (floats(float("inf")), "not finite"),
    "JPEG is wider than its strip": (rewritten_jpeg(width=65535, height=65535), "4294836225 samples"),
    "JPEG is smaller than its strip": (rewritten_jpeg(width=90), "5760 samples"),
    "JPEG ends early": (rewritten_jpeg(length=2000), "end marker|hold at most"),
    "JPEG is lossy": (rewritten_jpeg(marker=0xC0), "SOF0"),
    "JPEG is noise": (lambda p: encoded(p, RNG.bytes(8000), 7), "frame header"),
    "JPEG without a length": (lambda p: encoded(p, b"\xff\xd8" + b"\xff\xe0\0\0" * 2000, 7), "frame header"),
    "deflate is noise": (lambda p: encoded(p, RNG.bytes(8000), 8), "damaged: deflate"),
    "deflate gives too little": (lambda p: encoded(p, zlib.compress(RNG.bytes(5000)), 8), "has 5000 bytes of pixels"),
    "deflate gives too much": (lambda p: encoded(p, zlib.compress(b"\0" * 10**8), 8), "damaged: deflate"),
    "JPEG XL is noise": (lambda p: encoded(p, RNG.bytes(8000), 52546), "damaged: JPEG XL"),
    "JPEG XL is larger than its strip": (
        lambda p: encoded(p, imagecodecs.jpegxl_encode(np.zeros((2000, 2000), np.uint16), effort=1), 52546),
        "damaged: JPEG XL",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_one_line(tmp_path: Path, name: str) -> None:
    make, message = DAMAGE[name]
    result = outcome(make(tmp_path / "a.dng"))
    assert isinstance(result, RawFileError), "it was read"
    assert str(result).startswith(str(tmp_path / "a.dng"))
    with pytest.raises(RawFileError, match=message):
        raise result


@pytest.mark.parametrize("name", [name for name in DAMAGE if "JPEG" in name and "XL" not in name])
def test_damage_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(lossless_jpeg, "compiled", lambda: False)
    test_damage_is_one_line(tmp_path, name)


@pytest.mark.parametrize("base", ["lossless JPEG", "SubIFD"])
def test_lossless_jpeg_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    monkeypatch.setattr(lossless_jpeg, "compiled", lambda: False)
    test_cut_files(tmp_path, base)
    test_flipped_bytes(tmp_path, base)


@pytest.mark.skipif(not lossless_jpeg.compiled(), reason="no compiler; libjpeg takes zeros for what is missing")
def test_a_tile_whose_data_end_early(tmp_path: Path) -> None:
    """The second of two that are decoded together: its last 500 bytes are skipped by a marker segment."""
    path = make_dng(tmp_path / "a.dng", MOSAIC, **BASES["lossless JPEG"])
    data = bytearray(path.read_bytes())
    offset, count = (struct.unpack_from(form, data, at)[3] for form, at in (listed(data, 324), listed(data, 325)))
    struct.pack_into(">BBH", data, offset + count - 500, 0xFF, 0xE0, 498)
    path.write_bytes(data)
    with pytest.raises(RawFileError, match="tile 3 of IFD0 is damaged: lossless JPEG decoder: the data end before the"):
        raise outcome(path)  # type: ignore[misc]


@pytest.mark.parametrize("code", [50937, 50938, 51041, 50940, 50719, 50730, 34855])
def test_absurd_counts_of_tags_that_can_be_left_out(tmp_path: Path, code: int) -> None:
    path = patch(make_dng(tmp_path / "a.dng", MOSAIC, **TAGS), code, count=0xFFFFFFFF)
    result = outcome(path)
    assert isinstance(result, isp.raw.RawImage)
    np.testing.assert_array_equal(result.mosaic, MOSAIC)


def test_offset_lists_that_fill_the_file(tmp_path: Path) -> None:
    """Four lists of 12 million offsets each, all of them in the file of 48 MB (tifffile reads them: 5 s, 2 GB)."""
    count, start = 12_000_000, 300
    tags = [(254, 4, 1, 0), (256, 4, 1, 100), (257, 4, 1, 100), (262, 3, 1, 32803)]
    tags += [(code, 4, count, start) for code in (273, 279, 324, 325)]
    tags += [(33421, 3, 2, 0x00020002), (33422, 1, 4, 0x02010100), (50706, 1, 4, 0x00000401)]
    ifd = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    path = tmp_path / "a.dng"
    with open(path, "wb") as file:
        file.write((b"II*\0" + struct.pack("<I", 8) + ifd).ljust(start, b"\0"))
        file.truncate(start + 4 * count)
    assert "12000000 value" in str(outcome(path)) or "BitsPerSample" in str(outcome(path))


@pytest.mark.parametrize("base", BASES)
def test_cut_files(tmp_path: Path, base: str) -> None:
    """At 40 lengths and near the end: no picture of other pixels or other colours comes of a part of a file."""
    path = make_dng(tmp_path / "a.dng", MOSAIC, **TAGS, **BASES[base])
    whole = path.read_bytes()
    meta = isp.raw.read(path).meta
    lengths = [*np.linspace(0, len(whole) - 1, 40).astype(int), *(len(whole) - np.array([2, 5, 10, 30, 100]))]
    for length in np.unique(lengths).tolist():
        path.write_bytes(whole[:length])
        result = outcome(path)
        if isinstance(result, isp.raw.RawImage):
            np.testing.assert_array_equal(result.mosaic, MOSAIC, f"cut at {length} of {len(whole)}")
            assert result.meta == meta


@pytest.mark.parametrize("base", BASES)
def test_flipped_bytes(tmp_path: Path, base: str) -> None:
    """120 mutations of each file's structure, 1 to 4 bytes each."""
    rng = np.random.default_rng(5)
    path = make_dng(tmp_path / "a.dng", MOSAIC, **TAGS, **BASES[base])
    whole = path.read_bytes()
    header = 8 + 2 + 12 * 60  # the entries of the IFDs are where structure is
    read = refused = 0
    for _ in range(120):
        data = bytearray(whole)
        for at in rng.integers(0, min(header, len(data)), rng.integers(1, 5)):
            data[at] = rng.integers(0, 256) if rng.random() < 0.5 else rng.choice([0, 1, 0x7F, 0x80, 0xFF])
        path.write_bytes(data)
        if isinstance(outcome(path), RawFileError):
            refused += 1
        else:
            read += 1
    assert read > 5
    assert refused > 5


def test_flipped_bytes_of_a_vendor_raw(tmp_path: Path) -> None:
    """Without DNGVersion LibRaw reads; half of the mutations are of the filters."""
    path = make_dng(tmp_path / "a.nef", MOSAIC, dng_version=None, dng_backward_version=None, **TAGS)
    whole = path.read_bytes()
    filters = entry(whole, 33422)
    for seed in range(120):
        data = bytearray(whole)
        rng = np.random.default_rng(seed)
        if seed % 2:
            data[filters + 8 : filters + 12] = rng.integers(0, 5, 4).astype(np.uint8).tobytes()
            data[filters + 4] = rng.integers(0, 64)
        data[int(rng.integers(8, 700))] = rng.integers(0, 256)
        path.write_bytes(data)
        outcome(path)


def test_noise_after_a_header(tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    for seed in range(100):
        path.write_bytes(b"II*\0\x08\0\0\0" + np.random.default_rng(seed).bytes(2000))
        assert isinstance(outcome(path), RawFileError)


def test_the_shipped_sample_cut_by_a_byte(tmp_path: Path) -> None:
    """Our writer puts a matrix last: without its last byte the file is refused, not rendered in other colours."""
    sample = Path(__file__).parents[2] / "data" / "samples" / "still_life.dng"
    cut = tmp_path / "cut.dng"
    for missing in (1, 10, 100):
        cut.write_bytes(sample.read_bytes()[:-missing])
        with pytest.raises(RawFileError, match="outside the file, which ends at"):
            isp.raw.read(cut)
