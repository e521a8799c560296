"""Training in integers: rounding against NumPy, gradients as without it, and what is left behind."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from isp.nets.pyramid import Pyramid
from isp.train.config import TrainConfig
from isp.train.engine import Engine
from isp.train.group import Group
from isp.train.integers import in_integers, rounded, rounded_weight


def test_rounded_is_the_nearest_of_256_values_of_each_channel():
    x = (
        torch.randn(3, 4, 9, 7, generator=torch.Generator().manual_seed(0))
        * torch.tensor([1, 5, 0.01, 2])[:, None, None]
    )
    x[:, 3] = x[:, 3].abs() + 1  # whose range then begins at 0
    made, given = rounded(x).double().numpy(), x.double().numpy()
    for c in range(4):
        low, high = min(given[:, c].min(), 0), max(given[:, c].max(), 0)
        scale = (high - low) / 255
        values = (np.arange(256) - round(-low / scale)) * scale
        nearest = values[np.abs(given[:, c][..., None] - values).argmin(-1)]
        np.testing.assert_allclose(made[:, c], nearest, atol=1e-5 * (high - low))
    x[:, :, 4] = 0
    assert not rounded(x)[:, :, 4].any(), "0 is one of the values"


def test_rounded_weight_is_what_the_export_holds():
    """63 codes each side of 0 for each output: those that isp.nets.quantise writes."""
    weight = torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    weight[4] = 0
    scale = np.maximum(np.abs(weight.numpy()).max((1, 2, 3), keepdims=True), 1e-12) / 63
    np.testing.assert_allclose(rounded_weight(weight).numpy(), np.round(weight.numpy() / scale) * scale, atol=1e-6)


@pytest.mark.parametrize("function", [rounded, rounded_weight])
def test_gradients_pass_as_if_nothing_were_rounded(function):
    x = torch.randn(2, 3, 4, 5, requires_grad=True)
    (function(x) * torch.arange(120.0).reshape(2, 3, 4, 5)).sum().backward()
    assert torch.equal(x.grad, torch.arange(120.0).reshape(2, 3, 4, 5))


def test_all_convolutions_but_the_first_round():
    net = Pyramid(4, widths=(8, 12), blocks=(1, 1))
    nn.init.normal_(net.tail.weight, generator=torch.Generator().manual_seed(2))
    seen = {}
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d):
            original = layer._conv_forward
            layer._conv_forward = lambda x, w, b, name=name, original=original: (
                seen.__setitem__(name, (x.detach(), w.detach())), original(x, w, b))[1]  # fmt: skip
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        plain = net(x)
        exact = {name: w for name, (_, w) in seen.items()}
        with in_integers(net):
            coarse = net(x)
        again = net(x)
    assert torch.equal(plain, again), "nothing is left behind"
    assert 0 < (coarse - plain).abs().max() < 0.2 * plain.abs().max()
    with torch.no_grad(), in_integers(net):
        net(x)
    for name, (given, weight) in seen.items():
        codes = [len(given[0, c].unique()) for c in range(given.shape[1])]
        assert torch.equal(weight, exact[name]) == (name == "head"), name
        assert name == "head" or max(codes) <= 256
        assert all(len(w.unique()) <= 127 for w in weight) or name == "head"


def test_a_phase_says_whether_the_model_rounds_and_a_teacher_never_does(tmp_path):
    phase = {"steps": 1, "batch": 2, "patch": 16, "losses": {"display": {"l1": 1}}}
    config = TrainConfig.from_dict({
        "name": "small",
        "model": {"network": "pyramid", "arguments": {"planes": 8, "widths": [8, 12], "blocks": [1, 1]},
                  "inputs": ["packed", "sigma"]},
        "data": {"sources": ["dead-leaves"], "dead_leaves": 96, "pool": 2},
        "phases": [phase, {**phase, "integers": True}],
        "rates": [{"steps": 2, "rate": 1e-3}],
        "validation": {"pictures": 1, "size": 16},
    })  # fmt: skip
    engine = Engine(config, tmp_path, Group(0, 1, torch.device("cpu")), progress=False)
    nn.init.normal_(engine.model.network.tail.weight, generator=torch.Generator().manual_seed(2))
    teacher = deepcopy(engine.model)
    batch = next(iter(engine.data.batches(0, batch=2, size=16)))
    with torch.no_grad():
        plain = engine.model(batch.packed, batch.sigma)
        with in_integers(engine.model.network):
            coarse = engine.model(batch.packed, batch.sigma)
        assert not torch.equal(plain, coarse)
        for step, expected in enumerate((plain, coarse)):
            engine.step = step
            assert torch.equal(engine.forward(batch), expected)
            assert torch.equal(engine.forward(batch, teacher), plain)


def test_integers_is_true_or_false():
    phase = {"steps": 1, "batch": 2, "patch": 16, "losses": {"display": {"l1": 1}}, "integers": 1}
    values = {"name": "small", "model": {"network": "flat", "arguments": {"planes": 4}}, "phases": [phase],
              "data": {"sources": ["dead-leaves"]}, "rates": [{"steps": 1, "rate": 1e-3}]}  # fmt: skip
    with pytest.raises(ValueError, match="integers is 1; expected true or false"):
        TrainConfig.from_dict(values)
