"""The frequency distribution loss: the sliced Wasserstein distance against SciPy's, its parts, and its tolerance of
shifts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from isp.losses.fdl import FDL, TRUNKS, sliced_wasserstein
from isp.losses.pixel import l1
from isp.metrics.weights import FILES, Features, build_trunk, load_trunk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    for name in TRUNKS:
        torch.save(build_trunk(name).state_dict(), tmp_path / FILES[name].names[0])
    return tmp_path


def test_sliced_wasserstein_against_scipy() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 2, 3, 12, 10, dtype=torch.float64, generator=generator)
    filters = torch.randn(4, 3, 5, 5, dtype=torch.float64, generator=generator)
    windows = [np.lib.stride_tricks.sliding_window_view(v.numpy(), (5, 5), axis=(2, 3)) for v in (x, y)]  # B C h w 5 5
    responses = [np.einsum("bchwij,pcij->bphw", w, filters.numpy()) for w in windows]
    expected = [
        np.mean([wasserstein_distance(responses[0][b, p].ravel(), responses[1][b, p].ravel()) for p in range(4)])
        for b in range(2)
    ]
    np.testing.assert_allclose(sliced_wasserstein(x, y, filters).numpy(), expected, rtol=1e-10)


def test_amplitude_and_phase(folder: Path) -> None:
    """From NumPy's transform of the trunk's features; the phase by its weight."""
    loss = FDL("squeeze", folder, projections=6, phase_weight=0.3)
    layers, widths, _ = TRUNKS["squeeze"]
    features = Features(load_trunk("squeeze", folder), layers)
    x, truth = torch.rand(2, 1, 3, 84, 90, generator=torch.Generator().manual_seed(1))
    expected = 0.0
    for i, (a, b) in enumerate(zip(features(x), features(truth), strict=True)):
        filters = getattr(loss, f"filters{i}").double()
        assert filters.shape == (6, widths[i], 5, 5)
        torch.testing.assert_close(filters.flatten(1).norm(dim=1), torch.ones(6).double(), rtol=1e-5, atol=0)
        spectra = [torch.from_numpy(np.fft.fft2(v.double().numpy())) for v in (a, b)]
        expected += sliced_wasserstein(*(s.abs() for s in spectra), filters).item()
        phases = []
        for v, s in zip((a, b), spectra, strict=True):
            own, phase = torch.fft.fft2(v).angle().double(), s.angle()
            # real and negative coefficients have a phase of pi or -pi, by the rounding of each transform
            either = (phase.abs() > 3.14) & (own.abs() > 3.14)
            phases.append(torch.where(either, own, phase))
        expected += 0.3 * sliced_wasserstein(*phases, filters).item()
    assert loss(x, truth).item() == pytest.approx(expected, rel=1e-3)


def test_filters_are_the_same_in_every_run(folder: Path) -> None:
    first, second = (FDL("squeeze", folder, projections=3) for _ in range(2))
    assert all(torch.equal(getattr(first, f"filters{i}"), getattr(second, f"filters{i}")) for i in range(7))


def test_a_shift_weighs_less_than_for_l1(shared: Path, weights: Path) -> None:
    """By how much a shift of four pixels counts beside a blur: the loss is for pairs that are not aligned."""
    from PIL import Image

    with Image.open(shared / "data" / "kodak" / "kodim23.png") as image:
        whole = torch.from_numpy(np.array(image, np.float32) / 255).permute(2, 0, 1)[None]
    truth, shifted = whole[..., 100:228, 200:328], whole[..., 104:232, 204:332]
    blurred = torch.nn.functional.avg_pool2d(whole, 5, 1, 2)[..., 100:228, 200:328]
    loss = FDL("squeeze", projections=32)
    with torch.no_grad():
        ratio = {f: (f(shifted, truth) / f(blurred, truth)).item() for f in (loss, l1)}
    assert ratio[l1] > 1
    assert ratio[loss] < 0.6 * ratio[l1]


def test_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="trunk is 'alex'; expected one of vgg19, squeeze"):
        FDL("alex", folder)
    for name, (_, _, smallest) in TRUNKS.items():
        loss = FDL(name, folder, projections=2)
        x = torch.rand(1, 3, smallest, smallest)
        assert torch.isfinite(loss(x, x.flip(2))).all()
        with pytest.raises(ValueError, match=f"at least {smallest}x{smallest}"):
            loss(x[..., 1:], x[..., 1:])
