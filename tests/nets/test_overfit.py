"""Every network of five million parameters or fewer can learn one small batch by heart."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from isp.nets import NETWORKS

SIDE = 16  # of the RGB pictures, samples
STEPS = 2000  # at most; most stop far earlier
LIMIT = 45.0  # dB
WIDE = ("mialgo-student", "nafnet-small")  # enough that it pays when oneDNN prepares each convolution of so few samples

# name of the case: network, its arguments, learning rate
CASES: dict[str, tuple[str, dict[str, Any], float]] = {
    "b2fnet": ("b2fnet", {}, 2e-3),
    "dwt-hybrid": ("dwt-hybrid", {}, 1e-3),
    "flat": ("flat", {}, 1e-3),
    "mialgo-student": ("mialgo-student", {}, 5e-4),
    "msunet": ("msunet", {}, 2e-3),
    "mw-ispnet-lite": ("mw-ispnet-rgb", {}, 2e-3),
    "mw-ispnet-lite-2": ("mw-ispnet-rgb", {"blocks": 2}, 2e-3),
    "nafnet-small": ("nafnet", {"width": 16, "encoder": (1, 1, 2), "middle": 2, "decoder": (1, 1, 1)}, 2e-3),
    "pyramid": ("pyramid", {}, 1e-3),
    "span": ("span", {"width": 16}, 2e-3),
    "tiny-unet": ("tiny-unet", {}, 4e-3),
    "tiny-unet-rgb": ("tiny-unet-rgb", {}, 4e-3),
    "wavelet-fusion": ("wavelet-fusion", {}, 2e-3),
}


def pictures() -> Tensor:
    """Two RGB pictures with waves of different lengths, an edge and a fine check: 2 3 SIDE SIDE, in [0, 1]."""
    y, x = torch.meshgrid(torch.arange(SIDE) / SIDE, torch.arange(SIDE) / SIDE, indexing="ij")
    found = []
    for tilt in (0.3, 1.1):
        wave = torch.sin(2 * math.pi * (3 * x * math.cos(tilt) + 5 * y * math.sin(tilt)))
        edge = (x + tilt * y > 0.8).float()
        check = (torch.arange(SIDE)[:, None] + torch.arange(SIDE)) % 2 * (y > 0.7)
        red = 0.4 + 0.2 * wave + 0.3 * edge
        green = 0.5 + 0.2 * wave * edge + 0.1 * check
        blue = 0.3 + 0.2 * x - 0.1 * wave + 0.2 * check * edge
        found.append(torch.stack([red, green, blue]))
    return torch.stack(found).clamp(0, 1)


def packed(rgb: Tensor) -> Tensor:
    """The RGGB samples of pictures: B 3 H W to B 4 H/2 W/2."""
    planes = pixel_unshuffle(rgb, 2)  # R at the four sites of each 2 x 2, then G, then B
    return planes[:, [0, 5, 6, 11]]


def learnt(network: nn.Module, x: Tensor, target: Tensor, rate: float) -> float:
    """PSNR in dB, when it is above the limit or the steps are done."""
    optimiser = torch.optim.Adam(network.parameters(), rate, betas=(0.9, 0.99), fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS, rate / 20)
    psnr = 0.0
    for _ in range(STEPS):
        loss = (network(x) - target).square().mean()
        psnr = -10 * math.log10(loss.item())
        if psnr > LIMIT:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return psnr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # of turning oneDNN off
@pytest.mark.parametrize("name", CASES)
def test_one_batch_by_heart(name: str):
    """From a noisy mosaic, or a noisy picture, to the clean picture within 45 dB."""
    network_name, arguments, rate = CASES[name]
    torch.manual_seed(0)
    network = NETWORKS[network_name](**arguments)
    assert sum(p.numel() for p in network.parameters()) <= 5e6
    target = pictures()
    clean = packed(target) if network.kind == "raw" else target
    x = clean + 0.05 * torch.randn(clean.shape)
    with torch.backends.mkldnn.flags(enabled=name in WIDE):
        psnr = learnt(network, x, target, rate)
    assert psnr > LIMIT
