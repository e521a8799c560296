"""The wavelet transform against PyWavelets, and against what an orthogonal transform is."""

import numpy as np
import pytest
import pywt
import torch

from isp.nets.wavelet import DWT, IDWT

ORTHOGONAL = ["haar", "db1", "db2", "db4", "db8", "sym4", "sym5", "coif1", "coif2"]
SIZES = [(2, 2), (2, 6), (4, 10), (16, 12)]  # also far shorter than the filters


def picture(height: int, width: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * 100 + width)
    return torch.randn(2, channels, height, width, dtype=torch.float64, generator=generator)


def test_haar_of_four_samples():
    """The bands of [[a, b], [c, d]] are half the four sums with signs."""
    bands = DWT()(torch.tensor([[[[8.0, 4.0], [2.0, 1.0]]]])).flatten()
    assert bands.tolist() == [7.5, 4.5, 2.5, 1.5]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("wavelet", ORTHOGONAL)
def test_is_pywavelets(wavelet: str, size: tuple[int, int]):
    x = picture(*size)
    low, details = pywt.dwt2(x.numpy(), wavelet, mode="periodization")
    expected = np.concatenate([low, *details], axis=1)
    bands = DWT(wavelet)(x)
    np.testing.assert_allclose(bands.numpy(), expected, rtol=0, atol=1e-12)
    back = pywt.idwt2((low, details), wavelet, mode="periodization")
    np.testing.assert_allclose(IDWT(wavelet)(bands).numpy(), back, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("wavelet", ORTHOGONAL)
def test_inverse_is_exact(wavelet: str, size: tuple[int, int]):
    x = picture(*size)
    torch.testing.assert_close(IDWT(wavelet)(DWT(wavelet)(x)), x, rtol=0, atol=1e-10)
    torch.testing.assert_close(DWT(wavelet)(IDWT(wavelet)(picture(*size, channels=8))), picture(*size, channels=8))


@pytest.mark.parametrize("wavelet", ORTHOGONAL)
def test_is_an_orthogonal_matrix(wavelet: str):
    """The transform of each unit sample of a 6 x 4 picture, as a matrix: its transpose is its inverse."""
    matrix = DWT(wavelet)(torch.eye(24, dtype=torch.float64).view(24, 1, 6, 4)).flatten(1)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(24, dtype=torch.float64), rtol=0, atol=1e-10)


@pytest.mark.parametrize("wavelet", ["haar", "db3"])
def test_gradients(wavelet: str):
    x = picture(4, 6, channels=1).requires_grad_()
    bands = picture(2, 4, channels=4).requires_grad_()
    assert torch.autograd.gradcheck(DWT(wavelet), x)
    assert torch.autograd.gradcheck(IDWT(wavelet), bands)


def test_fast_haar_is_the_general_path():
    """PyWavelets' "db1" is Haar by another name, and has no fast path here."""
    x = picture(6, 8)
    torch.testing.assert_close(DWT()(x), DWT("db1")(x))
    torch.testing.assert_close(IDWT()(x[:, :1].repeat(1, 4, 1, 1)), IDWT("db1")(x[:, :1].repeat(1, 4, 1, 1)))


def test_taps_are_neither_parameters_nor_state():
    for module in (DWT("db4"), IDWT("db4")):
        assert not list(module.parameters())
        assert not module.state_dict()


def test_float32_stays_float32():
    assert IDWT("db2")(DWT("db2")(torch.rand(1, 1, 8, 8))).dtype == torch.float32


def test_refuses_odd_sizes():
    with pytest.raises(ValueError, match=r"even H and W, got \(1, 1, 4, 5\)"):
        DWT()(torch.rand(1, 1, 4, 5))


@pytest.mark.parametrize("name", ["bior2.2", "mexh", "dmey", "db99"])
def test_refuses_wavelets_that_are_not_orthogonal(name: str):
    with pytest.raises(ValueError, match=f"wavelet is '{name}'; expected an orthogonal one"):
        DWT(name)
