"""What a network is told about noise, and what it is not asked about: saturated samples."""

import numpy as np
import pytest
import torch
from torch import Tensor

from isp.raw.cfa import CFA
from isp.stages.demosaic import demosaic, mosaic
from isp.stages.highlights import treat_highlights
from isp.stages.network import demosaic_by_network, demosaic_saturated, noise_map, saturation, white_deviation
from isp.stages.white_balance import white_balance

GAINS = np.array([2.0, 1.0, 1.5])
PROFILE = np.array([[1e-3, 1e-6], [2e-3, 2e-6], [3e-3, 3e-6]])  # red, green, blue
BGGR = CFA("BGGR")


class Bilinear(torch.nn.Module):
    """No real network: the bilinear demosaic of its input, and what it was told last."""

    multiple = minimum = reach = 1
    told: Tensor

    def forward(self, packed: Tensor, sigma: Tensor) -> Tensor:
        self.told = sigma
        return demosaic(torch.nn.functional.pixel_shuffle(packed, 2), CFA("RGGB"), "bilinear")


class Constant(torch.nn.Module):
    """No network either: one grey."""

    multiple = minimum = reach = 1

    def __init__(self, grey: float) -> None:
        super().__init__()
        self.grey = grey

    def forward(self, packed: Tensor, sigma: Tensor) -> Tensor:
        return packed.new_full((len(packed), 3, 2 * packed.shape[-2], 2 * packed.shape[-1]), self.grey)


@pytest.mark.parametrize("shaded", [False, True])
def test_noise_map_is_the_spread_of_many_noisy_frames(shaded: bool) -> None:
    """Noise made on the sensor, then shading and white balance: the measured spread of each site."""
    generator = torch.Generator().manual_seed(0)
    clean = 0.1 + 0.5 * torch.rand((1, 1, 8, 8), generator=generator, dtype=torch.float64)
    shading = 1 + torch.rand((1, 1, 8, 8), generator=generator, dtype=torch.float64) if shaded else None
    planes = torch.from_numpy(BGGR.channel_map(8, 8))
    shot, read = (torch.from_numpy(PROFILE[:, i])[planes] for i in (0, 1))
    noise = torch.randn((20000, 1, 8, 8), generator=generator, dtype=torch.float64)
    frames = clean + (shot * clean + read).sqrt() * noise
    lifted = white_balance(frames if shading is None else frames * shading, GAINS, BGGR)
    mean = white_balance(clean if shading is None else clean * shading, GAINS, BGGR)
    expected = noise_map(mean, BGGR, GAINS, PROFILE, shading)
    assert expected.shape == (1, 1, 8, 8)
    assert torch.allclose(lifted.std(0, keepdim=True), expected, rtol=0.03)


def test_strength_scales_what_the_model_is_told() -> None:
    x = white_balance(torch.full((1, 1, 20, 20), 0.3), GAINS, BGGR)
    model = Bilinear()
    told = []
    for strength in (0.0, 1.0, 2.5):
        demosaic_by_network(x, BGGR, model, GAINS, PROFILE, strength=strength)
        told.append(model.told)
    assert not told[0].any()
    assert torch.allclose(told[2], 2.5 * told[1])
    by_hand = GAINS[0] * np.sqrt(1e-3 * 0.3 + 1e-6)  # red: its gain times the noise of a sample of 0.3
    assert told[1][0, 0].mean().item() == pytest.approx(by_hand, rel=1e-5)


def scene(height: int = 64, width: int = 72) -> Tensor:
    """White-balanced camera RGB with a bright neutral spot and a bright orange one, above every saturation."""
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    spots = [torch.exp(-((y - 32) ** 2 + (x - c) ** 2) / 80) for c in (18, 54)]
    colours = [(4.0, 4.0, 4.0), (6.0, 2.0, 0.6)]
    rgb = 0.15 + sum(spot * torch.tensor(c).view(3, 1, 1) for spot, c in zip(spots, colours, strict=True))
    return rgb[None]


