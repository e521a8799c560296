"""Highlights: what stays, what returns, and that nothing jumps in between."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from isp.stages.highlights import BRIGHTEST, FADING, NEAR, treat_highlights

GAINS = np.array([2.0, 1.0, 1.5])


def saturate(scene: Tensor, gains: np.ndarray = GAINS) -> Tensor:
    return torch.minimum(scene, scene.new_tensor(gains).view(1, 3, 1, 1))


def blob(colour: tuple[float, float, float], peak: float, size: int = 160) -> Tensor:
    """1 3 H W, float64: one colour (largest entry 1) under a light that peaks in the middle."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    light = peak * torch.exp(-((y - size / 2) ** 2 + (x - size / 2) ** 2) / (2 * (size / 5) ** 2)) + 0.02
    return (light * torch.tensor(colour).view(3, 1, 1))[None].double()


def test_clip_ends_all_channels_where_the_first_ends() -> None:
    x = torch.tensor([2.0, 1.0, 1.5, 0.3, -0.1, 0.9]).view(1, 2, 3).permute(0, 2, 1)[..., None]
    assert treat_highlights(x, GAINS, "clip")[0, :, :, 0].T.tolist() == [
        [1.0, 1.0, 1.0],
        pytest.approx([0.3, -0.1, 0.9]),
    ]


def test_below_saturation_nothing_changes() -> None:
    x = torch.rand(2, 3, 33, 41) * torch.tensor(GAINS, dtype=torch.float32).view(1, 3, 1, 1)
    treated = treat_highlights(x, GAINS, "reconstruct")
    low = (x <= NEAR * torch.tensor(GAINS, dtype=torch.float32).view(1, 3, 1, 1)).all(1, keepdim=True).expand_as(x)
    assert torch.equal(treated[low], x[low])
    assert not torch.equal(treated, x)
    dark = x * NEAR
    assert treat_highlights(dark, GAINS, "reconstruct") is dark


def test_white_stays_white() -> None:
    """Where green alone is clipped, and where green and blue are: red tells."""
    scene = blob((1.0, 1.0, 1.0), 1.95)
    out = treat_highlights(saturate(scene), GAINS, "reconstruct")
    assert (out - scene).abs().max() < 0.02 * scene.max()
    assert (out.amax(1) / out.amin(1)).max() < 1.01


@pytest.mark.parametrize("colour", [(1.0, 0.7, 0.45), (0.4, 1.0, 0.5), (0.3, 0.7, 1.0), (1.0, 0.3, 0.35)])
def test_a_colour_keeps_its_ratios_where_a_channel_is_trusted(colour: tuple[float, float, float]) -> None:
    gains = torch.tensor(GAINS).view(1, 3, 1, 1)
    scene = blob(colour, 1.3 * float((gains.view(3) / torch.tensor(colour)).min()))  # the first channel ends at 1 / 1.3
    seen = saturate(scene)
    lost = (seen < scene).any(1)
    kept = lost & ((seen / gains).amin(1) < FADING)
    out = treat_highlights(seen, GAINS, "reconstruct")
    assert kept.any()
    assert (out / scene).log2().abs().amax(1)[kept].max() < 0.06  # stops


def test_full_clipping_is_neutral_and_bounded() -> None:
    scene = blob((1.0, 0.5, 0.3), 30.0)
    out = treat_highlights(saturate(scene), GAINS, "reconstruct")
    full = (saturate(scene) == torch.tensor(GAINS).view(1, 3, 1, 1)).all(1)
    centre = out.permute(0, 2, 3, 1)[full]
    assert full.any()
    assert (centre.amax(1) - centre.amin(1)).max() < 1e-9
    assert centre.min() >= GAINS.max()
    assert out.max() <= BRIGHTEST * GAINS.max()


def test_never_below_what_was_measured() -> None:
    x = saturate(torch.rand(2, 3, 40, 37, generator=torch.Generator().manual_seed(0)) * 3)
    assert (treat_highlights(x, GAINS, "reconstruct") >= x).all()


def test_nothing_jumps() -> None:
    """A long slow ramp from dark to far beyond clipping: the result climbs as slowly."""
    light = torch.linspace(0, 8, 4000, dtype=torch.float64)
    scene = (light * torch.tensor([1.0, 0.6, 0.4], dtype=torch.float64).view(3, 1))[None, :, None].expand(1, 3, 8, -1)
    out = treat_highlights(saturate(scene), GAINS, "reconstruct")
    step = (light[1] - light[0]).item()
    assert out.diff(dim=-1).abs().max() < 25 * step


def test_ringing_above_saturation_is_absorbed() -> None:
    x = saturate(blob((1.0, 1.0, 1.0), 6.0))
    ringing = x * (0.99 + 0.04 * torch.rand(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype))
    full = (x == torch.tensor(GAINS).view(1, 3, 1, 1)).all(1, keepdim=True).expand_as(x)
    difference = treat_highlights(ringing, GAINS, "reconstruct") - treat_highlights(x, GAINS, "reconstruct")
    assert difference[full].abs().max() < 0.06


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 64), (67, 41)])
def test_any_size_and_batch(size: tuple[int, int]) -> None:
    x = saturate(torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(3)) * 4)
    out = treat_highlights(x, GAINS, "reconstruct")
    assert out.shape == x.shape
    assert out.isfinite().all()
    assert torch.allclose(out[1:], treat_highlights(x[1:], GAINS, "reconstruct"), atol=1e-6)


def test_gradients() -> None:
    x = 0.1 + 1.7 * torch.rand(1, 3, 6, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    x = (x * torch.tensor([1.0, 0.55, 0.8]).view(1, 3, 1, 1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda rgb: treat_highlights(rgb, GAINS, "reconstruct"), x, atol=1e-4)


def test_errors() -> None:
    with pytest.raises(ValueError, match="highlights method is 'blend'; expected one of clip, reconstruct"):
        treat_highlights(torch.zeros(1, 3, 4, 4), GAINS, "blend")
    with pytest.raises(ValueError, match=r"needs an image B 3 H W, got \(1, 1, 4, 4\)"):
        treat_highlights(torch.zeros(1, 1, 4, 4), GAINS, "clip")


def test_photographs(shared: Path) -> None:
    """Photographs exposed 1.5 stops too long, seen by a sensor with these gains: the clipped channels come closer to
    the truth than clipped to white or left alone, in level (stops) and in hue."""
    levels: dict[str, list[float]] = {"none": [], "clip": [], "reconstruct": []}
    chroma: dict[str, list[float]] = {"none": [], "clip": [], "reconstruct": []}
    for path in sorted((shared / "data" / "photos").glob("*.jpg"))[::20]:
        photo = torch.from_numpy(np.array(Image.open(path).convert("RGB"))[::3, ::3]).permute(2, 0, 1)[None] / 255
        scene = photo**2.2 * 2**1.5
        seen = saturate(scene)
        lost = seen < scene
        if lost.float().mean() < 0.005:
            continue
        for method in levels:
            out = seen if method == "none" else treat_highlights(seen, GAINS, method)
            levels[method].append(float((out / scene)[lost].log2().abs().mean()))
            off = (out / out.sum(1, keepdim=True) - scene / scene.sum(1, keepdim=True)).abs().sum(1)
            chroma[method].append(float(off[lost.any(1)].mean()))
    assert len(levels["clip"]) >= 5
    for figures in (levels, chroma):
        mean = {method: np.mean(values) for method, values in figures.items()}
        assert mean["reconstruct"] < 0.75 * min(mean["none"], mean["clip"])
