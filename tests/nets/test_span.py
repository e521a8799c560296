"""SPAN's convolutions and block against what the paper draws, each step by itself, in float64."""

import pytest
import torch
from torch.nn.functional import conv2d, pad

from isp.nets.span import SPAB, SPAN, Conv3XC


def network(width: int, img_range: float = 255.0) -> SPAN:
    torch.manual_seed(0)
    made = SPAN(width, img_range).double()
    for name, p in made.named_parameters():
        if name.endswith("bias"):
            p.data.normal_(0, 0.3)  # biases show at the border
    return made


def branches(conv: Conv3XC, x):
    """As trained: three convolutions in a row, whose input alone is padded, and the 1x1 beside them."""
    s = conv.state_dict()
    y = pad(x, (1, 1, 1, 1))
    for i in range(3):
        y = conv2d(y, s[f"conv.{i}.weight"], s[f"conv.{i}.bias"])
    return y + conv2d(x, s["sk.weight"], s["sk.bias"])


@pytest.mark.parametrize(("planes", "out"), [(3, 8), (8, 8), (5, 2)])
def test_one_convolution_is_the_branches(planes, out):
    torch.manual_seed(1)
    conv = Conv3XC(planes, out, merged=False).double()
    x = torch.randn(2, planes, 6, 9, dtype=torch.float64)
    with torch.no_grad():
        difference = (conv(x) - branches(conv, x)).abs()
    assert difference.max() < 1e-12
    assert difference[..., 0, :].max() < 1e-12  # the border, of which padding within the chain would make another


def test_padding_within_the_chain_is_another_function():
    """The control: the same chain with its 3x3 convolution padded differs at the border, and only there."""
    torch.manual_seed(1)
    conv = Conv3XC(4, 4, merged=False).double()
    s = conv.state_dict()
    x = torch.randn(1, 4, 6, 9, dtype=torch.float64)
    y = conv2d(conv2d(x, s["conv.0.weight"], s["conv.0.bias"]), s["conv.1.weight"], s["conv.1.bias"], padding=1)
    y = conv2d(y, s["conv.2.weight"], s["conv.2.bias"]) + conv2d(x, s["sk.weight"], s["sk.bias"])
    difference = (y - branches(conv, x)).abs()
    assert difference[..., 1:-1, 1:-1].max() < 1e-12
    assert difference[..., 0, :].min() > 1e-6


def test_block():
    """O = (H + x) (sigmoid(H) - 1/2), H of three convolutions with SiLU between."""
    torch.manual_seed(2)
    block = SPAB(6, merged=False).double()
    x = torch.randn(1, 6, 5, 7, dtype=torch.float64)
    first = branches(block.c1_r, x)
    second = branches(block.c2_r, first / (1 + torch.exp(-first)))
    h = branches(block.c3_r, second / (1 + torch.exp(-second)))
    expected = (h + x) * (1 / (1 + torch.exp(-h)) - 0.5)
    with torch.no_grad():
        result, tapped = block(x)
    assert (result - expected).abs().max() < 1e-12
    assert (tapped - first).abs().max() < 1e-12


@pytest.mark.parametrize(("shape", "img_range"), [((1, 1), 255.0), ((2, 3), 255.0), ((17, 24), 255.0), ((5, 8), 1.0)])
def test_deployed_is_the_same(shape, img_range):
    """To 1e-10 of the largest value, the borders included."""
    trained = network(8, img_range)
    deployed = trained.deployed()
    x = torch.rand(1, 3, *shape, dtype=torch.float64)
    with torch.no_grad():
        expected = trained(x)
        assert (deployed(x) - expected).abs().max() < 1e-10 * max(expected.abs().max().item(), 1)
    assert deployed.conv_1.eval_conv.weight.dtype == torch.float64
    assert all(p.requires_grad for p in deployed.parameters())


def test_saved_kernels_follow_the_branches():
    """A file saved in training holds the fused kernels of its own branches, so that it also loads merged."""
    trained = network(4)
    x = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    trained(x).abs().mean().backward()
    for p in trained.parameters():
        if p.requires_grad:
            p.data -= 1e-4 * p.grad
    state = trained.state_dict()
    merged = SPAN(4, merged=True).double()
    merged.load_state_dict({name: state[name] for name in merged.state_dict()})
    with torch.no_grad():
        assert (merged(x) - trained(x)).abs().max() < 1e-10


def test_deployed_of_deployed():
    merged = network(4).deployed()
    assert merged.deployed().state_dict().keys() == merged.state_dict().keys()


def test_names_of_the_release():
    names = SPAN().state_dict().keys()
    expected = """conv_1.sk.weight conv_1.conv.0.bias block_1.c1_r.conv.1.weight block_6.c3_r.eval_conv.bias
        conv_cat.weight conv_2.conv.2.weight upsampler.0.bias"""
    assert not set(expected.split()) - names
    assert len(names) == 20 * 10 + 4  # twenty convolutions of five, conv_cat and upsampler; weight and bias
