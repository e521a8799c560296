"""NIQE against BasicSR's results, and against the paper's formulas in SciPy."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import convolve
from scipy.special import gamma

from isp.metrics import niqe
from isp.metrics.niqe import fit, halved
from isp.metrics.weights import weights_file

Plane = NDArray[np.float64]


def keys(x: Plane) -> Plane:
    """Cubic convolution, R. Keys 1981, a = -0.5."""
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0))


def half_matrix(n: int) -> Plane:
    """n/2 n: each output a sum over the mirrored line, kernel twice as wide, weights normalised."""
    matrix = np.zeros((n // 2, n))
    for i in range(n // 2):
        centre = 2 * i + 0.5
        for j in range(-6, n + 6):
            source = -j - 1 if j < 0 else 2 * n - 1 - j if j >= n else j
            matrix[i, source] += float(keys(np.array((j - centre) / 2)))
    return matrix / matrix.sum(1, keepdims=True)


def aggd(v: Plane) -> tuple[float, float, float, float]:
    shapes = np.arange(0.2, 10.0005, 0.001)
    v = v.ravel()
    left, right = np.sqrt(np.mean(v[v < 0] ** 2)), np.sqrt(np.mean(v[v > 0] ** 2))
    g = left / right
    r = np.mean(np.abs(v)) ** 2 / np.mean(v**2) * (g**3 + 1) * (g + 1) / (g**2 + 1) ** 2
    ratio = gamma(2 / shapes) ** 2 / (gamma(1 / shapes) * gamma(3 / shapes))
    shape = shapes[np.argmin((ratio - r) ** 2)]
    scale = math.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * scale, right * scale, (right - left) * scale * gamma(2 / shape) / gamma(1 / shape)


def in_scipy(luma: Plane, parameters: Path) -> float:
    file = np.load(parameters)
    height, width = (n // 96 * 96 for n in luma.shape)
    luma = luma[:height, :width]
    columns = []
    for size in (96, 48):
        mean = convolve(luma, file["gaussian_window"], mode="nearest")
        deviation = np.sqrt(np.abs(convolve(luma**2, file["gaussian_window"], mode="nearest") - mean**2))
        normal = (luma - mean) / (deviation + 1)
        rows = []
        for top in range(0, len(luma), size):
            for left in range(0, luma.shape[1], size):
                block = normal[top : top + size, left : left + size]
                shape, a, b, _ = aggd(block)
                row = [shape, (a + b) / 2]
                for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
                    shape, a, b, centre = aggd(block * np.roll(block, shift, (0, 1)))
                    row += [shape, centre, a, b]
                rows.append(row)
        columns.append(np.array(rows))
        luma = half_matrix(len(luma)) @ luma @ half_matrix(luma.shape[1]).T
    found = np.concatenate(columns, axis=1)
    apart = file["mu_pris_param"].ravel() - np.nanmean(found, 0)
    covariance = np.cov(found[~np.isnan(found).any(1)], rowvar=False)
    return float(np.sqrt(apart @ np.linalg.pinv((file["cov_pris_param"] + covariance) / 2) @ apart))


def test_against_scipy(weights: Path) -> None:
    rng = np.random.default_rng(0)
    grey = np.cumsum(rng.integers(-9, 10, (200, 300)), axis=1) + 60.0 * np.sin(np.arange(300) / 40) + 128
    grey = np.clip(grey, 0, 255).round()
    x = torch.tensor(grey / 255).expand(1, 3, -1, -1)
    assert niqe(x, data_range=1, border=0).item() == pytest.approx(in_scipy(grey, weights_file("niqe")), rel=1e-6)
    inner = in_scipy(grey[3:-3, 3:-3], weights_file("niqe"))
    got = niqe(torch.cat([x, x]) * 255, data_range=255, border=3)
    assert got.tolist() == pytest.approx([inner, inner], rel=1e-6)


def test_kodak_against_basicsr(shared: Path, weights: Path) -> None:
    # niqe() of BasicSR 1.4.2 in float64, on luminance rounded as rgb2gray rounds it. Its authors checked it against
    # MATLAB to five digits.
    for number, expected in ((1, 3.448795), (8, 3.104630), (13, 2.105840), (23, 4.250385)):
        with Image.open(shared / "data" / "kodak" / f"kodim{number:02d}.png") as image:
            x = torch.from_numpy(np.array(image.convert("RGB"), np.float32) / 255).permute(2, 0, 1)[None]
        assert niqe(x, data_range=1, border=0).item() == pytest.approx(expected, abs=1e-5)


def test_fit_finds_the_shape() -> None:
    rng = np.random.default_rng(0)
    shape, left, right, mean = (v.item() for v in fit(torch.tensor(rng.standard_normal((1000, 1000)))))
    assert shape == pytest.approx(2, abs=0.02)  # a Gaussian; its scale is sqrt(2) sigma
    assert (left, right) == pytest.approx((math.sqrt(2), math.sqrt(2)), abs=0.01)
    assert mean == pytest.approx(0, abs=0.01)
    assert fit(torch.tensor(rng.laplace(size=(1000, 1000))))[0].item() == pytest.approx(1, abs=0.01)


def test_halving_keeps_ramps() -> None:
    ramp = torch.arange(40.0, dtype=torch.float64).expand(1, 1, 40, 40)
    inner = halved(ramp)[0, 0, 3:-3, 3:-3]
    np.testing.assert_allclose(inner.numpy(), np.tile(2 * np.arange(3, 17) + 0.5, (14, 1)), atol=1e-12)


def test_refused(weights: Path) -> None:
    with pytest.raises(ValueError, match="two blocks of 96x96, got 100x190 pixels"):
        niqe(torch.rand(1, 3, 100, 190), data_range=1, border=0)
    with pytest.raises(ValueError, match=r"B 3 H W of floating point, got \(1, 1, 200, 200\)"):
        niqe(torch.rand(1, 1, 200, 200), data_range=1, border=0)
    assert niqe(torch.full((1, 3, 192, 192), 0.5), data_range=1, border=0).isnan().all()
