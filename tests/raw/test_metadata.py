"""RawMetadata checks itself, compares by content, and cannot be changed."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from isp.raw.cfa import CFA
from isp.raw.metadata import RawMetadata


def meta(**values: object) -> RawMetadata:
    return RawMetadata(**{"height": 8, "width": 10, "cfa": CFA("RGGB"), **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"height": 0}, "height should be positive"),
        ({"samples": 4}, "samples should be 1 .* got 4"),
        ({"samples": 3}, "cfa should be None where every pixel holds 3 samples"),
        ({"orientation": 9}, "orientation should be 1 to 8; got 9"),
        ({"active_area": (0, 0, 9, 10)}, "active_area should be .* inside 8 x 10"),
        ({"active_area": (4, 0, 4, 10)}, "active_area"),
        ({"black_level": np.zeros(4)}, "black_level should be rows cols 1"),
        ({"black_level_delta_h": np.zeros(9)}, "black_level_delta_h should be 10 numbers"),
        ({"white_level": [1.0, 2.0]}, "white_level should be 1 number"),
        ({"color_matrix1": np.eye(4)}, "color_matrix1 should be a 3x3 matrix"),
        ({"color_matrix1": np.full((3, 3), np.nan)}, "color_matrix1 holds values that are not finite"),
        ({"as_shot_neutral": [1, 0, 1]}, "as_shot_neutral should be 3 positive numbers"),
        ({"default_crop_origin": (3, 0), "default_crop_size": (8, 8)}, "default_crop_size should be width, height"),
        ({"profile_tone_curve": [[0, 0]]}, "profile_tone_curve should be at least 2 points"),
        ({"noise_profile": [1e-3, 1e-6]}, "noise_profile should be planes 2"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        meta(**values)
    assert "\n" not in str(caught.value)


def test_nothing_can_be_changed() -> None:
    frozen = meta(color_matrix1=np.eye(3), origins={"cfa": "IFD0"})
    with pytest.raises(FrozenInstanceError):
        frozen.height = 4  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        frozen.color_matrix1[0, 0] = 2  # type: ignore[index]
    with pytest.raises(TypeError):
        frozen.origins["cfa"] = "elsewhere"  # type: ignore[index]


def test_the_callers_array_is_copied() -> None:
    mine = np.eye(3)
    frozen = meta(color_matrix1=mine)
    mine[0, 0] = 5
    assert frozen.color_matrix1 is not None
    assert frozen.color_matrix1[0, 0] == 1


def test_equality_is_of_content() -> None:
    one = meta(color_matrix1=np.eye(3), iso=100.0, origins={"iso": "a tag"})
    assert one == meta(color_matrix1=np.eye(3), iso=100.0)
    assert one != replace(one, iso=200.0)
    assert one != replace(one, color_matrix1=2 * np.eye(3))
    assert one != replace(one, color_matrix1=None)
    assert one != replace(one, cfa=CFA("BGGR"))


def test_crop_is_in_whole_pixels_of_the_active_area() -> None:
    cropped = meta(active_area=(1, 2, 8, 10), default_crop_origin=(1.0, 2.0), default_crop_size=(6.0, 4.0))
    assert cropped.crop == (2, 1, 6, 7)
    assert meta(active_area=(1, 2, 8, 10)).crop == (0, 0, 7, 8)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({}, "bayer"),
        ({"cfa": None}, "monochrome"),
        ({"cfa": None, "samples": 3, "white_level": [1, 1, 1], "black_level": np.zeros((1, 1, 3))}, "linear"),
    ],
)
def test_kind(values: dict[str, object], kind: str) -> None:
    assert meta(**values).kind == kind
