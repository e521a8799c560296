"""The discriminator: size and names of the release, spectral norms, gradients."""

import re

import pytest
import torch

from isp.nets.discriminator import UNetDiscriminator


def test_size_and_names_of_the_release():
    network = UNetDiscriminator()
    assert sum(p.numel() for p in network.parameters()) == 4_376_897  # published: 4.377 M
    expected = {"conv0.weight", "conv0.bias", "conv9.weight", "conv9.bias"}
    for i in range(1, 9):
        expected |= {f"conv{i}.weight_orig", f"conv{i}.weight_u", f"conv{i}.weight_v"}
    assert network.state_dict().keys() == expected


@pytest.mark.parametrize(("height", "width"), [(8, 8), (24, 40)])
def test_a_logit_for_each_site(height, width):
    torch.manual_seed(0)
    network = UNetDiscriminator(4)
    y = network(torch.rand(2, 3, height, width))
    assert y.shape == (2, 1, height, width)
    (y * torch.randn_like(y)).sum().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]


def test_spectral_norms():
    """The largest singular value of each normed kernel, as a matrix of one row for each plane out, is 1."""
    torch.manual_seed(0)
    network = UNetDiscriminator(8).double()
    for i in range(1, 9):
        getattr(network, f"conv{i}").weight_orig.data *= i  # the scale is divided out
    x = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(300):
            network(x)
    network.eval()
    network(x)
    for i in range(1, 9):
        kernel = getattr(network, f"conv{i}").weight.detach()
        largest = torch.linalg.svdvals(kernel.flatten(1))[0].item()
        assert 1 - 1e-6 < largest < 1 + 1e-3, i  # the power iteration comes from below, so the quotient from above


def test_only_training_moves_the_norms():
    torch.manual_seed(0)
    network = UNetDiscriminator(4)
    x = torch.rand(1, 3, 8, 8)
    before = network.conv1.weight_u.clone()
    network.eval()(x)
    assert torch.equal(network.conv1.weight_u, before)
    network.train()(x)
    assert not torch.equal(network.conv1.weight_u, before)


@pytest.mark.parametrize("shape", [(1, 3, 12, 16), (1, 4, 16, 16), (3, 16, 16)])
def test_error(shape):
    with pytest.raises(ValueError, match=re.escape(f"needs B 3 H W, H and W multiples of 8, got {shape}")):
        UNetDiscriminator(4)(torch.zeros(shape))
