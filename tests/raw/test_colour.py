"""The DNG colour model: by hand at its corners, colour-hdri and colour-science as independent implementations."""

import colour
import colour_hdri
import numpy as np
import pytest
from cameras import CAMERAS, KELVIN, camera
from hypothesis import given, settings
from hypothesis import strategies as st

from isp.primaries import D50, xy_to_xyz
from isp.raw.colour import (
    camera_to_xyz_d50,
    has_colour,
    interpolate_hue_sat_map,
    neutral_to_xy,
    temperature_tint_to_xy,
    xy_to_neutral,
    xy_to_temperature_tint,
)
from isp.raw.errors import RawFileError
from isp.raw.metadata import RawMetadata

CALIBRATION1 = np.array([[1.02, 0.01, 0.0], [0.0, 0.99, 0.02], [-0.01, 0.0, 1.03]])
CALIBRATION2 = np.array([[0.98, 0.0, 0.01], [0.02, 1.0, 0.0], [0.0, 0.01, 0.97]])
UNIT = {"camera_calibration1": CALIBRATION1, "camera_calibration2": CALIBRATION2, "analog_balance": [1.3, 1.0, 0.9]}
TEMPERATURES = [2000, 2850, 3500, 4500, 5500, 6504, 9000]


def largest_one(v: np.ndarray) -> np.ndarray:
    return v / v.max()


def neutral_at(meta: RawMetadata, kelvin: float, tint: float = 0.0) -> np.ndarray:
    return xy_to_neutral(meta, temperature_tint_to_xy(kelvin, tint))


def expected_neutral(matrix: np.ndarray, kelvin: float, tint: float = 0.0) -> np.ndarray:
    return largest_one(matrix @ xy_to_xyz(temperature_tint_to_xy(kelvin, tint)))


# ---- interpolation


@pytest.mark.parametrize("name", CAMERAS)
def test_each_matrix_at_its_own_illuminant_and_beyond(name: str) -> None:
    (first, second), (cm1, cm2, _, _) = CAMERAS[name]
    meta = camera(name)
    for kelvin in (KELVIN[first], 2400):
        np.testing.assert_allclose(neutral_at(meta, kelvin), expected_neutral(cm1, kelvin), atol=1e-5)
    for kelvin in (KELVIN[second], 12000):
        np.testing.assert_allclose(neutral_at(meta, kelvin), expected_neutral(cm2, kelvin), atol=1e-5)


def test_halfway_in_inverse_temperature_is_the_mean() -> None:
    _, (cm1, cm2, _, _) = CAMERAS["Nikon D850"]
    kelvin = 2 / (1 / 2850 + 1 / 6500)
    found = neutral_at(camera("Nikon D850"), kelvin)
    np.testing.assert_allclose(found, expected_neutral((cm1 + cm2) / 2, kelvin), atol=1e-6)


def test_order_of_the_calibrations_does_not_matter() -> None:
    meta = camera("Nikon D850", forward=True)
    swapped = camera(
        "Nikon D850",
        calibration_illuminant1=21,
        calibration_illuminant2=17,
        color_matrix1=meta.color_matrix2,
        color_matrix2=meta.color_matrix1,
        forward_matrix1=meta.forward_matrix2,
        forward_matrix2=meta.forward_matrix1,
    )
    for kelvin in TEMPERATURES:
        xy = temperature_tint_to_xy(kelvin)
        neutral = xy_to_neutral(meta, xy)
        np.testing.assert_allclose(xy_to_neutral(swapped, xy), neutral, atol=1e-14)
        np.testing.assert_allclose(
            camera_to_xyz_d50(swapped, xy, neutral), camera_to_xyz_d50(meta, xy, neutral), atol=1e-14
        )


def test_one_calibration_serves_every_white() -> None:
    _, (_, cm2, _, _) = CAMERAS["Nikon D850"]
    meta = RawMetadata(height=4, width=4, calibration_illuminant1=21, color_matrix1=cm2)
    for kelvin in TEMPERATURES:
        np.testing.assert_allclose(neutral_at(meta, kelvin), expected_neutral(cm2, kelvin), rtol=1e-14)


