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


def test_a_demosaic_goes_to_the_branches_by_colour_and_to_the_tail_at_full_size():
    """Planes 8 to 19 are those of torch.pixel_unshuffle of an RGB picture."""
    torch.manual_seed(0)
    network = B2FNet(planes=20, widths=(4, 4, 4))
    seen = {}
    for name, layer in {"gg": network.gg.encoders[0], "rb": network.rb.encoders[0], "tail": network.tail[2]}.items():
        layer.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0][0]}))
    picture = torch.rand(1, 3, 8, 8)
    mosaic = torch.arange(8.0).view(1, 8, 1, 1).expand(1, 8, 4, 4)
    unshuffled = torch.nn.functional.pixel_unshuffle(picture, 2)
    network(torch.cat([mosaic, unshuffled], 1))
    assert seen["gg"][:4, 0, 0].tolist() == [1, 5, 2, 6]
    assert seen["rb"][:4, 0, 0].tolist() == [0, 4, 3, 7]
    green = torch.stack([picture[0, 1, i::2, j::2] for i in (0, 1) for j in (0, 1)])
    assert torch.equal(seen["gg"][4:], green)
    others = torch.stack([picture[0, c, i::2, j::2] for c in (0, 2) for i in (0, 1) for j in (0, 1)])
    assert torch.equal(seen["rb"][4:], others)
    assert torch.equal(seen["tail"][4:], picture[0])


def test_the_demosaic_adds_inputs_and_nothing_else():
    """0.39 M in the report (NTIRE 2025 RAIM, TongJi-IPOE). A demosaic adds 12 planes to first layers, 3 to the tail."""
    count = {n: sum(p.numel() for p in B2FNet(planes=n).parameters()) for n in (4, 8, 20)}
    assert round(count[4] / 1e6, 3) == round(count[8] / 1e6, 3) == 0.394
    assert count[20] - count[8] == (12 * 16 + 3 * 16) * 9


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
