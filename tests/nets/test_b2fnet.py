"""B2FNet: which planes each branch sees, and what the fusion gets of them."""

import pytest
import torch

from isp.nets.b2fnet import B2FNet


def test_branches_see_their_own_planes():
    """Plane k of the input is k everywhere: R G G B and their noise."""
    network = B2FNet(planes=8, widths=(4, 4, 4))
    seen = {}
    for name in ("gg", "rb"):
        first = getattr(network, name).encoders[0]
        first.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0][0, :, 0, 0].tolist()}))
    network(torch.arange(8.0).view(1, 8, 1, 1).expand(1, 8, 4, 4))
    assert seen == {"gg": [1, 5, 2, 6], "rb": [0, 4, 3, 7]}


@pytest.mark.parametrize("plane", range(4))
def test_fusion_gets_the_encoders_features(plane: int):
    """With branches that put out nothing, every plane still reaches the result: through the skips."""
    torch.manual_seed(0)
    network = B2FNet(widths=(4, 4, 4))
    for branch in (network.gg, network.rb):
        torch.nn.init.zeros_(branch.last.weight)
    x = torch.rand(1, 4, 8, 8)
    changed = x.clone()
    changed[:, plane] += 1
    assert not torch.equal(network(changed), network(x))


def test_refuses_planes_it_cannot_part():
    with pytest.raises(ValueError, match="planes is 16; B2FNet takes 4"):
        B2FNet(planes=16)
