"""A pyramid whose first and last blocks do what stands before and behind them too, to be trained again.

Between the head and the first convolution of the first block lie nothing but sums, and so they do between the last one
of the last block and the tail: two convolutions 3x3 in a row, of which one will do (`joined` of isp.nets.pyramid). Each
of the new ones is as near as it can be, by least squares over what it is shown, to what the two made; from there it
learns the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from isp.nets.flat import Block
from isp.nets.model import Model
from isp.nets.prune import show
from isp.nets.pyramid import Pyramid

SITES = 8192  # of each batch, that are looked at
LEAST = 1e-6  # of the mean square of what is seen: what the square of a weight costs


def join(model: Model, batches: Iterable[tuple[Tensor, Tensor]]) -> Model:
    """A model of a joined pyramid that makes nearly the same of the batches (packed and sigma, B 4 h w).

    Raises ValueError for another network than a pyramid with head and tail and blocks beside both, and for no batches.
    """
    old = refuse_ends(model)
    inner = [block.first.out_channels for block in old.modules() if isinstance(block, Block)]
    joined = Model(replace(model.config, arguments={**model.config.arguments, "inner": inner, "joined": True}))
    new: Any = joined.network
    begin, end = new.encoders[0][0], new.decoders[-1][-1]
    state = new.state_dict()
    for name, x in old.state_dict().items():
        if name in state and state[name].shape == x.shape:
            state[name].copy_(x)
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    generator = torch.Generator().manual_seed(0)
    fits = [_Fit([begin.shortcut]), _Fit([begin.first]), _Fit([end.shortcut, end.second])]

    def keep(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        seen[module] = given[0], made.clone()  # before its ReLU, which works in place
        if module is not old.tail:
            return
        first, last = old.encoders[0][0], old.decoders[-1][-1]
        sites = torch.randint(made[:, 0].numel(), (SITES,), generator=generator).to(made.device)
        (raw, planes), units = seen[old.head], seen[first.first][1]
        fits[0].add([raw], planes, sites)
        fits[1].add([raw], units, sites)
        fits[2].add([seen[last][0], seen[last.second][0]], made, sites)

    watched = (old.head, old.encoders[0][0].first, old.decoders[-1][-1], old.decoders[-1][-1].second, old.tail)
    show(model, batches, [module.register_forward_hook(keep) for module in watched])
    for fit in fits:
        fit.put()
    return joined.train(model.training)


def refuse_ends(model: Model) -> Any:
    """The network of a model that can be joined; raises ValueError for another one."""
    net: Any = model.network
    if not isinstance(model.network, Pyramid):
        raise ValueError(f"only a pyramid can be joined, got {model.config.network}")
    if net.joined:
        raise ValueError("the pyramid is joined already")
    if len(net.widths) == 1 or not (len(net.encoders[0]) and len(net.decoders[-1])):
        raise ValueError("a pyramid without blocks at both ends of its first level cannot be joined")
    return net


class _Fit:
    """Least squares, from sums of products, for convolutions whose results are added."""

    def __init__(self, convolutions: Sequence[Any]) -> None:
        self.convolutions = convolutions
        self.seen = self.made = torch.zeros((), dtype=torch.float64)

    def add(self, given: Sequence[Tensor], made: Tensor, sites: Tensor) -> None:
        """What the convolutions are given, B n h w each, and what they should make of it together, at so many sites."""
        taps = [_taps(x, one.kernel_size[0], sites) for x, one in zip(given, self.convolutions, strict=True)]
        x = torch.cat([*taps, torch.ones(len(sites), 1, dtype=torch.float64)], 1)
        self.seen = self.seen + x.T @ x
        self.made = self.made + x.T @ _taps(made, 1, sites)

    @torch.no_grad()
    def put(self) -> None:
        """What was found, to the convolutions; all of the bias to the last one."""
        if not self.seen.ndim:
            raise ValueError("no batches")
        cost = LEAST * self.seen.diagonal().mean() * torch.eye(len(self.seen), dtype=torch.float64)
        found = torch.linalg.solve(self.seen + cost, self.made).T
        at = 0
        for one in self.convolutions:
            size = one.weight[0].numel()
            one.weight.copy_(found[:, at : at + size].reshape(one.weight.shape))
            one.bias.zero_()
            at += size
        self.convolutions[-1].bias.copy_(found[:, at])


def _taps(x: Tensor, kernel: int, sites: Tensor) -> Tensor:
    """What a convolution of this size sees of B n h w at so many sites: sites by n kernel kernel, float64."""
    return unfold(x, kernel, padding=kernel // 2).movedim(1, -1).flatten(0, 1)[sites].double().cpu()