@pytest.mark.parametrize("codes", [(0, 21), (17, None), (21, 10), (255, 21)])
def test_unknown_or_equal_illuminants_leave_the_first_calibration(codes: tuple[int, int | None]) -> None:
    """Unknown lights, two lights of 6500 K, and "other" without its data."""
    _, (cm1, _, _, _) = CAMERAS["Nikon D850"]
    meta = camera("Nikon D850", calibration_illuminant1=codes[0], calibration_illuminant2=codes[1])
    np.testing.assert_allclose(neutral_at(meta, 5000), expected_neutral(cm1, 5000), rtol=1e-14)


def test_other_illuminant_by_its_chromaticity() -> None:
    meta = camera("Nikon D850")
    other = camera("Nikon D850", calibration_illuminant1=255, illuminant_xy1=temperature_tint_to_xy(2850))
    np.testing.assert_allclose(neutral_at(other, 4000), neutral_at(meta, 4000), atol=1e-7)


def test_an_all_zero_matrix_counts_as_absent() -> None:
    _, (_, cm2, _, _) = CAMERAS["Nikon D850"]
    meta = camera("Nikon D850", color_matrix1=np.zeros((3, 3)))
    np.testing.assert_allclose(neutral_at(meta, 2850), expected_neutral(cm2, 2850), rtol=1e-14)
    assert has_colour(meta)
    assert not has_colour(RawMetadata(height=4, width=4, color_matrix1=np.zeros((3, 3))))
    assert not has_colour(RawMetadata(height=4, width=4))


def three(places: list[tuple[float, float]]) -> RawMetadata:
    """Three calibrations, with lights at places (1500 / kelvin, tint / 200). The first doubles green, the second blue,
    so that a neutral tells their weights."""
    whites = [temperature_tint_to_xy(1500 / p, 200 * t) for p, t in places]
    return RawMetadata(
        height=4,
        width=4,
        calibration_illuminant1=255,
        calibration_illuminant2=255,
        calibration_illuminant3=255,
        illuminant_xy1=whites[0],
        illuminant_xy2=whites[1],
        illuminant_xy3=whites[2],
        color_matrix1=np.diag([9.0, 2.0, 1.0]),
        color_matrix2=np.diag([9.0, 1.0, 2.0]),
        color_matrix3=np.diag([9.0, 1.0, 1.0]),
    )


def three_weights(meta: RawMetadata, p: float, t: float) -> list[float]:
    xy = temperature_tint_to_xy(1500 / p, 200 * t)
    x, _, z = xy_to_xyz(xy)
    neutral = xy_to_neutral(meta, xy)
    scale = 9 * x / neutral[0]
    first, second = neutral[1] * scale - 1, neutral[2] * scale / z - 1
    return [first, second, 1 - first - second]


def test_three_calibrations_at_the_same_distance_count_the_same() -> None:
    around = [(0.3 + 0.05 * np.cos(a), 0.05 * np.sin(a)) for a in (0.3, 0.3 + 2 * np.pi / 3, 0.3 + 4 * np.pi / 3)]
    np.testing.assert_allclose(three_weights(three(around), 0.3, 0.0), [1 / 3] * 3, atol=2e-4)


def test_three_calibrations_by_hand() -> None:
    """Squared distances 1 : 4 : 4 give 4/6, 1/6, 1/6; the smooth step .74074, .07407; less 2 % .73545, .05518."""
    places = [(0.34, 0.0), (0.3, 0.08), (0.3, -0.08)]
    np.testing.assert_allclose(three_weights(three(places), 0.3, 0.0), [0.869518, 0.065241, 0.065241], atol=3e-4)


