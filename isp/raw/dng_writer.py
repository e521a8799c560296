"""Writing DNG: a raw frame and its metadata to a file that other raw developers open (DNG 1.7.1).

IFD 0 holds a small preview and what belongs to the picture as a whole; its SubIFD holds the mosaic and what describes
its numbers; camera and exposure are in the EXIF IFD.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path

import numpy as np

from isp.files import whole_file
from isp.raw.image import RawImage
from isp.raw.lossless_jpeg import encode_lossless_jpeg
from isp.raw.metadata import RawMetadata
from isp.raw.opcodes import pack_opcode_list
from isp.write_tiff import (
    BYTE,
    DOUBLE,
    FLOAT,
    HEADER,
    LONG,
    RATIONAL,
    SHORT,
    SRATIONAL,
    UNDEFINED,
    Tag,
    bytes_tag,
    exif_tags,
    finish,
    fraction,
    fraction_tag,
    image_tags,
    tag,
    text_tag,
    write_ifd,
    write_pieces,
)

COMPRESSIONS = ("none", "lossless-jpeg")
TILE = 256  # pixels, both ways; what the specification and other writers use for lossless JPEG
PREVIEW = 256  # pixels along the longer side


def write_dng(path: str | Path, raw: RawImage, *, compression: str = "none", overwrite: bool = False) -> None:
    """A DNG with the frame's numbers and all of its metadata.

    raw: any kind; uint8, uint16, uint32, float16 or float32.
    compression: "none", or "lossless-jpeg" (uint8 and uint16).

    `isp.read` gives back the same pixels and metadata, within what DNG can hold: numbers that are stored as fractions
    of two 32-bit integers (matrices, neutral, black level, exposure time ...) come back to the last bit where such a
    fraction exists, which holds for every decimal of up to 9 digits, and within 1e-9 (absolute) elsewhere; profile
    tables and curves are float32; ISO is a whole number; AsShotWhiteXY is left out beside an AsShotNeutral.
    Other readers want a UniqueCameraModel; nothing is made up where `raw.meta` has none.

    The file appears whole or not at all. Raises FileExistsError where it exists and overwrite is False, ValueError
    where DNG cannot hold the frame.
    """
    mosaic, meta = np.ascontiguousarray(raw.mosaic), raw.meta
    if compression not in COMPRESSIONS:
        raise ValueError(f"compression is {compression!r}; expected one of {', '.join(COMPRESSIONS)}")
    if mosaic.dtype not in (np.uint8, np.uint16, np.uint32, np.float16, np.float32):
        raise ValueError(f"mosaic is {mosaic.dtype}; a DNG holds uint8, uint16, uint32, float16 or float32")
    if compression == "lossless-jpeg" and mosaic.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"mosaic is {mosaic.dtype}; lossless JPEG holds uint8 and uint16, use compression='none'")

    if mosaic.nbytes > 4_000_000_000:
        raise ValueError(f"the frame takes {mosaic.nbytes / 1e9:.1f} GB; the offsets of a DNG end at 4 GB")
    picture_tags = _picture_tags(meta) + _version_tags(mosaic, meta)
    raw_tags, photo_tags, preview = _raw_tags(meta), exif_tags(meta), _preview(raw)
    jpeg = compression == "lossless-jpeg"
    tile = TILE if jpeg and mosaic.shape[1] > TILE else None  # LibRaw misreads tiles that are wider than the frame
    tiles = _lossless_jpeg_tiles(mosaic, meta, tile) if jpeg else [mosaic.tobytes()]
    photometric = 32803 if meta.cfa is not None else 34892  # CFA, LinearRaw
    with whole_file(path, overwrite) as temporary, open(temporary, "wb") as file:
        file.write(HEADER)
        places = write_pieces(file, [preview.tobytes()])
        picture_tags += image_tags(preview.shape, preview.dtype, places, subfile=1, photometric=2)  # RGB
        places = write_pieces(file, tiles)
        raw_tags += image_tags(
            mosaic.shape, mosaic.dtype, places, subfile=0, photometric=photometric, tile=tile, jpeg=jpeg
        )
        picture_tags.append(tag(330, LONG, (write_ifd(file, raw_tags),)))  # SubIFDs
        picture_tags.append(tag(34665, LONG, (write_ifd(file, photo_tags),)))  # the EXIF IFD
        finish(file, picture_tags)


def _lossless_jpeg_tiles(mosaic: np.ndarray, meta: RawMetadata, tile: int | None) -> Iterator[bytes]:
    """The tiles, row by row, those at the edge filled up by repeating samples; one piece where tile is None.

    A Bayer row goes as two components, so that each sample is predicted by the last one of its own colour.
    """
    height, width = mosaic.shape[:2]
    planes = mosaic.reshape(height, width, -1)  # H W samples
    tile_height, tile_width = (tile, tile) if tile else (height, width)
    if tile_height > 65535:
        raise ValueError(
            f"the frame is {height} x {width}; lossless JPEG holds at most 65535 rows of so narrow a frame"
        )
    components = 2 if meta.kind == "bayer" and tile_width % 2 == 0 else meta.samples
    for top in range(0, height, tile_height):
        for left in range(0, width, tile_width):
            part = planes[top : top + tile_height, left : left + tile_width]
            part = part[_repeat_edge(part.shape[0], tile_height)][:, _repeat_edge(part.shape[1], tile_width)]
            yield encode_lossless_jpeg(part.reshape(tile_height, -1, components))


def _repeat_edge(size: int, wanted: int) -> np.ndarray:
    """0 to size - 1, then the last two in turn (in a Bayer row, the two colours) up to `wanted` entries."""
    index = np.arange(wanted)
    period = min(size, 2)
    return np.where(index < size, index, size - period + (index - size) % period)


def _raw_tags(meta: RawMetadata) -> list[Tag]:
    """What describes the stored numbers: the tags of the raw IFD."""
    tags: list[Tag] = []
    if meta.cfa is not None:
        tags += [
            tag(33421, SHORT, (meta.cfa.rows, meta.cfa.cols)),  # CFARepeatPatternDim
            tag(33422, BYTE, meta.cfa.channels.ravel()),  # CFAPattern
            tag(50710, BYTE, (0, 1, 2)),  # CFAPlaneColor: red, green, blue
            tag(50711, SHORT, (1,)),  # CFALayout: rectangular
        ]
    if meta.linearization_table is not None:
        tags.append(_whole(50712, SHORT, meta.linearization_table, "linearization_table"))
    if meta.black_level.any() or meta.black_level.size > meta.samples:
        if meta.black_level.min() < 0:
            raise ValueError(f"black_level is {meta.black_level.min():g}; a DNG holds no negative BlackLevel")
        tags.append(tag(50713, SHORT, meta.black_level.shape[:2]))  # BlackLevelRepeatDim
        tags.append(_whole_or_fraction(50714, meta.black_level, "black_level"))
    if meta.black_level_delta_h is not None:
        tags.append(fraction_tag(50715, SRATIONAL, meta.black_level_delta_h, "black_level_delta_h"))
    if meta.black_level_delta_v is not None:
        tags.append(fraction_tag(50716, SRATIONAL, meta.black_level_delta_v, "black_level_delta_v"))
    tags.append(_whole(50717, LONG, meta.white_level, "white_level"))
    if meta.default_scale != (1.0, 1.0):
        tags.append(fraction_tag(50718, RATIONAL, meta.default_scale, "default_scale"))
    if meta.default_crop_origin != (0.0, 0.0) or meta.default_crop_size is not None:
        tags.append(_whole_or_fraction(50719, meta.default_crop_origin, "default_crop_origin"))
    if meta.default_crop_size is not None:
        tags.append(_whole_or_fraction(50720, meta.default_crop_size, "default_crop_size"))
    if meta.active_area is not None:
        tags.append(tag(50829, LONG, meta.active_area))
    for code, opcodes in ((51008, meta.opcode_list1), (51009, meta.opcode_list2), (51022, meta.opcode_list3)):
        if opcodes:
            tags.append(bytes_tag(code, UNDEFINED, pack_opcode_list(opcodes)))
    if meta.noise_profile is not None:
        tags.append(tag(51041, DOUBLE, meta.noise_profile.ravel()))
    return tags


def _picture_tags(meta: RawMetadata) -> list[Tag]:
    """Colour, profile, camera and orientation: the tags of IFD 0."""
    tags = [tag(274, SHORT, (meta.orientation,))]
    for code, text in (
        (271, meta.make),
        (272, meta.model),
        (305, meta.software),
        (306, meta.date_time),
        (315, meta.artist),
        (33432, meta.copyright),
        (50708, meta.unique_camera_model),
        (50936, meta.profile_name),
    ):
        if text is not None:
            tags.append(text_tag(code, text))

    codes = (
        (50778, 50721, 50723, 50964, 52533),
        (50779, 50722, 50724, 50965, 52534),
        (52529, 52531, 52530, 52532, 52535),
    )
    for i, (illuminant, color_matrix, camera_calibration, forward_matrix, illuminant_data) in enumerate(codes, 1):
        if light := getattr(meta, f"calibration_illuminant{i}"):
            tags.append(tag(illuminant, SHORT, (light,)))
        for code, name in (
            (color_matrix, f"color_matrix{i}"),
            (camera_calibration, f"camera_calibration{i}"),
            (forward_matrix, f"forward_matrix{i}"),
        ):
            if getattr(meta, name) is not None:
                tags.append(fraction_tag(code, SRATIONAL, getattr(meta, name), name))
        if (xy := getattr(meta, f"illuminant_xy{i}")) is not None:
            x, y = (fraction(value, RATIONAL, f"illuminant_xy{i}") for value in xy)
            tags.append(bytes_tag(illuminant_data, UNDEFINED, struct.pack("<H4I", 0, *x, *y)))  # 0: a white point
    if (meta.analog_balance != 1).any():
        tags.append(fraction_tag(50727, RATIONAL, meta.analog_balance, "analog_balance"))
    if meta.as_shot_neutral is not None:
        tags.append(fraction_tag(50728, RATIONAL, meta.as_shot_neutral, "as_shot_neutral"))
    elif meta.as_shot_white_xy is not None:
        tags.append(fraction_tag(50729, RATIONAL, meta.as_shot_white_xy, "as_shot_white_xy"))
    if meta.baseline_exposure:
        tags.append(fraction_tag(50730, SRATIONAL, (meta.baseline_exposure,), "baseline_exposure"))

    maps = [
        (code, table)
        for code, table in (
            (50938, meta.profile_hue_sat_map1),
            (50939, meta.profile_hue_sat_map2),
            (52537, meta.profile_hue_sat_map3),
        )
        if table is not None
    ]
    if len({table.shape for _, table in maps}) > 1:
        shapes = ", ".join(str(table.shape) for _, table in maps)
        raise ValueError(f"profile_hue_sat_map1 to 3 should have one shape in a DNG; got {shapes}")
    if maps:
        tags.append(tag(50937, LONG, maps[0][1].shape[:3]))
        tags += [tag(code, FLOAT, table.transpose(2, 0, 1, 3).ravel()) for code, table in maps]  # value hue sat 3
    if meta.profile_hue_sat_map_encoding:
        tags.append(tag(51107, LONG, (meta.profile_hue_sat_map_encoding,)))
    if meta.profile_look_table is not None:
        tags.append(tag(50981, LONG, meta.profile_look_table.shape[:3]))
        tags.append(tag(50982, FLOAT, meta.profile_look_table.transpose(2, 0, 1, 3).ravel()))
    if meta.profile_look_table_encoding:
        tags.append(tag(51108, LONG, (meta.profile_look_table_encoding,)))
    if meta.profile_tone_curve is not None:
        tags.append(tag(50940, FLOAT, meta.profile_tone_curve.ravel()))
    return tags


def _version_tags(mosaic: np.ndarray, meta: RawMetadata) -> list[Tag]:
    """DNGVersion, and DNGBackwardVersion: the oldest reader that renders the file as it is meant."""
    opcodes = [*meta.opcode_list1, *meta.opcode_list2, *meta.opcode_list3]
    version = max([0x01040000, *(opcode.dng_version for opcode in opcodes)])
    if meta.calibration_illuminant3 or any((meta.illuminant_xy1, meta.illuminant_xy2, meta.illuminant_xy3)):
        version = max(version, 0x01060000)
    backward = max([0x01010000, *(opcode.dng_version for opcode in opcodes if not opcode.optional)])
    if mosaic.dtype.kind == "f":
        backward = max(backward, 0x01040000)
    return [tag(50706, BYTE, version.to_bytes(4, "big")), tag(50707, BYTE, backward.to_bytes(4, "big"))]


def _preview(raw: RawImage) -> np.ndarray:
    """A small sRGB picture, H W 3, uint8, for file managers: means over blocks, white balance, matrix, no opcodes."""
    from isp.primaries import XYZ_D50_TO_PROPHOTO, prophoto_to
    from isp.raw.colour import camera_to_xyz_d50, has_colour, neutral_to_xy, xy_to_neutral

    meta = raw.meta
    top, left, bottom, right = meta.area
    counts = raw.mosaic[top:bottom, left:right]
    height, width = counts.shape[:2]
    period = meta.cfa.rows if meta.cfa is not None else 1  # rows and columns alike, of every kind
    block = period * ceil(max(height, width) / PREVIEW / period)
    row_starts = np.arange(0, max(height - block, 0) + 1, block)
    col_starts = np.arange(0, max(width - block, 0) + 1, block)

    if meta.linearization_table is not None:
        counts = meta.linearization_table[np.minimum(counts, len(meta.linearization_table) - 1).astype(np.int64)]
    total, sites = np.zeros((2, len(row_starts), len(col_starts), 3))
    for i, j in np.ndindex(period, period):
        part = counts[i::period, j::period]  # of one colour; h w, or h w 3 for a linear frame
        part = part if meta.samples == 3 else part[..., None]
        channel = slice(None) if meta.cfa is None else slice(meta.cfa.channels[i, j], meta.cfa.channels[i, j] + 1)
        if part.size:
            starts = row_starts // period, col_starts // period
            rows = np.add.reduceat(part, starts[0], axis=0, dtype=np.float64)
            total[..., channel] += np.add.reduceat(rows, starts[1], axis=1)
            high, wide = (np.diff(start, append=size) for start, size in zip(starts, part.shape, strict=False))
            sites[..., channel] += np.outer(high, wide)[..., None]
    black = meta.black_level.mean()
    x = (total / np.maximum(sites, 1) - black) / (meta.white_level.max() - black)

    cam_to_srgb, neutral = np.eye(3), np.ones(3)
    if meta.as_shot_neutral is not None:
        neutral = meta.as_shot_neutral / meta.as_shot_neutral.max()
    if has_colour(meta) and meta.kind != "monochrome":
        if meta.as_shot_neutral is None and meta.as_shot_white_xy is not None:
            neutral = xy_to_neutral(meta, meta.as_shot_white_xy)
        xyz = camera_to_xyz_d50(meta, neutral_to_xy(meta, neutral), neutral)
        cam_to_srgb = prophoto_to("srgb") @ XYZ_D50_TO_PROPHOTO @ xyz @ np.diag(neutral)
    x = np.clip(x / neutral, 0, 1) @ cam_to_srgb.T * 2.0**meta.baseline_exposure
    x = np.nan_to_num(np.clip(x, 0, 1))
    encoded = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)  # IEC 61966-2-1
    return np.round(255 * encoded).astype(np.uint8)


def _whole(code: int, kind: int, values: np.ndarray, name: str) -> Tag:
    """Whole numbers, SHORT or LONG; ValueError for others."""
    most = 65535 if kind == SHORT else 2**32 - 1
    if (values != np.round(values)).any() or values.min() < 0 or values.max() > most:
        raise ValueError(f"{name} should be whole numbers from 0 to {most} in a DNG; got {values.ravel()[:4]}")
    return tag(code, kind, values.astype(np.int64))


def _whole_or_fraction(code: int, values: Sequence[float] | np.ndarray, name: str) -> Tag:
    """LONG where all are whole (which every reader understands), else RATIONAL."""
    array = np.asarray(values, dtype=np.float64)
    if (array == np.round(array)).all():
        return _whole(code, LONG, array, name)
    return fraction_tag(code, RATIONAL, array, name)
