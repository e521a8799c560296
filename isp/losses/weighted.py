"""A sum of losses, as a recipe writes it: {name: weight}."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from isp.losses.edges import gradient, sobel
from isp.losses.fdl import FDL
from isp.losses.frequency import fft
from isp.losses.perceptual import Perceptual
from isp.losses.pixel import cast, charbonnier, l1, l2, psnr_loss
from isp.losses.similarity import ms_ssim_loss, ssim_loss
from isp.metrics.dists import DISTS
from isp.metrics.lpips import LPIPS

DOMAINS = ("linear", "encoded")
Pair = Callable[[Tensor, Tensor], Tensor]  # picture and truth, B 3 H W, white at 1, to B


class Term(NamedTuple):
    """domain: "encoded" for a loss that is only defined on encoded sRGB, "any" for one that weighs errors of whatever
    it gets. build: from the folder of weights (None: isp.metrics.weights says where)."""

    domain: str
    build: Callable[[Path | None], Pair]


LOSSES: dict[str, Term] = {
    "l1": Term("any", lambda _: l1),
    "l2": Term("any", lambda _: l2),
    "charbonnier": Term("any", lambda _: charbonnier),
    "psnr": Term("any", lambda _: psnr_loss),
    "cast": Term("any", lambda _: cast),
    "fft": Term("any", lambda _: fft),
    "gradient": Term("any", lambda _: gradient),
    "sobel": Term("any", lambda _: sobel),
    "ssim": Term("encoded", lambda _: ssim_loss),
    "ms-ssim": Term("encoded", lambda _: ms_ssim_loss),
    "lpips-squeeze": Term("encoded", lambda folder: LPIPS("squeeze", folder)),
    "lpips-alex": Term("encoded", lambda folder: LPIPS("alex", folder)),
    "lpips-vgg": Term("encoded", lambda folder: LPIPS("vgg", folder)),
    "dists": Term("encoded", DISTS),
    "perceptual": Term("encoded", Perceptual),
    "fdl": Term("encoded", lambda folder: FDL("vgg19", folder)),
    "fdl-squeeze": Term("encoded", lambda folder: FDL("squeeze", folder)),
}


class Loss(nn.Module):
    """Two pictures B 3 H W, white at 1, to the weighted sum of losses, B.

    weights: a name in LOSSES to a number. domain: what the pictures will be, "linear" or "encoded"; a recipe must
    choose, because it decides how errors in the dark weigh. folder: where weights of networks are; None:
    isp.metrics.weights says. Raises ValueError for an unknown name, a weight that is not a positive number, and a loss
    that is not defined in the domain; FileNotFoundError for missing weights.
    Computed in float32 even under autocast.
    """

    def __init__(self, weights: Mapping[str, float], domain: str, folder: Path | None = None) -> None:
        super().__init__()
        if domain not in DOMAINS:
            raise ValueError(f"domain is {domain!r}; expected one of {', '.join(DOMAINS)}")
        if not weights:
            raise ValueError(f"no loss is named; known losses: {', '.join(LOSSES)}")
        self.functions: dict[str, Pair] = {}
        for name, weight in weights.items():
            if name not in LOSSES:
                raise ValueError(f"unknown loss {name!r}; known losses: {', '.join(LOSSES)}")
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
                raise ValueError(f"the weight of {name} is {weight!r}; expected a number above 0")
            if LOSSES[name].domain not in ("any", domain):
                raise ValueError(f"{name} is defined on {LOSSES[name].domain} sRGB; these pictures are {domain}")
            self.functions[name] = LOSSES[name].build(folder)
        self.weights = {name: float(weight) for name, weight in weights.items()}
        # registered too, so that .to() moves them
        self.networks = nn.ModuleList(f for f in self.functions.values() if isinstance(f, nn.Module))

    def terms(self, x: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Each loss by name, B, without its weight: what a log shows."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            return {name: f(x.to(dtype), truth.to(dtype)) for name, f in self.functions.items()}

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of what `terms` gave, B."""
        return torch.stack([self.weights[name] * value for name, value in terms.items()]).sum(0)

    def forward(self, x: Tensor, truth: Tensor) -> Tensor:
        return self.total(self.terms(x, truth))
