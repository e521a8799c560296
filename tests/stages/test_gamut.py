"""Gamut compression: inside afterwards, luminance and hue kept, untouched below the threshold, invertible."""

import numpy as np
import pytest
import torch

from isp.stages.gamut import BLACK, THRESHOLD, compress_gamut, expand_gamut

REC709 = np.array([0.2126, 0.7152, 0.0722])
WEIGHTS = torch.tensor(REC709).view(1, 3, 1, 1)


def beyond(n: int = 2000, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Colours of luminance 0..1, many of them far outside."""
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(1, 3, 40, n // 40, generator=generator, dtype=torch.float64) * 2.2 - 0.6
    luminance = (x * WEIGHTS).sum(1, keepdim=True)
    return torch.where((luminance > 0.01) & (luminance < 0.99), x, torch.full_like(x, 0.5)).to(dtype)


def test_everything_lands_inside() -> None:
    x = beyond()
    assert ((x < -0.05) | (x > 1.05)).any(1).double().mean() > 0.5  # the test has something to do
    y = compress_gamut(x, REC709)
    assert y.min() > -BLACK - 1e-9
    assert y.max() < 1 + BLACK + 1e-9


def test_luminance_and_direction_from_grey_hold() -> None:
    x = beyond()
    y = compress_gamut(x, REC709)
    grey = (x * WEIGHTS).sum(1, keepdim=True)
    assert torch.allclose((y * WEIGHTS).sum(1, keepdim=True), grey, atol=1e-12)
    cosine = torch.nn.functional.cosine_similarity(x - grey, y - grey, dim=1)
    coloured = (x - grey).abs().amax(1) > 1e-3
    assert (cosine[coloured] > 1 - 1e-9).all()


def test_muted_colours_are_untouched() -> None:
    x = 0.5 + (beyond() - 0.5) * 0.2
    assert torch.equal(compress_gamut(x, REC709), x)


def test_a_primary_by_hand() -> None:
    """Pure green, Y = 0.7152: k = (1 - Y) / (1 - Y + BLACK) against Y / (Y + BLACK), the larger counts."""
    k = max((1 - 0.7152) / (1 - 0.7152 + BLACK), 0.7152 / (0.7152 + BLACK))
    u = (k - THRESHOLD) / (1 - THRESHOLD)
    wanted = THRESHOLD + (1 - THRESHOLD) * u / np.sqrt(1 + u * u)
    green = torch.tensor([0.0, 1.0, 0.0]).double().view(1, 3, 1, 1)
    expected = 0.7152 + (green - 0.7152) * wanted / k
    assert torch.allclose(compress_gamut(green, REC709), expected, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-5)])
def test_inverse(dtype: torch.dtype, tolerance: float) -> None:
    x = (0.5 + (beyond() - 0.5) * (1.0 if dtype == torch.float64 else 0.5)).to(dtype)  # float32: as far as k = 2.5
    assert (expand_gamut(compress_gamut(x, REC709), REC709) - x).abs().max() < tolerance


def test_noise_around_black_keeps_its_mean() -> None:
    x = torch.randn(1, 3, 200, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2e-4
    assert (compress_gamut(x, REC709).mean((2, 3)) - x.mean((2, 3))).abs().max() < 2e-6


def test_gradient() -> None:
    x = beyond(40).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: compress_gamut(t, REC709), x)
