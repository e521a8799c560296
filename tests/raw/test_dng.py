"""DNG reading against tifffile (tags), LibRaw (pixels of real raws) and imagecodecs' encoders (every codec)."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import rawpy
import tifffile
from dng_factory import make_dng
from PIL import Image

import isp.raw
from isp.raw import RawFileError, UnsupportedRawError, lossless_jpeg
from isp.raw.cfa import CANONICAL
from isp.raw.dng import _spectrum_xy
from isp.raw.fields import Fields
from isp.raw.lossless_jpeg import encode_lossless_jpeg
from isp.raw.opcodes import pack_opcode_list
from isp.raw.tiff import Source, read_ifds

RNG = np.random.default_rng(1)
MOSAIC = RNG.integers(0, 4096, (37, 54)).astype(np.uint16)  # odd height, no multiple of a tile


def read(path: Path) -> isp.raw.RawImage:
    """isp.raw.read that takes every warning for an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return isp.raw.read(path)


def make_encoded(
    path: Path,
    segments: list[bytes],
    mosaic: np.ndarray,
    *,
    bits: int | None = None,
    tag_predictor: int | None = None,
    **options: Any,
) -> Path:
    """A DNG of segments that are already encoded: the tags describe `mosaic`."""
    linear = mosaic.ndim == 3
    tags = [
        (50706, 1, 4, (1, 7, 1, 0)), (50707, 1, 4, (1, 4, 0, 0)), (50708, 2, 0, "Encoded"),
        (50721, 10, 9, [1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1]), (50778, 3, 1, 21),
    ]  # fmt: skip
    if not linear:
        tags += [(33421, 3, 2, (2, 2)), (33422, 1, 4, bytes([0, 1, 1, 2]))]
    tags += options.pop("extratags", [])
    tifffile.imwrite(
        path, iter(segments), shape=mosaic.shape, dtype=mosaic.dtype, photometric=34892 if linear else 32803,
        extratags=tags, metadata=None, **({"planarconfig": "contig"} if linear else {}), **options,
    )  # fmt: skip
    with tifffile.TiffFile(path, mode="r+") as tiff:
        page = tiff.pages[0]
        if bits:
            page.tags["BitsPerSample"].overwrite([bits] * (mosaic.shape[2] if linear else 1))
        if tag_predictor:
            page.tags["Predictor"].overwrite(tag_predictor)
    return path


# --- pixels ---


@pytest.mark.parametrize("folder", ["raw", "burst"])
def test_pixels_of_real_raws_are_libraws_bit_for_bit(shared: Path, folder: str) -> None:
    paths = sorted((shared / "data" / folder).glob("*.dng"))
    assert paths
    for path in paths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one has a BaselineExposure of 0/0
            ours = isp.raw.read(path)
        with rawpy.imread(str(path)) as theirs:
            np.testing.assert_array_equal(ours.mosaic, theirs.raw_image, str(path))
            assert ours.meta.white_level == [theirs.white_level]
            colours = np.array(theirs.raw_colors_visible[:2, :2])
            assert str(ours.meta.cfa) == "".join("RGBG"[c] for c in colours.ravel())
            black = np.broadcast_to(ours.meta.black_level[..., 0], (2, 2))
            np.testing.assert_array_equal(black, np.array(theirs.black_level_per_channel)[colours])


CODECS = [
    (np.uint8, {}),
    (np.uint16, {}),
    (np.uint32, {}),
    (np.float16, {}),
    (np.float32, {}),
    (np.uint8, {"compression": 8}),
    (np.uint16, {"compression": 8}),
    (np.uint16, {"compression": 8, "predictor": 2}),
    (np.uint32, {"compression": 8, "predictor": 2}),
    (np.float16, {"compression": 8}),
    (np.float16, {"compression": 8, "predictor": 3}),
    (np.float32, {"compression": 8, "predictor": 3}),
]
LITTLE_ENDIAN_CODECS = [  # tifffile cannot hand big-endian arrays to these encoders
    (np.uint16, {"compression": 7, "compressionargs": {"lossless": True}}),
    (np.uint8, {"compression": 7, "compressionargs": {"lossless": True}}),
    (np.uint8, {"compression": 52546, "compressionargs": {"lossless": True}}),
    (np.uint16, {"compression": 52546, "compressionargs": {"lossless": True}}),
    (np.float16, {"compression": 52546, "compressionargs": {"lossless": True}}),
    (np.float32, {"compression": 52546, "compressionargs": {"lossless": True}}),
]


