"""DNGs that carry one feature each, from the file to the linear picture, against the specification in float64.

Expected values come from tests/specification.py and from what is written out here; every picture is rendered at the
default precision and compared to within 1e-5 of full scale. In camera space with a neutral of (1, 1, 1) a measured
sample is its normalised count, for demosaicing leaves measured samples as they are; that is what a mosaic is compared
by. Linear DNGs are compared pixel by pixel.
"""

from pathlib import Path
from typing import Any

import colour
import numpy as np
import pytest
import specification as spec
from dng_factory import SRGB_COLOR_MATRIX, make_dng

import isp
from isp.options import RenderOptions
from isp.raw.opcodes import (
    DeltaPerColumn,
    DeltaPerRow,
    FixBadPixelsConstant,
    FixBadPixelsList,
    FixVignetteRadial,
    GainMap,
    MapPolynomial,
    MapTable,
    Opcode,
    ScalePerColumn,
    ScalePerRow,
    TrimBounds,
    UnknownOpcode,
    WarpFisheye,
    WarpRectilinear,
    WarpRectilinear2,
    pack_opcode_list,
)

TOLERANCE = 1e-5  # of full scale
H, W = 12, 18
random = np.random.default_rng(2)
COUNTS = random.integers(70, 1000, (H, W)).astype(np.uint16)
RGB_COUNTS = random.integers(70, 1000, (H, W, 3)).astype(np.uint16)


def render(path: Path, space: str = "camera") -> np.ndarray:
    """H W 3: the linear picture."""
    options = RenderOptions(look="neutral", space=space, linear=True)
    return isp.render(isp.read(path), options)[0].permute(1, 2, 0).double().numpy()


def measured(picture: np.ndarray, cfa: str = "RGGB") -> np.ndarray:
    """H W: at each site of a mosaic the channel that was measured there."""
    side = round(len(cfa) ** 0.5)
    rows, cols = np.indices(picture.shape[:2])
    channel = np.array(["RGB".index(letter) for letter in cfa])[(rows % side) * side + cols % side]
    return np.take_along_axis(picture, channel[..., None], axis=2)[..., 0]


def close(got: np.ndarray, want: np.ndarray) -> None:
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE)


def mosaic(tmp_path: Path, counts: np.ndarray = COUNTS, *, cfa: str = "RGGB", **tags: Any) -> np.ndarray:
    """What a mosaic DNG with these tags renders to, at its measured samples."""
    return measured(render(make_dng(tmp_path / "one.dng", counts, cfa=cfa, **tags)), cfa)


def linear(tmp_path: Path, counts: np.ndarray = RGB_COUNTS, **tags: Any) -> np.ndarray:
    """What a linear DNG with these tags renders to, H W 3."""
    return render(make_dng(tmp_path / "one.dng", counts, **tags))


# --- levels (chapter 5) ---


@pytest.mark.parametrize("cfa", ["RGGB", "GRBG", "GBRG", "BGGR"])
def test_black_and_white_level(tmp_path: Path, cfa: str) -> None:
    close(mosaic(tmp_path, cfa=cfa, black_level=64, white_level=1023), (COUNTS - 64.0) / (1023 - 64))


def test_default_levels(tmp_path: Path) -> None:
    close(mosaic(tmp_path), COUNTS / 65535.0)


def test_negatives_stay(tmp_path: Path) -> None:
    got = mosaic(tmp_path, black_level=500, white_level=1023)
    assert got.min() < -0.5
    close(got, (COUNTS - 500.0) / 523)


def test_fractional_black_of_four_positions(tmp_path: Path) -> None:
    black = np.array([[64.25, 65.5], [66.125, 63.0]])
    got = mosaic(tmp_path, black_level=black, black_level_repeat_dim=(2, 2), white_level=1023)
    close(got, spec.levels(COUNTS, black, 1023))


