"""From file and options to numbers: white balance and its origin, grey stays grey, what files without colour get."""

import numpy as np
import pytest
import torch
from cameras import camera

from isp.options import SPACES, RenderOptions
from isp.parameters import resolve
from isp.raw.cfa import CFA
from isp.raw.colour import DAYLIGHT_XY, temperature_tint_to_xy, xy_to_neutral
from isp.raw.metadata import RawMetadata

NEUTRAL = np.array([0.52, 1.0, 0.66])


def dual(**fields: object) -> RawMetadata:
    known: dict[str, object] = {"cfa": CFA("RGGB"), "as_shot_neutral": NEUTRAL, "baseline_exposure": 0.25}
    return camera("Nikon D850", forward=True, **{**known, **fields})


def plain(**fields: object) -> RawMetadata:
    """A file that says nothing about colour."""
    return RawMetadata(**{"height": 4, "width": 4, "cfa": CFA("RGGB"), **fields})  # type: ignore[arg-type]


def frame(neutral: np.ndarray) -> torch.Tensor:
    """1 1 32 32: a grey ramp under a light that the camera sees as `neutral`."""
    ramp = torch.linspace(0.2, 0.8, 32).expand(32, 32)
    return (ramp * torch.tensor(neutral, dtype=torch.float32)[torch.as_tensor(CFA("RGGB").channel_map(32, 32))])[
        None, None
    ]


# ---- white balance, each way, with its origin


def test_as_shot_neutral() -> None:
    p = resolve(dual(origins={"as_shot_neutral": "IFD0 tag 50728"}), RenderOptions())
    np.testing.assert_allclose(p.neutral, NEUTRAL)
    np.testing.assert_allclose(p.gains, 1 / NEUTRAL)
    assert p.origins["neutral"] == "IFD0 tag 50728"
    assert p.origins["temperature"] == "from neutral (IFD0 tag 50728)"
    np.testing.assert_allclose(xy_to_neutral(dual(), p.white_xy), NEUTRAL, atol=1e-9)
    np.testing.assert_allclose(temperature_tint_to_xy(p.temperature, p.tint), p.white_xy, atol=1e-6)


def test_as_shot_neutral_of_any_scale() -> None:
    once, twice = (resolve(dual(as_shot_neutral=scale * NEUTRAL), RenderOptions()) for scale in (1.0, 2.0))
    np.testing.assert_allclose(once.neutral, twice.neutral, rtol=1e-14)
    np.testing.assert_allclose(once.cam_to_prophoto, twice.cam_to_prophoto, rtol=1e-12)


def test_as_shot_white_xy() -> None:
    meta = dual(as_shot_neutral=None, as_shot_white_xy=(0.36, 0.37), origins={"as_shot_white_xy": "IFD0 tag 50729"})
    p = resolve(meta, RenderOptions())
    assert p.white_xy == (0.36, 0.37)
    np.testing.assert_array_equal(p.neutral, xy_to_neutral(meta, (0.36, 0.37)))
    assert p.origins["neutral"] == "IFD0 tag 50729"


def test_a_file_without_as_shot_white_gets_daylight() -> None:
    p = resolve(dual(as_shot_neutral=None), RenderOptions())
    assert p.white_xy == DAYLIGHT_XY
    assert p.origins["neutral"].startswith("default: daylight")


def test_daylight() -> None:
    p = resolve(dual(), RenderOptions(wb="daylight"))
    np.testing.assert_array_equal(p.neutral, xy_to_neutral(dual(), DAYLIGHT_XY))
    assert p.temperature == pytest.approx(5503, abs=3)
    assert p.origins["neutral"] == "options.wb: daylight"


def test_temperature_and_tint() -> None:
    p = resolve(dual(), RenderOptions(temperature=3200.0, tint=15.0))
    assert p.temperature == pytest.approx(3200, abs=0.1)
    assert p.tint == pytest.approx(15, abs=1e-3)
    assert p.origins["neutral"] == "options.temperature and tint"
    warmer = resolve(dual(), RenderOptions(temperature=8000.0))
    assert warmer.gains[0] / warmer.gains[2] > p.gains[0] / p.gains[2]  # a bluer light asks for more red


def test_gains() -> None:
    p = resolve(dual(), RenderOptions(wb="4.2,2,3"))
    np.testing.assert_allclose(p.gains, [2.1, 1.0, 1.5], rtol=1e-14)
    np.testing.assert_allclose(xy_to_neutral(dual(), p.white_xy), p.neutral, atol=1e-9)
    assert p.origins["neutral"] == "options.wb: gains"


@pytest.mark.parametrize("method", ["grey-world", "shades-of-grey", "grey-edge", "white-patch"])
def test_estimated(method: str) -> None:
    light = np.array([0.8, 1.0, 0.4])
    p = resolve(dual(), RenderOptions(wb=method), frame(light))
    np.testing.assert_allclose(p.neutral, light, atol=0.02)
    assert p.origins["neutral"] == f"estimated: {method}"
    with pytest.raises(ValueError, match="is estimated from the frame, and none was given"):
        resolve(dual(), RenderOptions(wb=method))