@pytest.mark.parametrize(
    ("dtype", "options", "byteorder"),
    [(*codec, order) for codec in CODECS for order in "<>"] + [(*codec, "<") for codec in LITTLE_ENDIAN_CODECS],
)
@pytest.mark.parametrize("tile", [None, (16, 16), (48, 64)])
@pytest.mark.parametrize("samples", [1, 3])
def test_codecs_give_back_the_pixels(tmp_path, dtype, options, byteorder, tile, samples) -> None:
    pixels = RNG.integers(0, 256, (37, 54, 3))
    if np.dtype(dtype).kind == "f":  # libjxl does not keep float16 below 6e-5 (subnormal) exactly
        pixels = RNG.uniform(0.01, 1, (37, 54, 3))
    pixels = pixels.astype(dtype) if samples == 3 else pixels[..., 0].astype(dtype)
    if np.dtype(dtype).itemsize > 1 and np.dtype(dtype).kind == "u":
        pixels *= 257  # both bytes count
    path = make_dng(tmp_path / "a.dng", pixels, tile=tile, byteorder=byteorder, **options)
    raw = read(path)
    assert raw.mosaic.dtype == np.dtype(dtype)
    assert raw.mosaic.dtype.isnative
    np.testing.assert_array_equal(raw.mosaic, pixels)
    assert raw.path == path


@pytest.mark.parametrize(("predictor", "distance"), [(2, 1), (34892, 2), (34893, 4)])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_integer_predictors(tmp_path: Path, predictor: int, distance: int, samples: int, byteorder: str) -> None:
    """Each sample as the difference to the one so many pixels to its left (DNG 1.7.1, "Predictor")."""
    pixels = RNG.integers(0, 65536, (5, 11, 3)).astype(np.uint16)
    pixels = pixels if samples == 3 else pixels[..., 0]
    differences = pixels.copy()
    differences[:, distance:] -= pixels[:, :-distance]
    segment = zlib.compress(differences.astype(byteorder + "u2").tobytes())
    path = make_encoded(
        tmp_path / "a.dng", [segment], pixels, tag_predictor=predictor, byteorder=byteorder, compression=8, predictor=2
    )
    np.testing.assert_array_equal(read(path).mosaic, pixels)


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_packed_counts(tmp_path: Path, bits: int, byteorder: str) -> None:
    """Bits from the highest down, rows from whole bytes, whatever the byte order: packed here by numpy.packbits."""
    pixels = (MOSAIC % (1 << bits)).astype(np.uint16)
    single = (pixels[..., None] >> np.arange(bits)[::-1]) & 1
    packed = np.packbits(single.reshape(37, -1).astype(np.uint8), axis=1)
    path = make_encoded(tmp_path / "a.dng", [packed.tobytes()], pixels, byteorder=byteorder, compression=8)
    with tifffile.TiffFile(
        path, mode="r+"
    ) as tiff:  # tifffile would pack by itself, so it was told the data are deflate
        tiff.pages[0].tags["Compression"].overwrite(1)
        tiff.pages[0].tags["BitsPerSample"].overwrite(bits)
    raw = read(path)
    np.testing.assert_array_equal(raw.mosaic, pixels)
    assert raw.meta.white_level == [2**bits - 1]


@pytest.mark.parametrize("dims", [(16, 8, 2), (8, 32, 1), (32, 4, 2), (16, 4, 4)])
@pytest.mark.parametrize("predictor", [1, 4, 6, 7])
def test_lossless_jpeg_of_another_shape(tmp_path: Path, dims: tuple[int, int, int], predictor: int) -> None:
    """Cameras code a tile as half the columns of two components, and other shapes of as many samples."""
    pixels = RNG.integers(0, 65536, (32, 32)).astype(np.uint16)
    tiles = [pixels[y : y + 16, x : x + 16] for y in (0, 16) for x in (0, 16)]
    shape = dims if dims[2] > 1 else dims[:2]
    options = {"lossless": True, "predictor": predictor, "bitspersample": 16}
    segments = [imagecodecs.jpeg8_encode(t.reshape(shape), **options) for t in tiles]
    path = make_encoded(tmp_path / "a.dng", segments, pixels, tile=(16, 16), compression=7)
    np.testing.assert_array_equal(read(path).mosaic, pixels)


