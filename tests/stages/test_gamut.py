"""Gamut compression: nothing negative afterwards, hue and value kept, untouched below the threshold, invertible."""

import colorsys

import numpy as np
import pytest
import torch

from isp.stages.gamut import BLACK, THRESHOLD, compress_gamut, expand_gamut


def beyond(n: int = 2000) -> torch.Tensor:
    """Colours with their largest channel in 0.01..1.5 and the others down to -1.5 times it."""
    generator = torch.Generator().manual_seed(3)
    largest = 0.01 + 1.49 * torch.rand(1, 1, 40, n // 40, generator=generator, dtype=torch.float64)
    x = largest * (1 - 2.5 * torch.rand(1, 3, 40, n // 40, generator=generator, dtype=torch.float64))
    return x.where(x < x.amax(1, keepdim=True), largest)


def test_everything_lands_inside() -> None:
    x = beyond()
    assert (x < -0.1).any(1).double().mean() > 0.5  # the test has something to do
    assert compress_gamut(x).min() > -BLACK


def test_hue_and_value_hold() -> None:
    x = 0.6 + 0.55 * (beyond() - 0.6).clamp(-1, 0.4)  # inside, where colorsys can follow
    y = compress_gamut(x)
    assert torch.allclose(x.amax(1), y.amax(1), atol=1e-12)
    for before, after in zip(x[0].reshape(3, -1).T.tolist(), y[0].reshape(3, -1).T.tolist(), strict=True):
        turn = abs(colorsys.rgb_to_hsv(*before)[0] - colorsys.rgb_to_hsv(*after)[0])
        assert min(turn, 1 - turn) < 1e-9


def test_muted_colours_are_untouched() -> None:
    x = 0.5 + beyond().clamp(-1, 1) * 0.2
    assert torch.equal(compress_gamut(x), x)


def test_a_primary_by_hand() -> None:
    d = 1 / (1 + BLACK)
    u = (d - THRESHOLD) / (1 - THRESHOLD)
    rest = 1 - (THRESHOLD + (1 - THRESHOLD) * u / np.sqrt(1 + u * u)) / d
    green = torch.tensor([0.0, 1.0, 0.0]).double().view(1, 3, 1, 1)
    assert compress_gamut(green).flatten().tolist() == pytest.approx([rest, 1.0, rest], abs=1e-12)
    assert rest == pytest.approx(0.044, abs=2e-3)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
def test_inverse(dtype: torch.dtype, tolerance: float) -> None:
    x = beyond().to(dtype)
    assert (expand_gamut(compress_gamut(x)) - x).abs().max() < tolerance


def test_noise_around_black_keeps_its_mean() -> None:
    x = torch.randn(1, 3, 200, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2e-4
    assert (compress_gamut(x).mean((2, 3)) - x.mean((2, 3))).abs().max() < 2e-6


def test_gradient() -> None:
    assert torch.autograd.gradcheck(compress_gamut, beyond(40).requires_grad_())
