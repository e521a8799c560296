"""Structural similarity as a loss is one minus the metric, and differentiable."""

import torch

from isp.losses.similarity import ms_ssim_loss, ssim_loss
from isp.metrics import ms_ssim, ssim


def test_one_minus_the_metric() -> None:
    truth = torch.rand(2, 3, 168, 168, generator=torch.Generator().manual_seed(0))
    x = truth * 0.7 + 0.1
    torch.testing.assert_close(ssim_loss(x, truth), 1 - ssim(x, truth, data_range=1, border=0))
    torch.testing.assert_close(ms_ssim_loss(x, truth), 1 - ms_ssim(x, truth, data_range=1, border=0))


def test_gradient() -> None:
    x, truth = torch.rand(2, 1, 2, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(ssim_loss, (x.requires_grad_(), truth))


def test_a_negative_picture_has_a_finite_gradient() -> None:
    truth = torch.rand(1, 1, 161, 161, generator=torch.Generator().manual_seed(0))
    x = (1 - truth).requires_grad_()
    value = ms_ssim_loss(x, truth)
    value.sum().backward()
    assert x.grad is not None
    assert value.item() == 1
    assert torch.isfinite(x.grad).all()
