"""A ColorChecker under five lights, through the whole pipeline: how far from the specification's colours.

The patches' spectra (BabelColor's average of 30 charts) under Planck's and CIE daylight spectra give XYZ; colour-hdri,
an implementation of the chapter that is not ours, gives what the camera records and the neutral that it writes. That
goes into a 14-bit Bayer frame, through develop(), and back to XYZ. CIEDE2000 by colour-science, in CIELAB under D50.
"""

import warnings

import colour
import colour_hdri
import numpy as np
import pytest
import torch
from cameras import CAMERAS, KELVIN, camera

from isp.options import RenderOptions
from isp.pipeline import develop
from isp.primaries import D50, SPACES, XYZ_D50_TO_PROPHOTO, rgb_to_xyz, xy_to_xyz
from isp.raw.cfa import CFA

LIGHTS = [2850, 3500, 4500, 5500, 6504]  # kelvin
PATCH = 16  # pixels across
BLACK, WHITE = 512, 16383  # DN
PEAK = 0.9  # of full scale: what a perfect white records in its largest channel


def chart(kelvin: float) -> tuple[np.ndarray, np.ndarray]:
    """XYZ of the 24 patches, 24 3, and of the light, 3, at Y = 1."""
    shape = colour.SpectralShape(380, 730, 10)
    if kelvin < 4000:
        light = colour.sd_blackbody(kelvin, shape)
    else:
        light = colour.sd_CIE_illuminant_D_series(colour.temperature.CCT_to_xy_CIE_D(kelvin), shape=shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # colour-science tells that it aligns the spectra
        patches = [
            colour.sd_to_XYZ(patch.copy().align(shape), illuminant=light, method="Integration")
            for patch in colour.SDS_COLOURCHECKERS["BabelColor Average"].values()
        ]
        white = colour.sd_to_XYZ(colour.sd_ones(shape), illuminant=light, method="Integration")
    return np.array(patches) / white[1], white / white[1]


def arguments(name: str) -> tuple[object, ...]:
    (first, second), (cm1, cm2, _, _) = CAMERAS[name]
    return KELVIN[first], KELVIN[second], cm1, cm2, np.eye(3), np.eye(3), np.ones(3)


def recorded(name: str, kelvin: float) -> tuple[np.ndarray, np.ndarray]:
    """Camera RGB of the patches, 24 3 in 0..1, and AsShotNeutral with six decimals."""
    patches, white = chart(kelvin)
    xy = colour.XYZ_to_xy(white)
    to_camera = colour_hdri.matrix_XYZ_to_camera_space(xy, *arguments(name))
    neutral = to_camera @ white
    return patches @ to_camera.T * (PEAK / neutral.max()), np.round(neutral / neutral.max(), 6)


def developed(name: str, kelvin: float, forward: bool) -> np.ndarray:
    """XYZ (D50) of the patches as the pipeline renders them, 24 3, a perfect white at Y = 1."""
    rgb, neutral = recorded(name, kelvin)
    picture = rgb.T.reshape(3, 4, 6).repeat(PATCH, axis=1).repeat(PATCH, axis=2)
    cfa = CFA("RGGB")
    height, width = picture.shape[1:]
    mosaic = np.take_along_axis(picture, cfa.channel_map(height, width)[None], axis=0)
    counts = np.round(BLACK + mosaic * (WHITE - BLACK))
    meta = camera(
        name,
        forward=forward,
        height=height,
        width=width,
        cfa=cfa,
        black_level=[[[BLACK]]],
        white_level=[WHITE],
        as_shot_neutral=neutral,
    )
    options = RenderOptions(look="neutral", demosaic="bilinear", space="prophoto", linear=True)
    result, _ = develop(torch.tensor(counts, dtype=torch.float32)[None], meta, options)
    middle = result[0].double().view(3, 4, PATCH, 6, PATCH)[:, :, 4:-4, :, 4:-4].mean((2, 4))  # 3 4 6
    return middle.reshape(3, 24).numpy().T @ np.linalg.inv(XYZ_D50_TO_PROPHOTO).T / PEAK


def differences(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """24: CIEDE2000."""
    labs = [colour.XYZ_to_Lab(xyz, np.array(D50)) for xyz in (found, expected)]
    return colour.delta_E(*labs, method="CIE 2000")


@pytest.mark.parametrize("kelvin", LIGHTS)
@pytest.mark.parametrize("name", CAMERAS)
def test_color_matrices(name: str, kelvin: float) -> None:
    """Without forward matrices the model is exact: the patches under this light, adapted to D50 by Bradford."""
    patches, white = chart(kelvin)
    expected = colour.chromatic_adaptation(patches, white, xy_to_xyz(D50), method="Von Kries", transform="Bradford")
    found = differences(developed(name, kelvin, forward=False), expected)
    assert found.mean() <= 0.05
    assert found.max() <= 0.2


@pytest.mark.parametrize("kelvin", LIGHTS)
@pytest.mark.parametrize("name", CAMERAS)
def test_forward_matrices(name: str, kelvin: float) -> None:
    rgb, neutral = recorded(name, kelvin)
    xy = colour_hdri.camera_neutral_to_xy(neutral, *arguments(name), epsilon=1e-12)
    _, (_, _, fm1, fm2) = CAMERAS[name]
    to_xyz = colour_hdri.matrix_camera_space_to_XYZ(xy, *arguments(name), fm1, fm2)
    expected = rgb @ to_xyz.T / (to_xyz @ neutral)[1] / PEAK
    found = differences(developed(name, kelvin, forward=True), expected)
    assert found.mean() <= 0.05
    assert found.max() <= 0.2


@pytest.mark.parametrize(("kelvin", "low", "high"), [(2850, 4.0, 8.0), (4500, 2.0, 4.0), (6504, 0.0, 0.05)])
@pytest.mark.parametrize("name", ["Nikon D850", "Fujifilm X-T3"])
def test_what_one_matrix_would_cost(name: str, kelvin: float, low: float, high: float) -> None:
    """The common shortcut, one D65 matrix after white balance, on the same frames: so these tests can tell.

    It costs 7.3 (Nikon) and 4.9 (Fujifilm) at 2850 K in the mean; with a Leica M10's matrices, which lie closer
    together, 2.64 at 2850 K, 1.08 at 4500 K and 0.01 at 6504 K.
    """
    rgb, neutral = recorded(name, kelvin)
    _, (_, d65_matrix, _, _) = CAMERAS[name]
    srgb_to_xyz = rgb_to_xyz(*SPACES["srgb"][:2])
    to_camera = d65_matrix @ srgb_to_xyz
    to_camera = to_camera / to_camera.sum(1)[:, None]  # white-balanced white is white
    srgb = rgb / neutral / PEAK @ np.linalg.inv(to_camera).T
    d65 = xy_to_xyz(SPACES["srgb"].white)
    adapted = colour.chromatic_adaptation(
        srgb @ srgb_to_xyz.T, d65, xy_to_xyz(D50), method="Von Kries", transform="Bradford"
    )
    patches, white = chart(kelvin)
    expected = colour.chromatic_adaptation(patches, white, xy_to_xyz(D50), method="Von Kries", transform="Bradford")
    assert low <= differences(adapted, expected).mean() <= high
