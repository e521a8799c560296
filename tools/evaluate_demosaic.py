"""Demosaicing in the protocol of the papers, as Markdown tables.

    python -m tools.evaluate_demosaic FOLDER            # of the 24 PNG files kodim01.png ... kodim24.png
    python -m tools.evaluate_demosaic FOLDER --images 4 --methods msg,menon2007
    python -m tools.evaluate_demosaic FOLDER --methods none --model models/flat

CPSNR (dB) on the central 500x500, 8-bit, border of 10 left out, mosaic RGGB of the encoded sRGB values, with Gaussian
noise of sigma 0, 5, 10 and 15 of 255: what papers report. Methods see the encoded values as they are. Models are made
for linear light: they see the noisy samples decoded from sRGB, each with the standard deviation that the noise has
there, and what they give is encoded again. Below, the same of X-Trans and Quad-Bayer mosaics of the whole pictures.
What a camera, its noise and a developer make of pictures is tools.evaluate.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from isp.metrics import cpsnr
from isp.raw.cfa import CANONICAL, CFA
from isp.stages.demosaic import LIBRAW, METHODS, default_method, mosaic
from isp.stages.encode import decode, encode

if TYPE_CHECKING:
    from isp.nets.model import Model

SIGMAS = (0, 5, 10, 15)  # of 255
BORDER = 10  # pixels that do not count
RGGB = CFA("RGGB")
OTHER_KINDS = ("x-trans", "quad-bayer")

Demosaic = Callable[[Tensor, float], Tensor]  # mosaic B 1 H W of encoded values and its noise's sigma to B 3 H W


def pictures(folder: Path, count: int = 24) -> Iterable[Tensor]:
    """The Kodak pictures, each 1 3 H W, sRGB in [0, 1]."""
    for number in range(1, count + 1):
        with Image.open(folder / f"kodim{number:02d}.png") as image:
            yield torch.from_numpy(np.array(image.convert("RGB"), np.float32) / 255).permute(2, 0, 1)[None]


def published_protocol(picture: Tensor, method: Demosaic, sigma: float = 0, seed: int = 0) -> float:
    """CPSNR of the central 500x500 from a mosaic of the encoded values with Gaussian noise of sigma / 255."""
    top, left = ((n - 500) // 2 for n in picture.shape[-2:])
    truth = picture[..., top : top + 500, left : left + 500]
    x = mosaic(truth, RGGB)
    x = x + sigma / 255 * torch.from_numpy(np.random.default_rng(seed).standard_normal(x.shape, np.float32))
    return float(cpsnr(method(x, sigma / 255), truth, 1.0, BORDER))


def other_array(picture: Tensor, kind: str) -> float:
    """CPSNR of the whole picture from an X-Trans or Quad-Bayer mosaic of the encoded values, without noise."""
    cfa = CFA(*CANONICAL[kind])
    got = METHODS[default_method(kind)].function(mosaic(picture, cfa), cfa)
    return float(cpsnr(got, picture, 1.0, BORDER))


def as_is(name: str) -> Demosaic:
    """The method itself, on the values as they are. ValueError for one that is no Bayer method."""
    bayer = {key: method for key, method in (METHODS | LIBRAW).items() if "bayer" in method.kinds}
    if name not in bayer:
        raise ValueError(f"method {name!r} is unknown; known: {', '.join(bayer)}")
    return lambda x, sigma: bayer[name].function(x, RGGB)


def on_linear_light(model: Model) -> Demosaic:
    """A model on the decoded samples. Their noise's standard deviation is half the step from one sigma below to one
    above."""
    from isp.nets.inference import develop_mosaic

    def method(x: Tensor, sigma: float) -> Tensor:
        spread = (decode(x + sigma, "srgb") - decode(x - sigma, "srgb")) / 2
        return encode(develop_mosaic(model, decode(x, "srgb"), spread, RGGB), "srgb")

    return method


def table(title: str, columns: list[str], rows: dict[str, list[float]]) -> str:
    lines = [f"| {title} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    return "\n".join(
        lines + [f"| {name} | " + " | ".join(f"{v:.2f}" for v in row) + " |" for name, row in rows.items()]
    )


def main(argv: Sequence[str] | None = None) -> int:
    bayer = [name for name, method in METHODS.items() if "bayer" in method.kinds]
    parser = argparse.ArgumentParser(
        prog="python -m tools.evaluate_demosaic",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="folder of kodim01.png ... kodim24.png")
    parser.add_argument("--images", type=int, default=24, help="how many of them (default: 24)")
    parser.add_argument(
        "--methods", default=",".join([*bayer, "libraw:AHD", "libraw:DHT"]), help="or none; default: %(default)s"
    )
    parser.add_argument("--model", action="append", default=[], help="name, folder or .safetensors; may be repeated")
    arguments = parser.parse_args(argv)
    try:
        print(tables(arguments))
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def tables(arguments: argparse.Namespace) -> str:
    """The Markdown of what is asked for."""
    methods = {name: as_is(name) for name in arguments.methods.split(",") if name != "none"}
    if arguments.model:
        from isp.nets.load import load_model

        methods |= {name: on_linear_light(load_model(name)) for name in arguments.model}
    images = list(pictures(arguments.folder, arguments.images))

    def mean(method: Demosaic, sigma: float, name: str) -> float:
        shown = tqdm(images, desc=f"{name}, sigma {sigma}", leave=False)
        return float(np.mean([published_protocol(image, method, sigma, seed) for seed, image in enumerate(shown)]))

    with torch.inference_mode():
        rows = {name: [mean(method, sigma, name) for sigma in SIGMAS] for name, method in methods.items()}
        text = table("CPSNR, dB", [f"sigma {sigma}" for sigma in SIGMAS], rows)
        if arguments.methods != "none":
            others = {kind: [float(np.mean([other_array(image, kind) for image in images]))] for kind in OTHER_KINDS}
            text += "\n\n" + table("CPSNR, dB", ["sigma 0, whole pictures"], others)
    return text


if __name__ == "__main__":
    sys.exit(main())
