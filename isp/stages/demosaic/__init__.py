"""Demosaicing: from the white-balanced mosaic to camera RGB, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from isp.raw.cfa import CFA
from isp.stages.demosaic import bilinear, curve, malvar2004, menon2007


class Method(NamedTuple):
    function: Callable[[Tensor, CFA], Tensor]  # B 1 H W and its CFA to B 3 H W, in any domain
    kinds: tuple[str, ...]  # of CFA that it treats
    halo: int  # pixels around a site that its result may depend on


METHODS = {
    "bilinear": Method(bilinear.bilinear, ("bayer",), bilinear.HALO),
    "malvar2004": Method(malvar2004.malvar2004, ("bayer",), malvar2004.HALO),
    "menon2007": Method(menon2007.menon2007, ("bayer",), menon2007.HALO),
}
DEFAULTS = {"bayer": "menon2007"}


def demosaic(x: Tensor, cfa: CFA, method: str, noise: tuple[float, float] | None = None) -> Tensor:
    """Camera RGB B 3 H W, linear, from a white-balanced linear mosaic B 1 H W; measured samples come through.

    method: a name in METHODS, or "libraw:AHD" and the like.
    noise: (shot, read) of the mosaic, variance = shot * x + read; None: unknown, taken as small.
    """
    chosen = _method(method, cfa)
    if x.ndim != 4 or x.shape[1] != 1 or min(x.shape[-2:]) < 2:
        raise ValueError(f"demosaic needs a mosaic B 1 H W of at least 2x2, got {tuple(x.shape)}")
    t = curve.toe(noise)
    y = curve.decode(chosen.function(curve.encode(x, t), cfa), t)
    return torch.where(_measured(x, cfa), x, y)


def mosaic(x: Tensor, cfa: CFA) -> Tensor:
    """What a sensor with this CFA measures of camera RGB: B 3 H W to B 1 H W. The inverse of `demosaic`."""
    if x.ndim != 4 or x.shape[1] != 3:
        raise ValueError(f"mosaic needs an image B 3 H W, got {tuple(x.shape)}")
    return torch.where(_measured(x, cfa), x, torch.zeros_like(x)).sum(1, keepdim=True)


def halo_of(method: str, cfa: CFA) -> int | None:
    """Pixels around a site that the method looks at; None: the whole frame."""
    return _method(method, cfa).halo


def default_method(kind: str) -> str:
    """The name of the best method for a kind of CFA; for kinds without one, "none"."""
    return DEFAULTS.get(kind, "none")


def _method(name: str, cfa: CFA) -> Method:
    if name not in METHODS:
        raise ValueError(f"demosaic method {name!r} is unknown; known: {', '.join(METHODS)}")
    if cfa.kind not in METHODS[name].kinds:
        known = ", ".join(n for n, m in METHODS.items() if cfa.kind in m.kinds)
        raise ValueError(f"demosaic method {name!r} does not treat {cfa.kind} arrays; those that do: {known}")
    return METHODS[name]


def _measured(x: Tensor, cfa: CFA) -> Tensor:
    """1 3 H W, bool: where each channel was measured."""
    height, width = x.shape[-2:]
    channel = torch.from_numpy(cfa.channel_map(height, width)).to(x.device)
    return channel == torch.arange(3, device=x.device).view(1, 3, 1, 1)
