"""isp.save: pixels, profile and EXIF of every format, read back by libraries that had no part in writing them."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
import tifffile
from disks import files_up_to
from PIL import Image

from isp.output import FORMATS, depth, open_rows, save, takes_rows
from isp.output.icc import profile
from isp.raw.metadata import RawMetadata

META = RawMetadata(
    height=2,
    width=2,
    make="Löwe",
    model="Model 1",
    lens_model="50 mm f/2",
    artist="A. Photographer",
    copyright="© the same",
    date_time="2024:02:29 12:34:56",
    iso=200,
    exposure_time=1 / 8000,
    f_number=2.8,
    focal_length=50.0,
    orientation=6,
)
DISPLAY = [("a.png", 8), ("a.png", 16), ("a.tif", 8), ("a.tiff", 16), ("a.jpg", 8), ("a.JPEG", 8), ("a.avif", 8)]
LINEAR = [("a.tif", 32), ("a.exr", 32), ("a.exr", 16)]


def picture(height: int = 21, width: int = 30) -> np.ndarray:
    """A smooth colour gradient that runs out of [0, 1] on both sides: H W 3, float32."""
    y, x = np.meshgrid(np.linspace(-0.1, 1.1, height), np.linspace(0, 1.2, width), indexing="ij")
    return np.stack([x, y, 0.5 * x + 0.25], -1).astype(np.float32)


def read_integers(path: Path) -> np.ndarray:
    if path.suffix in (".tif", ".tiff"):
        return tifffile.imread(path)
    if path.suffix == ".png":
        return oiio.ImageInput.open(str(path)).read_image("unknown")
    return np.asarray(Image.open(path))


@pytest.mark.parametrize(("name", "bits"), [case for case in DISPLAY if case[0].endswith(("png", "tif", "tiff"))])
def test_integers_are_clipped_and_rounded_to_nearest(tmp_path: Path, name: str, bits: int) -> None:
    x = picture()
    save(tmp_path / name, x, bits=bits)
    stored = read_integers(tmp_path / name)
    assert stored.dtype == f"uint{bits}"
    expected = np.floor(np.clip(x.astype(np.float64), 0, 1) * (2**bits - 1) + 0.5)
    if bits == 8:
        np.testing.assert_array_equal(stored, expected)
    else:  # float32 holds 24 bits: a value may fall on the other side of a half by 1/256 of a step
        np.testing.assert_allclose(stored, np.clip(x.astype(np.float64), 0, 1) * 65535, atol=0.505)


def test_every_integer_survives() -> None:
    from isp.output import quantise

    for bits in (8, 16):
        levels = np.arange(2**bits, dtype=np.float32) / np.float32(2**bits - 1)
        np.testing.assert_array_equal(quantise(levels, bits, as_float=False), np.arange(2**bits))
    np.testing.assert_array_equal(quantise(np.array([0.5 / 255, 1.4999 / 255, -1, np.inf]), 8, False), [1, 1, 0, 255])


@pytest.mark.parametrize("name", ["a.jpg", "a.avif"])
def test_lossy_formats_are_close_at_full_colour_resolution(tmp_path: Path, name: str) -> None:
    x = np.zeros((32, 32, 3), np.float32)
    x[:, ::2, 0] = 1  # red and black columns, one pixel wide: with chroma at half resolution red would be a mean
    save(tmp_path / name, x)
    stored = np.asarray(Image.open(tmp_path / name)) / 255
    assert np.abs(stored - x).mean() < 0.03
    assert stored[:, ::2, 0].min() > 0.8
    save(tmp_path / name, x, quality=20, overwrite=True)
    assert (tmp_path / name).stat().st_size > 0


@pytest.mark.parametrize(("name", "bits"), LINEAR)
def test_float_formats_keep_every_value(tmp_path: Path, name: str, bits: int) -> None:
    x = picture() * 40 - 1
    save(tmp_path / name, x, linear=True, bits=bits)
    if name.endswith("exr"):
        file = oiio.ImageInput.open(str(tmp_path / name))
        assert str(file.spec().format) == {16: "half", 32: "float"}[bits]
        assert file.spec().channelnames == ("R", "G", "B")
        stored = file.read_image("float")
    else:
        stored = tifffile.imread(tmp_path / name)
    np.testing.assert_array_equal(stored, x if bits == 32 else x.astype(np.float16).astype(np.float32))


def test_one_channel_goes_into_float_formats_only(tmp_path: Path) -> None:
    x = picture()[..., 0]
    save(tmp_path / "a.exr", x, linear=True, space="camera")
    file = oiio.ImageInput.open(str(tmp_path / "a.exr"))
    assert file.spec().channelnames == ("Y",)
    np.testing.assert_array_equal(file.read_image("float")[..., 0], x)
    save(tmp_path / "a.tif", x[..., None], linear=True, bits=32)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), x)
    with pytest.raises(ValueError, match=r"got shape \(21, 30\); one channel goes into EXR and 32-bit TIFF only"):
        save(tmp_path / "a.png", x)


def test_half_float_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="beyond 65504 do not fit 16-bit float; use 32 bits"):
        save(tmp_path / "a.exr", picture() * 1e5, linear=True, bits=16)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "bits"), DISPLAY + LINEAR)
def test_profile_of_the_space_is_inside(tmp_path: Path, name: str, bits: int) -> None:
    path, linear = tmp_path / name, (name, bits) in LINEAR
    for space in ("srgb", "prophoto", "camera"):
        save(path, picture(), space=space, bits=bits, linear=linear, overwrite=True)
        if name.endswith("exr"):
            held = oiio.ImageInput.open(str(path)).spec().getattribute("chromaticities")
            assert (held is None) == (space == "camera")
            if space == "prophoto":
                np.testing.assert_allclose(held, (0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001, 0.3457, 0.3585))
        elif name.endswith(("tif", "tiff")):
            held = tifffile.TiffFile(path).pages.first.tags.get(34675)
            assert (held.value if held else None) == profile(space, linear)
        else:
            assert Image.open(path).info.get("icc_profile") == profile(space, linear)


@pytest.mark.parametrize(("name", "bits"), [case for case in DISPLAY + LINEAR if not case[0].endswith("exr")])
def test_exif_is_inside(tmp_path: Path, name: str, bits: int) -> None:
    path = tmp_path / name
    if bits == 32:  # Pillow opens no float TIFF of three channels
        save(path, picture()[..., 0], meta=META, linear=True, bits=32, space="display-p3")
    else:
        save(path, picture(), meta=META, bits=bits, space="display-p3")
    exif = Image.open(path).getexif()
    if not name.endswith("avif"):  # AVIF says how to turn a picture outside of EXIF
        assert exif[274] == 1, "the picture is upright already, whatever the raw file's orientation"
    assert exif[272] == "Model 1"
    assert exif[315] == "A. Photographer"
    assert exif[305].startswith("isp ")
    photo = exif.get_ifd(34665)
    assert photo[33434] == pytest.approx(1 / 8000)
    assert photo[33434].numerator == 1
    assert photo[33437] == pytest.approx(2.8)
    assert photo[37386] == 50
    assert photo[34855] == 200
    assert photo[36867] == "2024:02:29 12:34:56"
    assert photo[42036] == "50 mm f/2"
    assert photo[40961] == 65535, "not sRGB"
    assert (photo[40962], photo[40963]) == (30, 21)


def test_exr_carries_the_same_facts_as_attributes(tmp_path: Path) -> None:
    save(tmp_path / "a.exr", picture(), meta=META, linear=True)
    spec = oiio.ImageInput.open(str(tmp_path / "a.exr")).spec()
    facts = {"cameraMake": "Löwe", "isoSpeed": 200, "ExposureTime": 1 / 8000, "FNumber": 2.8, "lensModel": "50 mm f/2"}
    facts |= {"nominalFocalLength": 50, "DateTime": "2024:02:29 12:34:56", "Copyright": "© the same"}
    for name, value in facts.items():
        held = spec.getattribute(name)
        assert held == (value if isinstance(value, str) else pytest.approx(value, rel=1e-6)), name


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize(("name", "bits"), DISPLAY + LINEAR)
def test_exiftool_finds_no_fault_and_the_same_facts(tmp_path: Path, name: str, bits: int) -> None:
    save(tmp_path / name, picture(), meta=META, bits=bits, linear=(name, bits) in LINEAR)
    command = ["exiftool", "-json", "-n", "-a", "-validate", "-error", "-all", str(tmp_path / name)]
    facts = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)[0]
    assert "Error" not in facts
    if name.endswith("png"):
        assert facts["Validate"] == "0 0 0", "no error, no warning"
    assert facts["ISO"] == 200
    assert facts["DateTimeOriginal"] == "2024:02:29 12:34:56"
    assert float(facts["ExposureTime"]) == pytest.approx(1 / 8000)
    assert facts["LensModel"] == "50 mm f/2"
    if not name.endswith("exr"):
        assert facts["Make"] == "Löwe"
        assert facts["ColorSpace"] == 1
        assert facts["ProfileDescription"].startswith("sRGB")


def test_iso_beyond_16_bits_has_its_own_tag(tmp_path: Path) -> None:
    meta = RawMetadata(height=2, width=2, iso=409600)
    save(tmp_path / "a.png", picture(), meta=meta)
    photo = Image.open(tmp_path / "a.png").getexif().get_ifd(34665)
    assert (photo[34855], photo[34864], photo[34867]) == (65535, 3, 409600)


def test_jpeg_goes_without_exif_that_is_too_long(tmp_path: Path) -> None:
    meta = RawMetadata(height=2, width=2, make="M", copyright="x" * 70000)
    with pytest.warns(UserWarning, match="EXIF takes 70... bytes and a JPEG holds 65527; left out"):
        save(tmp_path / "a.jpg", picture(), meta=meta)
    assert 271 not in Image.open(tmp_path / "a.jpg").getexif()


@pytest.mark.parametrize(("name", "bits"), DISPLAY + LINEAR)
def test_the_same_picture_gives_the_same_bytes(tmp_path: Path, name: str, bits: int) -> None:
    paths = [tmp_path / "1" / name, tmp_path / "2" / name]
    for path in paths:
        path.parent.mkdir()
        save(path, picture(), meta=META, bits=bits, linear=(name, bits) in LINEAR)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert b"2024:02:29" in paths[0].read_bytes()


def test_tensors_and_arrays_give_the_same_file(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    x = picture()
    tensor = torch.from_numpy(x).permute(2, 0, 1).requires_grad_()
    save(tmp_path / "a.png", x)
    for index, same in enumerate((tensor, tensor[None], tensor.double(), x.astype(np.float64))):
        save(tmp_path / f"{index}.png", same)
        assert (tmp_path / f"{index}.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    save(tmp_path / "half.png", tensor.bfloat16())
    plane = tensor[:1].detach()
    for index, same in enumerate((plane, plane[None])):
        save(tmp_path / f"{index}.exr", same, linear=True)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1)])
@pytest.mark.parametrize(("name", "bits"), DISPLAY + LINEAR)
def test_smallest_pictures(tmp_path: Path, name: str, bits: int, size: tuple[int, int]) -> None:
    linear = (name, bits) in LINEAR
    save(tmp_path / name, np.full((*size, 3), 0.5, np.float32), bits=bits, linear=linear)
    if name.endswith("exr"):
        stored = oiio.ImageInput.open(str(tmp_path / name)).read_image("float")
    else:
        stored = read_integers(tmp_path / name)
    assert stored.shape == (*size, 3)
    full = 1 if linear else 2**bits - 1
    np.testing.assert_allclose(stored / full, 0.5, atol=0.02)


def test_values_that_are_no_number_become_black_with_a_warning(tmp_path: Path) -> None:
    x = picture()
    x[3, 4] = np.nan
    with pytest.warns(UserWarning, match="3 of 1890 values are not a number; written as 0"):
        save(tmp_path / "a.png", x)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png"))[3, 4], 0)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("a.bmp", {}, r"'\.bmp' is no output format; known: \.png, \.jpg"),
        ("a", {}, r"'no suffix' is no output format"),
        ("a.jpg", {"bits": 16}, r"\.jpg holds 8 bits per sample, not 16"),
        ("a.png", {"bits": 32}, r"\.png holds 8 or 16 bits per sample, not 32"),
        (
            "a.png",
            {"linear": True},
            r"8-bit \.png holds display-encoded values and the picture is scene-linear; .*False",
        ),
        ("a.exr", {}, r"32-bit \.exr holds scene-linear values and the picture is display-encoded; .*linear=True\)"),
        ("a.tif", {"bits": 32}, r"32-bit \.tif holds scene-linear"),
        ("a.png", {"space": "adobe"}, "space is 'adobe'; expected one of srgb, display-p3"),
        ("a.jpg", {"quality": 0}, "quality is 0; expected 1 to 100"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path: Path, name: str, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        save(tmp_path / name, picture(), **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((3, 4, 5), np.float32), r"an array H W 3; got shape \(3, 4, 5\)"),
        (np.zeros((2, 2, 3), np.int32), "float samples, black 0 and white 1; got int32"),
        (np.zeros((2, 2, 3), np.uint16), r"the format holds uint8 H W 3; got codes of uint16, shape \(2, 2, 3\)"),
        (np.zeros((2, 2), np.uint8), r"the format holds uint8 H W 3; got codes of uint8, shape \(2, 2\)"),
        (np.zeros((0, 2, 3), np.float32), r"got shape \(0, 2, 3\)"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, wrong: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        save(tmp_path / "a.png", wrong)
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"got shape \(2, 3, 4, 4\)"):
        save(tmp_path / "a.png", torch.zeros(2, 3, 4, 4))


@pytest.mark.parametrize(("name", "bits"), [("a.png", 8), ("a.png", 16), ("a.tif", 8), ("a.tif", 16)])
def test_codes_are_written_as_they_are(tmp_path: Path, name: str, bits: int) -> None:
    codes = np.random.default_rng(0).integers(0, 2**bits, (7, 5, 3)).astype(f"uint{bits}")
    save(tmp_path / name, codes[:, ::-1], bits=bits)
    decode = imagecodecs.png_decode if name == "a.png" else imagecodecs.tiff_decode
    assert np.array_equal(decode((tmp_path / name).read_bytes()), codes[:, ::-1])


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pwrite", [True, False])
def test_rows_from_threads_give_the_file_of_the_whole(
    tmp_path: Path, bits: int, pwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not pwrite:  # as on Windows
        monkeypatch.delattr(os, "pwrite")
    codes = np.random.default_rng(0).integers(0, 2**bits, (301, 17, 3)).astype(f"uint{bits}")
    save(tmp_path / "whole.tif", codes, meta=META, space="display-p3", bits=bits)
    with (
        open_rows(tmp_path / "rows.tif", 301, 17, meta=META, space="display-p3", bits=bits) as write_rows,
        ThreadPoolExecutor(8) as pool,
    ):
        list(pool.map(lambda top: write_rows(top, codes[top : top + 7]), reversed(range(0, 301, 7))))
        assert not (tmp_path / "rows.tif").exists()
    assert (tmp_path / "rows.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


def test_rows_are_for_files_where_they_have_places(tmp_path: Path) -> None:
    assert [takes_rows(name, bits) for name, bits in [*DISPLAY, *LINEAR]] == [
        name.startswith("a.tif") for name, _ in DISPLAY
    ] + [False] * 3
    with (
        pytest.raises(ValueError, match="only TIFF of 8 or 16 bits is written in rows; use save"),
        open_rows(tmp_path / "a.png", 2, 2),
    ):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("rows", "first", "message"),
    [
        (np.zeros((2, 3, 3), np.uint8), 0, "picture is uint16 4 3 3; got rows of uint8, shape (2, 3, 3), from 0"),
        (np.zeros((2, 5, 3), np.uint16), 0, "got rows of uint16, shape (2, 5, 3), from 0"),
        (np.zeros((2, 3, 3), np.uint16), 3, "got rows of uint16, shape (2, 3, 3), from 3"),
        (np.zeros((2, 3, 3), np.uint16), -1, "from -1"),
    ],
)
def test_rows_that_do_not_belong_are_refused_and_leave_nothing(
    tmp_path: Path, rows: np.ndarray, first: int, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)), open_rows(tmp_path / "a.tif", 4, 3) as write_rows:
        write_rows(first, rows)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("size", "space", "message"), [((0, 5), "srgb", "0 x 5; expected a height"), ((4, 5), "adobe", "space is 'adobe'")]
)
def test_rows_of_no_picture_are_refused(tmp_path: Path, size: tuple[int, int], space: str, message: str) -> None:
    with pytest.raises(ValueError, match=message), open_rows(tmp_path / "a.tif", *size, space=space):
        pass
    assert not list(tmp_path.iterdir())


def test_rows_may_lie_apart_in_memory(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    save(tmp_path / "whole.tif", codes[::-1, ::-1], bits=8)
    with open_rows(tmp_path / "rows.tif", 6, 5, bits=8) as write_rows:
        write_rows(0, codes[::-1, ::-1])
    assert (tmp_path / "rows.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


def test_rows_on_a_full_disk_leave_nothing(tmp_path: Path) -> None:
    rows = np.zeros((100, 200, 3), np.uint8)
    with (
        files_up_to(20000),
        pytest.raises(OSError, match=rf"^\[Errno 27\] File too large: '{tmp_path / 'a.tif'}'$"),
        open_rows(tmp_path / "a.tif", 100, 200, bits=8) as write_rows,
    ):
        write_rows(0, rows)
    assert not list(tmp_path.iterdir())


def test_depth_says_what_a_file_will_hold() -> None:
    assert depth("a.png") == (8, False)
    assert depth("a.tif") == (16, False)
    assert depth("a.TIFF", 32) == (32, True)
    assert depth("a.exr") == (32, True)
    assert depth("a.exr", 16) == (16, True)
    assert all(depth(f"a{suffix}", bits)[0] == bits for suffix, held in FORMATS.items() for bits in held)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.avif", "a.exr"])
def test_full_disk_or_interrupt_leaves_nothing(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from isp import files

    for error in (OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()):

        def fail(*_: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(files.Path, "replace", fail)  # the last moment; the file is written by then
        with pytest.raises(type(error)):
            save(tmp_path / name, picture(), linear=name == "a.exr")
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.avif", "a.exr"])
def test_full_device_is_an_error_and_leaves_nothing(tmp_path: Path, name: str, small_disk: Path) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(OSError, match=rf"No space left on device: '{small_disk / name}'"):
        save(small_disk / name, rng.random((700, 700, 3)).astype(np.float32), linear=name == "a.exr")
    assert not list(small_disk.iterdir())


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.avif", "a.exr"])
def test_what_cannot_be_written_is_named_with_the_reason(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).random((300, 300, 3)).astype(np.float32)
    with files_up_to(20000), pytest.raises(OSError, match=rf"^\[Errno 27\] File too large: '{tmp_path / name}'$"):
        save(tmp_path / name, noise, linear=name == "a.exr")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 64 kB, where we may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_existing_file_is_kept_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError, match=r"a\.png exists"):
        save(path, picture())
    assert path.read_bytes() == b"old"
    save(path, picture(), overwrite=True)
    assert Image.open(path).size == (30, 21)


def test_saving_an_array_imports_no_torch(tmp_path: Path) -> None:
    code = f"""
import sys, numpy, isp
for name, linear in (("a.png", 0), ("a.tif", 0), ("a.jpg", 0), ("a.avif", 0), ("a.exr", 1)):
    isp.save({str(tmp_path)!r} + "/" + name, numpy.zeros((4, 5, 3), "float32"), linear=bool(linear))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
