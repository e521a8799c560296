"""One function per file format: pixels to a file, with the colour profile and the EXIF block inside.

path: an empty file. It is written into rather than emptied once more, after which ext4 would start to write it to the
disk, and wait for its place there, as it is closed.
pixels: H W 3 (EXR and float TIFF also H W), contiguous, in the type that the file holds. Nothing is rounded, clipped or
renamed here.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isp.files import demand_room, reserve, write_at
from isp.output.exif import EXIF_IFD, exif_block, exr_attributes, photo_tags, picture_tags
from isp.output.icc import chromaticities, profile
from isp.write_tiff import HEADER, LONG, UNDEFINED, bytes_tag, finish, image_tags, tag, write_ifd

if TYPE_CHECKING:
    from isp.output import Rows
    from isp.raw.metadata import RawMetadata

JPEG_EXIF_MOST = 65533 - 6  # bytes: one APP1 segment less "Exif\0\0"


def write_png(path: Path, pixels: np.ndarray, meta: RawMetadata | None, space: str) -> None:
    """uint8 or uint16."""
    import zlib

    from isp.output.png import chunk, png_parts

    described = chunk(b"eXIf", exif_block(meta, pixels.shape[1], pixels.shape[0], space))
    if icc := profile(space):
        described = chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc, 9)) + described
    with open(path, "rb+") as file:
        file.writelines(png_parts(pixels, described))


def write_tiff(path: Path, pixels: np.ndarray, meta: RawMetadata | None, space: str, linear: bool) -> None:
    """uint8, uint16 or float32; uncompressed, which every program reads and which costs no time."""
    with open_tiff(path, pixels.shape, pixels.dtype, meta, space, linear) as write_rows:
        write_rows(0, pixels)


@contextmanager
def open_tiff(
    path: Path, shape: Sequence[int], kind: np.dtype[Any], meta: RawMetadata | None, space: str, linear: bool
) -> Iterator[Rows]:
    """The same for a picture that comes in parts: what writes its rows, each once, in any order and from any thread."""
    height, width = shape[:2]
    row = kind.itemsize * math.prod(shape[1:])  # bytes
    if height * row > 4_000_000_000:
        raise ValueError(f"the picture takes {height * row / 1e9:.1f} GB; the offsets of a TIFF end at 4 GB")
    photometric = 2 if len(shape) == 3 else 1  # RGB, or black is zero
    start = len(HEADER)
    with open(path, "rb+") as file:
        reserve(file, start + height * row)
        file.write(HEADER)
        file.flush()
        yield lambda first, rows: write_at(file, rows.data.cast("B"), start + first * row)
        file.seek(start + height * row)
        tags = image_tags(shape, kind, [(start, height * row)], subfile=0, photometric=photometric)
        tags += picture_tags(meta)
        if icc := profile(space, linear) if len(shape) == 3 else None:
            tags.append(bytes_tag(34675, UNDEFINED, icc))
        tags.append(tag(EXIF_IFD, LONG, (write_ifd(file, photo_tags(meta, width, height, space)),)))
        finish(file, tags)


def write_jpeg(path: Path, pixels: np.ndarray, meta: RawMetadata | None, space: str, quality: int) -> None:
    """uint8; colour at full resolution (4:4:4)."""
    from PIL import Image

    exif = exif_block(meta, pixels.shape[1], pixels.shape[0], space)
    if len(exif) > JPEG_EXIF_MOST:
        warnings.warn(f"EXIF takes {len(exif)} bytes and a JPEG holds {JPEG_EXIF_MOST}; left out", stacklevel=3)
        exif = exif_block(None, pixels.shape[1], pixels.shape[0], space)
    Image.fromarray(pixels).save(
        path, "JPEG", quality=quality, subsampling="4:4:4", icc_profile=profile(space), exif=b"Exif\0\0" + exif
    )


def write_avif(path: Path, pixels: np.ndarray, meta: RawMetadata | None, space: str, quality: int) -> None:
    """uint8; colour at full resolution (4:4:4). Speed 8 of 10 takes a quarter of the default's time for 4 % more."""
    from PIL import Image

    exif = b"Exif\0\0" + exif_block(meta, pixels.shape[1], pixels.shape[0], space, orientation=False)
    Image.fromarray(pixels).save(
        path, "AVIF", quality=quality, subsampling="4:4:4", speed=8, icc_profile=profile(space), exif=exif
    )


def write_exr(path: Path, pixels: np.ndarray, meta: RawMetadata | None, space: str) -> None:
    """float16 or float32, lossless (ZIP); a single channel is named Y."""
    import OpenImageIO as oiio  # noqa: N813 - the name its manual uses

    pixels = pixels.reshape(*pixels.shape[:2], -1)  # of two dimensions, OpenImageIO takes the second for channels
    height, width, channels = pixels.shape
    spec = oiio.ImageSpec(width, height, channels, "half" if pixels.dtype == np.float16 else "float")
    spec.attribute("compression", "zip")
    for name, value in exr_attributes(meta).items():
        spec.attribute(name, value)
    if space != "camera":
        spec.attribute("chromaticities", oiio.TypeDesc("float[8]"), chromaticities(space))
    output = oiio.ImageOutput.create(str(path))
    if output is None:
        raise OSError(f"OpenImageIO: {oiio.geterror()}")
    if not (output.open(str(path), spec) and output.write_image(pixels) and output.close()):
        demand_room(path)
        raise OSError(f"OpenImageIO: {output.geterror()}")
