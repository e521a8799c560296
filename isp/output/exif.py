"""What a picture says about how it was taken: EXIF from the raw file's metadata, for every format.

Source: EXIF 2.32 (CIPA DC-008), section 4.6.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from isp import __version__
from isp.write_tiff import (
    HEADER,
    LONG,
    RATIONAL,
    SHORT,
    UNDEFINED,
    Tag,
    bytes_tag,
    exif_tags,
    finish,
    tag,
    text_tag,
    write_ifd,
)

if TYPE_CHECKING:
    from isp.raw.metadata import RawMetadata

ORIENTATION = 274
EXIF_IFD = 34665  # the tag of IFD 0 that says where the EXIF IFD is
SOFTWARE = f"isp {__version__}"


def picture_tags(meta: RawMetadata | None) -> list[Tag]:
    """IFD 0: who and with what. A picture stands upright, whatever the raw file's orientation."""
    tags = [
        tag(ORIENTATION, SHORT, (1,)),
        tag(282, RATIONAL, (72, 1)),  # XResolution and YResolution, which TIFF and EXIF want; 72 says nothing
        tag(283, RATIONAL, (72, 1)),
        tag(296, SHORT, (2,)),  # ResolutionUnit: inch
        text_tag(305, SOFTWARE),
    ]
    if meta is not None:
        texts = ((271, meta.make), (272, meta.model), (315, meta.artist), (33432, meta.copyright))
        tags += [text_tag(code, text) for code, text in texts if text]
    return tags


def photo_tags(meta: RawMetadata | None, width: int, height: int, space: str) -> list[Tag]:
    """The EXIF IFD: how the picture was taken, its size, and whether it is sRGB."""
    version = bytes_tag(36864, UNDEFINED, b"0232")
    return [
        *([version] if meta is None else exif_tags(meta)),
        tag(40961, SHORT, (1 if space == "srgb" else 65535,)),  # ColorSpace: sRGB, or what the profile says
        tag(40962, LONG, (width,)),  # PixelXDimension
        tag(40963, LONG, (height,)),  # PixelYDimension
    ]


def exif_block(meta: RawMetadata | None, width: int, height: int, space: str, orientation: bool = True) -> bytes:
    """EXIF as PNG's eXIf chunk holds it: a TIFF header, IFD 0 and the EXIF IFD.

    orientation: whether to say that the picture is upright; AVIF has its own place for that.
    """
    file = BytesIO()
    file.write(HEADER)
    photo = write_ifd(file, photo_tags(meta, width, height, space))
    tags = [entry for entry in picture_tags(meta) if orientation or entry.code != ORIENTATION]
    finish(file, [*tags, tag(EXIF_IFD, LONG, (photo,))])
    return file.getvalue()


def exr_attributes(meta: RawMetadata | None) -> dict[str, str | float]:
    """The same facts under the names of OpenEXR's standard attributes, as OpenImageIO takes them."""
    attributes: dict[str, str | float] = {"Software": SOFTWARE, "DateTime": ""}  # empty: not the time of writing
    if meta is not None:
        known = {
            "cameraMake": meta.make,
            "cameraModel": meta.model,
            "lensModel": meta.lens_model,
            "isoSpeed": meta.iso,
            "ExposureTime": meta.exposure_time,  # written as expTime
            "FNumber": meta.f_number,  # aperture
            "nominalFocalLength": meta.focal_length,
            "DateTime": meta.date_time,  # capDate
            "Artist": meta.artist,
            "Copyright": meta.copyright,  # owner
        }
        attributes |= {name: value for name, value in known.items() if value}
    return attributes
