"""LPIPS on the authors' example, its arithmetic against float64 NumPy, and what a missing file says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from isp.metrics import LPIPS, lpips
from isp.metrics.lpips import DEVIATION, MEAN, TRUNKS, unit_length
from isp.metrics.weights import FILES, Features, build_trunk, load_state, load_trunk

WIDTHS = {
    "squeeze": (64, 128, 256, 384, 384, 512, 512),
    "alex": (64, 192, 384, 256, 256),
    "vgg": (64, 128, 256, 512, 512),
}


def picture(path: Path) -> Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB"), np.float32) / 255).permute(2, 0, 1)[None]


def fill(folder: Path, name: str, seed: int = 0) -> None:
    """Files as released, of random weights."""
    torch.manual_seed(seed)
    network = TRUNKS[name][0]
    state = {f"features.{key}": v for key, v in build_trunk(network).state_dict().items()}
    torch.save(state | {"classifier.1.weight": torch.zeros(2, 2)}, folder / FILES[network].names[0])
    heads = {f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1) for i, width in enumerate(WIDTHS[name])}
    torch.save(heads, folder / FILES[f"lpips-{name}"].names[0])


def test_authors_example(shared: Path, weights: Path) -> None:
    ref, p0, p1 = (picture(shared / "data" / "lpips_example" / f"ex_{n}.png") for n in ("ref", "p0", "p1"))
    got = lpips(torch.cat([p0, p1, ref]), ref.expand(3, -1, -1, -1), data_range=1, border=0)
    assert got.tolist() == pytest.approx([0.7110, 0.1479, 0], abs=5e-5)


def test_noise_on_kodak(shared: Path, weights: Path) -> None:
    truth = picture(shared / "data" / "kodak" / "kodim23.png")
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal(truth.shape, np.float32))
    for sigma, expected in ((0.01, 0.035), (0.02, 0.123), (0.05, 0.323), (0.1, 0.521), (0.2, 0.706)):
        x = ((truth + sigma * noise).clamp(0, 1) * 255).round() / 255
        assert lpips(x, truth, data_range=1, border=0).item() == pytest.approx(expected, abs=0.003)


def test_released_heads_fit(weights: Path) -> None:
    for name, widths in WIDTHS.items():
        heads = load_state(f"lpips-{name}")
        assert [tuple(heads[f"lin{i}.model.1.weight"].shape) for i in range(len(heads))] == [
            (1, w, 1, 1) for w in widths
        ]
        assert all((head >= 0).all() for head in heads.values())


@pytest.mark.parametrize("name", TRUNKS)
def test_arithmetic(name: str, tmp_path: Path) -> None:
    """The distance from the trunk's features, in NumPy; layers of the widths that the heads were trained on."""
    fill(tmp_path, name)
    metric = LPIPS(name, tmp_path).double()
    x, truth = torch.rand(2, 2, 3, 48, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    network, layers, smallest = TRUNKS[name]
    trunk = load_trunk(network, tmp_path).double()
    expected = np.zeros(2)
    maps = []
    for v in (x, truth):
        v = (2 * v - 1 - torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1).double()) / torch.tensor(
            [0.458, 0.448, 0.450]
        ).view(3, 1, 1).double()
        outputs = []
        for layer in trunk:
            v = layer(v)
            outputs.append(v.numpy())
        maps.append([outputs[i] for i in layers])
    heads = load_state(f"lpips-{name}", tmp_path)
    for i, (a, b) in enumerate(zip(*maps, strict=True)):
        a, b = (f / (np.sqrt((f**2).sum(1, keepdims=True)) + 1e-10) for f in (a, b))
        expected += ((a - b) ** 2 * heads[f"lin{i}.model.1.weight"].numpy()).sum(1).mean((1, 2))
    np.testing.assert_allclose(metric(x, truth).numpy(), expected, rtol=1e-4)
    assert metric(x, x).tolist() == [0, 0]
    edge = torch.rand(2, 1, 3, smallest, smallest, dtype=torch.float64)
    assert torch.isfinite(metric(edge[0], edge[1])).all()
    with pytest.raises(ValueError, match=f"at least {smallest}x{smallest}"):
        metric(edge[0, ..., 1:], edge[1, ..., 1:])


def test_gradient_is_finite_at_dead_features(tmp_path: Path) -> None:
    fill(tmp_path, "squeeze")
    features = Features(load_trunk("squeeze", tmp_path), TRUNKS["squeeze"][1], MEAN, DEVIATION)
    dead = torch.zeros(1, 4, 2, 2, requires_grad=True)
    unit_length(dead.relu()).sum().backward()
    assert dead.grad is not None
    assert torch.isfinite(dead.grad).all()
    assert not any(p.requires_grad for p in features.parameters())
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    LPIPS("squeeze", tmp_path)(x, torch.rand(1, 3, 32, 32)).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().sum() > 0


def test_missing_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISP_WEIGHTS", str(tmp_path / "mine"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    with pytest.raises(FileNotFoundError) as caught:
        LPIPS("vgg")
    for part in (
        "vgg16-397923af.pth",
        str(tmp_path / "mine"),
        str(cache),
        "https://download.pytorch.org",
        "ISP_WEIGHTS",
    ):
        assert part in str(caught.value)
    cache.mkdir(parents=True)
    fill(cache, "alex")
    assert LPIPS("alex")(*torch.rand(2, 1, 3, 64, 64)).shape == (1,)
    with pytest.raises(FileNotFoundError, match=r"lpips_v0.1_squeeze.pth"):
        load_state("lpips-squeeze", tmp_path)
    with pytest.raises(ValueError, match="trunk is 'resnet'; expected one of squeeze, alex, vgg"):
        LPIPS("resnet")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(build_trunk("squeeze").state_dict(), tmp_path / FILES["alex"].names[0])
    with pytest.raises(ValueError, match=r"alexnet-owt-7be5be79.pth: not the weights of alex: Missing key"):
        load_trunk("alex", tmp_path)
