"""Camera makers' raw files (NEF, CR2, CR3, ARW, RAF, ORF, RW2, PEF ...), decoded by LibRaw through rawpy.

LibRaw gives less than a DNG's tags do: one ColorMatrix (D65) from its table of cameras, no lens corrections, no noise
profile. What it gives, it gives in forms of its own; each is turned into the DNG's meaning here, with the reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isp.raw.cfa import CFA
from isp.raw.errors import RawFileError, UnsupportedRawError
from isp.raw.fields import Fields, take_exif
from isp.raw.image import RawImage
from isp.raw.tiff import Source, open_source, read_exif_ifd, read_ifds

if TYPE_CHECKING:
    import rawpy

# LibRaw's flip (bit 0: mirror columns, bit 1: mirror rows, bit 2: transpose) as the TIFF tag Orientation
ORIENTATION = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}
D65 = 21  # EXIF LightSource; LibRaw's table of matrices is for it
HEAD = 64  # bytes; of shorter files LibRaw says "Input/output error"
PICTURES = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG", "PNG"), (b"GIF8", "GIF"), (b"BM", "BMP"), (b"\x93NUMPY", "NumPy"),
            (b"RIFF", "RIFF"), (b"%PDF", "PDF"), (b"PK\3\4", "ZIP"))  # fmt: skip


def read_vendor(path: Path) -> tuple[RawImage, list[str]]:
    """The raw frame of a file that LibRaw knows, and a line for each tag that had to be ignored.

    Raises UnsupportedRawError for sensors that are not rendered and RawFileError for damaged files and files that are
    no raws.
    """
    import rawpy

    with open_source(path) as file:
        head = file.read(HEAD)
    try:
        with rawpy.imread(str(path)) as raw:
            image, notes = _from_libraw(raw, path)
    except RawFileError:
        raise
    except (rawpy.LibRawError, rawpy.NotSupportedError, MemoryError, ValueError, ArithmeticError, OSError) as error:
        if isinstance(error, rawpy.LibRawFileUnsupportedError) or len(head) < HEAD:
            raise RawFileError(
                f"is not a raw file: it {_beginning(head)}; expected a DNG, or a camera's raw file that LibRaw knows"
            ) from None
        reason = error.args[0] if error.args else type(error).__name__
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise RawFileError(f"cannot be decoded: LibRaw says {' '.join(reason.split())!r}") from error
    return image, notes


def _beginning(head: bytes) -> str:
    """What a file is, by its first bytes, or what they are."""
    if kind := next((name for magic, name in PICTURES if head.startswith(magic)), None):
        return f"is a {kind} file"
    text = head.decode("utf-8", "ignore")  # of the last letter a part may be missing
    if len(text.encode()) > len(head) - 4 and all(letter.isprintable() or letter.isspace() for letter in text):
        return f"is text that begins with {' '.join(text.split())[:20]!r}"
    return f"begins with {head[:8]!r}"


def _from_libraw(raw: rawpy.RawPy, path: Path) -> tuple[RawImage, list[str]]:
    """What an opened file holds, copied: LibRaw's arrays die with it."""
    import rawpy

    if raw.raw_type != rawpy.RawType.Flat:
        raise UnsupportedRawError(
            "a file with several samples at each pixel (Foveon, sRAW, linear raw); expected a mosaic or monochrome"
        )
    fields = Fields()
    sizes = raw.sizes
    mosaic = np.array(raw.raw_image)  # a copy; masked borders included
    if mosaic.ndim != 2 or mosaic.size == 0:
        raise UnsupportedRawError(f"LibRaw gives an image of shape {mosaic.shape}; expected rows and columns")

    def put(name: str, value: object) -> None:
        fields.put(name, value, "LibRaw")

    put("height", mosaic.shape[0])
    put("width", mosaic.shape[1])
    top, left = sizes.top_margin, sizes.left_margin
    bottom, right = top + sizes.height, left + sizes.width
    put("active_area", (top, left, bottom, right))
    put("orientation", ORIENTATION.get(sizes.flip, 1))
    if sizes.pixel_aspect > 0:
        put("default_scale", (float(sizes.pixel_aspect), 1.0))
    # The camera's crop counts from the corner of raw_image, not from the active area's; 0 stands for none.
    x, y = sizes.crop_left_margin - left, sizes.crop_top_margin - top
    inside = 0 <= x <= x + sizes.crop_width <= right - left and 0 <= y <= y + sizes.crop_height <= bottom - top
    if inside and sizes.crop_width and sizes.crop_height:
        put("default_crop_origin", (float(x), float(y)))
        put("default_crop_size", (float(sizes.crop_width), float(sizes.crop_height)))

    colours = _colours(raw)
    if colours is not None:
        put("cfa", _cfa(raw, colours))
    # Black levels go by LibRaw's colour number, where the two greens of a Bayer array are 1 and 3: not by position.
    black = np.array(raw.black_level_per_channel, np.float64)
    put("black_level", black[:1].reshape(1, 1, 1) if colours is None else black[colours][..., None])
    # camera_white_level_per_channel is where the sensor stops being linear, as makers note it for some models: below
    # saturation, and for other models absent or of another bit depth. White is where counts end.
    put("white_level", np.array([raw.white_level], np.float64))
    if not raw.white_level > black.max():
        raise RawFileError(f"LibRaw gives a white level of {raw.white_level}, not above black, {black.max():g}")

    if colours is not None:
        # Gains of red, green, blue and second green, 0 where LibRaw knows none; the second green's is 0 for most files.
        gains = np.array(raw.camera_whitebalance[:3], np.float64)
        if np.isfinite(gains).all() and (gains > 0).all():
            put("as_shot_neutral", gains.min() / gains)
        matrix = np.array(raw.rgb_xyz_matrix[:3], np.float64)  # XYZ to camera, all 0 for a camera not in LibRaw's table
        if np.isfinite(matrix).all() and abs(np.linalg.det(matrix)) > 1e-9:
            put("color_matrix1", matrix)
            put("calibration_illuminant1", D65)
    _take_camera(fields, raw, path)
    return RawImage(mosaic, fields.metadata(), path), fields.notes


