"""DNG files: what the raw image's directory and IFD0 say, and the pixels. Adobe, "Digital Negative (DNG)
Specification" 1.7.1; numbers of chapters and names of tags are its own."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from isp.raw.cfa import CFA
from isp.raw.errors import CutFileError, RawFileError, UnsupportedRawError
from isp.raw.fields import Fields, positive, take_exif
from isp.raw.image import RawImage
from isp.raw.segments import read_pixels
from isp.raw.tiff import Ifd, Source, read_exif_ifd

if TYPE_CHECKING:
    from isp.raw.opcodes import Opcode

PHOTOMETRIC_CFA, PHOTOMETRIC_LINEAR_RAW = 32803, 34892
NEWEST = (1, 7)  # of the specification, as DNGBackwardVersion counts
COLOURS = ("red", "green", "blue", "cyan", "magenta", "yellow", "white")  # CFAPlaneColor
LARGEST_PERIOD = 16  # rows or columns of a CFA pattern that is looked at
MOST_OPCODE_BYTES = 1 << 28
MOST_TABLE_NUMBERS = 1 << 22  # of a hue, saturation and value table: 1.4 million entries, where 90 x 30 x 1 is usual
OTHER_ILLUMINANT = 255  # EXIF LightSource: IlluminantData tells which
LARGEST_EXPOSURE = 32.0  # stops of BaselineExposure; what lies beyond is no statement about a picture
MOST_UNEVEN = 1000.0  # the largest entry of a neutral over the smallest; no light makes it more than some ten
LARGEST_CONDITION = 1e6  # of a matrix that is to be inverted; those of cameras have less than 100
NOT_RENDERED = (52525, 52544, 52543)  # profile tags that change the picture and that no stage renders


def is_dng(ifds: list[Ifd]) -> bool:
    """Whether the TIFF is a DNG: DNGVersion in IFD0."""
    return 50706 in ifds[0]


def read_dng(source: Source, ifds: list[Ifd]) -> tuple[RawImage, list[str]]:
    """The raw image of a DNG, and a line for each tag that was wrong and could be ignored.

    Raises UnsupportedRawError for a DNG of a kind that this library does not render, RawFileError for a damaged one.
    """
    main = ifds[0]
    if 50707 in main:
        needed = main.integers(50707, 4)
        if tuple(needed[:2]) > NEWEST:
            raise UnsupportedRawError(
                f"DNG that only readers of version {'.'.join(map(str, needed))} understand; "
                f"expected {NEWEST[0]}.{NEWEST[1]} or older"
            )
    raw = _raw_ifd(ifds)
    fields = Fields()
    height, width = raw.integer(257), raw.integer(256)
    samples = raw.integer(277, 1)
    linear = raw.integer(262) == PHOTOMETRIC_LINEAR_RAW
    if samples not in ((1, 3) if linear else (1,)):
        kind = "linear raw" if linear else "mosaic"
        raise UnsupportedRawError(f"{kind} with {samples} planes; expected {'1 or 3' if linear else '1'}")
    for name, value, code in (("height", height, 257), ("width", width, 256), ("samples", samples, 277)):
        fields.put(name, value, raw.origin(code))
    if not linear:
        fields.put("cfa", _cfa(raw), raw.origin(33422))

    _take_geometry(fields, main, raw)
    _take_levels(fields, raw)
    for name, code in (("opcode_list1", 51008), ("opcode_list2", 51009), ("opcode_list3", 51022)):
        fields.take(name, code, [raw], _opcodes, essential=True)
    if samples == 3 or not linear:
        _take_colour(fields, main, raw)
        _take_profile(fields, main, raw)
    _take_exposure(fields, main)
    planes = 1 if linear and samples == 1 else 3
    fields.take("noise_profile", 51041, [raw, main], partial(_noise_profile, planes=planes))
    take_exif(fields, main, read_exif_ifd(main) if 34665 in main else None)
    fields.take("unique_camera_model", 50708, [main], Ifd.text)
    for ifd in dict.fromkeys((main, raw)):
        fields.notes += [f"{ifd.origin(code)} is not rendered" for code in NOT_RENDERED if code in ifd]

    meta = fields.metadata()  # before the pixels: a lie about the levels need not wait for them
    return RawImage(read_pixels(raw, height, width, samples), meta), fields.notes


def _raw_ifd(ifds: list[Ifd]) -> Ifd:
    """The directory of the main image: NewSubfileType 0 and photometric CFA or LinearRaw, the largest of them."""
    candidates, others = [], []
    for ifd in ifds:
        try:
            kind, photometric = ifd.integer(254, 0), ifd.integer(262)
            size = ifd.integer(256) * ifd.integer(257)
        except RawFileError as error:
            others.append(str(error))
            continue
        if kind == 0 and photometric in (PHOTOMETRIC_CFA, PHOTOMETRIC_LINEAR_RAW):
            candidates.append((size, ifd))
        else:
            others.append(f"{ifd.name} has NewSubfileType {kind}, photometric {photometric}")
    if not candidates:
        raise UnsupportedRawError(f"DNG without a raw image, CFA (32803) or LinearRaw (34892): {'; '.join(others[:4])}")
    return max(candidates, key=lambda candidate: candidate[0])[1]


def _cfa(raw: Ifd) -> CFA:
    """The colour filter array from the top left of the active area, in its smallest period."""
    rows, cols = raw.integers(33421, 2)
    if not (0 < rows <= LARGEST_PERIOD and 0 < cols <= LARGEST_PERIOD):
        raise UnsupportedRawError(f"CFA that repeats every {rows} x {cols} pixels; expected up to 6 x 6")
    if raw.integer(50711, 1) != 1:
        raise UnsupportedRawError(f"CFALayout {raw.integer(50711)}, staggered (Super CCD); expected 1, rectangular")
    planes = raw.integers(50710, 1, 16) if 50710 in raw else [0, 1, 2]
    pattern = raw.integers(33422, rows * cols)
    named = [COLOURS[colour] if colour < len(COLOURS) else f"colour {colour}" for colour in planes]
    if planes != [0, 1, 2]:
        raise UnsupportedRawError(f"CFA of {', '.join(named)}; expected red, green, blue")
    if extra := sorted(set(pattern) - {0, 1, 2}):
        colour = COLOURS[extra[0]] if extra[0] < len(COLOURS) else f"colour {extra[0]}"
        raise UnsupportedRawError(f"CFA with {colour} filters; expected red, green and blue alone")
    return reduced_cfa(np.array(pattern).reshape(rows, cols))


def reduced_cfa(channels: np.ndarray) -> CFA:
    """The CFA of one period of channel numbers (0 red, 1 green, 2 blue), or of whole periods of it; the smallest one.
    Raises UnsupportedRawError for an array that is neither Bayer, nor Quad-Bayer, nor X-Trans."""
    rows: list[list[int]] = channels.tolist()
    rows = rows[: _period(rows)]
    cols = _period([list(col) for col in zip(*rows, strict=True)])
    letters = "".join("RGB"[channel] for row in rows for channel in row[:cols])
    try:
        return CFA(letters, len(rows), cols)
    except ValueError as error:
        raise UnsupportedRawError(str(error)) from error


def _period(lines: list[list[int]]) -> int:
    """After how many lines they repeat: a whole part of their number."""
    n = len(lines)
    return next(p for p in range(1, n + 1) if n % p == 0 and lines == lines[p:] + lines[:p])


def _take_geometry(fields: Fields, main: Ifd, raw: Ifd) -> None:
    def orientation(ifd: Ifd, code: int) -> int:
        value = ifd.integer(code)
        if not 1 <= value <= 8:
            raise RawFileError(f"{ifd.origin(code)} is {value}; expected 1 to 8")
        return value

    fields.take("active_area", 50829, [raw], lambda ifd, code: tuple(ifd.integers(code, 4)), essential=True)
    fields.take("default_scale", 50718, [raw], lambda ifd, code: tuple(positive(ifd, code, 2).tolist()))
    fields.take("orientation", 274, [main, raw], orientation)
    if 50719 not in raw and 50720 not in raw:
        return
    top, left, bottom, right = fields.values.get("active_area", (0, 0, fields.values["height"], fields.values["width"]))
    try:
        x, y = raw.finite(50719, 2).tolist() if 50719 in raw else (0.0, 0.0)
        across, down = raw.finite(50720, 2).tolist() if 50720 in raw else (right - left - x, bottom - top - y)
        if min(x, y) < 0 or min(across, down) <= 0 or x + across > right - left or y + down > bottom - top:
            raise RawFileError(
                f"{raw.name} has a DefaultCrop of {across:g} x {down:g} from {x:g}, {y:g}, outside the active area of "
                f"{right - left} x {bottom - top}"
            )
    except CutFileError:
        raise
    except RawFileError as error:
        fields.notes.append(f"{error}; it is ignored")
        return
    fields.put("default_crop_origin", (x, y), raw.origin(50719) if 50719 in raw else "default")
    fields.put("default_crop_size", (across, down), raw.origin(50720) if 50720 in raw else "default")


def _take_levels(fields: Fields, raw: Ifd) -> None:
    """Everything between the stored counts and linear values, all of it essential: a guess would be a wrong picture."""
    samples = fields.values["samples"]
    top, left, bottom, right = fields.values.get("active_area", (0, 0, fields.values["height"], fields.values["width"]))

    def black(ifd: Ifd, code: int) -> np.ndarray:
        rows, cols = ifd.integers(50713, 2) if 50713 in ifd else (1, 1)
        if rows < 1 or cols < 1:
            raise RawFileError(f"{ifd.origin(50713)} is {rows} x {cols}; expected positive numbers")
        return ifd.finite(code, rows * cols * samples).reshape(rows, cols, samples)

    def white(ifd: Ifd, code: int) -> np.ndarray:
        levels = ifd.finite(code, 1, samples)
        if len(levels) not in (1, samples):  # some writers state one number for all planes
            raise RawFileError(f"{ifd.origin(code)} has {len(levels)} values; expected {samples}")
        return np.broadcast_to(levels, samples)

    fields.put("black_level", np.zeros((1, 1, samples)), "default")
    floating = raw.integers(339, 1, samples)[0] == 3 if 339 in raw else False
    full = 1.0 if floating else 2.0 ** min(raw.integers(258, 1, samples)[0], 32) - 1
    fields.put("white_level", np.full(samples, full), "default")
    fields.take("linearization_table", 50712, [raw], lambda ifd, code: ifd.finite(code, 1, 65536), essential=True)
    fields.take("black_level", 50714, [raw], black, essential=True)
    fields.take("white_level", 50717, [raw], white, essential=True)
    for name, code, size in (
        ("black_level_delta_h", 50715, max(right - left, 1)),
        ("black_level_delta_v", 50716, max(bottom - top, 1)),
    ):
        fields.take(name, code, [raw], partial(Ifd.finite, least=size), essential=True)

    highest = fields.values["black_level"].max((0, 1))
    for name in ("black_level_delta_h", "black_level_delta_v"):
        highest = highest + max(0.0, fields.values.get(name, np.zeros(1)).max())
    if not (fields.values["white_level"] > highest).all():
        raise RawFileError(
            f"WhiteLevel {fields.values['white_level'].min():g} is not above the highest black level, {highest.max():g}"
        )


def _opcodes(ifd: Ifd, code: int) -> tuple[Opcode, ...]:
    from isp.raw.opcodes import parse_opcode_list  # a quarter of what a render imports, and few files need it

    try:
        return parse_opcode_list(ifd.data(code, MOST_OPCODE_BYTES))
    except RawFileError as error:
        raise type(error)(f"{ifd.origin(code)}: {error}") from error


class _Calibration(NamedTuple):
    """The tags of one of up to three calibration illuminants."""

    number: int
    illuminant: int
    illuminant_data: int
    color_matrix: int
    camera_calibration: int
    forward_matrix: int
    hue_sat_map: int


CALIBRATIONS = (
    _Calibration(1, 50778, 52533, 50721, 50723, 50964, 50938),
    _Calibration(2, 50779, 52534, 50722, 50724, 50965, 50939),
    _Calibration(3, 52529, 52535, 52531, 52530, 52532, 52537),
)


def _take_colour(fields: Fields, main: Ifd, raw: Ifd) -> None:
    """What chapter 6 maps camera colours to XYZ with. Without a valid ColorMatrix there is no colour: an error."""
    ifds = [main, raw]
    signatures = Fields()
    signatures.take("camera", 50931, ifds, Ifd.text)
    signatures.take("profile", 50932, ifds, Ifd.text)
    fields.notes += signatures.notes
    for c in CALIBRATIONS:
        illuminant = f"calibration_illuminant{c.number}"
        fields.take(illuminant, c.illuminant, ifds, Ifd.integer)
        if fields.values.get(illuminant) == OTHER_ILLUMINANT:
            fields.take(f"illuminant_xy{c.number}", c.illuminant_data, ifds, _illuminant_xy)
        fields.take(f"color_matrix{c.number}", c.color_matrix, ifds, _matrix, essential=True)
        fields.take(f"forward_matrix{c.number}", c.forward_matrix, ifds, _matrix)
        # A calibration belongs to the profiles that carry its signature, and no signature is one too (chapter 6).
        if signatures.values.get("camera") == signatures.values.get("profile"):
            fields.take(f"camera_calibration{c.number}", c.camera_calibration, ifds, _matrix)
    fields.take("analog_balance", 50727, ifds, partial(positive, least=3))
    fields.take("as_shot_neutral", 50728, ifds, _neutral)
    fields.take("as_shot_white_xy", 50729, ifds, _white_xy)


def _matrix(ifd: Ifd, code: int) -> np.ndarray:
    matrix = ifd.finite(code, 9).reshape(3, 3)
    if not np.linalg.cond(matrix) < LARGEST_CONDITION:
        raise RawFileError(f"{ifd.origin(code)} has no inverse")
    return matrix


def _neutral(ifd: Ifd, code: int) -> np.ndarray:
    neutral = positive(ifd, code, 3)
    if neutral.max() > MOST_UNEVEN * neutral.min():
        numbers = ", ".join(f"{value:g}" for value in neutral)
        raise RawFileError(f"{ifd.origin(code)} is {numbers}, the colour of no light")
    return neutral


def _white_xy(ifd: Ifd, code: int) -> tuple[float, float]:
    x, y = positive(ifd, code, 2).tolist()
    if x + y >= 1:
        raise RawFileError(f"{ifd.origin(code)} is {x:g}, {y:g}; expected chromaticities")
    return x, y


def _illuminant_xy(ifd: Ifd, code: int) -> tuple[float, float]:
    """xy of IlluminantData: two rationals after a type of 0, or a spectrum after a type of 1 (DNG 1.7.1,
    "IlluminantData1")."""
    data = ifd.data(code, 1 << 20)
    kind = int(np.frombuffer(data[:2], ifd.order + "u2")[0]) if len(data) >= 2 else -1
    words = np.frombuffer(data[2 : 2 + (len(data) - 2) // 4 * 4], ifd.order + "u4").astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == 0 and len(words) >= 4:
            x, y = words[0] / words[1], words[2] / words[3]
        elif kind == 1 and len(words) >= 5 and len(words) == 5 + 2 * words[0] and words[0] >= 2:
            start, step = words[1] / words[2], words[3] / words[4]
            x, y = _spectrum_xy(start + step * np.arange(int(words[0])), words[5::2] / words[6::2])
        else:
            raise RawFileError(f"{ifd.origin(code)} is {len(data)} bytes of type {kind}; expected xy or a spectrum")
    if not (np.isfinite([x, y]).all() and x > 0 and y > 0 and x + y < 1):
        raise RawFileError(f"{ifd.origin(code)} gives xy {x:g}, {y:g}; expected chromaticities")
    return float(x), float(y)


def _spectrum_xy(wavelengths: np.ndarray, power: np.ndarray) -> tuple[float, float]:
    """Chromaticity of a spectral power distribution for the CIE 1931 2 degree observer; wavelengths in nm."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no Matplotlib, which nothing here needs
        import colour

    cmfs = colour.MSDS_CMFS["CIE 1931 2 Degree Standard Observer"]
    spectrum = np.interp(cmfs.wavelengths, wavelengths, power, left=0.0, right=0.0)
    xyz = spectrum @ cmfs.values
    return tuple((xyz[:2] / xyz.sum()).tolist())


