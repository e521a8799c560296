"""Exposure: stops by hand, its inverse, its gradients."""

import torch

from isp.stages.exposure import expose


def test_stops_by_hand() -> None:
    x = torch.tensor([-0.5, 0.0, 0.18, 2.0])
    torch.testing.assert_close(expose(x, 1.0), 2 * x)
    torch.testing.assert_close(expose(x, -2.0), x / 4)
    assert torch.equal(expose(x, 0.0), x)


def test_inverse_and_type() -> None:
    x = torch.rand(2, 3, 5, 4) * 4 - 1
    torch.testing.assert_close(expose(expose(x, 0.7), -0.7), x)
    assert expose(x.double(), 0.7).dtype == torch.float64


def test_gradients_of_both_arguments() -> None:
    x = torch.rand(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    ev = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(expose, (x, ev))
