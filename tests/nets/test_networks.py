"""What every network keeps to, at a size that runs in a second."""

from typing import Any

import pytest
import torch

from isp.nets import NETWORKS

# name: arguments of a small one; every network has a line here
SMALL: dict[str, dict[str, Any]] = {
    "flat": {"width": 8, "blocks": 2},
    "b2fnet": {"widths": (4, 6, 8)},
    "dwt-hybrid": {"widths": (4, 6, 8), "pairs": 1, "reduction": 2},
    "mialgo-student": {"widths": (4, 6, 8), "blocks": 1, "heads": 2},
    "msunet": {"widths": (4, 6, 8)},
    "mw-ispnet": {"widths": (4, 6, 8), "blocks": 1, "reduction": 2},
    "mw-ispnet-rgb": {"widths": (4, 6, 8), "blocks": 1, "reduction": 2},
    "tiny-unet": {"widths": (4, 8, 12)},
    "tiny-unet-rgb": {"widths": (4, 8, 12)},
    "wavelet-fusion": {"base": 4, "encoder": 1, "reduction": 1},
    "nafnet": {"width": 4, "encoder": (1, 2), "middle": 1, "decoder": (2, 1)},
    "nafnet-rgb": {"width": 4, "encoder": (1, 2), "middle": 1, "decoder": (2, 1), "gate": "cross"},
    "pyramid": {"widths": (4, 6, 8), "blocks": (1, 1, 1), "encoders": (0, 2), "slope": 0.1},
    "refined": {"network": "span", "arguments": {"width": 4}},
    "span": {"width": 4},
    "restormer": {"dim": 8, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1},
    "restormer-rgb": {"dim": 8, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1},
    "xrestormer": {"dim": 8, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1, "window_size": 4},
    "xrestormer-rgb": {"dim": 8, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1, "window_size": 4},
}
PLANES = {"raw": 4, "rgb": 3}


def small(name: str) -> torch.nn.Module:
    """A small network in which no parameter is 0: papers start some scales there, behind which nothing would pass."""
    torch.manual_seed(0)
    network = NETWORKS[name](**SMALL[name])
    for p in network.parameters():
        if not p.any():
            p.data.normal_(0, 0.1)
    return network


def size(network: Any) -> int:
    """A size that the network takes."""
    return max(-(-network.minimum // network.multiple), 2) * network.multiple


def test_every_network_has_a_small_one():
    assert sorted(SMALL) == sorted(NETWORKS)


@pytest.mark.parametrize("name", SMALL)
def test_shape_and_gradients(name):
    """Planes in, camera RGB out, at twice the size for a packed mosaic; every parameter has a say in it."""
    network: Any = small(name)
    side = size(network)
    x = torch.rand(2, SMALL[name].get("planes", PLANES[network.kind]), side, side + network.multiple)
    y = network(x)
    scale = 2 if network.kind == "raw" else 1
    assert y.shape == (2, 3, scale * side, scale * (side + network.multiple))
    (network(x) * torch.randn_like(y)).sum().backward()
    silent = [n for n, p in network.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not silent


@pytest.mark.parametrize("name", [name for name in SMALL if NETWORKS[name].kind == "raw"])
def test_raw_networks_take_a_noise_map(name):
    """Eight planes in, and the last four have a say."""
    torch.manual_seed(0)
    network = NETWORKS[name](**SMALL[name] | {"planes": 8}).eval()
    for p in network.parameters():
        if not p.any():
            p.data.normal_(0, 0.1)
    side = size(network)
    x = torch.rand(1, 8, side, side)
    noisier = torch.cat([x[:, :4], 2 * x[:, 4:]], 1)
    with torch.no_grad():
        assert network(x).shape == (1, 3, 2 * side, 2 * side)
        assert not torch.equal(network(noisier), network(x))


@pytest.mark.parametrize("name", SMALL)
def test_reach(name):
    """One changed sample changes nothing beyond the stated reach; None: something far away."""
    network: Any = small(name).eval().double()
    scale = 2 if network.kind == "raw" else 1
    reach = network.reach
    radius = 2 * network.multiple if reach is None else reach
    side = 2 * radius + (1 if reach is None else 3) * network.multiple
    side = -(-max(side, network.minimum) // network.multiple) * network.multiple
    x = torch.rand(1, SMALL[name].get("planes", PLANES[network.kind]), side, side, dtype=torch.float64)
    centre = side // 2
    changed = x.clone()
    changed[:, :, centre, centre] += 1
    with torch.no_grad():
        difference = (network(changed) - network(x)).abs().amax((0, 1))
    rows = torch.nonzero(difference.amax(1)).flatten()
    farthest = max(centre - rows.min().item() // scale, rows.max().item() // scale - centre)
    if reach is None:
        assert farthest > radius - network.multiple
    else:
        assert farthest <= reach
