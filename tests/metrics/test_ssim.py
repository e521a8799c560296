"""SSIM and MS-SSIM against the papers' formulas in float64 with SciPy's filters."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve2d

from isp.metrics import ms_ssim, ssim

Plane = NDArray[np.float64]
EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang 2003, Sec. 3.2


def terms(x: Plane, y: Plane, data_range: float) -> tuple[float, float]:
    """Mean of luminance x contrast-structure, and of contrast-structure alone, of one plane."""

    def blur(v: Plane) -> Plane:
        return gaussian_filter(v, 1.5, radius=5)[5:-5, 5:-5]

    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    cs = (2 * vxy + c2) / (vx + vy + c2)
    return float(((2 * mx * my + c1) / (mx * mx + my * my + c1) * cs).mean()), float(cs.mean())


def multi_scale(x: Plane, y: Plane, data_range: float) -> float:
    product = 1.0
    for level, exponent in enumerate(EXPONENTS):
        whole, cs = terms(x, y, data_range)
        product *= (whole if level == 4 else cs) ** exponent
        x, y = (convolve2d(v, np.full((2, 2), 0.25), "valid")[::2, ::2] for v in (x, y))
    return product


def pair(size: tuple[int, int]) -> tuple[Plane, Plane]:
    rng = np.random.default_rng(0)
    truth = gaussian_filter(rng.random((2, 3, *size)), (0, 0, 2, 2)) * 4 - 1.5
    return truth, truth + 0.1 * rng.standard_normal(truth.shape)


def test_ssim_against_scipy() -> None:
    truth, x = pair((40, 50))
    for data_range, border in ((1.0, 0), (2.5, 4)):
        inner = (..., slice(border, 40 - border), slice(border, 50 - border))
        expected = [
            np.mean([terms(a, b, data_range)[0] for a, b in zip(p, q, strict=True)])
            for p, q in zip(x[inner], truth[inner], strict=True)
        ]
        got = ssim(torch.tensor(x), torch.tensor(truth), data_range=data_range, border=border)
        np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)


def test_ms_ssim_against_scipy() -> None:
    truth, x = pair((176, 192))  # multiples of 16: the papers do not say what happens to an odd row
    expected = [
        np.mean([multi_scale(a, b, 1.0) for a, b in zip(p, q, strict=True)]) for p, q in zip(x, truth, strict=True)
    ]
    got = ms_ssim(torch.tensor(x), torch.tensor(truth), data_range=1, border=0)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)


def test_equal_pictures_give_1() -> None:
    x = torch.rand(2, 3, 161, 170, generator=torch.Generator().manual_seed(0))
    assert ssim(x, x, data_range=1, border=0).tolist() == pytest.approx([1, 1])
    assert ms_ssim(x, x, data_range=1, border=0).tolist() == pytest.approx([1, 1])


def test_small_pictures_are_refused() -> None:
    x = torch.zeros(1, 3, 162, 200)
    with pytest.raises(ValueError, match=r"border of 1 leaves 160x198 of 162x200 pixels; at least 161x161"):
        ms_ssim(x, x, data_range=1, border=1)
    with pytest.raises(ValueError, match="at least 11x11"):
        ssim(x[..., :10, :], x[..., :10, :], data_range=1, border=0)