def test_three_calibrations_each_at_its_own_light() -> None:
    places = [(1500 / 2850, 0.0), (1500 / 6500, 0.0), (1500 / 4200, 0.2)]
    for i, (p, t) in enumerate(places):
        np.testing.assert_allclose(three_weights(three(places), p, t), np.eye(3)[i], atol=1e-6)


def test_three_calibrations_without_a_known_third_light_are_two() -> None:
    _, (cm1, _, _, _) = CAMERAS["Nikon D850"]
    meta = camera("Nikon D850", calibration_illuminant3=0, color_matrix3=2 * cm1)
    np.testing.assert_allclose(neutral_at(meta, 4000), neutral_at(camera("Nikon D850"), 4000))


# ---- neutral and white


@pytest.mark.parametrize("unit", [{}, UNIT], ids=["reference", "calibrated unit"])
@pytest.mark.parametrize("name", CAMERAS)
def test_neutral_to_xy_undoes_xy_to_neutral(name: str, unit: dict[str, object]) -> None:
    meta = camera(name, **unit)
    for kelvin in TEMPERATURES:
        for tint in (-30.0, 0.0, 30.0):
            xy = temperature_tint_to_xy(kelvin, tint)
            neutral = xy_to_neutral(meta, xy)
            assert neutral.max() == 1
            np.testing.assert_allclose(neutral_to_xy(meta, neutral), xy, atol=1e-10)
            np.testing.assert_allclose(neutral_to_xy(meta, 0.3 * neutral), xy, atol=1e-10)


def test_swinging_iteration_gives_the_mean_of_its_two_values() -> None:
    """Matrices that contradict themselves: the warm one says that the light is cold, the cold one that it is warm."""
    cold, warm = temperature_tint_to_xy(12000), temperature_tint_to_xy(2000)
    meta = camera("Nikon D850", color_matrix1=np.diag(1 / xy_to_xyz(cold)), color_matrix2=np.diag(1 / xy_to_xyz(warm)))
    np.testing.assert_allclose(neutral_to_xy(meta, np.ones(3)), np.mean([cold, warm], axis=0), atol=1e-12)


@pytest.mark.parametrize("forward", [False, True], ids=["ColorMatrix", "ForwardMatrix"])
@pytest.mark.parametrize("unit", [{}, UNIT], ids=["reference", "calibrated unit"])
@pytest.mark.parametrize("name", CAMERAS)
def test_the_neutral_becomes_d50(name: str, unit: dict[str, object], forward: bool) -> None:
    meta = camera(name, forward=forward, **unit)
    for kelvin in TEMPERATURES:
        xy = temperature_tint_to_xy(kelvin, 10)
        neutral = xy_to_neutral(meta, xy)
        np.testing.assert_allclose(camera_to_xyz_d50(meta, xy, neutral) @ neutral, xy_to_xyz(D50), rtol=1e-12)


def test_forward_matrix_by_hand() -> None:
    """Under a light of 6500 K, no calibration of the unit: ForwardMatrix2 of the white-balanced colour."""
    meta = camera("Sony ILCE-7M4", forward=True)
    _, (_, _, _, fm2) = CAMERAS["Sony ILCE-7M4"]
    xy = temperature_tint_to_xy(6500)
    neutral = xy_to_neutral(meta, xy)
    rgb = np.array([0.2, 0.5, 0.1])
    np.testing.assert_allclose(camera_to_xyz_d50(meta, xy, neutral) @ rgb, fm2 @ (rgb / neutral), rtol=2e-4)  # rounding


def test_a_single_forward_matrix_serves_every_white() -> None:
    _, (_, _, fm1, _) = CAMERAS["Nikon D850"]
    meta = camera("Nikon D850", forward_matrix1=fm1)
    for kelvin in TEMPERATURES:
        xy = temperature_tint_to_xy(kelvin)
        neutral = xy_to_neutral(meta, xy)
        rgb = np.array([0.2, 0.5, 0.1])
        np.testing.assert_allclose(camera_to_xyz_d50(meta, xy, neutral) @ rgb, fm1 @ (rgb / neutral), rtol=2e-4)


