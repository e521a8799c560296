"""Defective samples: found, replaced, and nothing else touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from isp.raw.cfa import CANONICAL, CFA
from isp.stages.defects import HALO, correct_defects, find_defects
from isp.tiling import tiled

ARRAYS = [
    pytest.param(CFA("RGGB"), id="bayer"),
    pytest.param(CFA("GBRG"), id="bayer-gbrg"),
    pytest.param(CFA(*CANONICAL["x-trans"]).shifted(2, 1), id="x-trans"),
    pytest.param(CFA(*CANONICAL["quad-bayer"]), id="quad-bayer"),
    pytest.param(None, id="monochrome"),
]


def channel_map(cfa: CFA | None, height: int, width: int) -> np.ndarray:
    return np.zeros((height, width), dtype=np.int64) if cfa is None else cfa.channel_map(height, width)


def scene(cfa: CFA | None, height: int = 96, width: int = 102) -> Tensor:
    """1 1 H W, float64: the mosaic of a smooth picture, one colour twice as strong as the others."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    light = 0.2 + 0.1 * torch.sin(0.09 * y) * torch.cos(0.07 * x) + 0.0005 * x
    level = torch.tensor([0.5, 1.0, 0.6])[torch.from_numpy(channel_map(cfa, height, width))]
    return (light * level)[None, None].double()


@pytest.mark.parametrize("cfa", ARRAYS)
def test_single_defects_are_found_and_mended(cfa: CFA | None) -> None:
    truth = scene(cfa)
    x = truth.clone()
    bad = torch.zeros_like(x, dtype=torch.bool)
    bad[..., 3::13, 5::11] = True  # all cells of every period
    x[bad] = torch.where(torch.arange(int(bad.sum())) % 2 == 0, 0.9, 0.0).double()
    assert torch.equal(find_defects(x, cfa), bad)
    mended = correct_defects(x, cfa)
    assert torch.equal(mended[~bad], x[~bad])
    assert (mended - truth)[bad].abs().max() < 0.012


@pytest.mark.parametrize("cfa", ARRAYS)
def test_pairs_of_one_colour(cfa: CFA | None) -> None:
    truth = scene(cfa)
    colours = channel_map(cfa, *truth.shape[-2:])
    steps = sorted(
        ((dy, dx) for dy in range(4) for dx in range(-3, 4) if (dy, dx) > (0, 0)), key=lambda s: np.hypot(*s)
    )
    for site in ((40, 41), (41, 41), (40, 42), (43, 47)):
        step = next(s for s in steps if colours[site[0] + s[0], site[1] + s[1]] == colours[site])
        bad = torch.zeros_like(truth, dtype=torch.bool)
        bad[0, 0, site[0], site[1]] = bad[0, 0, site[0] + step[0], site[1] + step[1]] = True
        x = torch.where(bad, 0.95, truth)
        assert torch.equal(find_defects(x, cfa), bad)
        assert (correct_defects(x, cfa) - truth).abs().max() < 0.012


@pytest.mark.parametrize("cfa", ARRAYS)
def test_edges_corners_and_stars_stay(cfa: CFA | None) -> None:
    """A step, a thin bright line, and points of light spread by a lens over some two pixels."""
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    picture = torch.where((y > 30) & (x > 40), 0.5, 0.05) + torch.where((x - y).abs() < 1.5, 0.3, 0.0)
    for i in range(6):
        centre = (60.3 + 0.37 * i, 8.1 + 14.4 * i)
        picture = picture + 0.4 * torch.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * 0.9**2))
    assert not find_defects(picture[None, None], cfa).any()


@pytest.mark.parametrize("cfa", ARRAYS)
def test_a_line_continues_through_a_defect(cfa: CFA | None) -> None:
    """The replacement follows the structure: along a vertical edge, not across it."""
    truth = torch.where(torch.arange(60) < 30, 0.2, 0.35).expand(60, 60)[None, None].clone()
    for site in ((30, 28), (30, 29), (30, 30), (31, 31)):
        x = truth.clone()
        x[0, 0, site[0], site[1]] = 1.0
        assert (correct_defects(x, cfa) - truth).abs().max() < 0.03


@pytest.mark.parametrize("cfa", ARRAYS)
def test_tiles_batch_and_border(cfa: CFA | None) -> None:
    generator = torch.Generator().manual_seed(0)
    x = scene(cfa, 131, 145)
    x = torch.where(
        torch.rand(x.shape, generator=generator) < 3e-3, torch.rand(x.shape, generator=generator).double(), x
    )
    whole = correct_defects(x, cfa)
    assert not torch.equal(whole, x)
    assert torch.equal(tiled(lambda part: correct_defects(part, cfa), x, HALO, tile=36), whole)
    assert torch.equal(correct_defects(torch.cat([x.flip(-1), x]), cfa)[1:], whole)
    corner = scene(cfa, 24, 24)
    corner[0, 0, 0, 0] = corner[0, 0, 23, 9] = 1.0
    assert (correct_defects(corner, cfa) - scene(cfa, 24, 24)).abs().max() < 0.03


def test_gradients_and_sizes() -> None:
    cfa = CFA("RGGB")
    x = scene(cfa, 12, 13)
    x[0, 0, 5, 6] = 0.9
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda mosaic: correct_defects(mosaic, cfa), x)
    for size in ((1, 1), (2, 2), (3, 5), (6, 4)):
        assert torch.equal(correct_defects(torch.full((2, 1, *size), 0.3), cfa), torch.full((2, 1, *size), 0.3))
    with pytest.raises(ValueError, match=r"needs a mosaic B 1 H W, got \(1, 3, 4, 4\)"):
        correct_defects(torch.zeros(1, 3, 4, 4), cfa)


@pytest.mark.parametrize("cfa", ARRAYS[::2])
@pytest.mark.parametrize(("shot", "read"), [(8e-4, 2e-6), (3.2e-3, 2.5e-5)])
def test_recall_and_false_positives_on_photographs(shared: Path, cfa: CFA | None, shot: float, read: float) -> None:
    """One sample in a thousand hot (0.6 to 1) or dead (0), under noise (variance shot * x + read).

    Recall counts defects that differ from the truth by more than 0.1 plus eight deviations of the noise.
    """
    random = np.random.default_rng(0)
    found = visible = wrong = total = 0
    for path in sorted((shared / "data" / "photos").glob("*.jpg"))[::24]:
        photo = np.array(Image.open(path).convert("RGB"))[100:400, 100:400] / 255
        truth = 0.5 * np.take_along_axis(photo**2.2, channel_map(cfa, 300, 300)[..., None], 2)[..., 0]
        deviation = np.sqrt(shot * truth + read)
        noisy = np.clip(truth + deviation * random.standard_normal(truth.shape), -0.05, 1)
        bad = random.random(truth.shape) < 1e-3
        value = np.where(random.random(truth.shape) < 0.5, random.uniform(0.6, 1, truth.shape), 0)
        mosaic = np.where(bad, value, noisy)
        mask = find_defects(torch.from_numpy(mosaic)[None, None], cfa)[0, 0].numpy()
        seen = bad & (np.abs(mosaic - truth) > 0.1 + 8 * deviation)
        found, visible = found + (mask & seen).sum(), visible + seen.sum()
        wrong, total = wrong + (mask & ~bad).sum(), total + mask.size
    assert visible > 200
    assert found / visible > 0.87
    assert wrong / total < 2e-4
