"""The output primaries against colour-science and the published four-digit matrix of sRGB."""

import colour
import numpy as np
import pytest

from isp.primaries import D50, SPACES, XYZ_D50_TO_PROPHOTO, bradford, prophoto_to, rgb_to_xyz, xy_to_xyz

NAMES = {"srgb": "sRGB", "display-p3": "Display P3", "rec2020": "ITU-R BT.2020", "prophoto": "ProPhoto RGB"}


def test_srgb_by_the_standard() -> None:
    """IEC 61966-2-1 prints the inverse with four digits."""
    printed = [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
    found = np.linalg.inv(rgb_to_xyz(*SPACES["srgb"][:2]))
    np.testing.assert_allclose(found, printed, atol=7e-4)  # it rounds XYZ of the primaries on the way


@pytest.mark.parametrize("space", NAMES)
def test_rgb_to_xyz_agrees_with_colour_science(space: str) -> None:
    theirs = colour.RGB_COLOURSPACES[NAMES[space]]
    primaries, white, _ = SPACES[space]
    np.testing.assert_allclose(primaries, theirs.primaries)
    np.testing.assert_allclose(white, theirs.whitepoint)
    expected = colour.normalised_primary_matrix(theirs.primaries, theirs.whitepoint)
    np.testing.assert_allclose(rgb_to_xyz(primaries, white), expected, atol=1e-12)


@pytest.mark.parametrize("space", NAMES)
def test_prophoto_to_each_space_agrees_with_colour_science(space: str) -> None:
    spaces = [colour.RGB_COLOURSPACES[NAMES[name]].copy() for name in ("prophoto", space)]
    for each in spaces:
        each.use_derived_matrix_RGB_to_XYZ = each.use_derived_matrix_XYZ_to_RGB = True
    expected = colour.matrix_RGB_to_RGB(*spaces, chromatic_adaptation_transform="Bradford")
    np.testing.assert_allclose(prophoto_to(space), expected, atol=1e-9)


@pytest.mark.parametrize("space", [*NAMES, "camera"])
def test_white_stays_white(space: str) -> None:
    np.testing.assert_allclose(prophoto_to(space) @ np.ones(3), 1.0, atol=1e-12)
    np.testing.assert_allclose(XYZ_D50_TO_PROPHOTO @ xy_to_xyz(D50), 1.0, atol=1e-12)


def test_bradford_agrees_with_colour_science() -> None:
    a, d50 = xy_to_xyz((0.4476, 0.4074)), xy_to_xyz(D50)
    expected = colour.adaptation.matrix_chromatic_adaptation_VonKries(a, d50, transform="Bradford")
    np.testing.assert_allclose(bradford(a, d50), expected, atol=1e-12)


def test_unknown_space() -> None:
    with pytest.raises(ValueError, match="'adobe' is unknown; expected one of srgb, display-p3"):
        prophoto_to("adobe")