# ---- colour-hdri, which implements the same chapter


def hdri_arguments(name: str, unit: dict[str, object]) -> tuple[object, ...]:
    (first, second), (cm1, cm2, _, _) = CAMERAS[name]
    calibrations = (unit["camera_calibration1"], unit["camera_calibration2"]) if unit else (np.eye(3), np.eye(3))
    balance = np.array(unit["analog_balance"]) if unit else np.ones(3)
    return KELVIN[first], KELVIN[second], cm1, cm2, *calibrations, balance


@pytest.mark.parametrize("unit", [{}, UNIT], ids=["reference", "calibrated unit"])
@pytest.mark.parametrize("name", CAMERAS)
def test_neutral_and_white_agree_with_colour_hdri(name: str, unit: dict[str, object]) -> None:
    meta, arguments = camera(name, **unit), hdri_arguments(name, unit)
    for kelvin in TEMPERATURES:
        xy = temperature_tint_to_xy(kelvin, 12)
        theirs = colour_hdri.xy_to_camera_neutral(np.array(xy), *arguments)
        np.testing.assert_allclose(xy_to_neutral(meta, xy), largest_one(theirs), atol=1e-9)
        white = colour_hdri.camera_neutral_to_xy(theirs, *arguments, epsilon=1e-13)
        np.testing.assert_allclose(neutral_to_xy(meta, theirs), white, atol=1e-9)


@pytest.mark.parametrize("forward", [False, True], ids=["ColorMatrix", "ForwardMatrix"])
@pytest.mark.parametrize("unit", [{}, UNIT], ids=["reference", "calibrated unit"])
@pytest.mark.parametrize("name", CAMERAS)
def test_camera_to_xyz_agrees_with_colour_hdri(name: str, unit: dict[str, object], forward: bool) -> None:
    """Up to the scale of the result, which they leave open, and the rows of the ForwardMatrix, which they do not scale
    to D50: here they get scaled ones."""
    _, (_, _, fm1, fm2) = CAMERAS[name]
    d50 = xy_to_xyz(D50)
    matrices = [matrix * (d50 / matrix.sum(1))[:, None] if forward else np.eye(3) for matrix in (fm1, fm2)]
    forward_matrices = {"forward_matrix1": matrices[0], "forward_matrix2": matrices[1]} if forward else {}
    meta = camera(name, **unit, **forward_matrices)
    for kelvin in TEMPERATURES:
        xy = temperature_tint_to_xy(kelvin, 12)
        neutral = xy_to_neutral(meta, xy)
        ours = camera_to_xyz_d50(meta, xy, neutral)
        theirs = colour_hdri.matrix_camera_space_to_XYZ(np.array(xy), *hdri_arguments(name, unit), *matrices)
        theirs = theirs / (theirs @ neutral)[1]
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


# ---- temperature and tint


@given(st.floats(2000, 25000), st.floats(-50, 50))
@settings(max_examples=300, deadline=None)
def test_temperature_and_tint_come_back(kelvin: float, tint: float) -> None:
    found_kelvin, found_tint = xy_to_temperature_tint(temperature_tint_to_xy(kelvin, tint))
    assert found_kelvin == pytest.approx(kelvin, rel=1e-5)
    assert found_tint == pytest.approx(tint, abs=3e-5)


@pytest.mark.parametrize("tint", [-60.0, 0.0, 40.0])
@pytest.mark.parametrize("kelvin", [1800, 2300, 2856, 3100, 4000, 5003, 6504, 9300, 15000, 40000])
def test_temperature_agrees_with_colour_science(kelvin: float, tint: float) -> None:
    xy = temperature_tint_to_xy(kelvin, tint)
    uv = colour.UCS_to_uv(colour.XYZ_to_UCS(colour.xy_to_XYZ(np.array(xy))))
    theirs, distance = colour.temperature.uv_to_CCT_Robertson1968(uv)
    ours, found_tint = xy_to_temperature_tint(xy)
    assert ours == pytest.approx(theirs, rel=1e-9)
    assert found_tint == pytest.approx(3000 * distance, abs=1e-6)


