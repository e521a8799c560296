"""Pictures to files. NumPy in, no PyTorch: a tensor is taken through the methods that it brings along."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isp.files import whole_file
from isp.options import SPACES

if TYPE_CHECKING:
    from isp.raw.metadata import RawMetadata

Rows = Callable[[int, np.ndarray], object]  # takes rows of a picture, the number of the first and n W 3 of codes

# suffix: the bits per sample that it can hold, the default first
FORMATS = {
    ".png": (8, 16),
    ".jpg": (8,),
    ".jpeg": (8,),
    ".tif": (16, 8, 32),
    ".tiff": (16, 8, 32),
    ".avif": (8,),
    ".exr": (32, 16),
}


def depth(path: str | Path, bits: int | None = None) -> tuple[int, bool]:
    """Bits per sample of the file that `save` would write, and whether it holds scene-linear values: EXR (float of 32
    or 16 bits) and 32-bit TIFF (float) do, every other one holds display-encoded integers.

    Raises ValueError for a suffix that is no output format, and for bits that the format cannot hold.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"{path}: {suffix or 'no suffix'!r} is no output format; known: {', '.join(FORMATS)}")
    if bits is not None and bits not in FORMATS[suffix]:
        known = " or ".join(str(b) for b in sorted(FORMATS[suffix]))
        raise ValueError(f"{path}: {suffix} holds {known} bits per sample, not {bits}")
    bits = bits or FORMATS[suffix][0]
    return bits, suffix == ".exr" or bits == 32


def save(
    path: str | Path,
    picture: Any,
    *,
    meta: RawMetadata | None = None,
    space: str = "srgb",
    linear: bool = False,
    bits: int | None = None,
    quality: int = 95,
    overwrite: bool = False,
) -> None:
    """Write a picture to the format of the path's suffix (see FORMATS), with the ICC profile of `space` and the EXIF
    of `meta`; whole or not at all (but for a loss of power: the disk is not waited for).

    picture: a tensor 1 3 H W or 3 H W on any device, or an array H W 3; float, black 0, white 1, as
        `isp.render` returns it. Integer formats clip to [0, 1] and round to nearest; EXR and 32-bit TIFF keep every
        value, and take one channel too (1 1 H W, 1 H W, or H W). Or codes, uint8 or uint16 H W 3, as
        `isp.fast.render_pixels` returns them, for a format of so many bits.
    space: the one it was rendered for; "camera" gets no profile.
    linear: whether it was rendered with RenderOptions(linear=True). EXR and 32-bit TIFF need that, the other formats
        the opposite. Camera RGB ("camera") has no encoding and goes anywhere.
    quality: 1 to 100, for JPEG and AVIF.
    Values that are not a number become 0, with a warning. Raises ValueError for what the format cannot hold,
    FileExistsError for a file that exists unless `overwrite`, OSError for what the disk refuses.
    """
    path = Path(path)
    bits, holds_linear = depth(path, bits)
    _demand_space(space)
    if linear != holds_linear and space != "camera":
        held, given = ("scene-linear", "display-encoded") if holds_linear else ("display-encoded", "scene-linear")
        raise ValueError(
            f"{path}: {bits}-bit {path.suffix} holds {held} values and the picture is {given}; "
            f"render it with RenderOptions(linear={holds_linear}) and save it with linear={holds_linear}"
        )
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; expected 1 to 100")
    if isinstance(picture, np.ndarray) and picture.dtype.kind == "u":
        pixels = _codes(picture, bits, holds_linear)
    else:
        pixels = quantise(_array(picture, one_channel=holds_linear), bits, holds_linear)

    from isp.output import writers

    with whole_file(path, overwrite, sync=False) as temporary:
        match path.suffix.lower():
            case ".png":
                writers.write_png(temporary, pixels, meta, space)
            case ".tif" | ".tiff":
                writers.write_tiff(temporary, pixels, meta, space, linear)
            case ".jpg" | ".jpeg":
                writers.write_jpeg(temporary, pixels, meta, space, quality)
            case ".avif":
                writers.write_avif(temporary, pixels, meta, space, quality)
            case ".exr":
                writers.write_exr(temporary, pixels, meta, space)


def takes_rows(path: str | Path, bits: int | None = None) -> bool:
    """Whether `open_rows` writes this format: TIFF of 8 or 16 bits, whose rows all have a place of their own."""
    return Path(path).suffix.lower() in (".tif", ".tiff") and not depth(path, bits)[1]


