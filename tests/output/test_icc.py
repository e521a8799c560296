"""ICC profiles, with LittleCMS and colour-science as the independent readers of what we write."""

from __future__ import annotations

import hashlib
import io

import colour
import imagecodecs
import numpy as np
import pytest
from PIL import ImageCms

from isp.options import SPACES
from isp.output.icc import chromaticities, profile

COLOUR_NAMES = {
    "srgb": "sRGB",
    "display-p3": "Display P3",
    "rec2020": "ITU-R BT.2020",
    "prophoto": "ROMM RGB",
}
PROFILED = [space for space in SPACES if space != "camera"]
ICC_D50 = (0.9642, 1.0, 0.8249)  # ICC.1:2010, 7.2.16
RELATIVE, NO_OPTIMISATION = 1, 0x100  # LittleCMS: rendering intent, and a flag that keeps it from using tables


def xyz_by_littlecms(rgb: np.ndarray, icc: bytes) -> np.ndarray:
    xyz = imagecodecs.cms_profile("xyz")
    return imagecodecs.cms_transform(
        rgb,
        icc,
        xyz,
        colorspace="rgb",
        outcolorspace="xyz",
        outdtype="float64",
        intent=RELATIVE,
        flags=NO_OPTIMISATION,
    )


def xyz_by_colour(rgb: np.ndarray, space: str, linear: bool) -> np.ndarray:
    """XYZ under the ICC's D50, with Bradford, from colour-science's own primaries and curves."""
    known = colour.RGB_COLOURSPACES[COLOUR_NAMES[space]]
    if (
        space == "rec2020"
    ):  # colour's curve is that of displays (BT.1886) for reading; ours is the camera curve's inverse
        decoded = colour.models.oetf_inverse_BT2020(rgb, is_12_bits_system=True)
    else:
        decoded = known.cctf_decoding(rgb)
    white = colour.xy_to_XYZ(known.whitepoint)
    xyz = (rgb if linear else decoded) @ colour.normalised_primary_matrix(known.primaries, known.whitepoint).T
    return colour.chromatic_adaptation(xyz, white, np.array(ICC_D50), method="Von Kries", transform="Bradford")


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("space", PROFILED)
def test_littlecms_reads_the_colours_that_colour_science_computes(space: str, linear: bool) -> None:
    grid = np.linspace(0, 1, 12)
    rgb = np.stack(np.meshgrid(grid, grid, grid), -1).reshape(12, 144, 3)
    icc = profile(space, linear)
    assert icc is not None
    np.testing.assert_allclose(xyz_by_littlecms(rgb, icc), xyz_by_colour(rgb, space, linear), atol=2e-4)


@pytest.mark.parametrize("space", PROFILED)
def test_curve_is_the_one_that_pictures_are_encoded_with(space: str) -> None:
    torch = pytest.importorskip("torch")
    from isp.stages.encode import encode

    x = np.concatenate([np.linspace(0, 0.03, 61), np.linspace(0.03, 1, 61)])
    encoded = encode(torch.from_numpy(x), space).numpy()
    icc = profile(space)
    assert icc is not None
    grey = xyz_by_littlecms(np.repeat(encoded[None, :, None], 3, 2), icc)
    np.testing.assert_allclose(grey[0, :, 1], x, atol=5e-5)  # Y of a grey is its linear value; s15Fixed16 limits it


@pytest.mark.parametrize("space", PROFILED)
def test_white_is_the_connection_space_white_to_the_last_bit(space: str) -> None:
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile(space) or b"")).profile
    columns = [np.array(c[0]) for c in (opened.red_colorant, opened.green_colorant, opened.blue_colorant)]
    np.testing.assert_array_equal(np.sum(columns, 0), np.array([63190, 65536, 54061]) / 65536)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("space", PROFILED)
def test_profile_is_valid_and_says_what_it_is(space: str, linear: bool) -> None:
    icc = profile(space, linear)
    assert icc is not None
    assert len(icc) == int.from_bytes(icc[:4], "big") < 600
    blank = icc[:44] + b"\0" * 4 + icc[48:64] + b"\0" * 4 + icc[68:84] + b"\0" * 16 + icc[100:]
    assert icc[84:100] == hashlib.md5(blank).digest(), "the profile's identity, ICC.1:2010, 7.2.18"
    opened = ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile
    names = {"srgb": "sRGB", "display-p3": "Display P3", "rec2020": "Rec. 2020", "prophoto": "ProPhoto RGB"}
    assert opened.profile_description == names[space] + (" linear" if linear else "")
    assert opened.copyright
    assert opened.version == 4.3
    assert profile.__wrapped__(space, linear) == icc, "the same bytes each time"


def test_camera_rgb_has_no_profile() -> None:
    assert profile("camera") is None
    assert profile("camera", linear=True) is None


@pytest.mark.parametrize("space", PROFILED)
def test_chromaticities_are_those_of_colour_science(space: str) -> None:
    known = colour.RGB_COLOURSPACES[COLOUR_NAMES[space]]
    expected = [*np.asarray(known.primaries).ravel(), *known.whitepoint]
    np.testing.assert_allclose(chromaticities(space), expected, atol=1e-4)
