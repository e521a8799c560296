"""Reading by LibRaw against our own reading of the same DNGs: LibRaw reads them as it reads makers' formats."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from dng_factory import make_dng
from PIL import Image

import isp.raw
from isp.raw import RawFileError, UnsupportedRawError
from isp.raw.cfa import CANONICAL
from isp.raw.vendor import _colours, read_vendor

RNG = np.random.default_rng(2)
MOSAIC = RNG.integers(100, 4000, (120, 160)).astype(np.uint16)
PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")


def assert_same(path: Path) -> isp.raw.RawImage:
    """LibRaw's reading, after a comparison with ours in everything that LibRaw knows of a DNG."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = isp.raw.read(path)
    theirs, notes = read_vendor(path)
    assert notes == []
    np.testing.assert_array_equal(theirs.mosaic, ours.mosaic)
    mine, other = ours.meta, theirs.meta
    # LibRaw moves an active area that begins at an odd row or column on by one, and the CFA with it
    down, right = other.area[0] - mine.area[0], other.area[1] - mine.area[1]
    if mine.kind == "bayer":
        assert (down, right) == (mine.area[0] % 2, mine.area[1] % 2)
    else:
        assert (down, right) == (0, 0)
    assert other.area[2:] == mine.area[2:]
    assert other.cfa == (mine.cfa and mine.cfa.shifted(down, right))
    assert other.orientation == mine.orientation
    black = np.broadcast_to(mine.black_level, other.black_level.shape)
    np.testing.assert_array_equal(other.black_level, black)
    np.testing.assert_array_equal(other.white_level, mine.white_level)
    if mine.as_shot_neutral is not None and mine.cfa is not None:
        assert other.as_shot_neutral is not None
        neutral = mine.as_shot_neutral / mine.as_shot_neutral.max()
        np.testing.assert_allclose(other.as_shot_neutral, neutral, rtol=1e-6)
    for name in ("make", "model", "software", "iso", "exposure_time", "f_number", "focal_length", "date_time"):
        assert getattr(other, name) == getattr(mine, name), name
    return theirs


def test_real_raws(shared: Path) -> None:
    for path in sorted((shared / "data" / "raw").glob("*.dng")) + sorted((shared / "data" / "burst").glob("*.dng"))[:2]:
        raw = assert_same(path)
        assert raw.meta.origins["black_level"] == "LibRaw"
        assert raw.path == path


@pytest.mark.parametrize("cfa", PHASES)
def test_black_levels_stay_at_their_positions(tmp_path: Path, cfa: str) -> None:
    """Four levels, which LibRaw sorts by colour with the greens as colours 1 and 3."""
    path = make_dng(
        tmp_path / "a.dng",
        MOSAIC,
        cfa=cfa,
        black_level_repeat_dim=(2, 2),
        black_level=(64, 67, 70, 75),
        white_level=4095,
        as_shot_neutral=(0.5, 1.0, 0.625),
        iso=200,
        exposure_time=0.01,
        f_number=4.0,
        focal_length=50.0,
        date_time="2024:05:06 07:08:09",
    )
    raw = assert_same(path)
    np.testing.assert_array_equal(raw.meta.black_level[..., 0], [[64, 67], [70, 75]])


@pytest.mark.parametrize("cfa", PHASES)
@pytest.mark.parametrize("area", [(0, 0, 120, 160), (3, 0, 119, 160), (0, 5, 120, 159), (7, 9, 110, 150)])
def test_the_cfa_begins_at_the_active_area(tmp_path: Path, cfa: str, area: tuple[int, int, int, int]) -> None:
    """With one black level: where LibRaw moves the area, it leaves a DNG's pattern of levels behind."""
    path = make_dng(tmp_path / "a.dng", MOSAIC, cfa=cfa, active_area=area, black_level=64)
    assert_same(path)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation(tmp_path: Path, orientation: int) -> None:
    assert_same(make_dng(tmp_path / "a.dng", MOSAIC, orientation=orientation))


@pytest.mark.parametrize("area", [(0, 0, 120, 160), (5, 7, 119, 157)])
def test_x_trans(tmp_path: Path, area: tuple[int, int, int, int]) -> None:
    letters = CANONICAL["x-trans"][0]
    raw = assert_same(make_dng(tmp_path / "a.dng", MOSAIC, cfa=letters, active_area=area, black_level=64))
    assert raw.meta.kind == "x-trans"


def test_monochrome(tmp_path: Path) -> None:
    assert assert_same(make_dng(tmp_path / "a.dng", MOSAIC, cfa=None)).meta.kind == "monochrome"