def _take_exposure(fields: Fields, main: Ifd) -> None:
    """BaselineExposure and the profile's BaselineExposureOffset, added up."""
    total, origins = 0.0, []
    for code in (50730, 51109):
        if code in main:
            try:
                value = float(main.finite(code, 1)[0])
                if abs(value) > LARGEST_EXPOSURE:
                    raise RawFileError(f"{main.origin(code)} is {value:g} stops")
            except CutFileError:
                raise
            except RawFileError as error:
                fields.notes.append(f"{error}; it is ignored")
                continue
            total += value
            origins.append(main.origin(code))
    if origins:
        fields.put("baseline_exposure", total, " + ".join(origins))


def _take_profile(fields: Fields, main: Ifd, raw: Ifd) -> None:
    """The embedded camera profile: tables in hue, saturation and value, and the tone curve."""
    ifds = [main, raw]
    for c in CALIBRATIONS:
        fields.take(f"profile_hue_sat_map{c.number}", c.hue_sat_map, ifds, partial(_table, dims_code=50937))
    fields.take("profile_look_table", 50982, ifds, partial(_table, dims_code=50981))
    fields.take("profile_hue_sat_map_encoding", 51107, ifds, _encoding)
    fields.take("profile_look_table_encoding", 51108, ifds, _encoding)
    fields.take("profile_tone_curve", 50940, ifds, _tone_curve)
    fields.take("profile_name", 50936, ifds, Ifd.text)


