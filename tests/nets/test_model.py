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


def test_raw_networks_take_four_planes_where_nothing_is_said():
    """Which the check of the planes relies on."""
    import inspect

    for name, network in NETWORKS.items():
        planes = inspect.signature(network).parameters.get("planes")
        assert network.kind == "rgb" or (planes is not None and planes.default == 4), name
