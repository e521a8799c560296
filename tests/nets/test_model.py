"""A model's configuration: what its network takes and what it is given go together."""

import pytest

from isp.nets import NETWORKS
from isp.nets.model import Model, ModelConfig


def test_inputs_come_in_one_order():
    with pytest.raises(ValueError, match="inputs are base, packed; expected them in the order packed, sigma, base"):
        ModelConfig("flat", inputs=("base", "packed"), base="msg")
    with pytest.raises(ValueError, match="inputs are packed, packed; expected them in the order"):
        ModelConfig("flat", inputs=("packed", "packed"))


@pytest.mark.parametrize(
    ("network", "arguments", "inputs", "message"),
    [
        (
            "b2fnet",
            {"planes": 8},
            ("packed", "sigma", "base"),
            "'b2fnet' takes 8 planes, and packed, sigma, base are 20",
        ),
        ("b2fnet", {"planes": 20}, ("packed", "sigma"), "takes 20 planes, and packed, sigma are 8"),
        ("flat", {}, ("packed", "sigma"), "takes 4 planes, and packed, sigma are 8"),
    ],
)
def test_planes_are_those_of_the_inputs(network, arguments, inputs, message):
    with pytest.raises(ValueError, match=message):
        Model(ModelConfig(network, arguments, inputs, base="msg"))


def test_planes_that_are_not_said_are_the_network_s_own(monkeypatch):
    class Eight(NETWORKS["flat"]):
        def __init__(self, planes: int = 8) -> None:
            super().__init__(planes, width=4, blocks=1)

    class Unnamed(NETWORKS["flat"]):
        def __init__(self) -> None:
            super().__init__(8, width=4, blocks=1)

    monkeypatch.setitem(NETWORKS, "eight", Eight)
    monkeypatch.setitem(NETWORKS, "unnamed", Unnamed)
    for name in ("eight", "unnamed"):
        Model(ModelConfig(name))
    with pytest.raises(ValueError, match="takes 8 planes, and packed are 4"):
        Model(ModelConfig("eight", inputs=("packed",)))
