"""Losses on pixels, by hand and by gradcheck."""

import math

import pytest
import torch

from isp.losses.pixel import cast, charbonnier, l1, l2, psnr_loss
from isp.metrics import psnr


def test_by_hand() -> None:
    truth = torch.zeros(1, 1, 1, 2, dtype=torch.float64)
    x = torch.tensor([0.3, -0.1], dtype=torch.float64).view(1, 1, 1, 2)
    assert l1(x, truth).item() == pytest.approx(0.2)
    assert l2(x, truth).item() == pytest.approx(0.05)
    expected = (math.sqrt(0.09 + 0.01) + math.sqrt(0.02)) / 2 - 0.1
    assert charbonnier(x, truth, epsilon=0.1).item() == pytest.approx(expected)
    assert psnr_loss(x, truth, floor=0).item() == pytest.approx(-psnr(x, truth, data_range=1, border=0).item())
    assert psnr_loss(x, truth).item() == pytest.approx(10 * math.log10(0.05 + 1e-8))


def test_cast_is_what_a_mean_of_errors_hides() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 3, 64, 64, dtype=torch.float64, generator=generator)
    noise = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=generator)
    noise -= noise.mean((2, 3), keepdim=True)
    offset = torch.tensor([[0.3, -0.1, 0.2], [0, 0, -0.6]], dtype=torch.float64)[..., None, None]
    assert torch.allclose(cast(truth + 0.1 * noise + offset, truth), torch.tensor([0.2, 0.2], dtype=torch.float64))
    assert cast(truth + 0.1 * noise, truth).max() < 1e-15


def test_charbonnier_is_nearly_l1_far_away() -> None:
    x, truth = torch.rand(2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert (charbonnier(x, truth) - l1(x, truth)).abs().max() < 1e-3


@pytest.mark.parametrize("loss", [l1, l2, charbonnier, psnr_loss, cast])
def test_gradient(loss: object) -> None:
    x, truth = torch.rand(2, 2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(loss, (x.requires_grad_(), truth))


def test_gradient_is_finite_at_equality() -> None:
    for loss in (l1, l2, charbonnier, psnr_loss, cast):
        x = torch.ones(1, 3, 4, 4, requires_grad=True)
        loss(x, torch.ones(1, 3, 4, 4)).sum().backward()
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()
