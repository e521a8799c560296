"""The Fourier loss: a cosine by hand, NumPy's transform, and its size beside L1."""

import numpy as np
import pytest
import torch

from isp.losses.frequency import fft
from isp.losses.pixel import l1


def test_a_constant_and_a_cosine_by_hand() -> None:
    truth = torch.zeros(1, 1, 4, 8, dtype=torch.float64)
    # Of 4 x 5 coefficients, real and imaginary, one is not 0
    assert fft(truth + 0.6, truth).item() == pytest.approx(0.6 / 40)
    cosine = torch.cos(2 * torch.pi * torch.arange(8.0, dtype=torch.float64) / 8).expand(1, 1, 4, 8)
    assert fft(truth + cosine, truth).item() == pytest.approx(0.5 / 40)


def test_against_numpy() -> None:
    rng = np.random.default_rng(0)
    x, truth = rng.random((2, 2, 3, 9, 14))
    spectrum = np.fft.rfft2(x - truth, norm="forward")
    expected = (np.abs(spectrum.real) + np.abs(spectrum.imag)).mean((1, 2, 3)) / 2
    np.testing.assert_allclose(fft(torch.tensor(x), torch.tensor(truth)).numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize(("size", "expected"), [(512, 0.41), (256, 0.83)])
def test_weight_300_beside_l1(size: int, expected: float) -> None:
    """For white noise of any deviation: 300 / sqrt(2 H W) of L1, 0.41 and 0.83; and 1e5 without the normalisation."""
    error = 0.05 * torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    ratio = 300 * fft(error, torch.zeros_like(error)) / l1(error, torch.zeros_like(error))
    assert ratio.tolist() == pytest.approx([300 / (2 * size * size) ** 0.5] * 2, rel=0.01)
    assert ratio.tolist() == pytest.approx([expected] * 2, abs=0.005)
    assert ratio[0].item() * size * size == pytest.approx(1e5, rel=0.1 if size == 512 else 1)


def test_gradient() -> None:
    x, truth = torch.rand(2, 1, 2, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(fft, (x.requires_grad_(), truth))
