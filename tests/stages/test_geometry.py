"""Crops and the eight orientations: against the TIFF 6.0 wording and against Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image

from isp.stages.geometry import crop, orient, uncrop, unorient

# TIFF 6.0, tag 274: where the stored row 0 and column 0 belong in the picture
EDGES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def edge(picture: torch.Tensor, name: str) -> set[float]:
    line = {"top": picture[0], "bottom": picture[-1], "left": picture[:, 0], "right": picture[:, -1]}[name]
    return set(line.tolist())


@pytest.mark.parametrize("orientation", EDGES)
def test_rows_and_columns_go_where_the_tag_says(orientation: int) -> None:
    x = torch.arange(15.0).reshape(1, 1, 3, 5)
    picture = orient(x, orientation)[0, 0]
    row0, col0 = EDGES[orientation]
    assert edge(picture, row0) == set(x[0, 0, 0].tolist())
    assert edge(picture, col0) == set(x[0, 0, :, 0].tolist())


@pytest.mark.parametrize(
    ("orientation", "method"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_270),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_90),
    ],
)
def test_pillow_agrees(orientation: int, method: Image.Transpose) -> None:
    pixels = np.arange(15, dtype=np.uint8).reshape(3, 5)
    expected = np.asarray(Image.fromarray(pixels).transpose(method))
    assert np.array_equal(orient(torch.from_numpy(pixels)[None, None], orientation)[0, 0], expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", [(1, 3, 2, 2), (2, 1, 5, 3), (2, 3, 1, 4)])
def test_unorient(orientation: int, shape: tuple[int, ...]) -> None:
    x = torch.rand(shape)
    assert torch.equal(unorient(orient(x, orientation), orientation), x)
    assert torch.equal(orient(unorient(x, orientation), orientation), x)


def test_no_such_orientation() -> None:
    with pytest.raises(ValueError, match="orientation should be 1 to 8; got 9"):
        orient(torch.zeros(1, 1, 2, 2), 9)


def test_crop_and_uncrop() -> None:
    x = torch.rand(2, 3, 6, 7)
    part = crop(x, (1, 2, 5, 6))
    assert torch.equal(part, x[:, :, 1:5, 2:6])
    back = uncrop(part, (1, 2, 5, 6), (6, 7))
    assert torch.equal(crop(back, (1, 2, 5, 6)), part)
    assert torch.equal(back[:, :, 0, 2:6], part[:, :, 0])
    assert torch.equal(back[:, :, 5, 6], part[:, :, 3, 3])
    assert back.shape == x.shape


@pytest.mark.parametrize("box", [(0, 0, 7, 7), (3, 0, 3, 7), (-1, 0, 2, 2), (0, 5, 2, 8)])
def test_box_outside(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"should lie in 6 x 7 \(rows x columns\)"):
        crop(torch.zeros(1, 1, 6, 7), box)


def test_uncrop_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"uncrop .* needs B C 2 2"):
        uncrop(torch.zeros(1, 1, 3, 3), (0, 0, 2, 2), (6, 7))


def test_gradients() -> None:
    x = torch.rand(1, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: uncrop(crop(orient(x, 6), (0, 1, 3, 4)), (0, 1, 3, 4), (3, 5)), x)
