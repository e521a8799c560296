"""A pyramid whose levels have fewer planes, to be trained again.

What goes from block to block at a level is only added to and convolved: every ReLU lies inside a block. So the planes
there may be mixed by any matrix, if all that makes them is multiplied by it and all that reads them by its inverse; and
of planes that are mixed well some do little and are left out.
After S. Ashkboos et al., "SliceGPT: Compress Large Language Models by Deleting Rows and Columns", ICLR 2024, Sec. 3.
Differs from the paper: planes count by what the convolutions that read them make of them, as in X. Zhang et al.,
"Accelerating Very Deep Convolutional Networks for Classification and Detection", TPAMI 2016, Sec. 3.1, and not by their
own size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from isp.nets.flat import Block
from isp.nets.model import Model
from isp.nets.prune import show
from isp.nets.pyramid import Pyramid

LEAST = 1e-4  # of the readers' mean weight, that every plane has


def narrow(model: Model, batches: Iterable[tuple[Tensor, Tensor]], widths: Sequence[int]) -> Model:
    """A model whose levels have so many planes, those that change least of what is made of the batches (packed and
    sigma, B 4 h w). A level that keeps all of its planes stays as it is.

    Raises ValueError for another network than a pyramid, for more planes than there are, and for no batches.
    """
    net = refuse_widths(model, widths)
    had = net.widths
    moments = [torch.zeros(width, width, dtype=torch.float64) for width in had]

    def watch(level: int, reader: nn.Module) -> RemovableHandle:
        def note(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            x = given[0].movedim(1, 0).flatten(1).double()
            moments[level].add_((x @ x.T).cpu())

        return reader.register_forward_pre_hook(note)

    show(model, batches, [watch(level, reader) for level in range(len(had)) for reader in _around(net, level)[1]])
    if not all(moment.any() for moment in moments):
        raise ValueError("no batches, or such of which a level of the pyramid sees nothing")
    inner = [block.first.out_channels for block in net.modules() if isinstance(block, Block)]
    smaller = Model(replace(model.config, arguments={**model.config.arguments, "widths": [*widths], "inner": inner}))
    state = {name: weight.detach().double().cpu() for name, weight in net.state_dict().items()}
    names = {module: name for name, module in net.named_modules()}
    for level, width in enumerate(widths):
        if width == had[level]:
            continue
        makers, readers = _around(net, level)
        to, back = mixtures(moments[level], [reader.weight for reader in readers], width)
        for maker, parts in makers:
            for kind in ("weight", "bias"):
                given = state[f"{names[maker]}.{kind}"].unflatten(0, (had[level], parts))
                state[f"{names[maker]}.{kind}"] = torch.einsum("kn,n...->k...", to, given).flatten(0, 1)
        for reader in readers:
            name = f"{names[reader]}.weight"
            state[name] = torch.einsum("onij,nk->okij", state[name], back)
    smaller.network.load_state_dict({name: weight.float() for name, weight in state.items()})
    return smaller.train(model.training)


def refuse_widths(model: Model, widths: Sequence[int]) -> Pyramid:
    """The network of a model that can have so few planes; raises ValueError for another one."""
    net = model.network
    if not isinstance(net, Pyramid):
        raise ValueError(f"only a pyramid can be narrowed, got {model.config.network}")
    if len(widths) != len(net.widths) or any(not 1 <= a <= b for a, b in zip(widths, net.widths, strict=True)):
        most = ", ".join(map(str, net.widths))
        raise ValueError(f"widths are {[*widths]}; expected one for each level, of 1 to {most}")
    return net


def mixtures(moment: Tensor, weights: Sequence[Tensor], width: int) -> tuple[Tensor, Tensor]:
    """Matrices from n planes to `width` mixtures and back: what is lost between them is, in the mean of all that reads
    the planes, the least part of what these make of them.

    moment: n n, sums of products of planes. weights: out n k k, of each convolution that reads them.
    """
    seen = torch.zeros_like(moment)
    for weight in weights:
        taps = weight.detach().double().cpu().movedim(1, -1).flatten(0, -2)
        by_this = taps.T @ taps
        seen += by_this / (by_this * moment).sum().clamp_min(torch.finfo(torch.float64).tiny)
    seen += LEAST * seen.trace() / len(seen) * torch.eye(len(seen), dtype=torch.float64)
    values, vectors = torch.linalg.eigh(seen)
    root, inverse = (vectors * values.sqrt()) @ vectors.T, (vectors / values.sqrt()) @ vectors.T
    kept = torch.linalg.eigh(root @ moment @ root).eigenvectors.flip(1)[:, :width]
    to, back = kept.T @ root, inverse @ kept
    size = (to @ moment @ to.T).diagonal().clamp_min(torch.finfo(torch.float64).tiny).sqrt()
    size = size / size.mean()  # planes of one size train as those of a new network do
    return to / size[:, None], back * size


def _around(net: Pyramid, level: int) -> tuple[list[tuple[nn.Conv2d, int]], list[nn.Conv2d]]:
    """The convolutions whose sums are a level's planes, and how many samples of each they make side by side; and the
    convolutions that read these planes."""
    up = len(net.widths) - 1 - level  # levels below
    at: Any = net
    blocks = [*at.encoders[level], *at.decoders[up - 1]] if up else [*at.bottom]
    makers, readers = [block.second for block in blocks], [block.first for block in blocks]
    if level:
        makers, readers = [at.downs[level - 1], *makers], [*readers, at.ups[up]]
    elif net.joined:
        makers, readers = [blocks[0].shortcut, *makers[:-1]], [*readers[1:], blocks[-1].shortcut]
    else:
        makers, readers = [at.head, *makers], [*readers, at.tail]
    parts = [(maker, 1) for maker in makers]
    return ([*parts, (at.ups[up - 1], 4)], [*readers, at.downs[level]]) if up else (parts, readers)
