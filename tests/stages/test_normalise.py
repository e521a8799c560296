"""Levels against the specification's formula pixel by pixel (DNG 1.7.1, chapter 5), and their inverse."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch

from isp.raw.cfa import CFA
from isp.raw.metadata import RawMetadata
from isp.stages.normalise import denormalise, normalise


def by_the_book(counts: np.ndarray, meta: RawMetadata) -> np.ndarray:
    """counts: C H W. One pixel at a time, in float64."""
    black = np.zeros_like(counts, dtype=np.float64)
    rows, cols = meta.black_level.shape[:2]
    for c, y, x in itertools.product(*map(range, counts.shape)):
        black[c, y, x] = meta.black_level[y % rows, x % cols, c]
        if meta.black_level_delta_v is not None:
            black[c, y, x] += meta.black_level_delta_v[y]
        if meta.black_level_delta_h is not None:
            black[c, y, x] += meta.black_level_delta_h[x]
    out = np.empty_like(black)
    for c in range(len(counts)):
        out[c] = (counts[c] - black[c]) / (meta.white_level[c] - black[c].max())
    return out


random = np.random.default_rng(5)
CASES = {
    "plain": RawMetadata(4, 6, black_level=[[[64]]], white_level=[1023]),
    "four blacks": RawMetadata(
        5, 7, cfa=CFA("RGGB"), black_level=[[[64.25], [65]], [[66.5], [63]]], white_level=[1023]
    ),
    "3x5 repeat": RawMetadata(7, 11, black_level=random.uniform(50, 80, (3, 5, 1)), white_level=[4095]),
    "deltas": RawMetadata(
        6,
        5,
        black_level=[[[512], [500]], [[498], [505]]],
        black_level_delta_h=random.uniform(-9, 9, 5),
        black_level_delta_v=random.uniform(-9, 9, 6),
        white_level=[16383],
    ),
    "rows only": RawMetadata(6, 5, black_level=[[[9]]], black_level_delta_v=[0, 1, 2, 3, -4, 5], white_level=[255]),
    "linear": RawMetadata(3, 4, samples=3, black_level=[[[64, 65, 66]]], white_level=[1023, 1000, 900]),
    "linear repeat": RawMetadata(
        3, 4, samples=3, black_level=random.uniform(0, 9, (2, 2, 3)), white_level=[1023, 1000, 900]
    ),
    "2x2": RawMetadata(2, 2, black_level=[[[1], [2]], [[3], [4]]], white_level=[10]),
    "active area": RawMetadata(
        9,
        9,
        active_area=(1, 2, 6, 9),
        black_level=[[[1], [2]], [[3], [4]]],
        white_level=[10],
        black_level_delta_h=[1] * 7,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_specification(name: str) -> None:
    meta = CASES[name]
    top, left, bottom, right = meta.area
    counts = random.uniform(0, 1.1 * meta.white_level.max(), (2, meta.samples, bottom - top, right - left))
    out = normalise(torch.from_numpy(counts), meta)
    assert out.dtype == torch.float64
    for image, expected in zip(out.numpy(), counts, strict=True):
        np.testing.assert_allclose(image, by_the_book(expected, meta), atol=1e-12)
    single = normalise(torch.from_numpy(counts).float(), meta)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), out, atol=1e-5, rtol=0)
    back = denormalise(single, meta)
    torch.testing.assert_close(back / meta.white_level.max(), torch.from_numpy(counts).float() / meta.white_level.max(),
                               atol=1e-5, rtol=0)  # fmt: skip


def test_largest_black_of_the_plane_scales_it() -> None:
    meta = RawMetadata(2, 2, black_level=[[[0], [10]], [[20], [40]]], white_level=[140])
    counts = torch.tensor([[[[0.0, 10], [20, 140]]]])
    assert normalise(counts, meta).flatten().tolist() == [0, 0, 0, 1]


def test_negatives_and_highlights_stay() -> None:
    meta = RawMetadata(1, 3, black_level=[[[100]]], white_level=[300])
    assert normalise(torch.tensor([[[[0.0, 100, 500]]]]), meta).flatten().tolist() == [-0.5, 0, 2]


def test_white_not_above_black() -> None:
    meta = RawMetadata(2, 2, samples=3, black_level=[[[0, 64, 0]]], white_level=[100, 64, 100])
    with pytest.raises(ValueError, match="white level 64 of plane 1 should be above its largest black, 64"):
        normalise(torch.zeros(1, 3, 2, 2), meta)


def test_wrong_size() -> None:
    with pytest.raises(ValueError, match=r"expected the active area, B 1 2 2; got \(1, 1, 2, 3\)"):
        normalise(torch.zeros(1, 1, 2, 3), RawMetadata(2, 2))


@pytest.mark.parametrize("function", [normalise, denormalise])
def test_gradients(function: Callable[[torch.Tensor, RawMetadata], torch.Tensor]) -> None:
    x = torch.rand(2, 1, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: function(x, CASES["deltas"]), x)
