"""Losses on derivatives: ramps by hand, SciPy's Sobel filter, and blindness to brightness."""

import numpy as np
import pytest
import torch
from scipy.ndimage import sobel as scipy_sobel

from isp.losses.edges import gradient, sobel


def test_ramps_by_hand() -> None:
    truth = torch.zeros(1, 3, 5, 6)
    ramp = 0.2 * torch.arange(6.0).expand(1, 3, 5, 6) - 0.1 * torch.arange(5.0)[:, None]
    for loss in (gradient, sobel):
        assert loss(ramp + 7, truth).item() == pytest.approx(0.3, abs=1e-5)
        assert loss(truth + 0.4, truth).item() == pytest.approx(0, abs=1e-6)


def test_against_scipy() -> None:
    x, truth = np.random.default_rng(0).random((2, 2, 3, 9, 11))
    planes = [[(scipy_sobel(p, 0), scipy_sobel(p, 1)) for p in image] for image in x - truth]  # it filters every axis
    expected = np.abs(np.array(planes)[..., 1:-1, 1:-1] / 8).sum(2).mean((1, 2, 3))
    np.testing.assert_allclose(sobel(torch.tensor(x), torch.tensor(truth)).numpy(), expected, rtol=1e-10)
    expected = sum(np.abs(np.diff(x - truth, axis=axis)).mean((1, 2, 3)) for axis in (2, 3))
    np.testing.assert_allclose(gradient(torch.tensor(x), torch.tensor(truth)).numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("loss", [gradient, sobel])
def test_gradient(loss: object) -> None:
    x, truth = torch.rand(2, 2, 2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(loss, (x.requires_grad_(), truth))