def _table(ifd: Ifd, code: int, dims_code: int) -> np.ndarray:
    """hue sat value 3. The file's order is value, hue, saturation, the last one fastest."""
    hues, saturations, values = ifd.integers(dims_code, 3)
    size = hues * saturations * values * 3
    if min(hues, values) < 1 or saturations < 2 or size > MOST_TABLE_NUMBERS:
        raise RawFileError(f"{ifd.origin(dims_code)} is {hues} x {saturations} x {values}; expected a table that fits")
    return ifd.finite(code, size).reshape(values, hues, saturations, 3).transpose(1, 2, 0, 3)


def _encoding(ifd: Ifd, code: int) -> int:
    value = ifd.integer(code)
    if value not in (0, 1):
        raise RawFileError(f"{ifd.origin(code)} is {value}; expected 0 (linear) or 1 (sRGB)")
    return value


def _tone_curve(ifd: Ifd, code: int) -> np.ndarray:
    """N 2: points from (0, 0) to (1, 1), inputs rising."""
    numbers = ifd.finite(code, 4, 1 << 17)
    points = numbers[: len(numbers) // 2 * 2].reshape(-1, 2)
    if len(numbers) % 2 or points.min() < 0 or points.max() > 1 or not (np.diff(points[:, 0]) > 0).all():
        raise RawFileError(f"{ifd.origin(code)} is no curve: expected points in [0, 1] with rising inputs")
    return points


def _noise_profile(ifd: Ifd, code: int, planes: int) -> np.ndarray:
    """planes 2: S and O of each colour plane; one pair stands for all of them."""
    numbers = ifd.finite(code, 2, 2 * planes)
    if len(numbers) not in (2, 2 * planes) or (numbers < 0).any():
        raise RawFileError(
            f"{ifd.origin(code)} holds {len(numbers)} numbers; expected 2 or {2 * planes}, none negative"
        )
    return np.broadcast_to(numbers.reshape(-1, 2), (planes, 2))