@pytest.mark.parametrize("phase", ["RGGB", "GBRG"])
def test_clipped_highlights_do_not_turn_magenta_behind_a_network(phase: str) -> None:
    """A network that puts saturated values up to 10 % low: after the treatment, the picture that the demosaic gives."""
    cfa = CFA(phase)
    rgb = scene()
    x = mosaic(rgb, cfa)
    white = saturation(x, cfa, GAINS)
    x = torch.minimum(x, white)
    classical = demosaic(x, cfa, "msg")
    saturated = classical > 0.9 * torch.tensor(GAINS).view(1, 3, 1, 1)
    low = torch.where(saturated, classical * torch.tensor([0.92, 0.95, 0.9]).view(1, 3, 1, 1), classical)
    mended = demosaic_saturated(low, x, cfa, white)
    spot = (..., slice(29, 35), slice(15, 21))  # every channel ends here
    assert torch.allclose(mended[spot], classical[spot], atol=1e-5)
    far = (..., slice(0, 12), slice(0, 72))
    assert torch.equal(mended[far], low[far])
    treated, untreated, expected = (treat_highlights(y, GAINS, "reconstruct") for y in (mended, low, classical))
    assert (treated[spot] - expected[spot]).abs().max() < 0.02
    chroma = treated[spot].amax(1) / treated[spot].amin(1)
    assert chroma.max() < 1.01
    assert (untreated[spot].amax(1) / untreated[spot].amin(1)).max() > 1.05, "without it there is a cast"


def test_shading_moves_the_saturation() -> None:
    x = mosaic(torch.full((1, 3, 24, 24), 0.8), BGGR)
    y = torch.zeros(1, 3, 24, 24)
    doubled = torch.full((1, 1, 24, 24), 2.0)
    assert not demosaic_saturated(y, x, BGGR, saturation(x, BGGR, np.ones(3), doubled)).any()
    assert demosaic_saturated(y, 2 * x + 0.4, BGGR, saturation(x, BGGR, np.ones(3), doubled)).min() > 1.5


@pytest.mark.parametrize("phase", ["RGGB", "GBRG"])
def test_samples_that_noise_lifts_to_saturation_leave_no_dots(phase: str) -> None:
    """A grey of 0.75 with noise of 0.1: the picture of a network that sees 0.75 stays as it is. Without noise the same
    samples are taken for highlights, and so they are with noise where the network sees values near saturation."""
    cfa = CFA(phase)
    gains = np.ones(3)
    generator = torch.Generator().manual_seed(3)
    x = (0.75 + 0.1 * torch.randn(1, 1, 96, 96, generator=generator)).clamp(max=1)
    white = torch.ones_like(x)
    assert 20 < (x == 1).sum() < 100, "0.6 % of the samples"
    y = torch.full((1, 3, 96, 96), 0.75)
    assert torch.equal(demosaic_saturated(y, x, cfa, white, deviation=0.1), y)
    assert not torch.equal(demosaic_saturated(y, x, cfa, white), y)
    near = torch.full_like(y, 0.95)
    assert not torch.equal(demosaic_saturated(near, x, cfa, white, deviation=0.1), near)
    profile = np.array([[0.008, 0.002]])
    assert white_deviation(profile, 2.0) == pytest.approx(0.2)
    developed = demosaic_by_network(x, cfa, Constant(0.75), gains, profile)
    assert torch.equal(developed, y)


def test_gradients_and_type() -> None:
    x = (1.2 * torch.rand(1, 1, 30, 30, dtype=torch.float64)).clamp(max=1).requires_grad_()
    y = demosaic_by_network(x, BGGR, Bilinear(), np.ones(3), PROFILE)
    assert y.dtype == torch.float64
    y.square().sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).double().mean() > 0.99


def test_a_channel_below_black_beside_a_clipped_one_stays_finite() -> None:
    """A network's picture may overshoot: the treatment of highlights gives numbers all the same, and gradients."""
    x = torch.rand(1, 3, 32, 32)
    x[:, 0, 8:24, 8:24] = 3.0
    x[:, 2, 8:24, 8:24] = -0.1
    x.requires_grad_()
    y = treat_highlights(x, GAINS, "reconstruct")
    y.sum().backward()
    assert y.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
