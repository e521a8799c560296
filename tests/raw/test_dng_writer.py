"""DNGs that we write: read back by our reader, by tifffile, by exiftool, LibRaw, darktable and RawTherapee."""

from __future__ import annotations

import dataclasses
import errno
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rawpy
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from isp.raw import RawImage, RawMetadata, read
from isp.raw.cfa import CANONICAL, CFA
from isp.raw.dng_writer import write_dng
from isp.raw.opcodes import GainMap, WarpRectilinear, pack_opcode_list
from isp.write_tiff import RATIONAL, SRATIONAL, fraction

HEIGHT, WIDTH = 300, 420  # two tiles by two, the last ones incomplete
BAYER = ("RGGB", "GRBG", "GBRG", "BGGR")


def frame(meta: RawMetadata, dtype: Any = np.uint16, top: float = 16383.0) -> np.ndarray:
    """A smooth pattern with noise, from black to `top`."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[: meta.height, : meta.width]
    values = 0.1 * top + 0.8 * top * (0.5 + 0.5 * np.sin(x / 31) * np.cos(y / 23)) + rng.normal(0, top / 500, x.shape)
    values = np.clip(values, 0, top)
    if meta.samples == 3:
        values = np.stack([values, 0.9 * values, 0.8 * values], -1)
    return (np.round(values) if np.dtype(dtype).kind == "u" else values).astype(dtype)


def metadata(**changes: Any) -> RawMetadata:
    """A common dual-illuminant camera."""
    values: dict[str, Any] = {
        "height": HEIGHT,
        "width": WIDTH,
        "cfa": CFA("RGGB"),
        "black_level": np.full((1, 1, 1), 512.0),
        "white_level": [16383.0],
        "calibration_illuminant1": 17,
        "calibration_illuminant2": 21,
        "color_matrix1": [[0.9, -0.3, -0.05], [-0.45, 1.3, 0.15], [-0.05, 0.2, 0.6]],
        "color_matrix2": [[0.8, -0.2, -0.07], [-0.42, 1.25, 0.18], [-0.06, 0.17, 0.65]],
        "as_shot_neutral": [0.51, 1.0, 0.63],
        "make": "Maker",
        "model": "Model 1",
        "unique_camera_model": "Maker Model 1",
    }
    return RawMetadata(**{**values, **changes})


def single(rows: float) -> np.ndarray:
    """As a float32 tag holds it."""
    return np.asarray(rows, np.float32).astype(np.float64)


def everything() -> RawMetadata:
    """Every field that a mosaic can have, with values that a DNG holds exactly."""
    rng = np.random.default_rng(11)
    table = single(rng.uniform(0.5, 1.5, (6, 4, 3, 3)))
    area = (6, 8, HEIGHT - 2, WIDTH - 4)
    size = (area[2] - area[0], area[3] - area[1])
    gain = GainMap(
        flags=1,
        bottom=size[0],
        right=size[1],
        map_gains=single(rng.uniform(1, 2, (3, 4, 1))),
        map_spacing_v=0.5,
        map_spacing_h=1 / 3,
    )
    warp = WarpRectilinear(flags=1, kr=np.array([[1.0, 0.01, 0, 0]]), kt=np.zeros((1, 2)))
    return metadata(
        active_area=area,
        default_crop_origin=(4.5, 3.0),
        default_crop_size=(400.0, 280.25),
        default_scale=(1.0, 1.5),
        orientation=6,
        linearization_table=np.minimum(np.arange(16384) * 2, 65535),
        black_level=rng.integers(100, 9000, (3, 5, 1)) / 16,
        black_level_delta_h=np.round(rng.normal(0, 1, size[1]), 4),
        black_level_delta_v=np.round(rng.normal(0, 1, size[0]), 4),
        white_level=[32766.0],
        opcode_list1=(gain,),
        opcode_list2=(gain, gain),
        opcode_list3=(warp,),
        calibration_illuminant1=255,
        calibration_illuminant2=21,
        calibration_illuminant3=255,
        illuminant_xy1=(0.44757, 0.40745),
        illuminant_xy3=(0.2990, 0.3149),
        color_matrix3=[[0.75, -0.1, -0.08], [-0.4, 1.22, 0.2], [-0.07, 0.15, 0.7]],
        camera_calibration1=np.diag([1.01, 1.0, 0.99]),
        camera_calibration2=np.diag([1.02, 1.0, 0.98]),
        camera_calibration3=np.diag([1.03, 1.0, 0.97]),
        forward_matrix1=[[0.7, 0.15, 0.1142], [0.28, 0.7, 0.02], [0.01, 0.1, 0.7151]],
        forward_matrix2=[[0.65, 0.18, 0.1342], [0.3, 0.65, 0.05], [0.02, 0.05, 0.7551]],
        forward_matrix3=[[0.6, 0.2, 0.1642], [0.31, 0.63, 0.06], [0.03, 0.02, 0.7751]],
        analog_balance=[1.1, 1.0, 0.95],
        baseline_exposure=0.35,
        profile_hue_sat_map1=table,
        profile_hue_sat_map2=table[::-1],
        profile_hue_sat_map3=table[:, ::-1],
        profile_hue_sat_map_encoding=1,
        profile_look_table=single(rng.uniform(0.5, 1.5, (5, 3, 2, 3))),
        profile_look_table_encoding=1,
        profile_tone_curve=[[0, 0], [0.25, 0.375], [1, 1]],
        profile_name="Profile",
        noise_profile=[[1.1e-4, 2.3e-7], [1e-4, 2e-7], [1.3e-4, 2.7e-7]],
        lens_model="24-70mm f/2.8",
        software="test",
        artist="Ærtist",
        copyright="© nobody",
        date_time="2024:05:01 12:34:56",
        iso=400.0,
        exposure_time=1 / 250,
        f_number=5.6,
        focal_length=35.5,
    )


def whole_black(meta: RawMetadata) -> RawMetadata:
    return dataclasses.replace(meta, black_level=np.zeros((1, 1, meta.samples)))


XTRANS = CFA(*CANONICAL["x-trans"])
QUAD = CFA(*CANONICAL["quad-bayer"])
MONOCHROME = {
    "cfa": None,
    "color_matrix1": None,
    "color_matrix2": None,
    "as_shot_neutral": None,
    "calibration_illuminant1": 0,
    "calibration_illuminant2": None,
}
VARIANTS: dict[str, tuple[Callable[[], RawImage], str]] = {}


def variant(name: str, meta: RawMetadata, compression: str, dtype: Any = np.uint16, top: float = 16383.0) -> None:
    VARIANTS[name] = (lambda: RawImage(frame(meta, dtype, top), meta), compression)


for _pattern in BAYER:
    variant(f"{_pattern}, none", metadata(cfa=CFA(_pattern)), "none")
    variant(f"{_pattern}, lossless-jpeg", metadata(cfa=CFA(_pattern)), "lossless-jpeg")
variant("everything, none", everything(), "none")
variant("everything, lossless-jpeg", everything(), "lossless-jpeg")
variant("x-trans", metadata(cfa=XTRANS), "lossless-jpeg")
variant("quad-bayer", metadata(cfa=QUAD), "lossless-jpeg")
variant("monochrome", metadata(**MONOCHROME), "lossless-jpeg")
variant("monochrome, none", metadata(**MONOCHROME), "none")
LINEAR = metadata(cfa=None, samples=3, black_level=np.full((1, 1, 3), 64.0), white_level=[16383.0, 16000.0, 15000.0])
variant("linear", LINEAR, "lossless-jpeg")
variant("linear, none", LINEAR, "none")
variant("linear, float16", whole_black(dataclasses.replace(LINEAR, white_level=np.ones(3))), "none", np.float16, 1.0)
variant("float32", whole_black(metadata(white_level=[1.0])), "none", np.float32, 1.0)
variant("float16", whole_black(metadata(white_level=[1.0])), "none", np.float16, 1.0)
variant("uint8", whole_black(metadata(white_level=[255.0])), "lossless-jpeg", np.uint8, 255.0)
variant("uint32", metadata(white_level=[2.0**30]), "none", np.uint32, 2.0**30)
variant("odd sizes", metadata(height=301, width=421), "lossless-jpeg")
variant("narrow, odd", metadata(height=301, width=41), "lossless-jpeg")
variant("smallest", metadata(height=2, width=2), "lossless-jpeg")
variant("high ISO", metadata(iso=204800.0), "none")
variant("white as xy", metadata(as_shot_neutral=None, as_shot_white_xy=(0.3457, 0.3585)), "none")
variant("nothing known", RawMetadata(HEIGHT, WIDTH, cfa=CFA("BGGR")), "lossless-jpeg")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, RawImage]]:
    """Every variant: its file and what was written."""
    folder = tmp_path_factory.mktemp("dng")
    files = {}
    for name, (make, compression) in VARIANTS.items():
        raw = make()
        files[name] = (folder / f"{name.replace(', ', '-').replace(' ', '-')}.dng", raw)
        write_dng(files[name][0], raw, compression=compression)
    return files


@pytest.mark.parametrize("name", VARIANTS)
def test_read_gives_back_pixels_and_metadata(written: dict[str, tuple[Path, RawImage]], name: str) -> None:
    path, raw = written[name]
    back = read(path)
    assert back.mosaic.dtype == raw.mosaic.dtype
    assert np.array_equal(back.mosaic, raw.mosaic)
    expected, got = raw.meta.as_dict(), back.meta.as_dict()
    for field in expected:
        assert np.array_equal(expected[field], got[field]), field
    assert back.meta == raw.meta


def test_every_field_is_covered_by_the_variant_with_everything() -> None:
    """A field added to RawMetadata has to be written, or excepted here."""
    blank = RawMetadata(HEIGHT, WIDTH).as_dict()
    values = everything().as_dict()
    same = {name for name in blank if np.array_equal(blank[name], values[name])}
    excepted = {"height", "width", "samples", "as_shot_white_xy", "illuminant_xy2"}  # covered by other variants
    assert same == excepted


@pytest.mark.parametrize("name", VARIANTS)
def test_exiftool_finds_no_fault(written: dict[str, tuple[Path, RawImage]], name: str) -> None:
    if shutil.which("exiftool") is None:
        pytest.skip("needs exiftool")
    command = ["exiftool", "-validate", "-warning", "-error", "-a", "-api", "IgnoreMinorErrors", written[name][0]]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    lines = [line for line in said.splitlines() if "[minor]" not in line.lower()]
    assert not [line for line in lines if line.startswith(("Warning", "Error"))], said


@pytest.mark.parametrize("compression", ["none", "lossless-jpeg"])
@pytest.mark.parametrize("pattern", BAYER)
def test_libraw_reads_the_same_bayer_frame(
    written: dict[str, tuple[Path, RawImage]], pattern: str, compression: str
) -> None:
    path, raw = written[f"{pattern}, {compression}"]
    with rawpy.imread(str(path)) as libraw:
        assert np.array_equal(libraw.raw_image, raw.mosaic)
        assert libraw.black_level_per_channel == [512] * 4
        assert libraw.white_level == 16383
        letters = libraw.color_desc.decode()
        assert "".join(letters[i] for i in libraw.raw_colors[:2, :2].ravel()) == pattern
        gains = np.array(libraw.camera_whitebalance[:3])
        assert np.allclose(gains[1] / gains, raw.meta.as_shot_neutral, rtol=1e-6)


def test_libraw_reads_the_other_kinds(written: dict[str, tuple[Path, RawImage]]) -> None:
    for name in ("x-trans", "quad-bayer", "monochrome", "monochrome, none", "odd sizes", "narrow, odd"):
        path, raw = written[name]
        with rawpy.imread(str(path)) as libraw:
            assert np.array_equal(libraw.raw_image, raw.mosaic), name


@pytest.mark.parametrize("name", VARIANTS)
def test_tifffile_reads_the_same_pixels(written: dict[str, tuple[Path, RawImage]], name: str) -> None:
    path, raw = written[name]
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first.pages[0]
        assert np.array_equal(page.asarray().reshape(raw.mosaic.shape), raw.mosaic)
        assert tiff.pages.first.tags["DNGVersion"].value[0] == 1


def test_tags_stand_as_the_specification_says(written: dict[str, tuple[Path, RawImage]]) -> None:
    """By tifffile, so that a mistake made alike in our writer and our reader shows."""
    path, raw = written["everything, none"]
    meta = raw.meta
    with tifffile.TiffFile(path) as tiff:
        main, sub = tiff.pages.first.tags, tiff.pages.first.pages[0].tags
        assert tiff.pages.first.asarray().ndim == 3, "the preview"
        for code, values in (
            (50721, meta.color_matrix1),
            (50722, meta.color_matrix2),
            (52531, meta.color_matrix3),
            (50964, meta.forward_matrix1),
            (52530, meta.camera_calibration3),
            (50728, meta.as_shot_neutral),
            (50727, meta.analog_balance),
            (50730, [meta.baseline_exposure]),
        ):
            pairs = np.array(main[code].value, dtype=np.float64).reshape(-1, 2)
            assert np.array_equal(pairs[:, 0] / pairs[:, 1], np.ravel(values)), code
        assert main[50778].value == 255
        assert main[50937].value == (6, 4, 3)
        # DNG 1.7.1, ProfileHueSatMapData1: values in the outer loop, hues in the middle, saturations inside
        data = np.array(main[50938].value).reshape(3, 6, 4, 3)
        assert np.array_equal(data[2, 5, 1], meta.profile_hue_sat_map1[5, 1, 2])
        assert sub[50713].value == (3, 5)
        pairs = np.array(sub[50714].value, dtype=np.float64).reshape(3, 5, 2)
        assert np.array_equal(pairs[..., 0] / pairs[..., 1], meta.black_level[..., 0])
        assert sub[50829].value == meta.active_area
        assert sub[51009].value == pack_opcode_list(meta.opcode_list2)
        assert sub[33422].value == bytes([0, 1, 1, 2])
        exif = main[34665].value
        assert exif["ISOSpeedRatings"] == 400
        assert exif["ExposureTime"] == (1, 250)
        assert exif["FNumber"] == (28, 5)


def test_versions_follow_the_features(written: dict[str, tuple[Path, RawImage]]) -> None:
    def versions(name: str) -> tuple[Any, Any]:
        with tifffile.TiffFile(written[name][0]) as tiff:
            return tuple(tuple(tiff.pages.first.tags[code].value) for code in (50706, 50707))

    assert versions("RGGB, none") == ((1, 4, 0, 0), (1, 1, 0, 0))
    assert versions("float32") == ((1, 4, 0, 0), (1, 4, 0, 0))  # floating point came with 1.4
    assert versions("everything, none") == ((1, 6, 0, 0), (1, 1, 0, 0))  # three illuminants; optional opcodes


def test_mandatory_opcodes_ask_for_a_reader_that_knows_them(tmp_path: Path) -> None:
    warp = WarpRectilinear(kr=np.array([[1.0, 0.01, 0, 0]]), kt=np.zeros((1, 2)))
    meta = metadata(opcode_list3=(warp,))
    write_dng(tmp_path / "a.dng", RawImage(frame(meta), meta))
    with tifffile.TiffFile(tmp_path / "a.dng") as tiff:
        assert tuple(tiff.pages.first.tags[50707].value) == (1, 3, 0, 0)


def test_preview_shows_the_picture(tmp_path: Path) -> None:
    """A grey card at half of the white level: the preview is grey, at sRGB's code for 0.5."""
    meta = metadata()
    channels = meta.cfa.channel_map(HEIGHT, WIDTH) if meta.cfa else np.zeros(1)
    assert meta.as_shot_neutral is not None
    counts = np.round(512 + (16383 - 512) * 0.5 * meta.as_shot_neutral[channels]).astype(np.uint16)
    write_dng(tmp_path / "grey.dng", RawImage(counts, meta))
    preview = tifffile.imread(tmp_path / "grey.dng", key=0)
    assert abs(preview.astype(int) - 188).max() <= 1  # 255 * (1.055 * 0.5 ** (1 / 2.4) - 0.055) = 187.5
    assert max(preview.shape[:2]) <= 256


