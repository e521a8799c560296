"""Cameras from profiles, from DNGs and between real ones, and the frames they describe."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import specification as spec
import torch

import isp
from isp.cameras import Camera, list_cameras, load_camera, random_camera
from isp.options import RenderOptions
from isp.parameters import resolve
from isp.raw.cfa import CFA
from isp.raw.colour import temperature_tint_to_xy, xy_to_neutral, xy_to_temperature_tint
from isp.raw.metadata import RawMetadata
from isp.raw.opcodes import DeltaPerRow, FixBadPixelsConstant, FixVignetteRadial, GainMap, TrimBounds
from isp.stages.opcodes import apply_opcodes

D850_AT_A = [1.7786, -0.9227, 0.0889, -0.8743, 1.9399, 0.3178, -0.2945, 0.3851, 0.9895]


def test_every_shipped_camera_is_whole() -> None:
    """53 of them: a stated licence, a ColorMatrix that gives every white a camera RGB, ForwardMatrices with white
    D50 (rows sum to it, as the tag demands, to the four digits that profiles carry)."""
    names = list_cameras()
    assert len(names) == 53
    for name in names:
        camera = load_camera(name)
        assert camera.licence in ("public domain", "RawTherapee CC0"), name
        for kelvin in (2500, 4000, 7500):
            neutral = xy_to_neutral(camera.frame, temperature_tint_to_xy(kelvin))
            assert neutral.max() == 1
            assert neutral.min() > 0.1, name
        for matrix in (camera.frame.forward_matrix1, camera.frame.forward_matrix2):
            if matrix is not None:
                assert np.allclose(matrix.sum(1), spec.xyz(spec.D50), atol=3e-3), name


def test_a_camera_is_found_by_its_name() -> None:
    camera = load_camera("nikon-d850")
    assert camera.name == "NIKON D850"
    assert np.array_equal(camera.frame.color_matrix1, np.reshape(D850_AT_A, (3, 3)))
    assert (camera.frame.calibration_illuminant1, camera.frame.calibration_illuminant2) == (17, 21)
    assert load_camera("Nikon D850") is camera
    assert load_camera("fujifilm-x-t3").frame.kind == "x-trans"
    with pytest.raises(ValueError, match=r"no camera 'nikon-d6': .* shipped ones, such as nikon-d3300"):
        load_camera("nikon-d6")


def test_yaml_keys_are_strict(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("cfa: BGGR\nblack_level: [60, 61, 62, 63]\nwhite_level: 1023\nnoise: mine-noise.yaml\n")
    camera = load_camera(path)
    assert camera.name == "mine"
    assert str(camera.frame.cfa) == "BGGR"
    assert camera.frame.black_level[..., 0].tolist() == [[60, 61], [62, 63]]
    assert camera.noise == str(tmp_path / "mine-noise.yaml")
    for text, message in (
        ("colour_matrix1: 3", "unknown key 'colour_matrix1'; known keys: name, licence"),
        ("color_matrix1: [[1, 2], [3, 4]]", "color_matrix1 should be a 3x3 matrix"),
        ("cfa: RGBG", "CFA 'RGBG'"),
        ("cfa: RGG", "cfa has 3 letters"),
        ("- 1", "should hold keys and values; got list"),
        ("a: [", "mine.yaml: while parsing"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message.replace("[", r"\[")):
            load_camera(path)


def test_the_light_sets_the_neutral() -> None:
    """As the specification's ColorMatrix, interpolated in float64, sees white; by temperature, by xy and by itself."""
    camera = load_camera("sony-ilce-7m4")  # illuminants A and D50
    xy = temperature_tint_to_xy(3500)
    temperature, _ = xy_to_temperature_tint(xy)
    first, second = camera.frame.color_matrix1, camera.frame.color_matrix2
    assert first is not None
    assert second is not None
    expected = spec.mix(first, second, temperature, 2850.0, 5000.0) @ spec.xyz(xy)
    expected /= expected.max()
    by_temperature = camera.metadata(4, 6, temperature=3500).as_shot_neutral
    assert np.allclose(by_temperature, expected, atol=1e-6)  # type: ignore[arg-type]
    assert np.allclose(camera.metadata(4, 6, white_xy=xy).as_shot_neutral, expected, atol=1e-6)  # type: ignore[arg-type]
    assert np.allclose(camera.metadata(4, 6, neutral=[1, 2, 1]).as_shot_neutral, [0.5, 1, 0.5])  # type: ignore[arg-type]
    daylight = xy_to_neutral(camera.frame, (0.3324, 0.3474))
    assert np.allclose(camera.metadata(4, 6).as_shot_neutral, daylight)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at most one of white_xy, temperature and neutral"):
        camera.metadata(4, 6, temperature=3500, neutral=[1, 1, 1])
    with pytest.raises(ValueError, match="has no ColorMatrix"):
        Camera("grey", RawMetadata(2, 2, cfa=CFA("RGGB"))).metadata(4, 6, temperature=3500)


