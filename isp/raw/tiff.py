"""TIFF structure (TIFF 6.0, EXIF 2.32, BigTIFF): tags by IFD, typed, for files that nobody vouches for.

Every count and offset is compared with the size of the file before a byte is read or a number allocated, and a tag's
value is read only when asked for. That is why these lines exist beside tifffile, which reads offset lists of any
length at once (four lying tags in a file of 48 MB cost it 5 s and 2 GB) and tries the conventions of many microscopes.
The tests compare the two.
"""

from __future__ import annotations

import os
import threading
from mmap import mmap
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from isp.raw.errors import CutFileError, RawFileError

# TIFF type: NumPy's type without the byte order. Rationals are two numbers, ASCII and UNDEFINED are bytes.
NUMBERS = {
    1: "u1", 3: "u2", 4: "u4", 6: "i1", 8: "i2", 9: "i4", 11: "f4", 12: "f8", 13: "u4", 16: "u8", 17: "i8", 18: "u8",
}  # fmt: skip
RATIONALS = {5: "u4", 10: "i4"}
BYTES = (1, 2, 7)
# Magic number after the byte order: TIFF, BigTIFF, and the raw formats that are TIFF but for this number.
VERSIONS = {42: "TIFF", 43: "BigTIFF", 0x55: "RW2", 0x4F52: "ORF", 0x5352: "ORF"}
MOST_TAGS = 4096  # in one IFD; real ones hold some hundred
MOST_SUBIFDS = 64

NAMES = {
    254: "NewSubfileType", 256: "ImageWidth", 257: "ImageLength", 258: "BitsPerSample", 259: "Compression",
    262: "PhotometricInterpretation", 266: "FillOrder", 271: "Make", 272: "Model", 273: "StripOffsets",
    274: "Orientation", 277: "SamplesPerPixel", 278: "RowsPerStrip", 279: "StripByteCounts",
    284: "PlanarConfiguration", 305: "Software", 306: "DateTime", 315: "Artist", 317: "Predictor", 322: "TileWidth",
    323: "TileLength", 324: "TileOffsets", 325: "TileByteCounts", 330: "SubIFDs", 339: "SampleFormat",
    347: "JPEGTables", 33421: "CFARepeatPatternDim", 33422: "CFAPattern", 33432: "Copyright", 33434: "ExposureTime",
    33437: "FNumber", 34665: "ExifIFD", 34855: "PhotographicSensitivity", 36867: "DateTimeOriginal",
    37386: "FocalLength", 42036: "LensModel", 50706: "DNGVersion", 50707: "DNGBackwardVersion",
    50708: "UniqueCameraModel", 50710: "CFAPlaneColor", 50711: "CFALayout", 50712: "LinearizationTable",
    50713: "BlackLevelRepeatDim", 50714: "BlackLevel", 50715: "BlackLevelDeltaH", 50716: "BlackLevelDeltaV",
    50717: "WhiteLevel", 50718: "DefaultScale", 50719: "DefaultCropOrigin", 50720: "DefaultCropSize",
    50721: "ColorMatrix1", 50722: "ColorMatrix2", 50723: "CameraCalibration1", 50724: "CameraCalibration2",
    50727: "AnalogBalance", 50728: "AsShotNeutral", 50729: "AsShotWhiteXY", 50730: "BaselineExposure",
    50778: "CalibrationIlluminant1", 50779: "CalibrationIlluminant2", 50829: "ActiveArea",
    50931: "CameraCalibrationSignature", 50932: "ProfileCalibrationSignature", 50936: "ProfileName",
    50937: "ProfileHueSatMapDims", 50938: "ProfileHueSatMapData1", 50939: "ProfileHueSatMapData2",
    50940: "ProfileToneCurve", 50964: "ForwardMatrix1", 50965: "ForwardMatrix2", 50974: "SubTileBlockSize",
    50975: "RowInterleaveFactor", 50981: "ProfileLookTableDims", 50982: "ProfileLookTableData", 51008: "OpcodeList1",
    51009: "OpcodeList2", 51022: "OpcodeList3", 51041: "NoiseProfile", 51107: "ProfileHueSatMapEncoding",
    51108: "ProfileLookTableEncoding", 51109: "BaselineExposureOffset", 52525: "ProfileGainTableMap",
    52529: "CalibrationIlluminant3", 52530: "CameraCalibration3", 52531: "ColorMatrix3", 52532: "ForwardMatrix3",
    52533: "IlluminantData1", 52534: "IlluminantData2", 52535: "IlluminantData3", 52537: "ProfileHueSatMapData3",
    52543: "RGBTables", 52544: "ProfileGainTableMap2", 52547: "ColumnInterleaveFactor",
}  # fmt: skip


