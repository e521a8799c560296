"""The colour matrix at every pixel: by hand, NumPy, its inverse, its gradients."""

import numpy as np
import pytest
import torch

from isp.stages.colour import apply_matrix

MATRIX = np.array([[1.6, -0.4, -0.2], [-0.3, 1.5, -0.2], [0.1, -0.6, 1.5]])


def test_one_pixel_by_hand() -> None:
    x = torch.tensor([0.5, 0.25, 1.0]).view(1, 3, 1, 1)
    assert apply_matrix(x, MATRIX).flatten().tolist() == pytest.approx([0.5, 0.025, 1.4])


@pytest.mark.parametrize("shape", [(1, 3, 7, 5), (3, 3, 2, 2), (1, 3, 1, 1)])
def test_agrees_with_numpy_and_undoes_itself(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    y = apply_matrix(x, MATRIX)
    expected = np.einsum("dc,bchw->bdhw", MATRIX, x.double().numpy())
    np.testing.assert_allclose(y.numpy(), expected, atol=1e-6)
    torch.testing.assert_close(apply_matrix(y, np.linalg.inv(MATRIX)), x, atol=1e-6, rtol=1e-5)
    assert torch.equal(x, before)


def test_strided_input() -> None:
    x = torch.rand(1, 3, 9, 9)
    torch.testing.assert_close(apply_matrix(x[..., 2:7, 1:6], MATRIX), apply_matrix(x, MATRIX)[..., 2:7, 1:6])


def test_gradients_of_both_arguments() -> None:
    x = torch.rand(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(apply_matrix, (x, torch.tensor(MATRIX, requires_grad=True)))


def test_wrong_shapes() -> None:
    with pytest.raises(ValueError, match=r"needs B 3 H W and a 3x3 matrix, got \(1, 1, 4, 4\)"):
        apply_matrix(torch.zeros(1, 1, 4, 4), MATRIX)
    with pytest.raises(ValueError, match=r"got \(1, 3, 4, 4\), \(3, 4\)"):
        apply_matrix(torch.zeros(1, 3, 4, 4), np.zeros((3, 4)))