def test_noise_comes_by_iso() -> None:
    """Through the profile that the camera names; a frame's own NoiseProfile holds for its own ISO."""
    camera = replace(load_camera("canon-eos-r5"), noise="imx686")
    profile = camera.metadata(4, 6, iso=3200).noise_profile
    assert profile is not None
    assert np.allclose(profile, [[4.558e-3, 5.23e-5]] * 3, rtol=2e-3)  # reference figures of the sensor at ISO 3200
    assert load_camera("canon-eos-r5").metadata(4, 6, iso=3200).noise_profile is None
    d850 = load_camera("nikon-d850").metadata(4, 6, iso=3200).noise_profile
    assert d850 is not None
    assert d850.shape == (3, 2)
    assert load_camera("sony-ilce-7m4").metadata(4, 6, iso=3200).noise_profile is None  # an ELD law: gains, no ISOs
    own = Camera("own", RawMetadata(2, 2, cfa=CFA("RGGB"), iso=100, noise_profile=np.array([[1e-4, 1e-6]])))
    assert own.metadata(4, 6, iso=100).noise_profile is not None
    assert own.metadata(4, 6).noise_profile is not None
    assert own.metadata(4, 6, iso=200).noise_profile is None


def test_a_dng_gives_all_that_it_says(tmp_path: Path) -> None:
    """Matrices, as-shot white, levels, NoiseProfile and a GainMap, on a frame of another size; the borders are gone."""
    gains = np.linspace(1, 2, 12).reshape(3, 4, 1)
    frame = load_camera("pentax-k-50").metadata(40, 60, temperature=4000)
    frame = replace(
        frame,
        active_area=(3, 5, 39, 59),
        black_level=np.array([60.0, 61, 62, 63]).reshape(2, 2, 1),
        white_level=np.array([4095.0]),
        orientation=6,
        noise_profile=np.array([[1e-3, 1e-5]] * 3),
        unique_camera_model="Test K",
        opcode_list2=(
            GainMap(bottom=36, right=54, map_gains=gains, map_spacing_v=0.5, map_spacing_h=1 / 3),
            GainMap(
                top=1, left=0, bottom=36, right=54, row_pitch=2, col_pitch=2,
                map_gains=gains, map_spacing_v=0.5, map_spacing_h=1 / 3,
            ),
            DeltaPerRow(bottom=36, right=54, deltas=np.zeros(36)),
            FixBadPixelsConstant(constant=0),
        ),
        opcode_list3=(FixVignetteRadial(k=np.array([0.1, 0, 0, 0, 0])),),
    )  # fmt: skip
    path = tmp_path / "k.dng"
    isp.raw.write_dng(path, isp.RawImage(np.full((40, 60), 100, np.uint16), frame))
    camera = load_camera(path)
    assert camera.name == "Test K"
    meta = camera.metadata(72, 108)
    assert (meta.height, meta.width, meta.area, meta.orientation) == (72, 108, (0, 0, 72, 108), 1)
    assert np.allclose(meta.as_shot_neutral, frame.as_shot_neutral, atol=1e-5)  # type: ignore[arg-type]
    assert np.allclose(meta.color_matrix1, frame.color_matrix1, atol=1e-5)  # type: ignore[arg-type]
    assert np.array_equal(meta.black_level, frame.black_level)
    assert np.allclose(meta.noise_profile, frame.noise_profile)  # type: ignore[arg-type]
    assert [type(opcode).__name__ for opcode in meta.opcode_list2] == ["GainMap", "GainMap"]
    whole, part = meta.opcode_list2
    assert (whole.top, whole.left, whole.bottom, whole.right) == (0, 0, 72, 108)  # type: ignore[attr-defined]
    assert (part.top, part.left, part.bottom, part.right) == (1, 0, 72, 108)  # type: ignore[attr-defined]
    # the map lies over the frame as it did: its value at the same relative place is the same
    old = apply_opcodes(torch.ones(1, 1, 36, 54, dtype=torch.float64), frame.opcode_list2[:1])
    new = apply_opcodes(torch.ones(1, 1, 72, 108, dtype=torch.float64), meta.opcode_list2[:1])
    assert torch.allclose(old, torch.nn.functional.avg_pool2d(new, 2), atol=1e-9)
    assert len(meta.opcode_list3) == 1
    linear = camera.metadata(8, 8, linear=True)
    assert (linear.kind, linear.opcode_list2, linear.white_level.tolist()) == ("linear", (), [1, 1, 1])


