"""A network in the place of the demosaic: what goes into it, and what its output means.

Every network of isp.nets runs under one contract: a packed mosaic and the standard deviation of its noise in, camera
RGB out, both linear and white-balanced. The configuration says how the tensor that the network sees is made of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from isp.nets import NETWORKS
from isp.raw.cfa import CFA
from isp.stages.demosaic import METHODS
from isp.stages.demosaic.curve import decode, encode

PATTERN = CFA("RGGB")  # of every packed mosaic; other phases are cropped to it (isp.nets.inference)
INPUTS = {"packed": 4, "sigma": 4, "base": 12}  # planes that each gives a raw network


@dataclass(frozen=True)
class ModelConfig:
    """config.yaml of a model, whole.

    network, arguments: a name in NETWORKS and what it is built with.
    inputs: what a raw network sees, some of "packed" (4 planes), "sigma" (4) and "base" (12), in this order. An RGB
        network sees the base, whole.
    base: a Bayer method of isp.stages.demosaic, or None.
    residual: the network's output is added to the base.
    toe: the network works under the cube root of isp.stages.demosaic.curve with this toe; None: on linear light.
    """

    network: str
    arguments: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ("packed", "sigma")
    base: str | None = None
    residual: bool = False
    toe: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple(self.inputs))
        if not isinstance(self.arguments, dict):
            raise ValueError(f"arguments is {self.arguments!r}; expected keys and values")
        if not isinstance(self.residual, bool):
            raise ValueError(f"residual is {self.residual!r}; expected true or false")
        if self.network not in NETWORKS:
            raise ValueError(f"network is {self.network!r}; expected one of {', '.join(NETWORKS)}")
        if unknown := sorted(set(self.inputs) - set(INPUTS)):
            raise ValueError(f"inputs name {unknown[0]!r}; expected some of {', '.join(INPUTS)}")
        if self.inputs != tuple(name for name in INPUTS if name in self.inputs):
            raise ValueError(f"inputs are {', '.join(self.inputs)}; expected them in the order {', '.join(INPUTS)}")
        bayer = [name for name, method in METHODS.items() if "bayer" in method.kinds]
        if self.base is not None and self.base not in bayer:
            raise ValueError(f"base is {self.base!r}; expected one of {', '.join(bayer)}, or null")
        if self.base is None and (self.residual or "base" in self.inputs):
            raise ValueError("base is null, but the model is residual or has it among its inputs")
        if self.toe is not None and not (isinstance(self.toe, int | float) and 0 < self.toe <= 1):
            raise ValueError(f"toe is {self.toe!r}; expected a number above 0 and at most 1, or null for linear light")

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str = "config") -> ModelConfig:
        """From the keys of a config.yaml; ValueError, which names the source, for an unknown or bad one."""
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise ValueError(f"{source}: unknown key {unknown[0]!r}; known keys: {', '.join(known)}")
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{source}: {error}") from error


class Model(nn.Module):
    """Packed RGGB B 4 h w and its noise's standard deviation B 4 h w to camera RGB B 3 2h 2w; all linear,
    white-balanced and not clipped. h and w are multiples of `multiple` (isp.nets.inference sees to that)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.network = NETWORKS[config.network](**config.arguments)
        if self.network.kind == "rgb" and config.base is None:
            raise ValueError(f"network {config.network!r} takes RGB, so that base cannot be null; name a Bayer method")
        given = sum(INPUTS[name] for name in config.inputs)
        named = signature(NETWORKS[config.network]).parameters.get("planes")
        planes = config.arguments.get("planes", given if named is None else named.default)
        if self.network.kind == "raw" and planes != given:
            raise ValueError(
                f"network {config.network!r} takes {planes} planes, and {', '.join(config.inputs)} are {given}"
            )
        base_reach = 0 if config.base is None else METHODS[config.base].halo
        reach: int | None = self.network.reach
        unit = 1 if self.network.kind == "raw" else 2  # samples of the network's input to one of the packed mosaic
        self.multiple: int = -(-self.network.multiple // unit)
        self.minimum: int = -(-self.network.minimum // unit)
        self.reach: int | None = None
        if reach is not None and base_reach is not None:
            self.reach = -(-reach // unit) + -(-base_reach // 2)

    def forward(self, packed: Tensor, sigma: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """dtype: the network's own arithmetic under autocast, bfloat16 for one; what is around it stays as it is."""
        x, base = self.seen(packed, sigma)
        y = self.through(x, dtype)
        return self.to_linear(y + base if self.config.residual and base is not None else y)

    def seen(self, packed: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the network sees, B planes h w, or B 3 2h 2w of an RGB network; and the base, B 3 2h 2w."""
        c = self.config
        x = self.to_signal(packed)
        base = None if c.base is None else METHODS[c.base].function(pixel_shuffle(x, 2), PATTERN)  # B 3 2h 2w
        if self.network.kind == "rgb":
            assert base is not None
            return base, base
        given = {"packed": lambda: x, "sigma": lambda: self.spread(packed, sigma)}
        if base is not None:
            given["base"] = lambda: pixel_unshuffle(base, 2)
        return torch.cat([given[name]() for name in c.inputs], dim=1), base

    def through(self, x: Tensor, dtype: torch.dtype | None) -> Tensor:
        """The network's output, in the type of x."""
        if dtype is None:
            return self.network(x)
        with torch.autocast(x.device.type, dtype):
            return self.network(x).to(x.dtype)

    def to_signal(self, x: Tensor) -> Tensor:
        """Linear light to what the network works on."""
        return x if self.config.toe is None else encode(x, self.config.toe)

    def to_linear(self, y: Tensor) -> Tensor:
        """The inverse of to_signal."""
        return y if self.config.toe is None else decode(y, self.config.toe)

    def spread(self, packed: Tensor, sigma: Tensor) -> Tensor:
        """The noise's standard deviation on what the network works on: half the step from one below to one above."""
        return (self.to_signal(packed + sigma) - self.to_signal(packed - sigma)) / 2