def test_the_name_in_isp_raw_is_the_function() -> None:
    """Not a module of the same name, whatever was imported before."""
    import isp.raw

    assert isp.raw.write_dng is write_dng


@given(st.decimals(-1000, 1000, places=6, allow_nan=False))
def test_decimals_are_stored_exactly(value: Any) -> None:
    top, bottom = fraction(float(value), SRATIONAL, "x")
    assert top / bottom == float(value)


@given(st.floats(0, 1e6))
def test_other_numbers_are_stored_within_1e9(value: float) -> None:
    """As the docstring of write_dng states; the fraction fits 32 bits."""
    top, bottom = fraction(value, RATIONAL, "x")
    assert 0 <= top < 2**32
    assert 0 < bottom < 2**32
    assert abs(Fraction(top, bottom) - Fraction(value)) <= max(Fraction(1e-9), Fraction(value) / 2**31)


def test_existing_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    path.write_bytes(b"precious")
    meta = metadata()
    raw = RawImage(frame(meta), meta)
    with pytest.raises(FileExistsError, match=r"a\.dng exists; pass overwrite=True"):
        write_dng(path, raw)
    assert path.read_bytes() == b"precious"
    write_dng(path, raw, overwrite=True)
    assert read(path).meta == meta


def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """/dev/full fails every write; its stand-in here is a tile encoder that fails as a full disk does."""
    from isp.raw import dng_writer as module

    def full(*_: Any) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    meta = metadata()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "encode_lossless_jpeg", full)
        with pytest.raises(OSError, match="No space left"):
            write_dng(tmp_path / "a.dng", RawImage(frame(meta), meta), compression="lossless-jpeg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "dtype", "compression", "message"),
    [
        ({}, np.uint16, "zip", "compression is 'zip'; expected one of none, lossless-jpeg"),
        ({}, np.float64, "none", "mosaic is float64; a DNG holds"),
        ({}, np.float32, "lossless-jpeg", "mosaic is float32; lossless JPEG holds uint8 and uint16"),
        ({"white_level": [1000.5]}, np.uint16, "none", "white_level should be whole numbers"),
        ({"linearization_table": [0, 0.5]}, np.uint16, "none", "linearization_table should be whole numbers"),
        ({"black_level": np.full((1, 1, 1), -3.0)}, np.uint16, "none", "black_level is -3; a DNG holds no negative"),
        ({"baseline_exposure": 1e12}, np.uint16, "none", r"baseline_exposure holds 1e\+12"),
        (
            {"profile_hue_sat_map1": np.ones((6, 4, 1, 3)), "profile_hue_sat_map2": np.ones((3, 4, 1, 3))},
            np.uint16,
            "none",
            "should have one shape",
        ),
    ],
)
def test_what_a_dng_cannot_hold_is_refused(
    tmp_path: Path, changes: dict[str, Any], dtype: Any, compression: str, message: str
) -> None:
    meta = metadata(**changes)
    with pytest.raises(ValueError, match=message):
        write_dng(tmp_path / "a.dng", RawImage(frame(meta, dtype), meta), compression=compression)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["RGGB, lossless-jpeg", "GBRG, none", "odd sizes", "x-trans", "linear"])
@pytest.mark.parametrize("developer", ["darktable-cli", "rawtherapee-cli"])
def test_other_developers_render_it(
    written: dict[str, tuple[Path, RawImage]], tmp_path: Path, developer: str, name: str
) -> None:
    if shutil.which(developer) is None:
        pytest.skip(f"needs {developer}")
    path, out = written[name][0], tmp_path / "out.png"
    if developer == "darktable-cli":
        command = [developer, path, out, "--core", "--configdir", tmp_path / "config", "--library", ":memory:"]
    else:
        command = [developer, "-o", out, "-n", "-d", "-c", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert out.exists(), done.stdout + done.stderr
    picture = np.asarray(Image.open(out), dtype=np.float64)
    assert picture.std() > 20, "the waves of the pattern are seen"
