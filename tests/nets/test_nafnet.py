"""The block of NAFNet against the paper's formulas, written again in NumPy, float64."""

import numpy as np
import pytest
import torch

from isp.nets.nafnet import CrossGate, NAFBlock, NAFNet, NAFNetRGB, SimpleGate


def norm(x, weight, bias):
    mean = x.mean(0)
    deviation = np.sqrt(((x - mean) ** 2).mean(0) + 1e-6)
    return (x - mean) / deviation * weight[:, None, None] + bias[:, None, None]


def mix(x, weight, bias):
    """1x1 convolution of C H W."""
    return np.tensordot(weight[:, :, 0, 0], x, 1) + bias[:, None, None]


def depthwise(x, weight, bias):
    _, height, width = x.shape
    y = np.zeros_like(x)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    for i in range(3):
        for j in range(3):
            y += weight[:, 0, i, j, None, None] * padded[:, i : i + height, j : j + width]
    return y + bias[:, None, None]


def simple(x):
    half = len(x) // 2
    return x[:half] * x[half:]


def cross(x):
    a, b = x[: len(x) // 2], x[len(x) // 2 :]
    return np.concatenate([a / (1 + np.exp(-b)), b / (1 + np.exp(-a))])


@pytest.mark.parametrize(("gate", "formula"), [("simple", simple), ("cross", cross)])
def test_block(gate, formula):
    torch.manual_seed(0)
    block = NAFBlock(6, gate).double()
    for p in block.parameters():
        p.data.normal_(0, 0.5)
    p = {name: value.detach().numpy() for name, value in block.state_dict().items()}
    x = torch.randn(1, 6, 5, 7, dtype=torch.float64)

    y = x[0].numpy()
    z = mix(norm(y, p["norm1.weight"], p["norm1.bias"]), p["conv1.weight"], p["conv1.bias"])
    z = formula(depthwise(z, p["conv2.weight"], p["conv2.bias"]))
    attention = p["sca.1.weight"][:, :, 0, 0] @ z.mean((1, 2)) + p["sca.1.bias"]
    z = mix(z * attention[:, None, None], p["conv3.weight"], p["conv3.bias"])
    y = y + z * p["beta"][0]
    z = formula(mix(norm(y, p["norm2.weight"], p["norm2.bias"]), p["conv4.weight"], p["conv4.bias"]))
    y = y + mix(z, p["conv5.weight"], p["conv5.bias"]) * p["gamma"][0]

    with torch.no_grad():
        assert np.abs(block(x)[0].numpy() - y).max() < 1e-12 * np.abs(y).max()


def test_gates_by_hand():
    x = torch.tensor([2.0, 3.0, 5.0, 7.0]).view(1, 4, 1, 1)
    assert SimpleGate()(x).flatten().tolist() == [10.0, 21.0]
    zero = torch.tensor([2.0, 3.0, 0.0, 0.0]).view(1, 4, 1, 1)
    assert CrossGate()(zero).flatten().tolist() == [1.0, 1.5, 0.0, 0.0]  # half of each; nothing to gate


def test_starts_as_a_plain_unet():
    """beta and gamma start at 0: each block begins as the identity."""
    x = torch.randn(1, 8, 4, 4)
    assert torch.equal(NAFBlock(8, "simple")(x), x)


def test_rgb_is_a_residual():
    network = NAFNetRGB(width=4, encoder=(1,), middle=1, decoder=(1,))
    torch.nn.init.zeros_(network.ending.weight)
    torch.nn.init.zeros_(network.ending.bias)
    x = torch.rand(1, 3, 6, 8)
    assert torch.equal(network(x), x)


def test_errors():
    with pytest.raises(ValueError, match="gate is 'gelu'; expected one of simple, cross"):
        NAFNet(gate="gelu")
    with pytest.raises(ValueError, match="encoder has 2 levels and decoder 1; expected as many"):
        NAFNetRGB(encoder=(1, 1), decoder=(1,))