@pytest.mark.parametrize("repeat", [(4, 4), (3, 5), (1, 6), (6, 1)])
def test_black_repeat_larger_than_2x2(tmp_path: Path, repeat: tuple[int, int]) -> None:
    black = (random.integers(50 * 16, 70 * 16, repeat)) / 16
    got = mosaic(tmp_path, black_level=black, black_level_repeat_dim=repeat, white_level=1023)
    close(got, spec.levels(COUNTS, black, 1023))


@pytest.mark.parametrize("which", ["h", "v", "hv"])
def test_black_level_deltas(tmp_path: Path, which: str) -> None:
    delta_h, delta_v = random.integers(-160, 160, W) / 16, random.integers(-160, 160, H) / 16
    black = np.array([[60.0, 62.0], [64.0, 61.0]])
    tags = {"black_level_delta_h": delta_h} if "h" in which else {}
    tags |= {"black_level_delta_v": delta_v} if "v" in which else {}
    got = mosaic(tmp_path, black_level=black, black_level_repeat_dim=(2, 2), white_level=1023, **tags)
    want = spec.levels(COUNTS, black, 1023, delta_h if "h" in which else None, delta_v if "v" in which else None)
    close(got, want)


def test_linearization_table_holds_its_last_entry(tmp_path: Path) -> None:
    table = (np.arange(900) ** 2 / 15).astype(np.uint16)  # counts reach 999
    got = mosaic(tmp_path, linearization_table=table, black_level=400, white_level=60000)
    close(got, (table.astype(np.float64)[np.minimum(COUNTS, 899)] - 400) / (60000 - 400))


def test_active_area_at_odd_offsets(tmp_path: Path) -> None:
    """Pattern, black repeat and deltas start at the active area's top left."""
    top, left, bottom, right = 3, 5, 11, 16
    black, delta_v = np.array([[60.0, 70.0, 65.0]]), np.arange(8.0)
    got = mosaic(
        tmp_path,
        cfa="GRBG",
        active_area=(top, left, bottom, right),
        black_level=black,
        black_level_repeat_dim=(1, 3),
        black_level_delta_v=delta_v,
        white_level=1023,
    )
    close(got, spec.levels(COUNTS[top:bottom, left:right], black, 1023, None, delta_v))


def test_linear_dng_with_black(tmp_path: Path) -> None:
    close(linear(tmp_path, black_level=(64, 64, 64), white_level=(1023,) * 3), (RGB_COUNTS - 64.0) / (1023 - 64))


def test_white_level_per_channel(tmp_path: Path) -> None:
    black, white = (64.0, 50.5, 80.25), (1023, 990, 1100)
    close(
        linear(tmp_path, black_level=black, white_level=white),
        (RGB_COUNTS - np.array(black)) / np.subtract(white, black),
    )


def test_black_repeat_of_a_linear_dng(tmp_path: Path) -> None:
    black = random.integers(50, 70, (2, 3, 3)).astype(np.float64)
    got = linear(tmp_path, black_level=black, black_level_repeat_dim=(2, 3), white_level=(1023, 1000, 900))
    close(got, spec.levels(RGB_COUNTS, black, (1023, 1000, 900)))


def test_white_not_above_black_is_an_error(tmp_path: Path) -> None:
    path = make_dng(tmp_path / "one.dng", COUNTS, black_level=200, white_level=200)
    with pytest.raises(ValueError, match="not above the highest black level"):
        render(path)


# --- pixels and where they are stored ---


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_float_mosaic_with_black(tmp_path: Path, dtype: type) -> None:
    counts = (COUNTS / 1000).astype(dtype)
    got = mosaic(tmp_path, counts, black_level=0.0625, white_level=1)
    close(got, (counts.astype(np.float64) - 0.0625) / (1 - 0.0625))


def test_float_default_white_is_one(tmp_path: Path) -> None:
    counts = random.uniform(0, 1.5, (H, W)).astype(np.float32)
    close(mosaic(tmp_path, counts), counts.astype(np.float64))


