"""A network without the units that rest: ReLUs that are 0 for all that it is shown.

On that it computes what it did, to rounding, and for less; what it is shown should be as varied as what it is for.
After H. Hu et al., "Network Trimming: A Data-Driven Neuron Pruning Approach towards Efficient Deep Architectures",
2016, of which only the units are taken here that are never on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from isp.nets.flat import Block
from isp.nets.model import Model
from isp.nets.pyramid import Pyramid


def prune(model: Model, batches: Iterable[tuple[Tensor, Tensor]]) -> Model:
    """A model whose blocks have only the units that were on for one of the batches (packed and sigma, B 4 h w), and one
    at least.

    Raises ValueError for another network than a pyramid with plain ReLUs, whose blocks alone can be of any inner width.
    """
    if not isinstance(model.network, Pyramid):
        raise ValueError(f"only a pyramid can be pruned, got {model.config.network}")
    if slope := model.config.arguments.get("slope"):
        raise ValueError(f"only plain ReLUs rest, and those of this pyramid have a slope of {slope}")
    blocks = {name: block for name, block in model.network.named_modules() if isinstance(block, Block)}
    most = {name: torch.full((block.first.out_channels,), -torch.inf) for name, block in blocks.items()}

    def watch(name: str) -> torch.utils.hooks.RemovableHandle:
        def note(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
            most[name] = torch.maximum(most[name], made.amax((0, 2, 3)).cpu())

        return blocks[name].first.register_forward_hook(note)

    handles = [watch(name) for name in blocks]
    try:
        with torch.inference_mode():
            for packed, sigma in batches:
                model(packed, sigma)
    finally:
        for handle in handles:
            handle.remove()
    kept = {name: torch.nonzero(x.gt(0) | (x == x.max())).flatten() for name, x in most.items()}
    inner = [len(kept[name]) for name in blocks]
    arguments = {**model.config.arguments, "inner": inner}
    smaller = Model(replace(model.config, arguments=arguments))
    state = dict(model.network.state_dict())
    for name, units in kept.items():
        state[f"{name}.first.weight"] = state[f"{name}.first.weight"][units]
        state[f"{name}.first.bias"] = state[f"{name}.first.bias"][units]
        state[f"{name}.second.weight"] = state[f"{name}.second.weight"][:, units]
    smaller.network.load_state_dict(state)
    return smaller.train(model.training)