def test_default_crop_counts_from_the_active_area(tmp_path: Path) -> None:
    path = make_dng(
        tmp_path / "a.dng",
        MOSAIC,
        active_area=(4, 6, 116, 154),
        default_crop_origin=(8, 10),
        default_crop_size=(120, 80),
    )
    ours, theirs = isp.raw.read(path).meta, read_vendor(path)[0].meta
    if theirs.default_crop_size is not None:  # LibRaw takes the crop over for some makers only
        assert theirs.crop in (ours.crop, (0, 0, 112, 148))


def test_unknown_camera_has_no_matrix(tmp_path: Path) -> None:
    """LibRaw's matrix of a camera that is not in its table is all zeros."""
    meta = read_vendor(make_dng(tmp_path / "a.dng", MOSAIC))[0].meta
    assert meta.color_matrix1 is None
    assert meta.origins["color_matrix1"] == "default"
    assert meta.exposure_time is None


def test_known_camera_has_libraws_matrix(tmp_path: Path) -> None:
    """A file of a Canon EOS 5D Mark II takes its ColorMatrix from LibRaw's table, which has Adobe's for D65."""
    path = make_dng(
        tmp_path / "a.dng", MOSAIC, make="Canon", model="Canon EOS 5D Mark II",
        unique_camera_model="Canon EOS 5D Mark II", color_matrix1=None,
    )  # fmt: skip
    meta = read_vendor(path)[0].meta
    assert meta.color_matrix1 is not None
    expected = np.array([[4716, 603, -830], [-7798, 15474, 2480], [-1496, 1937, 6651]]) / 10000
    np.testing.assert_allclose(meta.color_matrix1, expected, atol=1e-6)
    assert meta.calibration_illuminant1 == 21


def test_several_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedRawError, match="several samples"):
        read_vendor(make_dng(tmp_path / "a.dng", np.dstack([MOSAIC] * 3)))


def test_filters_that_rawpy_does_not_know_are_refused() -> None:
    """From a file with a damaged CFAPattern LibRaw took these from memory, and differently each time."""

    class Raw:
        num_colors = 3

        @property
        def raw_pattern(self) -> np.ndarray:
            raise NotImplementedError("filters: 148")

    with pytest.raises(UnsupportedRawError, match="filters: 148"):
        _colours(Raw())  # type: ignore[arg-type]


def test_a_tiff_without_dng_version_goes_to_libraw(tmp_path: Path) -> None:
    path = make_dng(tmp_path / "a.nef", MOSAIC, dng_version=None, dng_backward_version=None)
    raw = isp.raw.read(path)
    assert raw.meta.origins["cfa"] == "LibRaw"
    np.testing.assert_array_equal(raw.mosaic, MOSAIC)


def test_files_that_are_no_raws(tmp_path: Path) -> None:
    """Each in one line that names the file; a grey TIFF would be a mosaic to LibRaw."""
    for suffix in ("jpg", "png", "gif"):
        Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / f"picture.{suffix}")
    tifffile.imwrite(tmp_path / "grey.tif", MOSAIC)
    tifffile.imwrite(tmp_path / "rgb.tif", np.dstack([MOSAIC] * 3))
    (tmp_path / "text.dng").write_text("not a raw\n" * 30)
    (tmp_path / "short.dng").write_text("not a raw")
    (tmp_path / "short.nef").write_bytes(b"\x80\x03")
    (tmp_path / "umlaut.dng").write_text("ÄÖÜ\n" * 30, encoding="utf-8")
    (tmp_path / "empty.dng").touch()
    (tmp_path / "folder.dng").mkdir()
    expected = {
        "picture.jpg": "is a JPEG file", "picture.png": "is a PNG file", "picture.gif": "is a GIF file",
        "grey.tif": "TIFF without DNGVersion", "rgb.tif": "TIFF without DNGVersion",
        "text.dng": "is not a raw file: it is text that begins with 'not a raw not a raw '; expected a DNG",
        "short.dng": "is not a raw file: it is text that begins with 'not a raw'; expected",
        "short.nef": r"is not a raw file: it begins with b'.x80.x03'; expected a DNG",
        "umlaut.dng": "is text that begins with 'ÄÖÜ ÄÖÜ",
        "empty.dng": "empty", "folder.dng": "folder", "missing.dng": "no such file",
    }  # fmt: skip
    if sys.platform != "win32":
        expected["null.dng"] = "device"
        (tmp_path / "null.dng").symlink_to("/dev/null")
    for name, message in expected.items():
        with pytest.raises(RawFileError, match=message) as caught:
            isp.raw.read(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(str(tmp_path / name))
