"""DISTS' arithmetic, on a VGG16 of random weights, against NumPy and SciPy in float64."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.signal import convolve2d

from isp.metrics import DISTS, dists
from isp.metrics.weights import FILES, build_trunk, load_state

Maps = NDArray[np.float64]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    torch.save(build_trunk("vgg16").state_dict(), tmp_path / FILES["vgg16"].names[0])
    torch.save({k: torch.rand(1, 1475, 1, 1) for k in ("alpha", "beta")}, tmp_path / FILES["dists"].names[0])
    return tmp_path


def stages(x: Maps, state: dict[str, torch.Tensor]) -> list[Maps]:
    """The picture C H W and the five stages of VGG16, convolutions by SciPy's definition of correlation."""
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    found, h, position = [x], (x - mean[:, None, None]) / deviation[:, None, None], 0
    hann = np.hanning(5)[1:-1]
    window = np.outer(hann, hann) / np.outer(hann, hann).sum()
    for stage, count in enumerate((2, 2, 3, 3, 3)):
        if stage:
            h = np.sqrt(np.stack([convolve2d(c**2, window, "same")[::2, ::2] for c in h]) + 1e-12)
            position += 1
        for _ in range(count):
            kernels, bias = (state[f"{position}.{n}"].double().numpy() for n in ("weight", "bias"))
            padded = np.pad(h, ((0, 0), (1, 1), (1, 1)))
            patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))  # C H W 3 3
            h = np.maximum(np.tensordot(kernels, patches, ([1, 2, 3], [0, 3, 4])) + bias[:, None, None], 0)
            position += 2
        found.append(h)
    return found


def expected_distance(x: Maps, y: Maps, folder: Path) -> float:
    state, head = load_state("vgg16", folder), load_state("dists", folder)
    alpha, beta = (head[k].double().numpy().ravel() for k in ("alpha", "beta"))
    similarity, i = 0.0, 0
    for a, b in zip(stages(x, state), stages(y, state), strict=True):
        for p, q in zip(a, b, strict=True):
            covariance = np.cov(p.ravel(), q.ravel(), bias=True)
            texture = (2 * p.mean() * q.mean() + 1e-6) / (p.mean() ** 2 + q.mean() ** 2 + 1e-6)
            structure = (2 * covariance[0, 1] + 1e-6) / (covariance.trace() + 1e-6)
            similarity += alpha[i] * texture + beta[i] * structure
            i += 1
    assert i == 1475
    return 1 - similarity / (alpha.sum() + beta.sum())


def test_arithmetic(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.random.default_rng(0).random((2, 3, 33, 24))
    metric = DISTS(folder).double()
    pair = torch.tensor(np.stack([x, y])), torch.tensor(np.stack([y, y]))
    got = metric(*pair)
    assert got[0].item() == pytest.approx(expected_distance(x, y, folder), rel=1e-5)
    assert abs(got[1].item()) < 1e-6
    monkeypatch.setenv("ISP_WEIGHTS", str(folder))
    again = dists(255 * pair[0], 255 * pair[1], data_range=255, border=0)
    np.testing.assert_allclose(again.numpy(), got.numpy(), atol=1e-4)


def test_released_head_fits(weights: Path) -> None:
    head = load_state("dists")
    assert {k: v.numel() for k, v in head.items()} == {"alpha": 1475, "beta": 1475}


def test_missing_trunk_is_named(weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no vgg16-397923af.pth in .*checkpoints; get it from https"):
        DISTS()
