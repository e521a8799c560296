"""The blend of a network's result with what it was given."""

import pytest
import torch

from isp.nets import NETWORKS
from isp.nets.refinement import Refined, Refinement


def blend(logit: float):
    torch.manual_seed(0)
    refinement = Refinement(4)
    torch.nn.init.zeros_(refinement.alpha[4].weight)
    torch.nn.init.constant_(refinement.alpha[4].bias, logit)
    given, restored = torch.rand(2, 1, 3, 5, 6)
    return given, restored, refinement(given, restored)


def test_ends():
    """alpha 0: what was given; alpha 1: what was restored; between: (1 - alpha) LR + alpha out1."""
    given, restored, out = blend(-200.0)
    assert torch.equal(out, given)
    given, restored, out = blend(200.0)
    assert torch.equal(out, restored)
    given, restored, out = blend(-1.0986123)  # of 1/4
    assert torch.allclose(out, 0.75 * given + 0.25 * restored, atol=1e-6)


def test_one_weight_for_all_channels():
    torch.manual_seed(0)
    given, restored = torch.rand(2, 2, 3, 7, 9)
    alpha = (Refinement()(given, restored) - given) / (restored - given)
    assert torch.allclose(alpha.amax(1), alpha.amin(1), atol=1e-3)
    assert 0 < alpha.min() < alpha.max() < 1


def test_size():
    """Three convolutions of at most 16 planes: (6 x 16 + 16 x 16 + 16) x 9 and their biases."""
    assert sum(p.numel() for p in Refinement().parameters()) == (6 * 16 + 16 * 16 + 16) * 9 + 16 + 16 + 1


def test_wraps_a_network():
    torch.manual_seed(0)
    refined = Refined("nafnet-rgb", {"width": 4, "encoder": [1], "middle": 1, "decoder": [1]})
    assert (refined.kind, refined.multiple, refined.reach) == ("rgb", 2, None)
    x = torch.rand(1, 3, 8, 6)
    with torch.no_grad():
        assert torch.equal(refined(x), refined.refine(x, refined.first(x)))
    assert Refined("span", {"width": 4}).reach == NETWORKS["span"](width=4).reach + 3


def test_errors():
    with pytest.raises(ValueError, match="network is 'unet'; expected one of "):
        Refined("unet")
    with pytest.raises(ValueError, match="network is 'flat', a raw network; refinement needs one from RGB to RGB"):
        Refined("flat")
