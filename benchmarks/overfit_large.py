"""One batch learnt by heart by every network above five million parameters: proof that the large ones train.

    python -m benchmarks.overfit_large                          # all of them; writes results/overfit_large.json
    python -m benchmarks.overfit_large nafnet restormer --device cuda --side 128

The batch is two crops of dead leaves in linear light, and what a network sees of them: their mosaic (raw networks) or
themselves (RGB networks), with noise. A network of the paper's size passes when it gives the clean crops to 45 dB.
Small networks do the same in the tests. The raw MW-ISPNet makes its 12 last planes of 4 by one convolution, so that
four pixels cannot be freely chosen (with the 4 planes free, these crops come to 39 dB): its crops have one colour to a
site. Networks that are not named keep the results that they have.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torch.nn.functional import interpolate as upsample
from tqdm import tqdm

from benchmarks.measure import RESULTS, as_said, cpu_name
from isp.datasets.dead_leaves import dead_leaves
from isp.files import whole_file
from isp.nets import NETWORKS
from isp.nets.published import ROWS

LARGE = 5_000_000  # parameters
PASSED = 45.0  # dB
NOISE = 0.02  # standard deviation, linear light
WARM_UP = 20  # steps
NARROW = {"mw-ispnet"}  # fewer planes before the last convolution than colours in a site


def large() -> dict[str, int]:
    """Networks above LARGE at the size of their default arguments, and their parameters."""
    counted = {}
    for name in sorted({row.network for row in ROWS}):
        with torch.device("meta"):
            counted[name] = sum(p.numel() for p in NETWORKS[name]().parameters())
    return {name: parameters for name, parameters in counted.items() if parameters > LARGE}


def batch(kind: str, side: int, narrow: bool = False) -> tuple[Tensor, Tensor]:
    """What the network sees, and what it is to give; side: of its input, in samples. narrow: 2x2 pixels are alike."""
    rng = np.random.default_rng(4)
    full = 2 * side if kind == "raw" else side
    encoded = np.stack([dead_leaves(128, 128, rng)[:full, :full] for _ in range(2)])
    clean = torch.from_numpy(encoded).permute(0, 3, 1, 2) ** 2.2  # B 3 H W
    if narrow:
        clean = upsample(avg_pool2d(clean, 2), scale_factor=2)
    seen = clean + NOISE * torch.from_numpy(rng.standard_normal(clean.shape, np.float32))
    if kind == "rgb":
        return seen, clean
    r, g, b = seen.unbind(1)
    planes = [r[:, ::2, ::2], g[:, ::2, 1::2], g[:, 1::2, ::2], b[:, 1::2, 1::2]]  # RGGB
    return torch.stack(planes, 1), clean


def build(name: str, side: int) -> nn.Module:
    """X-Restormer takes no input under eight windows: on a smaller crop its windows shrink, its weights stay."""
    window = max(side // 8, 2)
    return NETWORKS[name](window_size=window) if name.startswith("xrestormer") and window < 8 else NETWORKS[name]()


def overfit(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Steps, seconds and dB until 45 dB, or as far as the limits let it come."""
    torch.manual_seed(0)
    network: Any = build(name, args.side).to(args.device)
    side = -(-max(args.side, network.minimum) // network.multiple) * network.multiple
    seen, clean = (t.to(args.device) for t in batch(network.kind, side, name in NARROW))
    optimiser = torch.optim.Adam(network.parameters(), args.rate, fused=True)
    share = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda i: min((i + 1) / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * i / args.steps))
    )
    start, best = time.monotonic(), -math.inf
    bar = tqdm(range(args.steps), desc=name, unit="step")
    step = 0
    for step in bar:
        loss = (network(seen) - clean).square().mean()
        psnr = -10 * math.log10(loss.item())
        if not math.isfinite(psnr):
            raise ValueError(f"{name}: the loss is {loss.item()} at step {step}; a lower --rate may help")
        best = max(best, psnr)
        bar.set_postfix_str(f"{psnr:.1f} dB, best {best:.1f}")
        if psnr > PASSED or time.monotonic() - start > args.seconds:
            break
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        share.step()
    bar.close()
    return {
        "input": list(seen.shape),
        "steps": step,
        "seconds": round(time.monotonic() - start, 1),
        "psnr_db": round(best, 2),
    }


def main() -> int:
    found = large()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("networks", nargs="*", help=f"some of {', '.join(found)}; all of them by default")
    parser.add_argument("--side", type=int, default=16, help="of the input, in samples; at least the network's minimum")
    parser.add_argument("--steps", type=int, default=2000, help="at most")
    parser.add_argument("--seconds", type=float, default=1200, help="at most, for each network")
    parser.add_argument("--rate", type=float, default=1e-3, help="the learning rate's peak")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "overfit_large.json")
    args = parser.parse_args()
    if unknown := sorted(set(args.networks) - set(found)):
        parser.error(f"no large network {unknown[0]!r}; expected some of {', '.join(found)}")
    results = {name: {"parameters": found[name], **overfit(name, args)} for name in args.networks or found}
    for name, result in results.items():
        verdict = "learnt" if result["psnr_db"] > PASSED else f"did not reach {PASSED:g} dB"
        print(f"{name:16} {result['psnr_db']:6.2f} dB after {result['steps']} steps, {result['seconds']} s: {verdict}")
    device = torch.cuda.get_device_name(args.device) if args.device.startswith("cuda") else cpu_name()
    ran = {
        "command": as_said("benchmarks.overfit_large"),
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {device}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
    }
    record = json.loads(args.output.read_text()) if args.output.exists() else {}
    record |= {name: {**result, **ran} for name, result in results.items()}
    with whole_file(args.output, overwrite=True) as part:
        part.write_text(json.dumps(dict(sorted(record.items())), indent=1) + "\n")
    return 0 if all(result["psnr_db"] > PASSED for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