def _colours(raw: rawpy.RawPy) -> np.ndarray | None:
    """LibRaw's colour numbers of one period from the active area's corner, rows cols; None for a monochrome sensor."""
    if raw.num_colors == 1:
        return None
    try:
        pattern = raw.raw_pattern
    except NotImplementedError as error:
        raise UnsupportedRawError(f"a sensor whose filters LibRaw does not lay out: {error}") from error
    if pattern is None:
        raise UnsupportedRawError(f"a sensor of {raw.num_colors} colours whose filters LibRaw does not lay out")
    rows, cols = pattern.shape
    top, left = raw.sizes.top_margin, raw.sizes.left_margin
    # raw_color counts from the corner of raw_image, where the active area may begin at any row and column;
    # raw_pattern begins at that corner too, and raw_colors_visible is wrong for X-Trans (rawpy 0.28)
    return np.array([[raw.raw_color(top + row, left + col) for col in range(cols)] for row in range(rows)])


def _cfa(raw: rawpy.RawPy, colours: np.ndarray) -> CFA:
    names = raw.color_desc.decode("ascii", "replace")
    letters = "".join(names[colour] if colour < len(names) else "?" for colour in colours.ravel())
    if extra := sorted(set(letters) - set("RGB")):
        raise UnsupportedRawError(f"CFA {letters} with {extra[0]} filters; expected red, green and blue alone")
    try:
        return CFA(letters, *colours.shape)
    except ValueError as error:
        raise UnsupportedRawError(str(error)) from error


def _take_camera(fields: Fields, raw: rawpy.RawPy, path: Path) -> None:
    """Make, model, exposure and the like: from the tags where the file is a TIFF (NEF, CR2, ARW, PEF, ORF, RW2 ...),
    and from LibRaw what is not there."""
    with open_source(path) as file:
        try:
            main = read_ifds(Source(file))[0]
            take_exif(fields, main, read_exif_ifd(main) if 34665 in main else None)
        except RawFileError:
            pass  # CR3, RAF and others are no TIFFs
    other = raw.other
    known: dict[str, float | str] = {"artist": other.artist, "lens_model": raw.lens.model}
    if other.iso_speed > 0:  # where LibRaw found no exposure it says 1 s at f/1 and ISO 0
        known["iso"] = other.iso_speed
        known["exposure_time"] = other.shutter_speed
        known["f_number"] = other.aperture
        known["focal_length"] = other.focal_length
    if other.timestamp.year > 1970:  # the epoch stands for unknown
        known["date_time"] = other.timestamp.strftime("%Y:%m:%d %H:%M:%S")
    for name, value in known.items():
        if isinstance(value, str):
            value = "".join(letter for letter in value if letter.isprintable()).strip()
        elif not np.isfinite(value):
            continue
        if value and name not in fields.values:
            fields.put(name, value, "LibRaw")
