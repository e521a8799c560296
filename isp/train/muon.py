"""Muon: an optimiser whose steps are as long in every direction of a layer's weights.

K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024. Adam's steps follow the few
directions in which gradients are large, and at the rates that are worth taking many of a small network's ReLUs soon
stay at 0 for good; here the momentum's matrix is replaced by one whose singular values are about equal. What it gives
`pyramid` is in docs/training.md.
Differs from the paper: the first and the last layer are matrices as any other, and not Adam's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # of the paper: after five steps singular values are between 0.7 and 1.2
STEPS = 5
LEAST = 1e-9  # norm of a momentum: below it steps shrink, so that a layer without gradients comes to rest
LENGTH = 0.2  # root of the mean square of a step over the rate, about AdamW's: its rates and decays hold here too


class Muon(Optimizer):
    """Muon for the weights of convolutions and linear layers, Adam for all else: biases, norms, grouped convolutions,
    and weights that are computed from other parameters (a spectral norm's).

    groups: of `groups_of`. betas: Adam's alone. weight_decay: of the matrices alone, decoupled as AdamW's.
    The step's length is that of J. Liu et al., "Muon is Scalable for LLM Training", 2025, Sec. 2.2.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 1e-4,
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "kind": "vector"})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    (self._adam if group["kind"] == "vector" else self._muon)(weight, weight.grad, group)

    def _muon(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        mean = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        ahead = torch.lerp(gradient, mean, MOMENTUM)  # Nesterov's
        turned = group["kind"] == "transposed"
        ahead = ahead.transpose(0, 1) if turned else ahead
        matrix = orthogonal(ahead.reshape(len(ahead), -1))
        step = matrix.reshape(ahead.shape)
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        length = LENGTH * math.sqrt(max(matrix.shape))
        weight.add_(step.transpose(0, 1) if turned else step, alpha=-group["lr"] * length)

    def _adam(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, (first, second) = self.state[weight], group["betas"]
        if not state:
            state["step"] = 0
            state["mean"], state["square"] = torch.zeros_like(weight), torch.zeros_like(weight)
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].lerp_(gradient.square(), 1 - second)
        root = (state["square"] / (1 - second ** state["step"])).sqrt_().add_(1e-8)
        weight.addcdiv_(state["mean"], root, value=-group["lr"] / (1 - first ** state["step"]))


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest matrix with all singular values 1, rows columns; those below 1e-3 of the norm come less far,
    and of 0 it is 0."""
    a, b, c = NEWTON_SCHULZ
    x = matrix / matrix.norm().clamp(min=LEAST)
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    for _ in range(STEPS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x if wide else x.T


def groups_of(net: nn.Module) -> list[dict[str, Any]]:
    """A network's parameters for Muon: matrices out x in, those that PyTorch keeps in x out, and the others."""
    kinds = {}
    for layer in net.modules():
        weight = layer._parameters.get("weight")
        if weight is None:
            continue
        if isinstance(layer, nn.Conv2d | nn.Linear) and getattr(layer, "groups", 1) == 1:
            kinds[weight] = "matrix"
        elif isinstance(layer, nn.ConvTranspose2d) and layer.groups == 1:
            kinds[weight] = "transposed"
    groups: dict[str, list[nn.Parameter]] = {"matrix": [], "transposed": [], "vector": []}
    for parameter in net.parameters():
        groups[kinds.get(parameter, "vector")].append(parameter)
    return [{"params": weights, "kind": kind} for kind, weights in groups.items() if weights]