# ---- grey


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    "options",
    [{}, {"wb": "daylight"}, {"wb": "2.3,1,1.4"}, {"temperature": 2600.0, "tint": -20.0}, {"temperature": 9000.0}],
    ids=str,
)
def test_a_neutral_becomes_grey_in_every_space(options: dict[str, object], space: str) -> None:
    """White-balanced camera (1, 1, 1) to (1, 1, 1), with and without forward matrices, and with no matrix at all."""
    metas = [dual(), dual(forward_matrix1=None, forward_matrix2=None)]
    if "temperature" not in options and options.get("wb") != "daylight":
        metas.append(plain(as_shot_neutral=NEUTRAL))
    for meta in metas:
        p = resolve(meta, RenderOptions(space=space, **options))  # type: ignore[arg-type]
        to_output = np.eye(3) if space == "camera" else p.prophoto_to_output @ p.cam_to_prophoto
        np.testing.assert_allclose(to_output @ (p.gains * p.neutral), 1.0, atol=1e-6)


# ---- files without colour


def test_without_a_matrix_camera_rgb_is_taken_for_srgb() -> None:
    p = resolve(plain(as_shot_neutral=NEUTRAL), RenderOptions(space="srgb"))
    np.testing.assert_allclose(p.prophoto_to_output @ p.cam_to_prophoto, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(p.neutral, NEUTRAL)
    assert p.origins["cam_to_prophoto"].startswith("no ColorMatrix")


def test_without_matrix_and_white_nothing_is_balanced() -> None:
    p = resolve(plain(), RenderOptions())
    np.testing.assert_array_equal(p.gains, np.ones(3))
    assert p.origins["neutral"] == "default: none, the file has neither AsShotNeutral nor ColorMatrix"


@pytest.mark.parametrize(
    ("options", "what"), [({"temperature": 4000.0}, "temperature and tint"), ({"wb": "daylight"}, "daylight")]
)
def test_without_a_matrix_a_light_cannot_be_asked_for(options: dict[str, object], what: str) -> None:
    with pytest.raises(ValueError, match=f"white balance by {what} needs a ColorMatrix"):
        resolve(plain(), RenderOptions(**options))  # type: ignore[arg-type]


def test_without_a_matrix_gains_and_estimates_work() -> None:
    np.testing.assert_allclose(resolve(plain(), RenderOptions(wb="2,1,1.5")).gains, [2.0, 1.0, 1.5])
    found = resolve(plain(), RenderOptions(wb="grey-world"), frame(NEUTRAL))
    np.testing.assert_allclose(found.neutral, NEUTRAL, atol=0.02)


@pytest.mark.parametrize("options", [{}, {"temperature": 4000.0}, {"wb": "2,1,1.5"}, {"wb": "grey-edge"}], ids=str)
def test_monochrome_has_no_white_balance(options: dict[str, object]) -> None:
    p = resolve(plain(cfa=None), RenderOptions(**options))  # type: ignore[arg-type]
    np.testing.assert_array_equal(p.gains, np.ones(3))
    np.testing.assert_array_equal(p.cam_to_prophoto, np.eye(3))
    assert p.origins["neutral"] == p.origins["cam_to_prophoto"] == "monochrome sensor"


# ---- the rest


def test_exposure_adds_baseline_exposure() -> None:
    assert resolve(dual(), RenderOptions()).exposure_ev == 0.25
    p = resolve(dual(), RenderOptions(exposure=-1.5))
    assert p.exposure_ev == -1.25
    assert p.origins["exposure_ev"].endswith("+ options.exposure -1.5")


def test_profile_tables_by_look() -> None:
    """HueSatMap is part of the colorimetry; LookTable and ToneCurve belong to the standard look."""
    table, curve = np.ones((6, 2, 1, 3)), np.array([[0.0, 0.0], [1.0, 1.0]])
    meta = dual(profile_hue_sat_map1=table, profile_look_table=2 * table, profile_tone_curve=curve)
    standard, neutral, linear = (
        resolve(meta, options)
        for options in (RenderOptions(), RenderOptions(look="neutral"), RenderOptions(linear=True))
    )
    for p in (standard, neutral, linear):
        assert p.hue_sat_map is not None
    assert standard.look_table is not None
    assert standard.tone_curve is not None
    for p in (neutral, linear):
        assert p.look_table is None
        assert p.tone_curve is None
        assert p.origins["look_table"] == "off: neutral or linear"


def test_noise_is_the_mean_over_planes() -> None:
    p = resolve(dual(noise_profile=[[1e-4, 1e-6], [2e-4, 2e-6], [3e-4, 6e-6]]), RenderOptions())
    assert p.noise == pytest.approx((2e-4, 3e-6))
    assert resolve(dual(), RenderOptions()).noise is None


def test_record_is_plain_data_with_origins() -> None:
    record = resolve(dual(profile_look_table=np.ones((6, 4, 1, 3))), RenderOptions(exposure=1.0)).as_record()
    assert record["neutral"]["value"] == NEUTRAL.tolist()
    assert record["look_table"]["value"] == "table of shape (6, 4, 1, 3)"
    assert all(set(entry) == {"value", "origin"} for entry in record.values())
