"""DNGs with any one feature, for the tests: written by tifffile alone, so that they share no code with our writer."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL, FLOAT, DOUBLE = 1, 2, 3, 4, 5, 7, 10, 11, 12

# name: (tag, type, where it goes: IFD "0" or the "raw" IFD). DNG 1.7.1, chapter 4 and TIFF 6.0 / EXIF.
TAGS: dict[str, tuple[int, int, str]] = {
    "make": (271, ASCII, "0"),
    "model": (272, ASCII, "0"),
    "orientation": (274, SHORT, "0"),
    "date_time": (306, ASCII, "0"),
    "artist": (315, ASCII, "0"),
    "copyright": (33432, ASCII, "0"),
    "exposure_time": (33434, RATIONAL, "0"),
    "f_number": (33437, RATIONAL, "0"),
    "iso": (34855, SHORT, "0"),
    "focal_length": (37386, RATIONAL, "0"),
    "cfa_repeat_pattern_dim": (33421, SHORT, "raw"),
    "cfa_pattern": (33422, BYTE, "raw"),
    "dng_version": (50706, BYTE, "0"),
    "dng_backward_version": (50707, BYTE, "0"),
    "unique_camera_model": (50708, ASCII, "0"),
    "cfa_plane_color": (50710, BYTE, "raw"),
    "cfa_layout": (50711, SHORT, "raw"),
    "linearization_table": (50712, SHORT, "raw"),
    "black_level_repeat_dim": (50713, SHORT, "raw"),
    "black_level": (50714, RATIONAL, "raw"),
    "black_level_delta_h": (50715, SRATIONAL, "raw"),
    "black_level_delta_v": (50716, SRATIONAL, "raw"),
    "white_level": (50717, LONG, "raw"),
    "default_scale": (50718, RATIONAL, "raw"),
    "default_crop_origin": (50719, RATIONAL, "raw"),
    "default_crop_size": (50720, RATIONAL, "raw"),
    "color_matrix1": (50721, SRATIONAL, "0"),
    "color_matrix2": (50722, SRATIONAL, "0"),
    "camera_calibration1": (50723, SRATIONAL, "0"),
    "camera_calibration2": (50724, SRATIONAL, "0"),
    "analog_balance": (50727, RATIONAL, "0"),
    "as_shot_neutral": (50728, RATIONAL, "0"),
    "as_shot_white_xy": (50729, RATIONAL, "0"),
    "baseline_exposure": (50730, SRATIONAL, "0"),
    "calibration_illuminant1": (50778, SHORT, "0"),
    "calibration_illuminant2": (50779, SHORT, "0"),
    "active_area": (50829, LONG, "raw"),
    "masked_areas": (50830, LONG, "raw"),
    "profile_name": (50936, ASCII, "0"),
    "profile_hue_sat_map_dims": (50937, LONG, "0"),
    "profile_hue_sat_map_data1": (50938, FLOAT, "0"),
    "profile_hue_sat_map_data2": (50939, FLOAT, "0"),
    "profile_tone_curve": (50940, FLOAT, "0"),
    "forward_matrix1": (50964, SRATIONAL, "0"),
    "forward_matrix2": (50965, SRATIONAL, "0"),
    "profile_look_table_dims": (50981, LONG, "0"),
    "profile_look_table_data": (50982, FLOAT, "0"),
    "opcode_list1": (51008, UNDEFINED, "raw"),
    "opcode_list2": (51009, UNDEFINED, "raw"),
    "opcode_list3": (51022, UNDEFINED, "raw"),
    "noise_profile": (51041, DOUBLE, "raw"),
    "profile_hue_sat_map_encoding": (51107, LONG, "0"),
    "profile_look_table_encoding": (51108, LONG, "0"),
    "baseline_exposure_offset": (51109, SRATIONAL, "0"),
    "calibration_illuminant3": (52529, SHORT, "0"),
    "camera_calibration3": (52530, SRATIONAL, "0"),
    "color_matrix3": (52531, SRATIONAL, "0"),
    "forward_matrix3": (52532, SRATIONAL, "0"),
    "illuminant_data1": (52533, UNDEFINED, "0"),
    "illuminant_data2": (52534, UNDEFINED, "0"),
    "illuminant_data3": (52535, UNDEFINED, "0"),
    "profile_hue_sat_map_data3": (52537, FLOAT, "0"),
}

# XYZ (D65) to linear sRGB of IEC 61966-2-1, as ColorMatrix1 with illuminant D65: a camera that measures linear sRGB.
SRGB_COLOR_MATRIX = (3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570)
DEFAULTS: dict[str, Any] = {
    "make": "Factory",
    "model": "One Feature",
    "unique_camera_model": "Factory One Feature",
    "orientation": 1,
    "dng_version": (1, 7, 1, 0),
    "dng_backward_version": (1, 4, 0, 0),
    "color_matrix1": SRGB_COLOR_MATRIX,
    "calibration_illuminant1": 21,  # D65
    "as_shot_neutral": (1.0, 1.0, 1.0),
}


def make_dng(
    path: Path,
    mosaic: np.ndarray,
    *,
    cfa: str | None = "RGGB",
    cfa_dim: tuple[int, int] | None = None,
    subifd: bool = False,
    byteorder: str = "<",
    compression: Any = None,
    compressionargs: dict[str, Any] | None = None,
    predictor: Any = None,
    tile: tuple[int, int] | None = None,
    bitspersample: int | None = None,
    extratags: Sequence[tuple[Any, ...]] = (),
    **tags: Any,
) -> Path:
    """A DNG of the mosaic (H W, or H W 3 for a linear one) with these tags; returns its path.

    cfa: letters of one period, row by row, or None for a monochrome sensor; cfa_dim: its rows and columns, by default
    the square that the letters fill. subifd: put a 4x4 preview in IFD 0 and the mosaic in a SubIFD. compression to
    bitspersample: as tifffile takes them; lossless JPEG is compression=7 with compressionargs={"lossless": True},
    deflate is 8. extratags: as tifffile takes them, for the raw IFD: (tag, type, count, value). tags: by the names in
    TAGS; None leaves a default out.
    """
    if unknown := sorted(set(tags) - set(TAGS)):
        raise ValueError(f"unknown tag {unknown[0]!r}; known: {', '.join(TAGS)}")
    values = {**DEFAULTS, **tags}
    linear = mosaic.ndim == 3
    if not linear and cfa is not None:
        side = round(len(cfa) ** 0.5)
        values.setdefault("cfa_repeat_pattern_dim", cfa_dim or (side, side))
        values.setdefault("cfa_pattern", bytes("RGB".index(letter) for letter in cfa))
        values.setdefault("cfa_plane_color", (0, 1, 2))
        values.setdefault("cfa_layout", 1)
    main, raw = [], list(extratags)
    for name, value in values.items():
        if value is not None:
            (raw if TAGS[name][2] == "raw" else main).append(_extratag(name, value))
    options: dict[str, Any] = {
        "photometric": 34892 if linear else 32803 if cfa is not None else "minisblack",  # LinearRaw, CFA
        "compression": compression,
        "compressionargs": compressionargs,
        "predictor": predictor,
        "tile": tile,
        "bitspersample": bitspersample,
        "metadata": None,
        "software": False,
    }
    if linear:
        options["planarconfig"] = "contig"
    with tifffile.TiffWriter(path, byteorder=byteorder) as writer:
        if subifd:
            preview = np.zeros((4, 4, 3), np.uint8)
            writer.write(
                preview, photometric="rgb", subfiletype=1, subifds=1, extratags=main, metadata=None, software=False
            )
            writer.write(mosaic, subfiletype=0, extratags=raw, **options)
        else:
            writer.write(mosaic, subfiletype=0, extratags=[*main, *raw], **options)
    if not linear and cfa is None:  # LinearRaw with one sample is valid, and tifffile will not write it
        with tifffile.TiffFile(path, mode="r+") as tiff:
            page = tiff.pages[0].pages[0] if subifd else tiff.pages[0]
            page.tags["PhotometricInterpretation"].overwrite(34892)
    return Path(path)


def _extratag(name: str, value: Any) -> tuple[int, int, int, Any, bool]:
    """(tag, type, count, value, writeonce) for tifffile."""
    tag, kind, _ = TAGS[name]
    if kind == ASCII:
        return tag, kind, 0, value, True
    if isinstance(value, bytes):
        return tag, kind, len(value), value, True
    numbers = np.atleast_1d(np.asarray(value, dtype=np.float64)).ravel()
    if kind in (RATIONAL, SRATIONAL):
        fractions = [Fraction(float(number)).limit_denominator(1_000_000) for number in numbers]
        return tag, kind, len(numbers), [part for f in fractions for part in (f.numerator, f.denominator)], True
    if kind in (FLOAT, DOUBLE):
        return tag, kind, len(numbers), [float(number) for number in numbers], True
    return tag, kind, len(numbers), [int(number) for number in numbers], True
