"""The losses of a phase, each in the domain that the recipe names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isp.losses import Loss
from isp.train.config import Phase
from isp.train.data import Batch
from isp.train.domains import DOMAINS, to_domain


class PhaseLoss(nn.Module):
    """Camera RGB B 3 H W, linear and white-balanced, against a truth of the same kind: the weighted terms by name."""

    def __init__(self, phase: Phase) -> None:
        super().__init__()
        self.usm = phase.usm
        self.domains = {name: Loss(weights, DOMAINS[name]) for name, weights in phase.losses.items()}
        self.losses = nn.ModuleList(self.domains.values())  # registered, so that .to() moves them

    def forward(self, output: Tensor, batch: Batch, truth: Tensor | None = None) -> dict[str, Tensor]:
        """truth: in the place of the batch's target. Scalars, named `domain.loss`; their sum is what is minimised."""
        terms = {}
        for domain, loss in self.domains.items():
            x = to_domain(output, batch.cam_to_output, domain)
            y = self.shown(batch.target if truth is None else truth, batch, domain)
            for name, value in loss.terms(x, y).items():
                terms[f"{domain}.{name}"] = loss.weights[name] * value.mean()
        return terms

    def shown(self, truth: Tensor, batch: Batch, domain: str) -> Tensor:
        """A truth in a domain, sharpened where the phase says so."""
        y = to_domain(truth, batch.cam_to_output, domain)
        return y if self.usm is None else unsharp_mask(y, *self.usm)


def unsharp_mask(x: Tensor, amount: float, sigma: float) -> Tensor:
    """x + amount (x - Gaussian of x), B C H W. sigma: pixels; the Gaussian ends at three of them, edges reflect."""
    radius = max(round(3 * sigma), 1)
    at = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    kernel = torch.softmax(-at.square() / (2 * sigma**2), 0)
    channels = x.shape[1]
    blurred = nn.functional.pad(x, (radius,) * 4, mode="reflect")
    blurred = nn.functional.conv2d(blurred, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    blurred = nn.functional.conv2d(blurred, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return x + amount * (x - blurred)