@pytest.fixture(params=["compiled", "imagecodecs"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of decoding lossless JPEG."""
    if request.param == "imagecodecs":
        monkeypatch.setattr(lossless_jpeg, "compiled", lambda: False)
    elif not lossless_jpeg.compiled():
        pytest.skip("no compiler")
    return request.param


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("tile", [None, (16, 16), (48, 64)])
@pytest.mark.parametrize("samples", [1, 3])
def test_lossless_jpeg_both_ways(tmp_path: Path, decoder: str, dtype: type, tile: Any, samples: int) -> None:
    """Tiles and strips whose last ones hang over the edge, or are cut there."""
    pixels = RNG.integers(0, np.iinfo(dtype).max + 1, (37, 54, 3)).astype(dtype)
    pixels = pixels if samples == 3 else pixels[..., 0]
    args = {"lossless": True, "predictor": 5, "bitspersample": 8 * pixels.itemsize}
    options = {"compression": 7, "compressionargs": args}
    path = make_dng(tmp_path / "a.dng", pixels, tile=tile, **options)
    np.testing.assert_array_equal(read(path).mosaic, pixels)


def test_lossless_jpeg_planes_stored_apart(tmp_path: Path, decoder: str) -> None:
    pixels = RNG.integers(0, 65536, (3, 21, 24)).astype(np.uint16)
    strips = [
        imagecodecs.jpeg8_encode(p[y : y + 7], lossless=True, bitspersample=16) for p in pixels for y in (0, 7, 14)
    ]
    path = tmp_path / "a.dng"
    tifffile.imwrite(
        path, iter(strips), shape=pixels.shape, dtype=pixels.dtype, photometric=34892, planarconfig="separate",
        compression=7, rowsperstrip=7, metadata=None, extratags=[(50706, 1, 4, (1, 4, 0, 0))],
    )  # fmt: skip
    np.testing.assert_array_equal(read(path).mosaic, pixels.transpose(1, 2, 0))


def test_lossless_jpeg_with_tables_apart(tmp_path: Path, decoder: str) -> None:
    """JPEGTables: the Huffman tables of all tiles in a tag (TIFF Technical Note 2)."""
    pixels = MOSAIC[:32, :32]
    tiles = [encode_lossless_jpeg(pixels[y : y + 16, x : x + 16, None]) for y in (0, 16) for x in (0, 16)]
    flat = np.full((16, 16, 1), 7, np.uint16)  # whose table has two codes, so that the others' are not taken by luck
    start, end = (tiles[0].index(marker) for marker in (b"\xff\xc4", b"\xff\xc3"))
    table = tiles[0][start:end]
    bare = [tiles[0][:start] + tiles[0][end:], *tiles[1:3], encode_lossless_jpeg(flat)]
    path = make_encoded(
        tmp_path / "a.dng", bare, pixels, tile=(16, 16), compression=7,
        extratags=[(347, 7, len(table) + 4, b"\xff\xd8" + table + b"\xff\xd9")],
    )  # fmt: skip
    expected = pixels.copy()
    expected[16:, 16:] = 7
    np.testing.assert_array_equal(read(path).mosaic, expected)


def test_the_shipped_sample_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    if not lossless_jpeg.compiled():
        pytest.skip("no compiler")
    path = Path(__file__).parents[2] / "data" / "samples" / "still_life.dng"
    mosaic = read(path).mosaic
    monkeypatch.setattr(lossless_jpeg, "compiled", lambda: False)
    np.testing.assert_array_equal(mosaic, read(path).mosaic)


def test_lossless_jpeg_by_another_encoder(tmp_path: Path) -> None:
    segment = imagecodecs.ljpeg_encode(MOSAIC, bitspersample=12)
    path = make_encoded(tmp_path / "a.dng", [segment], MOSAIC, compression=7)
    np.testing.assert_array_equal(read(path).mosaic, MOSAIC)


def test_lossless_jpeg_keeps_three_planes_apart(tmp_path: Path) -> None:
    """Without an Adobe marker, component numbers 1, 2, 3 would mean YCbCr in a lossy file."""
    pixels = RNG.integers(0, 65536, (16, 16, 3)).astype(np.uint16)
    segment = imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=16)
    start = segment.index(b"\xff\xee")
    bare = bytearray(segment[:start] + segment[start + 16 :])
    for marker in (b"\xff\xc3", b"\xff\xda"):
        for old, new in zip(b"RGB", b"\1\2\3", strict=True):
            at = bare.index(bytes([old]), bare.index(marker))
            bare[at] = new
    path = make_encoded(tmp_path / "a.dng", [bytes(bare)], pixels, compression=7)
    np.testing.assert_array_equal(read(path).mosaic, pixels)


def smooth(shape: tuple[int, ...]) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    planes = [
        128 + 100 * np.sin((x + 7 * c) / 9) * np.cos(y / (8 + c)) for c in range(shape[2] if len(shape) > 2 else 1)
    ]
    return np.stack(planes, -1).reshape(shape).astype(np.uint8)


def test_lossy_jpeg_of_linear_rgb_is_what_pillow_decodes(tmp_path: Path) -> None:
    pixels = smooth((48, 64, 3))
    segment = imagecodecs.jpeg8_encode(pixels, level=95, subsampling="444")
    table = np.linspace(0, 65535, 256).astype(int)
    path = make_encoded(
        tmp_path / "a.dng", [segment], pixels, compression=34892,
        extratags=[(50712, 3, 256, table.tolist()), (50717, 4, 3, (65535,) * 3)],
    )  # fmt: skip
    raw = read(path)
    expected = np.array(Image.open(io.BytesIO(segment)))
    assert raw.mosaic.dtype == np.uint8
    np.testing.assert_allclose(raw.mosaic.astype(int), expected.astype(int), atol=1)
    np.testing.assert_allclose(raw.mosaic.astype(int), pixels.astype(int), atol=6)
    np.testing.assert_array_equal(raw.meta.linearization_table, table)
    np.testing.assert_array_equal(raw.meta.white_level, [65535] * 3)


def test_lossy_jpeg_of_a_mosaic(tmp_path: Path) -> None:
    pixels = smooth((32, 32))
    segments = [imagecodecs.jpeg8_encode(pixels[y : y + 16, x : x + 16], level=98) for y in (0, 16) for x in (0, 16)]
    path = make_encoded(tmp_path / "a.dng", segments, pixels, compression=34892, tile=(16, 16))
    np.testing.assert_allclose(read(path).mosaic.astype(int), pixels.astype(int), atol=4)


@pytest.mark.parametrize(("predictor", "distance"), [(3, 1), (34894, 2), (34895, 4)])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("bits", [16, 24, 32])
def test_float_predictors(tmp_path: Path, predictor: int, distance: int, samples: int, bits: int) -> None:
    """TIFF Technical Note 3: encoded here byte by byte, by a loop."""
    # all of them exact in each type; 24 bits are 1 of sign, 7 of exponent, 16 of mantissa
    pixels = np.array([0.0, 1.0, -0.5, 1.5, 0.25, 2.0**-14, 32768.0, 0.75, 3.0, 0.125, 7.0] * 6 * samples, np.float32)
    pixels = pixels.reshape((6, 11, samples) if samples > 1 else (6, 11))
    if bits == 24:
        encoded = imagecodecs.float24_encode(pixels.ravel(), byteorder=">")
    else:
        encoded = pixels.astype(f">f{bits // 8}").tobytes()
    rows = []
    for row in np.frombuffer(encoded, np.uint8).reshape(6, 11 * samples, bits // 8):
        planes = [int(row[i, byte]) for byte in range(bits // 8) for i in range(11 * samples)]
        step = distance * samples
        rows.append(bytes((b - (planes[i - step] if i >= step else 0)) % 256 for i, b in enumerate(planes)))
    path = make_encoded(
        tmp_path / "a.dng", [zlib.compress(b"".join(rows))], pixels, bits=bits, tag_predictor=predictor,
        compression=8, predictor=3, extratags=[(50717, 4, samples, (1,) * samples)],
    )  # fmt: skip
    raw = read(path)
    assert raw.mosaic.dtype == (np.float16 if bits == 16 else np.float32)
    np.testing.assert_array_equal(raw.mosaic, pixels)


def test_planes_stored_apart(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 65536, (3, 20, 24)).astype(np.uint16)
    for compression in (None, 8):
        path = tmp_path / f"{compression}.dng"
        tifffile.imwrite(
            path,
            pixels,
            photometric=34892,
            planarconfig="separate",
            compression=compression,
            rowsperstrip=7,
            metadata=None,
            extratags=[(50706, 1, 4, (1, 4, 0, 0))],
        )
        np.testing.assert_array_equal(read(path).mosaic, pixels.transpose(1, 2, 0))


@pytest.mark.parametrize(("rows", "cols"), [(2, 1), (1, 2), (2, 2), (3, 5)])
def test_interleaved_fields(tmp_path: Path, rows: int, cols: int) -> None:
    stored = np.concatenate([MOSAIC[field::rows] for field in range(rows)])
    stored = np.concatenate([stored[:, field::cols] for field in range(cols)], 1)
    path = make_dng(tmp_path / "a.dng", stored, extratags=[(50975, 3, 1, rows), (52547, 3, 1, cols)])
    np.testing.assert_array_equal(read(path).mosaic, MOSAIC)


# --- tags ---


def test_tags_are_tifffiles(shared: Path) -> None:
    """Every number and text of real files, as an independent reader of TIFF has it."""
    compared = 0
    for path in sorted((shared / "data" / "raw").glob("*.dng")) + sorted((shared / "data" / "burst").glob("*.dng"))[:2]:
        with open(path, "rb") as file, tifffile.TiffFile(path) as tiff:
            ifd = read_ifds(Source(file))[0]
            theirs = {tag.code: tag for tag in tiff.pages[0].tags}
            assert set(theirs) == set(ifd.tags)
            for code, tag in theirs.items():
                if tag.dtype in (5, 10):
                    pairs = np.array(tag.value, float).reshape(-1, 2)
                    with np.errstate(invalid="ignore"):
                        expected = pairs[:, 0] / pairs[:, 1]
                    np.testing.assert_array_equal(ifd.numbers(code, tag.count), expected)
                elif tag.dtype == 2:
                    assert ifd.text(code) == (tag.value or None)
                elif tag.dtype == 7 or isinstance(tag.value, bytes):
                    assert ifd.data(code, 1 << 20) == tag.value
                elif not isinstance(tag.value, (dict, str)):
                    np.testing.assert_array_equal(ifd.numbers(code, tag.count), np.atleast_1d(tag.value))
                compared += 1
    assert compared > 200


EVERYTHING = {
    "orientation": 6,
    "active_area": (2, 3, 34, 51),
    "default_crop_origin": (4.0, 2.5),
    "default_crop_size": (40.0, 28.0),
    "default_scale": (1.0, 2.0),
    "black_level_repeat_dim": (2, 3),
    "black_level": (64.0, 64.25, 64.5, 65.0, 65.25, 65.5),
    "black_level_delta_h": np.linspace(-1, 1, 48),
    "black_level_delta_v": np.linspace(0, 3, 32),
    "white_level": 4000,
    "linearization_table": np.arange(4096) // 2,
    "color_matrix1": np.eye(3) + 0.1,
    "color_matrix2": np.eye(3) + 0.2,
    "color_matrix3": np.eye(3) + 0.3,
    "forward_matrix1": np.eye(3) - 0.1,
    "forward_matrix2": np.eye(3) - 0.2,
    "forward_matrix3": np.eye(3) - 0.15,
    "camera_calibration1": np.diag([1.01, 1, 0.99]),
    "camera_calibration2": np.diag([1.02, 1, 0.98]),
    "camera_calibration3": np.diag([1.03, 1, 0.97]),
    "calibration_illuminant1": 17,
    "calibration_illuminant2": 21,
    "calibration_illuminant3": 24,
    "analog_balance": (1.25, 1.0, 0.75),
    "as_shot_neutral": (0.5, 1.0, 0.625),
    "as_shot_white_xy": (0.34, 0.35),
    "baseline_exposure": -0.5,
    "baseline_exposure_offset": 0.25,
    "profile_name": "A profile",
    "profile_hue_sat_map_encoding": 1,
    "profile_look_table_encoding": 1,
    "profile_tone_curve": (0.0, 0.0, 0.25, 0.5, 1.0, 1.0),
    "noise_profile": (1e-4, 1e-6, 2e-4, 2e-6, 3e-4, 3e-6),
    "make": "Maker",
    "model": "Model",
    "artist": "Somebody",
    "copyright": "None",
    "unique_camera_model": "Maker Model",
    "date_time": "2024:05:06 07:08:09",
    "exposure_time": 0.005,
    "f_number": 2.8,
    "focal_length": 35.0,
    "iso": 400,
}


@pytest.mark.parametrize("subifd", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_every_field_and_where_it_came_from(tmp_path: Path, subifd: bool, byteorder: str) -> None:
    raw_tags = {
        "cfa", "active_area", "default_crop_origin", "default_crop_size", "default_scale", "black_level", "white_level",
        "black_level_delta_h", "black_level_delta_v", "linearization_table", "noise_profile",
    }  # fmt: skip
    path = make_dng(tmp_path / "a.dng", MOSAIC, subifd=subifd, byteorder=byteorder, **EVERYTHING)
    meta = read(path).meta
    for name, value in EVERYTHING.items():
        if name not in ("black_level_repeat_dim", "baseline_exposure_offset"):
            found = getattr(meta, name)
            if name == "baseline_exposure":
                value = -0.25
            if isinstance(value, str):
                assert found == value
            else:
                expected = np.asarray(value, float).ravel()
                np.testing.assert_allclose(np.asarray(found).ravel(), expected, atol=1e-12, rtol=1e-6, err_msg=name)
            where = "SubIFD0" if subifd and name in raw_tags else "IFD0"
            assert meta.origins[name].startswith(f"{where} tag "), (name, meta.origins[name])
    assert meta.black_level.shape == (2, 3, 1)
    assert meta.noise_profile is not None
    assert meta.noise_profile.shape == (3, 2)
    assert str(meta.cfa) == "RGGB"
    assert meta.origins["color_matrix1"] == "IFD0 tag 50721 ColorMatrix1"
    assert meta.origins["lens_model"] == "default"
    assert set(meta.origins) == set(meta.as_dict())


def test_defaults_are_the_specifications(tmp_path: Path) -> None:
    meta = read(make_dng(tmp_path / "a.dng", MOSAIC)).meta
    assert (meta.area, meta.crop, meta.orientation) == ((0, 0, 37, 54), (0, 0, 37, 54), 1)
    np.testing.assert_array_equal(meta.white_level, [65535])
    np.testing.assert_array_equal(meta.black_level, [[[0]]])
    assert meta.baseline_exposure == 0
    floating = read(make_dng(tmp_path / "b.dng", MOSAIC.astype(np.float32))).meta
    np.testing.assert_array_equal(floating.white_level, [1])
    assert floating.origins["white_level"] == "default"
    linear = read(make_dng(tmp_path / "c.dng", np.dstack([MOSAIC] * 3), black_level=(1, 2, 3), white_level=(4, 5, 6)))
    np.testing.assert_array_equal(linear.meta.black_level, [[[1, 2, 3]]])
    np.testing.assert_array_equal(linear.meta.white_level, [4, 5, 6])
    assert linear.meta.kind == "linear"


def test_hue_sat_map_order(tmp_path: Path) -> None:
    """DNG stores saturation fastest, then hue, then value (chapter 4, ProfileHueSatMapData1)."""
    hues, saturations, values = 4, 2, 3
    stored = [
        (100.0 * h + 10 * s + v, 1.0 + h, 1.0 + s)
        for v in range(values)
        for h in range(hues)
        for s in range(saturations)
    ]
    path = make_dng(
        tmp_path / "a.dng", MOSAIC, profile_hue_sat_map_dims=(hues, saturations, values),
        profile_hue_sat_map_data1=np.ravel(stored), profile_look_table_dims=(hues, saturations, values),
        profile_look_table_data=np.ravel(stored),
    )  # fmt: skip
    meta = read(path).meta
    for table in (meta.profile_hue_sat_map1, meta.profile_look_table):
        assert table is not None
        assert table.shape == (4, 2, 3, 3)
        np.testing.assert_array_equal(table[3, 1, 2], [312, 4, 2])
        np.testing.assert_array_equal(table[2, 0, 1], [201, 3, 1])


@pytest.mark.parametrize("order", ["<", ">"])
def test_illuminant_data(tmp_path: Path, order: str) -> None:
    """xy as it stands, and the spectrum of CIE illuminant A (Planck's law at 2856 K), whose xy is 0.44758, 0.40745."""
    wavelengths = np.arange(380, 781, 5)
    power = wavelengths**-5.0 / np.expm1(1.435e7 / (wavelengths * 2848.0))  # CIE 15: c2 = 1.435e-2 m K
    power = power / power.max() * 1_000_000
    xy = struct.pack(order + "H4I", 0, 3300, 10000, 3400, 10000)
    spectrum = struct.pack(order + "H5I", 1, len(power), 380, 1, 5, 1)
    spectrum += b"".join(struct.pack(order + "2I", round(p), 1_000_000) for p in power)
    path = make_dng(
        tmp_path / "a.dng", MOSAIC, byteorder=order, calibration_illuminant1=255, calibration_illuminant2=255,
        color_matrix2=np.eye(3), illuminant_data1=xy, illuminant_data2=spectrum,
    )  # fmt: skip
    meta = read(path).meta
    assert meta.illuminant_xy1 == pytest.approx((0.33, 0.34))
    assert meta.illuminant_xy2 == pytest.approx((0.44758, 0.40745), abs=2e-4)
    assert _spectrum_xy(np.array([300.0, 900.0]), np.ones(2)) == pytest.approx((1 / 3, 1 / 3), abs=1e-4)


def test_calibration_of_another_profile_is_left_out(tmp_path: Path) -> None:
    calibration = np.diag([1.1, 1, 0.9])
    signatures = [(50931, 2, 0, "camera"), (50932, 2, 0, "profile")]
    same = [(50931, 2, 0, "same"), (50932, 2, 0, "same")]
    for extra, expected in ((signatures, None), (same, calibration), (signatures[:1], None), ([], calibration)):
        meta = read(make_dng(tmp_path / "a.dng", MOSAIC, camera_calibration1=calibration, extratags=extra)).meta
        np.testing.assert_array_equal(meta.camera_calibration1, expected)


def test_opcode_lists_are_parsed(tmp_path: Path) -> None:
    listed = struct.pack(">IIIIIdddd", 1, 14, 0x01030000, 0, 0, 0, 0, 0, 0)
    try:
        isp.raw.opcodes.parse_opcode_list(listed)
        pytest.fail("a lie about the length was accepted")
    except RawFileError:
        pass
    meta = read(make_dng(tmp_path / "a.dng", MOSAIC, opcode_list2=pack_opcode_list(()))).meta
    assert meta.opcode_list2 == ()
    assert meta.origins["opcode_list2"] == "IFD0 tag 51009 OpcodeList2"
    with pytest.raises(RawFileError, match="OpcodeList2"):
        read(make_dng(tmp_path / "b.dng", MOSAIC, opcode_list2=listed))


# --- the raw image among others, and the CFA ---


def test_the_largest_full_image_is_taken(tmp_path: Path) -> None:
    """Beside a preview, a smaller raw, a depth map, a reduced raw and an enhanced image."""
    cfa = [(33421, 3, 2, (2, 2)), (33422, 1, 4, bytes([0, 1, 1, 2]))]
    with tifffile.TiffWriter(tmp_path / "a.dng") as writer:
        options = {"metadata": None, "software": False}
        tags = [(50706, 1, 4, (1, 6, 0, 0))]
        writer.write(
            np.zeros((64, 64, 3), np.uint8), photometric="rgb", subfiletype=1, subifds=5, extratags=tags, **options
        )
        big = np.zeros((80, 80), np.uint16)
        writer.write(big[:8, :8], photometric=32803, subfiletype=0, extratags=cfa, **options)
        writer.write(MOSAIC, photometric=32803, subfiletype=0, extratags=cfa, **options)
        writer.write(big, photometric=32803, subfiletype=8, extratags=cfa, **options)
        writer.write(big, photometric=32803, subfiletype=1, extratags=cfa, **options)
        writer.write(np.dstack([big] * 3), photometric=34892, subfiletype=16, planarconfig="contig", **options)
    np.testing.assert_array_equal(read(tmp_path / "a.dng").mosaic, MOSAIC)


@pytest.mark.parametrize("kind", list(CANONICAL))
def test_cfa_kinds(tmp_path: Path, kind: str) -> None:
    letters, rows, cols = CANONICAL[kind]
    meta = read(make_dng(tmp_path / "a.dng", MOSAIC, cfa=letters)).meta
    assert (meta.kind, meta.cfa.pattern, meta.cfa.rows, meta.cfa.cols) == (kind, letters, rows, cols)


@pytest.mark.parametrize(("letters", "dim"), [("RGRGGBGBRGRGGBGB", (4, 4)), ("RGRGGBGB", (2, 4)), ("RGGBRGGB", (4, 2))])
def test_repeated_bayer_is_bayer(tmp_path: Path, letters: str, dim: tuple[int, int]) -> None:
    assert str(read(make_dng(tmp_path / "a.dng", MOSAIC, cfa=letters, cfa_dim=dim)).meta.cfa) == "RGGB"


def test_monochrome(tmp_path: Path) -> None:
    raw = read(make_dng(tmp_path / "a.dng", MOSAIC, cfa=None, noise_profile=(1e-4, 1e-6)))
    assert raw.meta.kind == "monochrome"
    assert raw.meta.noise_profile is not None
    assert raw.meta.noise_profile.shape == (1, 2)
    np.testing.assert_array_equal(raw.mosaic, MOSAIC)


REFUSED = {
    "white filters": {"cfa": None, "cfa_repeat_pattern_dim": (2, 2), "cfa_pattern": bytes([0, 1, 6, 2])},
    "cyan, magenta, yellow": {"cfa_plane_color": (3, 4, 5)},
    "red, green, blue, yellow": {"cfa_plane_color": (0, 1, 2, 5)},
    "staggered": {"cfa_layout": 2},
    "not supported": {"cfa": "RRGB"},
    "every 64 x 64": {"cfa_repeat_pattern_dim": (64, 64)},
    "version 1.8.0.0": {"dng_backward_version": (1, 8, 0, 0)},
    "compression 5": {"compression": 5},
    "SubTileBlockSize": {"extratags": [(50974, 3, 2, (2, 2))]},
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_kinds_are_refused_by_name(tmp_path: Path, name: str) -> None:
    options = dict(REFUSED[name])
    path = make_dng(tmp_path / "a.dng", MOSAIC, **options)
    if "cfa" in options and options["cfa"] is None:
        with tifffile.TiffFile(path, mode="r+") as tiff:
            tiff.pages[0].tags["PhotometricInterpretation"].overwrite(32803)
    with pytest.raises(UnsupportedRawError, match=name) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_four_linear_planes_are_refused(tmp_path: Path) -> None:
    path = make_dng(tmp_path / "a.dng", np.dstack([MOSAIC] * 4))
    with pytest.raises(UnsupportedRawError, match="linear raw with 4 planes"):
        read(path)


def test_a_dng_of_a_picture_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.dng", np.zeros((8, 8, 3), np.uint8), photometric="rgb", extratags=[(50706, 1, 4, (1, 4, 0, 0))]
    )
    with pytest.raises(UnsupportedRawError, match=r"without a raw image.*photometric 2"):
        read(tmp_path / "a.dng")


IGNORED = {
    "BaselineExposure": {"extratags": [(50730, 10, 1, (0, 0))]},
    "Orientation": {"orientation": 9},
    "AsShotNeutral": {"as_shot_neutral": (0.5, 0.0, 0.5)},
    "50728 AsShotNeutral is 1, 1e-06, 1": {"as_shot_neutral": (1.0, 1e-6, 1.0)},
    "AnalogBalance": {"analog_balance": (0.5, 0.0, 0.5)},
    "ForwardMatrix1": {"forward_matrix1": np.zeros(9)},
    "DefaultCrop": {"default_crop_origin": (10, 10), "default_crop_size": (54, 37)},
    "DefaultScale": {"default_scale": (0, 1)},
    "ProfileToneCurve": {"profile_tone_curve": (0.0, 0.0, 1.0)},
    "ProfileHueSatMapDims": {
        "profile_hue_sat_map_dims": (60000, 60000, 60000),
        "profile_hue_sat_map_data1": (1.0, 2.0),
    },
    "NoiseProfile": {"noise_profile": (1e-4, float("nan"))},
    "AsShotWhiteXY": {"as_shot_white_xy": (0.9, 0.9)},
    "PhotographicSensitivity": {"extratags": [(34855, 2, 0, "many")]},
}


@pytest.mark.parametrize("name", IGNORED)
def test_what_a_picture_can_do_without_is_ignored_with_a_warning(tmp_path: Path, name: str) -> None:
    path = make_dng(tmp_path / "a.dng", MOSAIC, **IGNORED[name])
    with pytest.warns(UserWarning, match=f"{name}.*ignored") as caught:
        raw = isp.raw.read(path)
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    assert caught[0].filename == __file__  # the caller's line, not ours
    plain = read(make_dng(tmp_path / "b.dng", MOSAIC)).meta
    for field in IGNORED[name]:
        if hasattr(plain, field) and field != "as_shot_neutral":
            np.testing.assert_array_equal(getattr(raw.meta, field), getattr(plain, field))


def test_what_is_not_rendered_is_said(tmp_path: Path) -> None:
    path = make_dng(tmp_path / "a.dng", MOSAIC, extratags=[(52525, 7, 4, b"gain")], subifd=True)
    with pytest.warns(UserWarning, match="SubIFD0 tag 52525 ProfileGainTableMap is not rendered"):
        isp.raw.read(path)


def test_text_that_is_not_ascii(tmp_path: Path) -> None:
    path = make_dng(tmp_path / "a.dng", MOSAIC, model="Model-X", make="Model-Y")
    path.write_bytes(
        path.read_bytes().replace(b"Model-X", "Möl-X".encode() + b"\0").replace(b"Model-Y", "Mödel-Y".encode("latin-1"))
    )
    meta = read(path).meta
    assert (meta.model, meta.make) == ("Möl-X", "Mödel-Y")


def test_empty_text_is_none(tmp_path: Path) -> None:
    meta = read(make_dng(tmp_path / "a.dng", MOSAIC, artist="", copyright=" ", date_time="    ")).meta
    assert (meta.artist, meta.copyright, meta.date_time) == (None, None, None)


def test_fields_that_contradict_each_other_are_one_error() -> None:
    fields = Fields()
    for name, value in (("height", 4), ("width", 4), ("active_area", (0, 0, 9, 9))):
        fields.put(name, value, "test")
    with pytest.raises(RawFileError, match="active_area"):
        fields.metadata()