STORED = {
    "SubIFD": {"subifd": True},
    "big-endian": {"byteorder": ">"},
    "tiles": {"tile": (16, 16)},
    "deflate": {"compression": 8},
    "deflate, predictor": {"compression": 8, "predictor": 2},
    "lossless JPEG": {"compression": 7, "compressionargs": {"lossless": True}},
    "lossless JPEG tiles": {"compression": 7, "compressionargs": {"lossless": True}, "tile": (16, 16)},
    "JPEG XL": {"compression": 52546, "compressionargs": {"lossless": True}},
}


@pytest.mark.parametrize("how", STORED)
def test_storage(tmp_path: Path, how: str) -> None:
    got = mosaic(tmp_path, black_level=64, white_level=1023, **STORED[how])
    close(got, (COUNTS - 64.0) / (1023 - 64))


def test_eight_bits(tmp_path: Path) -> None:
    counts = (COUNTS // 4).astype(np.uint8)
    close(mosaic(tmp_path, counts), counts / 255.0)


# --- colour filter arrays ---


@pytest.mark.parametrize(
    "cfa",
    ["RRGGRRGGGGBBGGBB", "GGBBGGBBRRGGRRGG", "GBGGRGRGRBGBGBGGRGGRGGBGBGBRGRGRGGBG"],
    ids=["quad-bayer", "quad-bayer GBRG", "x-trans"],
)
def test_arrays_larger_than_2x2(tmp_path: Path, cfa: str) -> None:
    got = mosaic(tmp_path, cfa=cfa, black_level=64, white_level=1023)
    close(got, (COUNTS - 64.0) / (1023 - 64))


def test_flat_field_of_a_quad_bayer_stays_flat(tmp_path: Path) -> None:
    flat = np.full((24, 24), 512, np.uint16)
    picture = render(make_dng(tmp_path / "one.dng", flat, cfa="RRGGRRGGGGBBGGBB", white_level=1023))
    close(picture, np.full((24, 24, 3), 512 / 1023))


def test_monochrome(tmp_path: Path) -> None:
    picture = render(make_dng(tmp_path / "one.dng", COUNTS, cfa=None, black_level=64, white_level=1023))
    close(picture, np.repeat(((COUNTS - 64.0) / (1023 - 64))[..., None], 3, axis=2))


def test_an_unknown_array_is_refused_by_name(tmp_path: Path) -> None:
    path = make_dng(tmp_path / "one.dng", COUNTS, cfa="RGBGBRBRG")
    with pytest.raises(isp.raw.UnsupportedRawError, match="3x3"):
        isp.read(path)


# --- geometry ---


def test_default_crop(tmp_path: Path) -> None:
    got = linear(tmp_path, white_level=(1023,) * 3, default_crop_origin=(3, 2), default_crop_size=(10, 7))
    close(got, RGB_COUNTS[2:9, 3:13] / 1023)


def test_default_crop_lies_in_the_active_area(tmp_path: Path) -> None:
    got = linear(
        tmp_path,
        white_level=(1023,) * 3,
        active_area=(1, 2, 12, 18),
        default_crop_origin=(3, 2),
        default_crop_size=(10, 7),
    )
    close(got, RGB_COUNTS[3:10, 5:15] / 1023)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path: Path, orientation: int) -> None:
    """Rows and columns as TIFF 6.0 words them: row 0 is the picture's ..., column 0 is its ..."""
    picture = RGB_COUNTS / 1023
    turned = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.swapaxes(0, 1),
        6: picture.swapaxes(0, 1)[:, ::-1],
        7: picture.swapaxes(0, 1)[::-1, ::-1],
        8: picture.swapaxes(0, 1)[::-1],
    }[orientation]
    close(linear(tmp_path, white_level=(1023,) * 3, orientation=orientation), turned)


# --- exposure and colour (chapter 6) ---


