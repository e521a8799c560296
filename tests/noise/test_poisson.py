"""Photons counted one by one."""

import pytest
import torch
from noise.lines import SAMPLES, variance_line

from isp.noise import poisson_noise


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_moments_are_those_of_scaled_counts():
    """Mean, variance and third moment of K Poisson(N): K N, K^2 N, K^3 N, to 5 standard errors or better."""
    gain, scale, electrons = 0.5, 1000.0, 20.0
    x = torch.full((1, 1, 1024, 1024), electrons * gain / scale)
    y = poisson_noise(x, gain, scale=scale, step=0, generator=seeded()).double() * scale
    assert float(y.mean()) == pytest.approx(gain * electrons, rel=0.0012)
    assert float(y.var()) == pytest.approx(gain**2 * electrons, rel=0.008)
    assert float(((y - y.mean()) ** 3).mean()) == pytest.approx(gain**3 * electrons, rel=0.06)
    counts = (y / gain).round()
    assert torch.allclose(y / gain, counts, atol=1e-4)  # whole electrons, and as many as Poisson says:
    pmf_20 = 0.0888353
    assert float((counts == 20).double().mean()) == pytest.approx(pmf_20, abs=5 * (pmf_20 / SAMPLES) ** 0.5)


@pytest.mark.parametrize("gain", [0.09, 1.5, 9.0])
def test_variance_line_with_rounding(gain):
    scale, sigma = 959.0, 2.0
    generator = seeded(1)
    a, b = variance_line(lambda x: poisson_noise(x, gain, sigma, scale=scale, generator=generator))
    assert a == pytest.approx(gain / scale, rel=0.01)
    assert b == pytest.approx((sigma**2 + 1 / 12) / scale**2, rel=0.01)


def test_result_lies_on_the_steps():
    y = poisson_noise(torch.rand(1, 1, 64, 64), 1.5, 2.0, scale=1023.0, step=4.0, generator=seeded()) * 1023 / 4
    assert torch.allclose(y, y.round(), atol=1e-4)


def test_what_is_under_black_keeps_its_value():
    x = torch.full((1, 1, 512, 512), -0.01)
    assert torch.equal(poisson_noise(x, 1.0, scale=1000.0, step=0, generator=seeded()), x)


def test_gains_per_image_and_site():
    x = torch.full((2, 1, 512, 512), 0.5)
    gain = torch.tensor([[1.0, 2.0, 2.0, 4.0], [0.5, 0.5, 0.5, 0.5]])
    y = poisson_noise(x, gain, scale=1000.0, step=0, generator=seeded()) * 1000
    variances = torch.stack([y[:, 0, i::2, j::2].flatten(1).var(1) for i in (0, 1) for j in (0, 1)], dim=1)
    assert torch.allclose(variances, gain * 500, rtol=0.04)  # 7 standard errors of 65536 samples


def test_same_seed_same_bytes_on_any_number_of_threads():
    x = torch.rand(1, 1, 512, 512)
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 4):
            torch.set_num_threads(n)
            y = poisson_noise(x, torch.tensor([[0.7]]), 1.0, scale=959.0, generator=seeded(5), clip=(-0.06, 1.0))
            results.append(y.numpy().tobytes())
    finally:
        torch.set_num_threads(threads)
    assert results[0] == results[1] == results[2]
    assert poisson_noise(x, 0.7, 1.0, scale=959.0, generator=seeded(6)).numpy().tobytes() != results[0]
