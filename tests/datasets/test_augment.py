"""Flips, transposes and crops of mosaics, beside mosaicking the flipped, transposed and cropped picture."""

import itertools

import numpy as np
import pytest
import torch

from isp.datasets.augment import augment, crop, flip, transpose, unify
from isp.raw.cfa import CANONICAL, CFA
from isp.stages.demosaic import mosaic

BAYER = [CFA(pattern) for pattern in ("RGGB", "GRBG", "GBRG", "BGGR")]
OTHERS = [CFA(*CANONICAL[kind]).shifted(*shift) for kind in ("quad-bayer", "x-trans") for shift in ((0, 0), (1, 3))]
SIZES = [(12, 16), (13, 16), (12, 15), (13, 15)]


def picture(height: int, width: int) -> torch.Tensor:
    """1 3 H W whose every number is different."""
    return torch.arange(3.0 * height * width).view(1, 3, height, width)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cfa", [*BAYER, *OTHERS], ids=str)
def test_a_flipped_mosaic_is_the_mosaic_of_the_flipped_picture(cfa: CFA, size: tuple[int, int]) -> None:
    rgb = picture(*size)
    for rows, columns in itertools.product((False, True), repeat=2):
        turned = flip(rgb, cfa, rows=rows, columns=columns)
        assert torch.equal(flip(mosaic(rgb, cfa), cfa, rows=rows, columns=columns), mosaic(turned, cfa))


@pytest.mark.parametrize("cfa", BAYER, ids=str)
def test_flips_drop_what_the_paper_drops(cfa: CFA) -> None:
    """One line at both ends of an even frame, none of an odd one; by hand on columns 0 to 5."""
    x = torch.arange(6.0).expand(1, 1, 4, 6)
    assert flip(x, cfa, columns=True)[0, 0, 0].tolist() == [4, 3, 2, 1]
    assert flip(x[..., :5], cfa, columns=True)[0, 0, 0].tolist() == [4, 3, 2, 1, 0]
    assert flip(x, cfa, rows=True).shape == (1, 1, 2, 6)


def test_transposes_keep_two_phases_and_exchange_two() -> None:
    expected = {"RGGB": "RGGB", "BGGR": "BGGR", "GRBG": "GBRG", "GBRG": "GRBG"}
    rgb = picture(12, 16)
    for cfa in BAYER:
        turned, now = transpose(mosaic(rgb, cfa), cfa)
        assert now.pattern == expected[cfa.pattern]
        assert torch.equal(turned, mosaic(rgb.transpose(-2, -1), now))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("cfa", "wanted"), list(itertools.product(BAYER, BAYER)), ids=str)
def test_phases_are_unified_by_cropping(cfa: CFA, wanted: CFA, size: tuple[int, int]) -> None:
    rgb = picture(*size)
    cut = unify(mosaic(rgb, cfa), cfa, wanted)
    assert torch.equal(cut, mosaic(unify(rgb, cfa, wanted), wanted))
    assert [side % 2 for side in cut.shape[-2:]] == [0, 0]
    assert all(whole - side < 3 for whole, side in zip(size, cut.shape[-2:], strict=True))


@pytest.mark.parametrize("cfa", [*BAYER, OTHERS[0], OTHERS[2]], ids=str)
def test_augment_keeps_pairs_aligned_and_the_array(cfa: CFA) -> None:
    """All eight come up; each is the mosaic of its clean side; seeded."""
    rgb = picture(26, 38)
    seen = set()
    for seed in range(60):
        noisy, clean = augment([mosaic(rgb, cfa), rgb], cfa, np.random.default_rng(seed))
        assert torch.equal(noisy, mosaic(clean, cfa))
        assert [side % period for side, period in zip(noisy.shape[-2:], (cfa.rows, cfa.cols), strict=True)] == [0, 0]
        corner = clean[0, 0]
        right, down = corner[0, 1] > corner[0, 0], corner[1, 0] > corner[0, 0]
        seen.add((noisy.shape[-2] > noisy.shape[-1], bool(right), bool(down)))
    assert len(seen) == 8
    again = augment([rgb], cfa, np.random.default_rng(59))[0]
    assert torch.equal(again, clean)


def test_crops_keep_the_array_or_are_refused() -> None:
    cfa, rgb = CFA("GRBG"), picture(12, 16)
    assert torch.equal(crop(mosaic(rgb, cfa), cfa, 2, 4, 6, 8), mosaic(crop(rgb, cfa, 2, 4, 6, 8), cfa))
    with pytest.raises(ValueError, match="a crop at 1, 4 shifts a 2x2 array"):
        crop(rgb, cfa, 1, 4, 6, 8)
    with pytest.raises(ValueError, match="a crop of 6 x 8 at 8, 4 leaves 12 x 16"):
        crop(rgb, cfa, 8, 4, 6, 8)
    with pytest.raises(ValueError, match="no crop of GRBG gives quad-bayer"):
        unify(rgb, cfa, OTHERS[0])
    with pytest.raises(ValueError, match="images of one size, got 6 x 8, 12 x 16"):
        augment([rgb, rgb[..., :6, :8]], cfa, np.random.default_rng(0))