class Source:
    """A file's bytes by position, each request checked against its size. Safe to use from several threads."""

    def __init__(self, file: BinaryIO, memory: mmap | None = None) -> None:
        self.file = file
        self.memory = memory  # all of it, where it was read ahead
        self.size = os.fstat(file.fileno()).st_size
        self._lock = threading.Lock()

    def check(self, offset: int, count: int, what: str) -> None:
        if offset < 0 or count < 0 or offset + count > self.size:
            raise CutFileError(
                f"{what} should be {count} bytes at offset {offset}, outside the file, which ends at {self.size}"
            )

    def read(self, offset: int, count: int, what: str) -> bytes:
        self.check(offset, count, what)
        if self.memory is not None:
            return self.memory[offset : offset + count]
        with self._lock:
            self.file.seek(offset)
            data = self.file.read(count)
        if len(data) != count:
            raise CutFileError(f"{what}: only {len(data)} of {count} bytes could be read")
        return data

    def read_into(self, offset: int, array: np.ndarray, what: str) -> None:
        """Fill a contiguous array with the bytes at offset."""
        self.check(offset, array.nbytes, what)
        if self.memory is not None:
            array.reshape(-1).view(np.uint8)[:] = np.frombuffer(self.memory, np.uint8, array.nbytes, offset)
            return
        with self._lock:
            self.file.seek(offset)
            done = self.file.readinto(array.reshape(-1).view(np.uint8).data)  # type: ignore[attr-defined]
        if done != array.nbytes:
            raise RawFileError(f"{what}: only {done} of {array.nbytes} bytes could be read")


class Tag(NamedTuple):
    kind: int  # TIFF type
    number: int  # of values
    offset: int  # of the value in the file


class Ifd:
    """One image file directory. A reading method raises RawFileError where the tag is absent or is not what it
    should be; `code in ifd` tells whether there is one."""

    def __init__(self, name: str, source: Source, order: str, big: bool, tags: dict[int, Tag]) -> None:
        self.name = name  # "IFD0", "SubIFD1", "EXIF"
        self.source = source
        self.order = order  # "<" or ">"
        self.big = big  # BigTIFF
        self.tags = tags

    def __contains__(self, code: int) -> bool:
        return code in self.tags

    def origin(self, code: int) -> str:
        return f"{self.name} tag {code} {NAMES.get(code, '')}".rstrip()

    def numbers(self, code: int, least: int, most: int | None = None) -> np.ndarray:
        """The tag's numbers, float64: `least` of them, or from least to most. A rational with denominator 0 is NaN."""
        tag = self._counted(code, least, most)
        if tag.kind in RATIONALS:
            pairs = self._array(code, tag, RATIONALS[tag.kind], 2).astype(np.float64).reshape(-1, 2)
            bottom = np.where(pairs[:, 1] == 0, np.nan, pairs[:, 1])
            return pairs[:, 0] / bottom
        if tag.kind not in NUMBERS:
            raise RawFileError(f"{self.origin(code)} has TIFF type {tag.kind}; expected numbers")
        return self._array(code, tag, NUMBERS[tag.kind]).astype(np.float64)

    def finite(self, code: int, least: int, most: int | None = None) -> np.ndarray:
        """numbers() without infinities, NaN and zero denominators."""
        values = self.numbers(code, least, most)
        if not np.isfinite(values).all():
            raise RawFileError(f"{self.origin(code)} holds {values[~np.isfinite(values)].size} undefined number(s)")
        return values

    def integers(self, code: int, least: int, most: int | None = None) -> list[int]:
        """The tag's whole numbers; RATIONAL and floating-point types are an error."""
        tag = self._counted(code, least, most)
        kind = NUMBERS.get(tag.kind, "f")
        if kind[0] == "f":
            raise RawFileError(f"{self.origin(code)} has TIFF type {tag.kind}; expected integers")
        return [int(value) for value in self._array(code, tag, kind).tolist()]

    def integer(self, code: int, default: int | None = None) -> int:
        """The tag's one integer, or the default where there is one and the tag is absent."""
        if code not in self.tags and default is not None:
            return default
        return self.integers(code, 1)[0]

    def data(self, code: int, most: int) -> bytes:
        """The bytes of an UNDEFINED, BYTE or ASCII tag."""
        tag = self._counted(code, 0, most)
        if tag.kind not in BYTES:
            raise RawFileError(f"{self.origin(code)} has TIFF type {tag.kind}; expected bytes")
        return self.source.read(tag.offset, tag.number, self.origin(code))

    def text(self, code: int) -> str | None:
        """The printable text before the first NUL, None where there is none."""
        text = self.data(code, 65536).split(b"\0")[0]
        try:
            letters = text.decode("utf-8")
        except UnicodeDecodeError:
            letters = text.decode("latin-1")
        return "".join(letter for letter in letters if letter.isprintable()).strip() or None

    def _counted(self, code: int, least: int, most: int | None) -> Tag:
        if code not in self.tags:
            raise RawFileError(f"{self.name} has no tag {code} {NAMES.get(code, '')}".rstrip())
        tag = self.tags[code]
        most = least if most is None else most
        if not least <= tag.number <= most:
            expected = f"{least}" if least == most else f"{least} to {most}"
            raise RawFileError(f"{self.origin(code)} has {tag.number} value(s); expected {expected}")
        return tag

    def _array(self, code: int, tag: Tag, kind: str, each: int = 1) -> np.ndarray:
        dtype = np.dtype(self.order + kind)
        data = self.source.read(tag.offset, tag.number * each * dtype.itemsize, self.origin(code))
        return np.frombuffer(data, dtype)