@pytest.mark.parametrize(
    ("xy", "kelvin"),
    [((0.44757, 0.40745), 2856), ((0.34567, 0.35850), 5003), ((0.33242, 0.34743), 5503), ((0.31271, 0.32902), 6504)],
    ids=["A", "D50", "D55", "D65"],
)
def test_temperature_of_the_cie_illuminants(xy: tuple[float, float], kelvin: float) -> None:
    """CIE 15 states these; Robertson's method is good to a few kelvin."""
    assert xy_to_temperature_tint(xy)[0] == pytest.approx(kelvin, abs=4)


def test_sign_of_the_tint() -> None:
    """Greener than the Planckian locus is positive: the photographer adds magenta."""
    x, y = temperature_tint_to_xy(5000)
    assert xy_to_temperature_tint((x, y + 0.01))[1] > 0


@pytest.mark.parametrize("xy", [(0.7, 0.25), (0.1, 0.8), (0.2, 0.2), (0.15, 0.05)])
def test_whites_far_from_any_light_stay_finite(xy: tuple[float, float]) -> None:
    kelvin, tint = xy_to_temperature_tint(xy)
    assert 1600 < kelvin <= 100000
    assert np.isfinite(tint)


# ---- hue/saturation maps


def table(value: float, hues: int = 3) -> np.ndarray:
    return np.full((hues, 2, 1, 3), value)


def test_hue_sat_map_follows_the_matrices() -> None:
    meta = camera("Nikon D850", profile_hue_sat_map1=table(1.0), profile_hue_sat_map2=table(2.0))
    kelvins = (2400, 2 / (1 / 2850 + 1 / 6500), 8000)
    means = [float(np.mean(interpolate_hue_sat_map(meta, temperature_tint_to_xy(k)))) for k in kelvins]  # type: ignore[arg-type]
    assert means == pytest.approx([1.0, 1.5, 2.0], abs=1e-5)


def test_one_hue_sat_map_serves_every_white_and_none_is_none() -> None:
    meta = camera("Nikon D850", profile_hue_sat_map2=table(2.0))
    for kelvin in (2400, 8000):
        np.testing.assert_array_equal(interpolate_hue_sat_map(meta, temperature_tint_to_xy(kelvin)), table(2.0))
    assert interpolate_hue_sat_map(camera("Nikon D850"), D50) is None
    only_table = RawMetadata(height=4, width=4, profile_hue_sat_map1=table(1.0))
    np.testing.assert_array_equal(interpolate_hue_sat_map(only_table, D50), table(1.0))


def test_hue_sat_maps_of_two_sizes_are_refused() -> None:
    meta = camera("Nikon D850", profile_hue_sat_map1=table(1.0), profile_hue_sat_map2=table(2.0, hues=6))
    with pytest.raises(RawFileError, match="ProfileHueSatMapData: expected tables of one size"):
        interpolate_hue_sat_map(meta, D50)


# ---- files that contradict themselves


def test_matrices_without_an_inverse_are_refused() -> None:
    meta = RawMetadata(height=4, width=4, calibration_illuminant1=21, color_matrix1=np.ones((3, 3)))
    with pytest.raises(RawFileError, match="has no inverse"):
        neutral_to_xy(meta, np.array([0.5, 1.0, 0.6]))


def test_matrices_that_see_a_negative_white_are_refused() -> None:
    meta = RawMetadata(height=4, width=4, calibration_illuminant1=21, color_matrix1=-np.eye(3))
    with pytest.raises(RawFileError, match="expected three positive values"):
        xy_to_neutral(meta, D50)


def test_a_file_without_a_matrix_is_refused() -> None:
    with pytest.raises(RawFileError, match="expected a ColorMatrix"):
        xy_to_neutral(RawMetadata(height=4, width=4), D50)
