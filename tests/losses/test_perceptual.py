"""The perceptual loss looks at the convolutions of VGG19 that it names, before their ReLU."""

from pathlib import Path

import pytest
import torch
from torch import nn

from isp.losses.perceptual import LAYERS, Perceptual
from isp.metrics.weights import FILES, build_trunk


def named(trunk: nn.Sequential) -> dict[str, int]:
    """conv3_4 and so on to positions."""
    names, stage, number = {}, 1, 0
    for position, layer in enumerate(trunk):
        if isinstance(layer, nn.MaxPool2d):
            stage, number = stage + 1, 0
        elif isinstance(layer, nn.Conv2d):
            number += 1
            names[f"conv{stage}_{number}"] = position
    return names


def test_layers_and_weights() -> None:
    """Real-ESRGAN's: conv1_2 and conv2_2 by 0.1, conv3_4, conv4_4 and conv5_4 by 1; 20.02 M parameters."""
    trunk = build_trunk("vgg19")
    expected = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1, "conv4_4": 1, "conv5_4": 1}
    assert {named(trunk)[name]: weight for name, weight in expected.items()} == LAYERS
    assert sum(p.numel() for p in trunk.parameters()) == 20_024_384  # torchvision's vgg19 without its classifier


def test_value(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trunk = build_trunk("vgg19")
    torch.save({f"features.{key}": v for key, v in trunk.state_dict().items()}, tmp_path / FILES["vgg19"].names[0])
    x, truth = torch.rand(2, 2, 3, 20, 24)
    expected, maps = torch.zeros(2), []
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 1, 3, 1, 1)
    with torch.no_grad():
        for v in ((x - mean) / deviation, (truth - mean) / deviation):
            maps.append([v := layer(v) for layer in trunk])
    for position, weight in LAYERS.items():
        expected += weight * (maps[0][position] - maps[1][position]).abs().mean((1, 2, 3))
    torch.testing.assert_close(Perceptual(tmp_path)(x, truth), expected)
    with pytest.raises(FileNotFoundError, match=r"vgg19-dcbf9e9d.pth in"):
        Perceptual(tmp_path / "nowhere")