def read_ifds(source: Source) -> list[Ifd]:
    """IFD0 and its SubIFDs, which is where DNG 1.7.1 (chapter 2) lets images be. RawFileError where there are none."""
    header = source.read(0, min(16, source.size), "TIFF header")
    order = {b"II": "<", b"MM": ">"}.get(header[:2])
    version = int(np.frombuffer(header[2:4], f"{order}u2")[0]) if order and len(header) >= 8 else None
    if order is None or version not in VERSIONS:
        raise RawFileError(f"not a TIFF file: it begins with {header[:4]!r}")
    big = version == 43
    if big and len(header) < 16:
        raise RawFileError(f"BigTIFF header of {len(header)} bytes; expected 16")
    first = int(np.frombuffer(header[8:16] if big else header[4:8], f"{order}u{8 if big else 4}")[0])
    main = _read_ifd(source, order, big, first, "IFD0")
    ifds, seen = [main], {first}
    if 330 in main:
        for number, offset in enumerate(main.integers(330, 0, MOST_SUBIFDS)):
            if offset not in seen:  # a SubIFD that is its own parent would be a loop
                seen.add(offset)
                ifds.append(_read_ifd(source, order, big, offset, f"SubIFD{number}"))
    return ifds


def read_exif_ifd(main: Ifd) -> Ifd | None:
    """The EXIF directory that IFD0 points to; None where there is none or it cannot be read."""
    try:
        return _read_ifd(main.source, main.order, main.big, main.integer(34665), "EXIF")
    except CutFileError:
        raise
    except RawFileError:
        return None


def open_source(path: Path) -> BinaryIO:
    """The opened file; RawFileError, in one line, where there is none to open."""
    try:
        if path.is_dir():
            raise RawFileError("is a folder; expected a raw file")
        if not path.exists():
            raise RawFileError("no such file")
        if not path.is_file():
            raise RawFileError("is a device or a pipe; expected a raw file")
        return open(path, "rb")
    except (OSError, ValueError) as error:
        if isinstance(error, RawFileError):
            raise
        raise RawFileError(f"cannot be opened: {getattr(error, 'strerror', None) or error}") from error


def _read_ifd(source: Source, order: str, big: bool, offset: int, name: str) -> Ifd:
    number, count_size, entry = ("u8", 8, 20) if big else ("u4", 2, 12)
    head = source.read(offset, count_size, name)
    count = int(np.frombuffer(head, f"{order}u{count_size}")[0])
    if not 0 < count <= MOST_TAGS:
        raise RawFileError(f"{name} at offset {offset} says {count} tags; expected 1 to {MOST_TAGS}")
    table = source.read(offset + count_size, count * entry, f"{name} with {count} tags")
    fields = np.dtype([("code", f"{order}u2"), ("kind", f"{order}u2"), ("count", f"{order}{number}"),
                       ("value", f"{order}{number}")])  # fmt: skip
    room = np.dtype(number).itemsize  # a value of so many bytes or fewer stands in the entry itself
    tags: dict[int, Tag] = {}
    for i, (code, kind, values, value) in enumerate(np.frombuffer(table, fields).tolist()):
        if kind in RATIONALS:
            size = 8
        else:
            size = np.dtype(NUMBERS[kind]).itemsize if kind in NUMBERS else 1
        inline = offset + count_size + (i + 1) * entry - room
        tags.setdefault(code, Tag(kind, values, inline if values * size <= room else value))
    return Ifd(name, source, order, big, tags)
