"""Shared blocks against hand cases."""

import torch

from isp.nets.blocks import RCAB, ChannelAttention, UNet


def test_channel_attention_by_hand():
    """Means 1 and 3; one hidden unit, their sum; weights sigmoid(0) on the first plane and sigmoid(4) on the second."""
    attention = ChannelAttention(2, 2)
    attention.down.weight.data = torch.ones(1, 2, 1, 1)
    attention.down.bias.data = torch.zeros(1)
    attention.up.weight.data = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    attention.up.bias.data = torch.zeros(2)
    x = torch.tensor([[[[0.0, 2.0]], [[3.0, 3.0]]]])
    weights = torch.tensor([0.5, 0.98201379]).view(1, 2, 1, 1)
    torch.testing.assert_close(attention(x), x * weights)


def test_rcab_is_its_input_where_the_residual_is_nothing():
    block = RCAB(4, 2)
    torch.nn.init.zeros_(block.second.weight)
    torch.nn.init.zeros_(block.second.bias)
    x = torch.rand(1, 4, 5, 5)
    assert torch.equal(block(x), x)


def test_unet_levels():
    """Features of each level at half the size of the one above, and as many as its width."""
    network = UNet(3, 5, (4, 6, 8))
    x = torch.rand(1, 3, 8, 12)
    assert [tuple(f.shape) for f in network.encode(x)] == [(1, 4, 8, 12), (1, 6, 4, 6), (1, 8, 2, 3)]
    assert network(x).shape == (1, 5, 8, 12)


def test_unet_keeps_the_scale_of_its_features():
    """With weights of variance 2 / inputs the deepest features are as large as the first."""
    torch.manual_seed(0)
    features = UNet(3, 3).encode(torch.randn(1, 3, 32, 32))
    assert 0.5 < (features[2].square().mean() / features[0].square().mean()).sqrt() < 3