@pytest.mark.parametrize(("exposure", "offset"), [(1.5, None), (-0.75, 0.25)])
def test_baseline_exposure(tmp_path: Path, exposure: float, offset: float | None) -> None:
    counts = (RGB_COUNTS // 4).astype(np.uint16)
    got = linear(tmp_path, counts, white_level=(1023,) * 3, baseline_exposure=exposure, baseline_exposure_offset=offset)
    close(got, counts / 1023 * 2 ** (exposure + (offset or 0)))


def test_as_shot_neutral(tmp_path: Path) -> None:
    neutral = np.array([0.5, 1.0, 0.625])
    counts = (RGB_COUNTS // 2).astype(np.uint16)
    close(linear(tmp_path, counts, white_level=(1023,) * 3, as_shot_neutral=neutral), counts / 1023 / neutral)
    got = mosaic(tmp_path, (COUNTS // 2).astype(np.uint16), white_level=1023, as_shot_neutral=neutral)
    gain = 1 / neutral[np.array([[0, 1], [1, 2]])]
    close(got, (COUNTS // 2) / 1023 * np.tile(gain, (H // 2, W // 2)))


COLOR_1 = np.array(
    [[1.2555, -0.3915, 0.1094], [-0.5297, 1.5042, 0.4829], [-0.0607, 0.1805, 0.7942]]
)  # standard light A
COLOR_2 = np.array([[0.6797, -0.0419, -0.0807], [-0.4694, 1.1883, 0.3081], [-0.1217, 0.2478, 0.5641]])  # D65
FORWARD_1 = np.array([[0.6907, 0.1411, 0.1325], [0.2871, 0.6748, 0.0381], [0.0005, 0.1101, 0.7145]])
FORWARD_2 = np.array([[0.6292, 0.1351, 0.1999], [0.3155, 0.6232, 0.0612], [0.0002, 0.0235, 0.8014]])
CALIBRATION_1 = np.diag([1.02, 1.0, 0.97]) + 0.01
CALIBRATION_2 = np.diag([0.98, 1.0, 1.03]) - 0.01
BALANCE = np.array([1.25, 1.0, 1.5])
SMALL = (RGB_COUNTS // 2).astype(np.uint16)


def in_srgb(tmp_path: Path, **tags: Any) -> np.ndarray:
    path = make_dng(tmp_path / "one.dng", SMALL, **{"white_level": (1023,) * 3, **tags})
    return render(path, "srgb")


def through(matrix: np.ndarray) -> np.ndarray:
    """The picture that a 3x3 from camera RGB to XYZ (D50) makes in linear sRGB."""
    return SMALL / 1023 @ (spec.xyz_d50_to_srgb() @ matrix).T


def test_color_matrix_alone(tmp_path: Path) -> None:
    neutral = np.array([0.5, 1.0, 0.75])
    to_xyz = np.linalg.inv(COLOR_2)
    white = to_xyz @ neutral
    got = in_srgb(tmp_path, color_matrix1=COLOR_2, as_shot_neutral=neutral)
    close(got, through(spec.adapt(white / white[1], spec.xyz(spec.D50)) @ to_xyz / white[1]))


def test_camera_that_measures_srgb(tmp_path: Path) -> None:
    """The neutral goes to white: the default camera of the factory is sRGB but for the rounding of its matrix."""
    got = in_srgb(tmp_path, color_matrix1=SRGB_COLOR_MATRIX)
    np.testing.assert_allclose(got, SMALL / 1023, atol=2e-4)


def test_forward_matrix(tmp_path: Path) -> None:
    neutral = np.array([0.5, 1.0, 0.75])
    got = in_srgb(tmp_path, color_matrix1=COLOR_2, forward_matrix1=FORWARD_2, as_shot_neutral=neutral)
    forward = FORWARD_2 * (spec.xyz(spec.D50) / FORWARD_2.sum(1))[:, None]  # rows are to sum to D50: here to 4 digits
    close(got, through(forward @ np.diag(1 / neutral)))


def test_analog_balance_and_camera_calibration(tmp_path: Path) -> None:
    neutral = np.array([0.6, 1.0, 0.8])
    got = in_srgb(
        tmp_path,
        color_matrix1=COLOR_2,
        forward_matrix1=FORWARD_2,
        camera_calibration1=CALIBRATION_1,
        analog_balance=BALANCE,
        as_shot_neutral=neutral,
    )
    to_reference = np.linalg.inv(np.diag(BALANCE) @ CALIBRATION_1)
    forward = FORWARD_2 * (spec.xyz(spec.D50) / FORWARD_2.sum(1))[:, None]
    close(got, through(forward @ np.diag(1 / (to_reference @ neutral)) @ to_reference))


@pytest.mark.parametrize("forward", [False, True], ids=["ColorMatrix", "ForwardMatrix"])
@pytest.mark.parametrize("temperature", [2500, 2850, 3500, 4500, 5500, 6504, 8000])
def test_dual_illuminant(tmp_path: Path, temperature: int, forward: bool) -> None:
    """Everything at once at a white on the Planckian locus; its temperature by colour-science's Robertson."""
    white = np.round(colour.temperature.CCT_to_xy_Kang2002(temperature), 4)
    kelvin = float(colour.temperature.uv_to_CCT_Robertson1968(colour.UCS_to_uv(colour.XYZ_to_UCS(spec.xyz(white))))[0])
    color = spec.mix(COLOR_1, COLOR_2, kelvin, 2850, 6500)
    calibration = spec.mix(CALIBRATION_1, CALIBRATION_2, kelvin, 2850, 6500)
    to_camera = np.diag(BALANCE) @ calibration @ color
    neutral = to_camera @ spec.xyz(white)
    neutral /= neutral.max()
    if forward:
        to_reference = np.linalg.inv(np.diag(BALANCE) @ calibration)
        to_d50 = [f * (spec.xyz(spec.D50) / f.sum(1))[:, None] for f in (FORWARD_1, FORWARD_2)]
        rows = spec.mix(FORWARD_1, FORWARD_2, kelvin, 2850, 6500)
        assert np.allclose(to_d50[0], FORWARD_1, atol=1e-3)
        rows = rows * (spec.xyz(spec.D50) / rows.sum(1))[:, None]
        matrix = rows @ np.diag(1 / (to_reference @ neutral)) @ to_reference
    else:
        to_xyz = np.linalg.inv(to_camera)
        matrix = spec.adapt(spec.xyz(white), spec.xyz(spec.D50)) @ to_xyz / (to_xyz @ neutral)[1]
    got = in_srgb(
        tmp_path,
        color_matrix1=COLOR_1,
        color_matrix2=COLOR_2,
        calibration_illuminant1=17,
        calibration_illuminant2=21,
        camera_calibration1=CALIBRATION_1,
        camera_calibration2=CALIBRATION_2,
        analog_balance=BALANCE,
        as_shot_neutral=None,
        as_shot_white_xy=white,
        **({"forward_matrix1": FORWARD_1, "forward_matrix2": FORWARD_2} if forward else {}),
    )
    close(got, through(matrix))


# --- opcodes (chapter 7) ---

GAINS = random.uniform(0.8, 1.9, (4, 5, 3)).astype(np.float32)
SPACING, ORIGIN = (0.33, 0.25), (0.02, 0.01)
MAP = {"map_spacing_v": SPACING[0], "map_spacing_h": SPACING[1], "map_origin_v": ORIGIN[0], "map_origin_h": ORIGIN[1]}
AREA = {"top": 1, "left": 2, "bottom": 11, "right": 17, "plane": 0, "planes": 2, "row_pitch": 2, "col_pitch": 3}
BOX: spec.Area = (1, 2, 11, 17, 0, 2, 2, 3)
ROWS, COLS = random.uniform(0.6, 1.2, 5).astype(np.float32), random.uniform(0.6, 1.2, 5).astype(np.float32)
KR, KT = np.array([[1.01, 0.02, -0.01, 0.005], [0.99, 0.01, 0.0, 0.0], [1.0, -0.02, 0.01, 0.0]]), (0.002, -0.003)
KR2 = np.concatenate([[1.0, 0.01, -0.02, 0.015], np.zeros(11)])
VIGNETTE = [0.2, -0.05, 0.1, 0.02, -0.01]
TABLE = (np.sqrt(np.linspace(0, 1, 65536)) * 65535).astype(np.uint16)
LINEAR = RGB_COUNTS / 1023.0


def cubic(k: np.ndarray, r: float) -> float:
    return sum(float(k[i]) * r ** (2 * i) for i in range(4))


def fisheye(r: float) -> float:
    t = np.arctan(r)
    return float((1.2 * t + 0.1 * t**3 + 0.05 * t**5 - 0.02 * t**7) / r) if r else 1.2


def reciprocal(r: float) -> float:
    r = min(max(r, 0.1), 0.9)
    return 1 / sum(float(KR2[i]) * r**i for i in range(15))


def opcode_cases() -> dict[str, tuple[Opcode, np.ndarray]]:
    """On linear RGB: the opcode and what it makes of LINEAR."""
    by_row = lambda function: spec.on_area(LINEAR, BOX, lambda v, row, col: function(v, row))  # noqa: E731
    by_col = lambda function: spec.on_area(LINEAR, BOX, lambda v, row, col: function(v, col))  # noqa: E731
    return {
        "WarpRectilinear": (
            WarpRectilinear(kr=KR, kt=[KT] * 3, cx=0.45, cy=0.55),
            spec.warp(LINEAR, [lambda r, k=k: cubic(k, r) for k in KR], [KT] * 3, 0.45, 0.55),
        ),
        "WarpFisheye": (
            WarpFisheye(kr=[[1.2, 0.1, 0.05, -0.02]]),
            spec.warp(LINEAR, [fisheye], [(0, 0)], 0.5, 0.5),
        ),
        "WarpRectilinear2": (
            WarpRectilinear2(kr=[KR2], kt=[KT], min_valid_radius=[0.1], max_valid_radius=[0.9], use_reciprocal=1),
            spec.warp(LINEAR, [reciprocal], [KT], 0.5, 0.5),
        ),
        "FixVignetteRadial": (
            FixVignetteRadial(k=VIGNETTE, cx=0.4, cy=0.6),
            spec.vignette(LINEAR, VIGNETTE, 0.4, 0.6),
        ),
        "TrimBounds": (TrimBounds(top=1, left=3, bottom=10, right=16), LINEAR[1:10, 3:16]),
        "MapTable": (
            MapTable(**AREA, table=TABLE),
            by_row(lambda v, row: float(np.interp(v * 65535, np.arange(65536), TABLE)) / 65535),
        ),
        "MapPolynomial": (
            MapPolynomial(**AREA, coefficients=[0.01, 0.8, 0.15]),
            by_row(lambda v, row: 0.01 + 0.8 * v + 0.15 * v * v),
        ),
        "GainMap": (
            GainMap(**AREA, map_gains=GAINS, **MAP),
            spec.gain_map(LINEAR, BOX, GAINS, SPACING, ORIGIN),
        ),
        "DeltaPerRow": (DeltaPerRow(**AREA, deltas=ROWS), by_row(lambda v, row: v + float(ROWS[row]))),
        "DeltaPerColumn": (DeltaPerColumn(**AREA, deltas=COLS), by_col(lambda v, col: v + float(COLS[col]))),
        "ScalePerRow": (ScalePerRow(**AREA, scales=ROWS), by_row(lambda v, row: v * float(ROWS[row]))),
        "ScalePerColumn": (ScalePerColumn(**AREA, scales=COLS), by_col(lambda v, col: v * float(COLS[col]))),
    }


OPCODES = opcode_cases()


@pytest.mark.parametrize("tag", ["opcode_list2", "opcode_list3"])
@pytest.mark.parametrize("name", OPCODES)
def test_opcode_on_linear_rgb(tmp_path: Path, name: str, tag: str) -> None:
    opcode, want = OPCODES[name]
    close(linear(tmp_path, white_level=(1023,) * 3, **{tag: pack_opcode_list([opcode])}), want)


def test_list_3_works_before_white_balance(tmp_path: Path) -> None:
    neutral = np.array([0.5, 1.0, 0.8])
    opcode = MapPolynomial(planes=3, coefficients=[0, 0.5, 0.25])
    x = SMALL / 1023
    got = linear(
        tmp_path, SMALL, white_level=(1023,) * 3, as_shot_neutral=neutral, opcode_list3=pack_opcode_list([opcode])
    )
    close(got, (0.5 * x + 0.25 * x * x) / neutral)


def test_one_gain_map_on_a_mosaic(tmp_path: Path) -> None:
    opcode = GainMap(bottom=H, right=W, map_gains=GAINS[..., :1], **MAP)
    want = spec.gain_map(COUNTS[..., None] / 1023.0, (0, 0, H, W, 0, 1, 1, 1), GAINS[..., :1], SPACING, ORIGIN)[..., 0]
    close(mosaic(tmp_path, white_level=1023, opcode_list2=pack_opcode_list([opcode])), want)


def test_four_gain_maps_on_a_mosaic(tmp_path: Path) -> None:
    """As Android writes them: one map per position of the 2x2. They lie over the active area, not over the frame."""
    top, left, bottom, right = 2, 4, 12, 18
    image = ((COUNTS[top:bottom, left:right] - 64.0) / (1023 - 64))[..., None]
    opcodes = []
    for i in range(4):
        row, col, gains = i // 2, i % 2, random.uniform(1, 3, (3, 4, 1)).astype(np.float32)
        pitch = {"top": row, "left": col, "bottom": bottom - top, "right": right - left, "row_pitch": 2, "col_pitch": 2}
        opcodes.append(GainMap(**pitch, map_gains=gains, map_spacing_v=0.5, map_spacing_h=1 / 3))
        area = (row, col, bottom - top, right - left, 0, 1, 2, 2)
        image = spec.gain_map(image, area, gains, (0.5, 1 / 3), (0, 0))
    got = mosaic(
        tmp_path,
        active_area=(top, left, bottom, right),
        black_level=64,
        white_level=1023,
        opcode_list2=pack_opcode_list(opcodes),
    )
    close(got, image[..., 0])


BAD = np.array([[3, 4], [6, 7], [6, 9], [0, 0]])


def mended(counts: np.ndarray, top_left: str) -> np.ndarray:
    """BAD replaced by the mean of the nearest good samples of its colour, at one distance."""
    out = counts.astype(np.float64)
    letters = np.array(list(top_left)).reshape(2, 2)
    is_bad = {tuple(point) for point in BAD.tolist()}
    for row, col in is_bad:
        good: dict[int, list[float]] = {}
        for i, j in np.ndindex(*counts.shape):
            if (i, j) not in is_bad and letters[i % 2, j % 2] == letters[row % 2, col % 2]:
                good.setdefault((i - row) ** 2 + (j - col) ** 2, []).append(float(counts[i, j]))
        out[row, col] = np.mean(good[min(good)])
    return out


@pytest.mark.parametrize(("phase", "cfa"), [(0, "RGGB"), (1, "GRBG"), (2, "GBRG"), (3, "BGGR")])
def test_fix_bad_pixels(tmp_path: Path, phase: int, cfa: str) -> None:
    counts = COUNTS.copy()
    counts[tuple(BAD.T)] = 0
    want = mended(counts, cfa) / 1023
    listed = FixBadPixelsList(points=BAD[:2], rects=[[6, 9, 7, 10], [0, 0, 1, 1]], bayer_phase=phase)
    constant = FixBadPixelsConstant(constant=0, bayer_phase=phase)
    for opcode in (listed, constant):
        got = mosaic(tmp_path, counts, cfa=cfa, white_level=1023, opcode_list1=pack_opcode_list([opcode]))
        close(got, want)


def test_list_1_works_on_the_stored_counts(tmp_path: Path) -> None:
    """Before the linearisation table and the active area: areas and maps are of the whole frame, values are counts."""
    table, linearise = (np.arange(1024)[::-1]).astype(np.uint16), np.arange(1024) ** 2 // 20
    gains = GAINS[..., :1]
    opcodes = [
        MapTable(bottom=H, right=9, table=table),
        DeltaPerColumn(bottom=H, right=W, deltas=np.arange(W) / 2),
        GainMap(bottom=H, right=W, map_gains=gains / 2, **MAP),
    ]
    x = COUNTS.astype(np.float64)
    x[:, :9] = 1023 - x[:, :9]
    x += np.arange(W) / 2
    x = spec.gain_map(x[..., None], (0, 0, H, W, 0, 1, 1, 1), gains / 2, SPACING, ORIGIN)[..., 0]
    x = np.interp(x, np.arange(1024), linearise)[1:, 2:]
    got = mosaic(
        tmp_path,
        cfa="BGGR",
        active_area=(1, 2, H, W),
        linearization_table=linearise,
        black_level=30,
        white_level=50000,
        opcode_list1=pack_opcode_list(opcodes),
    )
    close(got, (x - 30) / (50000 - 30))


@pytest.mark.parametrize(("top", "left"), [(2, 2), (1, 3)])
def test_trim_of_masked_borders_in_list_1(tmp_path: Path, top: int, left: int) -> None:
    """Trimming what lies outside the active area changes nothing: pattern and levels belong to the active area."""
    trim = TrimBounds(top=top, left=left, bottom=12, right=18)
    got = mosaic(tmp_path, active_area=(2, 4, 11, 16), white_level=1023, opcode_list1=pack_opcode_list([trim]))
    close(got, COUNTS[2:11, 4:16] / 1023)


def test_trim_of_a_mosaic_in_list_2(tmp_path: Path) -> None:
    trim = TrimBounds(top=2, left=4, bottom=11, right=17)
    got = mosaic(tmp_path, white_level=1023, opcode_list2=pack_opcode_list([trim]))
    close(got, COUNTS[2:11, 4:17] / 1023)


def test_trim_that_breaks_the_pattern_is_refused(tmp_path: Path) -> None:
    trim = pack_opcode_list([TrimBounds(top=1, left=0, bottom=H, right=W)])
    with pytest.raises(isp.raw.UnsupportedRawError, match="would shift its 2x2 colour pattern"):
        mosaic(tmp_path, opcode_list2=trim)


def test_trim_into_the_active_area_is_refused(tmp_path: Path) -> None:
    trim = pack_opcode_list([TrimBounds(top=4, left=0, bottom=H, right=W)])
    with pytest.raises(isp.raw.UnsupportedRawError, match="trims into the active area"):
        mosaic(tmp_path, opcode_list1=trim)


def test_default_crop_after_a_trim(tmp_path: Path) -> None:
    """The default crop stays where it was in the scene."""
    trim = TrimBounds(top=1, left=2, bottom=9, right=17)
    crop = {"default_crop_origin": (3, 2), "default_crop_size": (10, 9)}
    got = linear(tmp_path, white_level=(1023,) * 3, opcode_list3=pack_opcode_list([trim]), **crop)
    close(got, LINEAR[2:9, 3:13])


def test_unknown_opcodes(tmp_path: Path) -> None:
    unknown = UnknownOpcode(id=99, data=b"12", flags=1)
    with pytest.warns(UserWarning, match="skipped the optional unknown opcode 99"):
        close(mosaic(tmp_path, white_level=1023, opcode_list2=pack_opcode_list([unknown])), COUNTS / 1023.0)
    with pytest.raises(isp.raw.UnsupportedRawError, match="demands unknown opcode 99"):
        mosaic(tmp_path, opcode_list2=pack_opcode_list([UnknownOpcode(id=99, data=b"12")]))


def test_opcode_list_that_lies_is_one_line(tmp_path: Path) -> None:
    data = pack_opcode_list([OPCODES["GainMap"][0]])[:-5]
    with pytest.raises(isp.raw.RawFileError) as caught:
        isp.read(make_dng(tmp_path / "one.dng", RGB_COUNTS, opcode_list3=data))
    assert "\n" not in str(caught.value)
