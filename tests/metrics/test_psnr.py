"""PSNR by hand, and against float64 NumPy."""

import math

import numpy as np
import pytest
import torch

from isp.metrics import cpsnr, psnr


def test_by_hand() -> None:
    truth = torch.zeros(2, 3, 4, 4)
    x = truth.clone()
    x[0] += 0.1  # 20 dB
    x[1, 0] += 0.1  # a third of the square error: 20 + 10 log10 3
    assert psnr(x, truth, data_range=1, border=0).tolist() == pytest.approx([20, 20 + 10 * math.log10(3)], abs=1e-4)
    assert psnr(255 * x, 255 * truth, data_range=255, border=0)[0] == pytest.approx(20, abs=1e-4)
    assert psnr(truth, truth, data_range=1, border=0).isinf().all()


def test_border_is_left_out() -> None:
    truth = torch.zeros(1, 3, 12, 10)
    x = torch.ones_like(truth)
    x[..., 3:-3, 3:-3] = 0.01
    assert psnr(x, truth, data_range=1, border=3).item() == pytest.approx(40, abs=1e-4)


def test_against_numpy() -> None:
    rng = np.random.default_rng(0)
    truth, x = rng.random((2, 3, 3, 20, 24))
    expected = [10 * math.log10(4 / np.mean((a - b) ** 2)) for a, b in zip(x, truth, strict=True)]
    got = psnr(torch.tensor(x), torch.tensor(truth), data_range=2, border=0)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12)
    rounded = [np.round(np.clip(v * 1.2 - 0.1, 0, 1) * 255)[..., 2:-2, 2:-2] for v in (x, truth)]
    expected = [10 * math.log10(255**2 / np.mean((a - b) ** 2)) for a, b in zip(*rounded, strict=True)]
    got = cpsnr(torch.tensor(x * 1.2 - 0.1), torch.tensor(truth * 1.2 - 0.1), data_range=1, border=2)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12)


def test_refused() -> None:
    x = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"of one shape are compared, got \(1, 3, 8, 8\), \(1, 3, 8, 9\)"):
        psnr(x, torch.zeros(1, 3, 8, 9), data_range=1, border=0)
    with pytest.raises(ValueError, match="border of 4 leaves 0x0 of 8x8 pixels"):
        psnr(x, x, data_range=1, border=4)
    with pytest.raises(ValueError, match=r"floating point are compared, got torch.uint8.*\.float\(\)"):
        psnr(x.byte(), x.byte(), data_range=255, border=0)
