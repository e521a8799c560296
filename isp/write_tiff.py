"""Writing TIFF structures: directories, their values, and images; what DNGs, TIFF pictures and EXIF blocks are made of.

Sources: TIFF 6.0, section 2; EXIF 2.32 (CIPA DC-008), section 4.6.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from isp.raw.metadata import RawMetadata

HEADER = b"II*\0\0\0\0\0"  # little-endian; the last four bytes become the offset of the first IFD
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL, FLOAT, DOUBLE = 1, 2, 3, 4, 5, 7, 10, 11, 12  # TIFF types
FORMATS = {BYTE: "B", SHORT: "H", LONG: "I", RATIONAL: "I", SRATIONAL: "i", FLOAT: "f", DOUBLE: "d"}  # for struct


class Tag(NamedTuple):
    """One entry of an IFD: its value is packed little-endian."""

    code: int
    kind: int
    number: int
    packed: bytes


def write_pieces(file: BinaryIO, pieces: Iterable[bytes | memoryview]) -> list[tuple[int, int]]:
    """Write pieces of an image at the end of the file; returns where each begins and its size, bytes."""
    return [(_even_end(file), file.write(piece)) for piece in pieces]


def image_tags(
    shape: Sequence[int],
    kind: np.dtype[Any],
    places: Sequence[tuple[int, int]],
    *,
    subfile: int,
    photometric: int,
    tile: int | None = None,
    jpeg: bool = False,
) -> list[Tag]:
    """The tags of an image of H W or H W samples of a kind. places: offset and size of its tiles, or of its strip."""
    height, width = shape[:2]
    samples = shape[2] if len(shape) == 3 else 1
    offsets, sizes = zip(*places, strict=True)
    if tile:
        layout = [tag(322, LONG, (tile,)), tag(323, LONG, (tile,)), tag(324, LONG, offsets), tag(325, LONG, sizes)]
    else:
        layout = [tag(278, LONG, (height,)), tag(273, LONG, offsets), tag(279, LONG, sizes)]
    return [
        tag(254, LONG, (subfile,)),  # NewSubfileType: 0 the main image, 1 a preview
        tag(256, LONG, (width,)),
        tag(257, LONG, (height,)),
        tag(258, SHORT, (kind.itemsize * 8,) * samples),  # BitsPerSample
        tag(259, SHORT, (7 if jpeg else 1,)),  # Compression
        tag(262, SHORT, (photometric,)),
        tag(277, SHORT, (samples,)),
        tag(284, SHORT, (1,)),  # PlanarConfiguration: interleaved
        tag(339, SHORT, (3 if kind.kind == "f" else 1,) * samples),  # SampleFormat
        *layout,
    ]


def write_ifd(file: BinaryIO, tags: Sequence[Tag]) -> int:
    """Write an IFD, and behind it the values that do not fit into it, at the end of the file; returns its offset."""
    start = _even_end(file)
    values_at = start + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for code, kind, count, packed in sorted(tags):
        entries += struct.pack("<HHI", code, kind, count)
        if len(packed) <= 4:
            entries += packed.ljust(4, b"\0")
        else:
            entries += struct.pack("<I", values_at + len(values))
            values += packed + b"\0" * (len(packed) % 2)
    file.write(struct.pack("<H", len(tags)) + entries + b"\0\0\0\0" + values)  # no IFD follows this one
    return start


def finish(file: BinaryIO, tags: Sequence[Tag]) -> None:
    """Write the first IFD, and into the header at the file's beginning where it is."""
    start = write_ifd(file, tags)
    file.seek(4)
    file.write(struct.pack("<I", start))


def _even_end(file: BinaryIO) -> int:
    """The end of the file, moved to an even offset as TIFF 6.0 asks."""
    if file.tell() % 2:
        file.write(b"\0")
    return file.tell()


def tag(code: int, kind: int, values: Iterable[Any]) -> Tag:
    numbers = values.ravel().tolist() if isinstance(values, np.ndarray) else list(values)
    count = len(numbers) // 2 if kind in (RATIONAL, SRATIONAL) else len(numbers)
    return Tag(code, kind, count, struct.pack(f"<{len(numbers)}{FORMATS[kind]}", *numbers))


def bytes_tag(code: int, kind: int, data: bytes) -> Tag:
    return Tag(code, kind, len(data), data)


def text_tag(code: int, text: str) -> Tag:
    return bytes_tag(code, ASCII, text.encode() + b"\0")


def fraction_tag(code: int, kind: int, values: Sequence[float] | np.ndarray, name: str) -> Tag:
    array = np.asarray(values, dtype=np.float64).ravel()
    return tag(code, kind, [number for value in array.tolist() for number in fraction(value, kind, name)])


def fraction(value: float, kind: int, name: str) -> tuple[int, int]:
    """Numerator and denominator of the shortest fraction that gives back the float64 value, or the closest one."""
    most = 2**31 - 1 if kind == SRATIONAL else 2**32 - 1
    if abs(value) > most or (kind == RATIONAL and value < 0):
        raise ValueError(
            f"{name} holds {value:g}, which {'a' if kind == SRATIONAL else 'an unsigned'} TIFF fraction cannot"
        )
    largest = int(most / max(1.0, abs(value)))
    for bottom in range(1, min(1000, largest) + 1):  # as most values are; two such fractions differ by 1e-6 or more
        top = round(value * bottom)
        if top / bottom == value:
            return top, bottom
    from fractions import Fraction  # takes 2 ms to import

    for limit in (10**6, 10**9, largest):
        ratio = Fraction(value).limit_denominator(min(limit, largest))
        if ratio.numerator / ratio.denominator == value:
            break
    return ratio.numerator, ratio.denominator


def exif_tags(meta: RawMetadata) -> list[Tag]:
    """What the EXIF IFD says about how a frame was taken."""
    tags = [bytes_tag(36864, UNDEFINED, b"0232")]  # ExifVersion
    if meta.exposure_time is not None:
        tags.append(fraction_tag(33434, RATIONAL, (meta.exposure_time,), "exposure_time"))
    if meta.f_number is not None:
        tags.append(fraction_tag(33437, RATIONAL, (meta.f_number,), "f_number"))
    if meta.iso is not None:
        iso = round(meta.iso)
        tags.append(tag(34855, SHORT, (min(iso, 65535),)))
        if iso > 65535:  # EXIF 2.32: the full value stands in a tag of its own
            tags += [tag(34864, SHORT, (3,)), tag(34867, LONG, (iso,))]  # SensitivityType: ISO speed
    if meta.focal_length is not None:
        tags.append(fraction_tag(37386, RATIONAL, (meta.focal_length,), "focal_length"))
    if meta.date_time is not None:
        tags.append(text_tag(36867, meta.date_time))
    if meta.lens_model is not None:
        tags.append(text_tag(42036, meta.lens_model))
    return tags
