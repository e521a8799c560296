"""A raw file that is read ahead gives the same frame, and does so only while it is the same file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dng_factory import make_dng

import isp
from isp import ahead
from isp.raw import RawFileError
from isp.raw.tiff import Source

MOSAIC = np.random.default_rng(0).integers(600, 4000, (64, 36)).astype(np.uint16)


@pytest.fixture(autouse=True)
def _two_processors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ahead, "processors", lambda: 2)
    yield
    ahead._begun.clear()


@pytest.mark.parametrize(
    "options",
    [{}, {"byteorder": ">"}, {"tile": (32, 16)}, {"tile": (64, 48)}, {"subifd": True}, {"compression": 8}],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_frame_is_the_same(tmp_path: Path, options: dict[str, Any], dtype: type) -> None:
    pixels = (MOSAIC / 4096).astype(dtype) if dtype == np.float32 else (MOSAIC // 16).astype(dtype)
    path = make_dng(tmp_path / "a.dng", pixels, black_level=0, white_level=1 if dtype == np.float32 else 255, **options)
    ahead.begin(path)
    raw = isp.read(path)
    assert not ahead._begun, "taken once"
    assert raw.mosaic.dtype == dtype
    np.testing.assert_array_equal(raw.mosaic, pixels)
    raw.mosaic[:] = 1  # one's own, not the file's
    np.testing.assert_array_equal(isp.read(path).mosaic, pixels)


def test_pixels_that_lie_as_they_are_handed_out_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_dng(tmp_path / "a.dng", MOSAIC)
    monkeypatch.delattr(Source, "read_into")
    ahead.begin(path)
    np.testing.assert_array_equal(isp.read(path).mosaic, MOSAIC)


def test_another_file_of_that_name_is_read_itself(tmp_path: Path) -> None:
    path = make_dng(tmp_path / "a.dng", MOSAIC)
    ahead.begin(path)
    ahead._begun[0].join()
    make_dng(tmp_path / "b.dng", MOSAIC + 1).replace(path)
    np.testing.assert_array_equal(isp.read(path).mosaic, MOSAIC + 1)


def test_another_name_is_read_itself(tmp_path: Path) -> None:
    ahead.begin(make_dng(tmp_path / "a.dng", MOSAIC))
    np.testing.assert_array_equal(isp.read(make_dng(tmp_path / "b.dng", MOSAIC + 1)).mosaic, MOSAIC + 1)


def test_what_cannot_be_read_says_so_as_ever(tmp_path: Path) -> None:
    for name, message in (("none.dng", "no such file"), ("empty.dng", "the file is empty"), ("", "is a folder")):
        path = tmp_path / name
        if name == "empty.dng":
            path.touch()
        ahead.begin(path)
        with pytest.raises(RawFileError, match=message):
            isp.read(path)


def test_one_processor_has_no_time_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "processors", lambda: 1)
    ahead.begin(make_dng(tmp_path / "a.dng", MOSAIC))
    assert not ahead._begun
