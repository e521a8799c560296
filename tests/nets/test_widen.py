"""A wider network that begins as a trained one."""

import pytest
import torch
from torch import nn

from isp.nets.b2fnet import B2FNet
from isp.nets.flat import Flat
from isp.nets.pyramid import Pyramid
from isp.nets.widen import widen


def trained(net: nn.Module) -> nn.Module:
    """With weights that are none of the initial ones, the zeros of the tail among them."""
    torch.manual_seed(1)
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.05)
    return net.double()


CASES = {
    "pyramid": (lambda: Pyramid(20, (8, 12, 16), (1, 1, 2)), lambda: Pyramid(20, (12, 20, 16), (2, 1, 4))),
    "flat": (lambda: Flat(8, 8, 2), lambda: Flat(8, 16, 3)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_function_is_the_same_and_all_of_it_learns(case: str) -> None:
    narrow, wide = (make() for make in CASES[case])
    narrow, wide = trained(narrow), wide.double()
    widen(wide, narrow.state_dict())
    x = torch.randn(2, 20 if case == "pyramid" else 8, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(wide(x), narrow(x), rtol=0, atol=1e-12)
    optimiser = torch.optim.SGD(wide.parameters(), lr=1e-3)
    for _ in range(4):  # what stands behind weights of 0 learns once these have moved
        optimiser.zero_grad()
        (wide(x) - 1).square().mean().backward()
        optimiser.step()
    still = []
    for name, weight in wide.named_parameters():
        new = torch.ones_like(weight)
        if (old := narrow.state_dict().get(name)) is not None:
            new[tuple(slice(n) for n in old.shape)] = 0
        if new.any() and not (weight.grad * new).any():
            still.append(name)
    assert not still


def test_a_narrower_one_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"weight head\.weight has the shape \(16, 8, 3, 3\), which should fit into \(8, 8, 3, 3\)"
    ):
        widen(Flat(8, 8, 2), Flat(8, 16, 2).state_dict())
    with pytest.raises(ValueError, match=r"weight body\.2\.first\.weight has the shape .*, which should fit into none"):
        widen(Flat(8, 8, 2), Flat(8, 8, 3).state_dict())


def test_networks_whose_function_would_change_are_refused() -> None:
    same = B2FNet(8, (4, 8, 8))
    widen(B2FNet(8, (4, 8, 8)), same.state_dict())
    with pytest.raises(ValueError, match="only flat and pyramid can begin as narrower ones"):
        widen(B2FNet(8, (8, 8, 8)), same.state_dict())
