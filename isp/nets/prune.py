"""A network without the units that rest: ReLUs that are 0 for all that it is shown; or with few, to be trained again.

Without those that rest it computes what it did on that, to rounding, and for less; what it is shown should be as varied
as what it is for.
After H. Hu et al., "Network Trimming: A Data-Driven Neuron Pruning Approach towards Efficient Deep Architectures",
2016, of which only the units are taken here that are never on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from isp.nets.flat import Block
from isp.nets.model import Model
from isp.nets.pyramid import Pyramid


def prune(model: Model, batches: Iterable[tuple[Tensor, Tensor]], units: Sequence[int] | None = None) -> Model:
    """A model whose blocks have only the units that were on for one of the batches (packed and sigma, B 4 h w), and one
    at least.

    units: how many of these each block has, at most, in their order: those that add most to its output, as their mean
    square and the weights that read them have it. A block of 0 is left out.
    Raises ValueError for another network than a pyramid with plain ReLUs, whose blocks alone can be of any inner width.
    """
    if not isinstance(model.network, Pyramid):
        raise ValueError(f"only a pyramid can be pruned, got {model.config.network}")
    if slope := model.config.arguments.get("slope"):
        raise ValueError(f"only plain ReLUs rest, and those of this pyramid have a slope of {slope}")
    blocks = {name: block for name, block in model.network.named_modules() if isinstance(block, Block)}
    if units is not None and (len(units) != len(blocks) or any(number < 0 for number in units)):
        raise ValueError(f"units are {[*units]}; expected a number for each of the pyramid's {len(blocks)} blocks")
    if units is not None and model.network.joined and 0 in (units[0], units[-1]):
        raise ValueError(
            "a joined pyramid takes and gives its planes by its first and last block: neither can be left out"
        )
    most = {name: torch.full((block.first.out_channels,), -torch.inf) for name, block in blocks.items()}
    added = {name: torch.zeros(block.first.out_channels) for name, block in blocks.items()}

    def watch(name: str) -> RemovableHandle:
        def note(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
            most[name] = torch.maximum(most[name], made.amax((0, 2, 3)).cpu())
            added[name] += made.relu().square().sum((0, 2, 3)).cpu()

        return blocks[name].first.register_forward_hook(note)

    show(model, batches, [watch(name) for name in blocks])
    kept = {name: torch.nonzero(x.gt(0) | (x == x.max())).flatten() for name, x in most.items()}
    for (name, block), number in zip(blocks.items(), units or (), strict=units is not None):
        read = block.second.weight.detach().square().sum((0, 2, 3)).cpu()
        kept[name] = kept[name][(added[name] * read)[kept[name]].argsort(descending=True)[:number].sort().values]
    state = dict(model.network.state_dict())
    for name, which in kept.items():
        state[f"{name}.first.weight"] = state[f"{name}.first.weight"][which]
        state[f"{name}.first.bias"] = state[f"{name}.first.bias"][which]
        state[f"{name}.second.weight"] = state[f"{name}.second.weight"][:, which]
    left = {name: len(which) for name, which in kept.items() if len(which)}
    others = {name: given for name, given in model.config.arguments.items() if name != "encoders"}
    smaller = Model(replace(model.config, arguments={**others, **_shape(model.network, left)}))
    old = [name for name in state if name.rsplit(".", 2)[0] not in kept or name.rsplit(".", 2)[0] in left]
    smaller.network.load_state_dict(
        {new: state[name] for new, name in zip(smaller.network.state_dict(), old, strict=True)}
    )
    return smaller.train(model.training)


def show(model: Model, batches: Iterable[tuple[Tensor, Tensor]], hooks: Sequence[RemovableHandle]) -> None:
    """Run a model on batches (packed and sigma, B 4 h w) for its hooks to see, and take these away."""
    try:
        with torch.inference_mode():
            for packed, sigma in batches:
                model(packed, sigma)
    finally:
        for hook in hooks:
            hook.remove()


def _shape(net: Pyramid, units: Mapping[str, int]) -> dict[str, list[int]]:
    """The arguments of a pyramid of which these blocks, by name, are left, with so many units."""

    def count(level: str) -> int:
        return sum(name.rpartition(".")[0] == level for name in units)

    ways = range(len(net.widths) - 1)
    blocks = [*(count(f"decoders.{i}") for i in reversed(ways)), count("bottom")]
    encoders = [count(f"encoders.{i}") for i in ways]
    inner = {"inner": [*units.values()]}
    return {"blocks": blocks, **inner} if encoders == blocks[:-1] else {"blocks": blocks, "encoders": encoders, **inner}
