"""A wider and deeper network that begins as a narrower one that is trained: what that one computes, to rounding.

After T. Chen et al., "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016, Sec. 2.
Differs from the paper: the planes that are new start from noise, as those of any new network, in the place of copies of
old ones; the old planes do not look at them yet, by weights of 0, which learn at once since what they look at is not 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from isp.nets.flat import Flat
from isp.nets.pyramid import Pyramid


def widen(net: nn.Module, trained: Mapping[str, Tensor]) -> None:
    """Give a new network the function of a trained one, in place.

    net: a network with its initial weights. trained: the state of one of the same kind, no wider in any layer. Of each
    weight the corner that the trained one fills is taken from it, and what joins its outputs to new inputs is 0.
    Residual blocks that the trained one lacks begin as nothing, by their last convolution of 0. A net of the same
    shapes takes the weights as they are. Raises ValueError for a weight that the net lacks or has smaller, and for
    other networks than flat and pyramid where the shapes differ: norms, joined tensors and transposed convolutions
    would change the function.
    """
    state = net.state_dict()
    same = {name: x.shape for name, x in state.items()} == {name: x.shape for name, x in trained.items()}
    if not same and not isinstance(getattr(net, "network", net), Flat | Pyramid):
        raise ValueError("only flat and pyramid can begin as narrower ones")
    for name, old in trained.items():
        new = state.get(name)
        if new is None or new.ndim != old.ndim or any(a < b for a, b in zip(new.shape, old.shape, strict=True)):
            found = "none" if new is None else str(tuple(new.shape))
            raise ValueError(f"weight {name} has the shape {tuple(old.shape)}, which should fit into {found}")
        with torch.no_grad():
            if new.ndim > 1:
                new[: len(old), old.shape[1] :] = 0
            new[tuple(slice(n) for n in old.shape)] = old
    blocks = {name.removesuffix("second.weight") for name in state if name.endswith("second.weight")}
    for block in blocks - {name.removesuffix("second.weight") for name in trained}:
        for part in ("weight", "bias"):
            nn.init.zeros_(state[f"{block}second.{part}"])
