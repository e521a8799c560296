import math

import pytest
import torch

from isp.raw.cfa import CFA
from isp.stages.demosaic import curve, demosaic


@pytest.mark.parametrize("t", [1e-3, 0.03, 1.0])
def test_inverse(t):
    x = torch.linspace(-1, 4, 5001, dtype=torch.float64)
    torch.testing.assert_close(curve.decode(curve.encode(x, t), t), x, rtol=0, atol=1e-14)
    torch.testing.assert_close(curve.decode(curve.encode(x.float(), t), t), x.float(), rtol=1e-6, atol=1e-7)


def test_it_is_the_cube_root_that_it_says():
    x, t = torch.tensor([0.0, 0.2, 1.0, 3.0], dtype=torch.float64), 1e-3
    expected = (x + t) ** (1 / 3) - t ** (1 / 3)
    torch.testing.assert_close(curve.encode(x, t), expected)
    torch.testing.assert_close(curve.encode(-x, t), -expected)


def test_gradients_through_black():
    x = torch.tensor([-0.1, -1e-4, 0.0, 1e-4, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: curve.encode(x, 1e-3), x, eps=1e-8)
    assert torch.autograd.gradcheck(lambda x: curve.decode(x, 1e-3), x, eps=1e-8)


def test_toe_follows_the_noise():
    assert curve.toe((0.0, 0.0)) == curve.TOE < curve.toe(None) == curve.UNKNOWN
    shot, read = 3.2e-3, 2.5e-5
    unity = curve.toe((shot, read)) / 4
    assert unity**2 == pytest.approx(shot * unity + read)
    assert curve.toe((0.0, 1e-4)) == pytest.approx(4 * math.sqrt(1e-4))


@pytest.mark.parametrize("level", [0.0, 0.005, 0.05, 0.3])
def test_noise_keeps_its_mean(level):
    """A grey field at ISO 3200 of a phone and beyond: the picture's mean stays, relative to the noise of one sample."""
    shot, read = 1.3e-2, 3.5e-4
    deviation = math.sqrt(shot * level + read)
    x = level + deviation * torch.randn(1, 1, 600, 600, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = demosaic(x, CFA("RGGB"), "msg", (shot, read))
    assert abs(float(y.mean() - x.mean())) < 0.05 * deviation
