"""The DNG colour model: from a white balance and the calibrations of a camera to XYZ (D50), in float64.

Source: DNG 1.7.1, chapter 6, "Mapping Camera Color Space to CIE XYZ Space"; where the chapter leaves a choice open
(temperatures of the EXIF light sources, weights of three calibrations) Adobe's DNG SDK 1.7.1 is followed, and named.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isp.primaries import D50, XY, bradford, xy_to_xyz
from isp.raw.errors import RawFileError
from isp.raw.metadata import RawMetadata

DAYLIGHT_XY: XY = (0.3324, 0.3474)  # D55, CIE 15: what EXIF calls daylight (light source 1)

# EXIF LightSource: temperature (kelvin), for two calibrations, and x, y, for three, both as in the DNG SDK: nominal
# temperatures of the CIE illuminants, the middle of the range that EXIF states for fluorescent lamps; chromaticities of
# CIE 15, for a fluorescent lamp those of the F series' nearest.
LIGHT_SOURCES: dict[int, tuple[float, XY]] = {
    1: (5500.0, (0.3324, 0.3474)),  # daylight
    2: (4150.0, (0.37208, 0.37529)),  # fluorescent: F2
    3: (2850.0, (0.4476, 0.4074)),  # tungsten
    4: (5500.0, (0.3324, 0.3474)),  # flash
    9: (5500.0, (0.3324, 0.3474)),  # fine weather
    10: (6500.0, (0.3127, 0.3290)),  # cloudy weather
    11: (7500.0, (0.2990, 0.3149)),  # shade
    12: (6400.0, (0.31310, 0.33727)),  # daylight fluorescent, 5700 to 7100 K: F1
    13: (5050.0, (0.34588, 0.35875)),  # day white fluorescent, 4600 to 5500 K: F8
    14: (4150.0, (0.37417, 0.37281)),  # cool white fluorescent, 3800 to 4500 K: F9
    15: (3525.0, (0.40910, 0.39430)),  # white fluorescent, 3250 to 3800 K: F3
    16: (2925.0, (0.44018, 0.40329)),  # warm white fluorescent, 2600 to 3250 K: F4
    17: (2850.0, (0.4476, 0.4074)),  # standard light A
    18: (5500.0, (0.348483, 0.351747)),  # standard light B
    19: (6500.0, (0.310061, 0.316150)),  # standard light C
    20: (5500.0, (0.3324, 0.3474)),  # D55
    21: (6500.0, (0.3127, 0.3290)),  # D65
    22: (7500.0, (0.2990, 0.3149)),  # D75
    23: (5000.0, D50),  # D50
    24: (3200.0, (0.4233, 0.3987)),  # ISO studio tungsten: Planck's at 3200 K
}
OTHER = 255  # light source: the chromaticity is in IlluminantData

# Robertson's isotemperature lines: reciprocal megakelvin, u, v on the Planckian locus (CIE 1960), slope of the line.
# G. Wyszecki, W. S. Stiles, "Color Science", 2nd ed. 1982, table 1(3.11). At 325 the book prints u = 0.24702, which
# Lindbloom found to be a misprint of 0.24792; the DNG SDK keeps it, so that we differ from it between 300 and 350.
ROBERTSON = np.array(
    [
        (0, 0.18006, 0.26352, -0.24341),
        (10, 0.18066, 0.26589, -0.25479),
        (20, 0.18133, 0.26846, -0.26876),
        (30, 0.18208, 0.27119, -0.28539),
        (40, 0.18293, 0.27407, -0.30470),
        (50, 0.18388, 0.27709, -0.32675),
        (60, 0.18494, 0.28021, -0.35156),
        (70, 0.18611, 0.28342, -0.37915),
        (80, 0.18740, 0.28668, -0.40955),
        (90, 0.18880, 0.28997, -0.44278),
        (100, 0.19032, 0.29326, -0.47888),
        (125, 0.19462, 0.30141, -0.58204),
        (150, 0.19962, 0.30921, -0.70471),
        (175, 0.20525, 0.31647, -0.84901),
        (200, 0.21142, 0.32312, -1.0182),
        (225, 0.21807, 0.32909, -1.2168),
        (250, 0.22511, 0.33439, -1.4512),
        (275, 0.23247, 0.33904, -1.7298),
        (300, 0.24010, 0.34308, -2.0637),
        (325, 0.24792, 0.34655, -2.4681),
        (350, 0.25591, 0.34951, -2.9641),
        (375, 0.26400, 0.35200, -3.5814),
        (400, 0.27218, 0.35407, -4.3633),
        (425, 0.28039, 0.35577, -5.3762),
        (450, 0.28863, 0.35714, -6.7262),
        (475, 0.29685, 0.35823, -8.5955),
        (500, 0.30505, 0.35907, -11.324),
        (525, 0.31320, 0.35968, -15.628),
        (550, 0.32129, 0.36011, -23.325),
        (575, 0.32931, 0.36038, -40.770),
        (600, 0.33724, 0.36051, -116.45),
    ]
)
MIREDS, LOCUS = ROBERTSON[:, 0], ROBERTSON[:, 1:3]
# Unit vectors along the lines, towards magenta (u rises).
LINES = np.stack([np.ones(len(ROBERTSON)), ROBERTSON[:, 3]], axis=1) / np.hypot(1.0, ROBERTSON[:, 3:4])
TINT_PER_UV = (
    -3000.0
)  # tint is the distance from the locus in u, v times this (DNG SDK); positive is green: more magenta


def has_colour(meta: RawMetadata) -> bool:
    """Whether the file says how its camera sees colour: a ColorMatrix."""
    return bool(_calibrations(meta))


def neutral_to_xy(meta: RawMetadata, neutral: np.ndarray) -> XY:
    """Chromaticity of the light under which the camera sees a grey as `neutral` (3, camera RGB, any scale).

    Fixed-point iteration from D50, as the chapter states: the guess picks the matrix, the matrix gives the next guess.
    Where it swings between two values after 100 rounds, their mean (DNG SDK).
    """
    last = D50
    for _ in range(100):
        xyz = _inverse(_xyz_to_camera(meta, last)) @ neutral
        total = xyz.sum()
        xy = (float(xyz[0] / total), float(xyz[1] / total)) if total > 0 else D50
        if abs(xy[0] - last[0]) + abs(xy[1] - last[1]) < 1e-12:
            return xy
        before, last = last, xy
    return (before[0] + last[0]) / 2, (before[1] + last[1]) / 2


def xy_to_neutral(meta: RawMetadata, xy: XY) -> np.ndarray:
    """3: camera RGB of a grey under a light of this chromaticity, the largest 1.

    RawFileError where the file's matrices give a colour that no camera could: a channel at or below zero.
    """
    neutral = _xyz_to_camera(meta, xy) @ xy_to_xyz(xy)
    if not neutral.min() > 0:
        raise RawFileError(
            f"ColorMatrix: a white of x {xy[0]:.4f}, y {xy[1]:.4f} gives camera RGB {neutral.round(4).tolist()}; "
            "expected three positive values"
        )
    return neutral / neutral.max()


def camera_to_xyz_d50(meta: RawMetadata, xy: XY, neutral: np.ndarray) -> np.ndarray:
    """3x3 from camera RGB, before white balance, to XYZ under D50; the neutral (largest 1) becomes D50 with Y = 1.

    With a ForwardMatrix: FM D inverse(AB CC), the rows of FM scaled so that (1, 1, 1) is D50 exactly, as the tag's
    description requires and the rounding of its numbers spoils (DNG SDK). Without: inverse(AB CC CM), then linear
    Bradford from the white that this inverse gives the neutral (xy, where xy and neutral belong together) to D50.
    """
    d50 = xy_to_xyz(D50)
    weights = _weights(meta, xy)
    forward = _blend(weights, (meta.forward_matrix1, meta.forward_matrix2, meta.forward_matrix3))
    if forward is not None:
        to_reference = _inverse(np.diag(meta.analog_balance) @ _camera_calibration(meta, weights))
        forward = forward * (d50 / forward.sum(1))[:, None]
        return forward @ np.diag(1.0 / (to_reference @ neutral)) @ to_reference
    to_xyz = _inverse(_xyz_to_camera(meta, xy))
    white = to_xyz @ neutral
    return bradford(white, d50) @ to_xyz


def interpolate_hue_sat_map(meta: RawMetadata, xy: XY) -> np.ndarray | None:
    """hue sat value 3: ProfileHueSatMap for a white, blended as the matrices are; None where the profile has none."""
    tables = (meta.profile_hue_sat_map1, meta.profile_hue_sat_map2, meta.profile_hue_sat_map3)
    shapes = {table.shape for table in tables if table is not None}
    if len(shapes) > 1:
        raise RawFileError(f"ProfileHueSatMapData: expected tables of one size, got {' and '.join(map(str, shapes))}")
    return _blend(_weights(meta, xy), tables)


def xy_to_temperature_tint(xy: XY) -> tuple[float, float]:
    """Correlated colour temperature (1667 to 100000 K, beyond them the nearest) and tint of a chromaticity.

    A. R. Robertson, "Computation of Correlated Color Temperature and Distribution Temperature", JOSA 58(11), 1968:
    between the two isotemperature lines around it, by the ratio of its distances from them.
    """
    x, y = xy
    uv = np.array([2.0 * x, 3.0 * y]) / (1.5 - x + 6.0 * y)
    offsets = uv - LOCUS
    beyond = LINES[:, 0] * offsets[:, 1] - LINES[:, 1] * offsets[:, 0]  # distance from each line; > 0 on the red side
    crossed = np.flatnonzero(beyond[1:] <= 0)
    i = int(crossed[0]) + 1 if crossed.size else len(LINES) - 1  # the first line with the point on its blue side
    after = max(-beyond[i], 0.0)
    share = 0.0 if i == 1 else after / (beyond[i - 1] + after)  # of line i - 1
    direction = share * LINES[i - 1] + (1 - share) * LINES[i]
    offset = uv - (share * LOCUS[i - 1] + (1 - share) * LOCUS[i])
    mired = share * MIREDS[i - 1] + (1 - share) * MIREDS[i]
    return float(1e6 / mired), float(TINT_PER_UV * (offset @ direction) / np.hypot(*direction))


def temperature_tint_to_xy(kelvin: float, tint: float = 0.0) -> XY:
    """The chromaticity with this correlated colour temperature (1667 to 100000 K, beyond them the nearest) and tint.

    A point along the line between the two of the table, as in the DNG SDK; xy_to_temperature_tint gives kelvin and
    tint back to 1.1e-5 of the one and 3e-5 of the other.
    """
    mired = np.clip(1e6 / kelvin, MIREDS[1], MIREDS[-1])
    i = int(np.clip(np.searchsorted(MIREDS, mired, side="right"), 1, len(MIREDS) - 1))
    share = (MIREDS[i] - mired) / (MIREDS[i] - MIREDS[i - 1])  # of line i - 1
    direction = share * LINES[i - 1] + (1 - share) * LINES[i]
    u, v = share * LOCUS[i - 1] + (1 - share) * LOCUS[i] + tint / TINT_PER_UV * direction / np.hypot(*direction)
    scale = u - 4.0 * v + 2.0
    return float(1.5 * u / scale), float(v / scale)


def _calibrations(meta: RawMetadata) -> list[int]:
    """Which of the calibrations 0, 1, 2 the file has: those with a ColorMatrix that is not all zero."""
    matrices = (meta.color_matrix1, meta.color_matrix2, meta.color_matrix3)
    return [i for i, matrix in enumerate(matrices) if matrix is not None and matrix.any()]


def _weights(meta: RawMetadata, xy: XY) -> np.ndarray:
    """3: the share of each calibration at a white; 0 for absent ones, sum 1.

    Two: linear in inverse temperature between the illuminants' temperatures, the nearer one outside them (chapter 6).
    Three: as the DNG SDK, the chapter names no rule. With p = (1500 / temperature, tint / 200), the normalised
    1 / |p - p_i|^2 through the smooth step 3 w^2 - 2 w^3, less 2 %, clipped at zero and normalised again.
    """
    present = _calibrations(meta)
    weights = np.zeros(3)
    if len(present) < 2:
        weights[present[0] if present else 0] = 1.0
        return weights
    codes = (meta.calibration_illuminant1, meta.calibration_illuminant2, meta.calibration_illuminant3)
    others = (meta.illuminant_xy1, meta.illuminant_xy2, meta.illuminant_xy3)
    temperature, tint = xy_to_temperature_tint(xy)
    if len(present) == 3:
        whites = [_illuminant_xy(code, other) for code, other in zip(codes, others, strict=True)]
        if all(white is not None for white in whites):
            return _three_weights(temperature, tint, [xy_to_temperature_tint(w) for w in whites if w is not None])
        present = present[:2]
    first, second = present
    temperatures = [_illuminant_temperature(codes[i], others[i]) for i in present]
    if None in temperatures or temperatures[0] == temperatures[1]:  # unknown lights: the first calibration (DNG SDK)
        weights[first] = 1.0
        return weights
    inverse1, inverse2 = (1.0 / t for t in temperatures if t is not None)
    weights[second] = np.clip((1.0 / temperature - inverse1) / (inverse2 - inverse1), 0.0, 1.0)
    weights[first] = 1.0 - weights[second]
    return weights


def _three_weights(temperature: float, tint: float, lights: Sequence[tuple[float, float]]) -> np.ndarray:
    """3: shares of three calibrations; lights: the temperature and the tint of each."""

    def place(kelvin: float, tint: float) -> np.ndarray:
        return np.array([min(1500.0 / kelvin, 1.0), tint / 200.0])

    here = place(temperature, tint)
    weights = np.array([1.0 / (((here - place(*light)) ** 2).sum() + 1e-8) for light in lights])
    weights /= weights.sum()
    weights = weights**2 * (3.0 - 2.0 * weights)
    weights = np.clip((weights - 0.02) / 0.98, 0.0, 1.0)
    return weights / weights.sum()


def _illuminant_temperature(code: int | None, other: XY | None) -> float | None:
    """Kelvin of a calibration illuminant; None where the file leaves it unknown."""
    if code == OTHER and other is not None:
        return xy_to_temperature_tint(other)[0]
    return LIGHT_SOURCES[code][0] if code in LIGHT_SOURCES else None


def _illuminant_xy(code: int | None, other: XY | None) -> XY | None:
    """Chromaticity of a calibration illuminant; None where the file leaves it unknown."""
    if code == OTHER:
        return other
    return LIGHT_SOURCES[code][1] if code in LIGHT_SOURCES else None


def _blend(weights: np.ndarray, arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """The weighted mean of those present: one alone counts whatever its weight (chapter 6); None where none is."""
    present = [i for i, array in enumerate(arrays) if array is not None]
    if not present:
        return None
    shares = weights[present]
    shares = shares / shares.sum() if shares.sum() > 0 else np.eye(len(present))[0]
    return np.sum([share * arrays[i] for share, i in zip(shares, present, strict=True)], axis=0)


def _camera_calibration(meta: RawMetadata, weights: np.ndarray) -> np.ndarray:
    """CC, 3x3: one unit's deviation from the reference camera; the identity for a calibration that has none."""
    given = (meta.camera_calibration1, meta.camera_calibration2, meta.camera_calibration3)
    blended = _blend(weights, [np.eye(3) if matrix is None else matrix for matrix in given])
    assert blended is not None
    return blended


def _xyz_to_camera(meta: RawMetadata, xy: XY) -> np.ndarray:
    """AB CC CM at a white, 3x3."""
    weights = _weights(meta, xy)
    color_matrix = _blend(weights, (meta.color_matrix1, meta.color_matrix2, meta.color_matrix3))
    if color_matrix is None:
        raise RawFileError("expected a ColorMatrix; the file has none")
    return np.diag(meta.analog_balance) @ _camera_calibration(meta, weights) @ color_matrix


def _inverse(matrix: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        raise RawFileError(
            f"colour matrix {matrix.round(4).tolist()} (AnalogBalance, CameraCalibration, ColorMatrix) has no inverse"
        ) from None