def test_opcodes_on_stored_counts_keep_their_phase() -> None:
    """An active area at odd offsets takes the corner away; a pitch of two still meets the same colour."""
    area = GainMap(
        top=3, left=5, bottom=39, right=59, row_pitch=2, col_pitch=2,
        map_gains=np.full((1, 1, 1), 2.0), map_spacing_v=1.0, map_spacing_h=1.0,
    )  # fmt: skip
    trim = TrimBounds(top=0, left=0, bottom=40, right=60)
    frame = RawMetadata(40, 60, cfa=CFA("GRBG"), active_area=(3, 5, 39, 59), opcode_list1=(area, trim))
    (fitted,) = Camera("odd", frame).metadata(40, 60).opcode_list1
    assert (fitted.top % 2, fitted.left % 2) == (0, 0)  # type: ignore[attr-defined]


def test_black_patterns_continue() -> None:
    frame = RawMetadata(4, 6, cfa=CFA("RGGB"), black_level_delta_h=np.arange(6.0), black_level_delta_v=np.arange(4.0))
    meta = Camera("stripes", frame).metadata(8, 3)
    assert meta.black_level_delta_h.tolist() == [0, 1, 2]  # type: ignore[union-attr]
    assert meta.black_level_delta_v.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]  # type: ignore[union-attr]


def test_random_cameras_lie_between_real_ones() -> None:
    """Each matrix entry within the range of the shipped ones, neutrals of the lights asked for; seeded."""
    pool = [load_camera(name).frame for name in list_cameras()]
    for name in ("color_matrix1", "color_matrix2", "forward_matrix1", "forward_matrix2"):
        entries = [m for frame in pool if (m := getattr(frame, name)) is not None]
        for seed in range(40):
            matrix = getattr(random_camera(np.random.default_rng(seed)).frame, name)
            if matrix is not None:
                assert (matrix >= np.min(entries, axis=0) - 1e-12).all()
                assert (matrix <= np.max(entries, axis=0) + 1e-12).all()
    drawn = [random_camera(np.random.default_rng(seed)) for seed in range(60)]
    kelvins = [resolve(camera.frame, RenderOptions()).temperature for camera in drawn]
    assert min(kelvins) > 2600
    assert max(kelvins) < 8200
    assert len({camera.frame.calibration_illuminant2 for camera in drawn}) > 1
    again = random_camera(np.random.default_rng(5))
    assert again.name == drawn[5].name
    assert again.frame == drawn[5].frame
    only = random_camera(np.random.default_rng(0), cameras=["nikon-d850"])
    assert np.allclose(only.frame.color_matrix1, np.reshape(D850_AT_A, (3, 3)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected mixture or upi"):
        random_camera(np.random.default_rng(0), "both")


def test_upi_cameras_follow_the_paper() -> None:
    """Gains and noise in the published ranges; camera RGB to linear sRGB is the inverse of the row-normalised mixture,
    worked out here in the paper's own steps."""
    rng = np.random.default_rng(3)
    cameras = [random_camera(rng, "upi", cameras=["nikon-d850"]) for _ in range(300)]
    gains = np.array([resolve(camera.frame, RenderOptions()).gains for camera in cameras])
    assert gains[:, 0].min() >= 1.9
    assert gains[:, 0].max() <= 2.4
    assert gains[:, 2].min() >= 1.5
    assert gains[:, 2].max() <= 1.9
    assert np.allclose(gains[:, 1], 1)
    brightness = np.array([2**-camera.frame.baseline_exposure for camera in cameras])
    assert abs(brightness.mean() - 0.8) < 4 * 0.1 / math.sqrt(300)
    assert abs(brightness.std() - 0.1) < 4 * 0.1 / math.sqrt(600)
    shot = np.array([camera.frame.noise_profile[0, 0] for camera in cameras])  # type: ignore[index]
    assert 1e-4 <= shot.min() < 1.5e-4
    assert 9e-3 < shot.max() <= 0.012
    p = resolve(cameras[0].frame, RenderOptions())
    srgb_to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    d850_at_d65 = np.array([[0.9366, -0.2761, -0.1179], [-0.6076, 1.3955, 0.2370], [-0.1839, 0.2809, 0.7750]])
    rgb_to_camera = d850_at_d65 @ srgb_to_xyz
    rgb_to_camera /= rgb_to_camera.sum(1, keepdims=True)
    assert np.allclose(p.prophoto_to_output @ p.cam_to_prophoto, np.linalg.inv(rgb_to_camera), atol=1e-3)