@contextmanager
def open_rows(
    path: str | Path,
    height: int,
    width: int,
    *,
    meta: RawMetadata | None = None,
    space: str = "srgb",
    bits: int | None = None,
    overwrite: bool = False,
) -> Iterator[Rows]:
    """What `save` writes of codes H W 3, for a picture that comes in parts: a function that writes rows of it, each
    once, in any order and from any thread. The file appears when the block ends without an exception.

    Arguments and errors as those of `save`; ValueError for a format that `takes_rows` does not name, and for rows that
    are not n width 3 of the file's integers, or lie beyond the picture.
    """
    path = Path(path)
    if not takes_rows(path, bits):
        raise ValueError(f"{path}: only TIFF of 8 or 16 bits is written in rows; use save")
    _demand_space(space)
    if min(height, width) < 1:
        raise ValueError(f"the picture is {height} x {width}; expected a height and a width from 1 on")
    from isp.output import writers

    kind = np.dtype(f"uint{depth(path, bits)[0]}")
    with (
        whole_file(path, overwrite, sync=False) as temporary,
        writers.open_tiff(temporary, (height, width, 3), kind, meta, space, linear=False) as write_rows,
    ):

        def write(first: int, rows: np.ndarray) -> None:
            if rows.dtype != kind or rows.shape[1:] != (width, 3) or not 0 <= first <= height - len(rows):
                given = f"{rows.dtype}, shape {rows.shape}, from {first}"
                raise ValueError(f"the picture is {kind} {height} {width} 3; got rows of {given}")
            write_rows(first, np.ascontiguousarray(rows))

        yield write


def _demand_space(space: str) -> None:
    if space not in SPACES:
        raise ValueError(f"space is {space!r}; expected one of {', '.join(SPACES)}")


def quantise(pixels: np.ndarray, bits: int, as_float: bool) -> np.ndarray:
    """Samples as a file holds them: float32 or float16, or integers of 8 or 16 bits with 1 at the largest.

    pixels: float. Integers are clipped to [0, 1] and rounded to nearest, halves upwards.
    Raises ValueError where 16-bit float would turn a finite value into infinity.
    """
    if count := int(np.isnan(pixels).sum()):
        warnings.warn(f"{count} of {pixels.size} values are not a number; written as 0", stacklevel=3)
        pixels = np.nan_to_num(pixels, nan=0.0, posinf=np.inf, neginf=-np.inf)
    if not as_float:
        top = 2**bits - 1
        return (np.clip(pixels, 0, 1) * pixels.dtype.type(top) + pixels.dtype.type(0.5)).astype(f"uint{bits}")
    if bits == 16 and np.abs(pixels[np.isfinite(pixels)]).max(initial=0) >= 65520:  # rounds to infinity
        raise ValueError("values beyond 65504 do not fit 16-bit float; use 32 bits")
    return pixels.astype(f"float{bits}")


def _codes(picture: np.ndarray, bits: int, as_float: bool) -> np.ndarray:
    """Codes as they are, where the format holds such."""
    held = "float" if as_float else f"uint{bits}"
    if picture.dtype != held or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ValueError(f"the format holds {held} H W 3; got codes of {picture.dtype}, shape {picture.shape}")
    return np.ascontiguousarray(picture)


def _array(picture: Any, one_channel: bool) -> np.ndarray:
    """The picture as float32 or float64, H W 3, or H W where one channel is allowed."""
    if hasattr(picture, "detach"):  # a tensor, channels first
        array = picture.detach().cpu()
        array = (array if str(array.dtype) == "torch.float64" else array.float()).numpy()
        if array.ndim == 4 and len(array) == 1:
            array = array[0]
        planes = array if array.ndim == 3 else None
        array = None if planes is None else planes.transpose(1, 2, 0)
    else:
        array = np.asarray(picture)
        array = array[..., None] if array.ndim == 2 else array
    allowed = (1, 3) if one_channel else (3,)
    if array is None or array.ndim != 3 or array.shape[2] not in allowed or 0 in array.shape:
        raise ValueError(
            f"a picture is a tensor 1 3 H W or 3 H W, or an array H W 3; got shape {tuple(picture.shape)}"
            + ("" if one_channel else "; one channel goes into EXR and 32-bit TIFF only")
        )
    if array.dtype.kind != "f":
        raise ValueError(f"a picture holds float samples, black 0 and white 1; got {array.dtype}")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32)
    return np.ascontiguousarray(array[..., 0] if array.shape[2] == 1 else array)
