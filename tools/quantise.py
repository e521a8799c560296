"""python -m tools.quantise: a model's network in 8-bit integers, beside its weights."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from isp.nets.model import Model
    from isp.train.data import Batch

EXAMPLES = """\
examples:
  python -m tools.quantise flat --data photos/
  python -m tools.quantise models/mine --data photos/ dead-leaves --crops 48 -Y

Writes model-int8.onnx beside the weights, which `isp.render --model NAME` then takes by itself where the compiled
kernel or OpenVINO runs it (--precision float32: not). Crops of the pictures, held out or not, become noisy mosaics by a
recipe, as for training; some get no noise and some the highest, so that ranges hold for both. What it costs is printed:
PSNR of the linear camera RGB under the model's curve, float32 and int8, on crops that ranges were not taken from.

exit code: 0 written, 2 wrong usage, no model, or a package is missing
"""
SIDE = 192  # pixels of a crop
EXTREMES = ((0.0, 0.0), (3e-2, 1.5e-3))  # S, O of noise beyond which models are not trained
LEAST_NOISE = 1e-5  # variance under the model's curve, of what is as good as none
LEVELS = ((0.0, 0.0), (8e-4, 2e-6), (3.2e-3, 2.5e-5), (1.3e-2, 3.5e-4))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.quantise",
        description="A model's network in 8-bit integers, from what it sees on photographs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", metavar="NAME", help="a shipped model, a folder or a .safetensors file")
    add("--data", nargs="+", required=True, metavar="FOLDER", help="photographs, or dead-leaves")
    add("--recipe", default="wide", metavar="NAME", help="of pairs; default: wide")
    add("--crops", type=int, default=24, metavar="N", help="default: 24")
    add(
        "--keep",
        type=int,
        nargs="*",
        metavar="I",
        help="convolutions that stay float32, by number; default: those that read the input",
    )
    add("-Y", "--overwrite", action="store_true", help="replace a file that exists (refused otherwise)")
    arguments = parser.parse_args(argv)
    try:
        run(arguments)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def run(arguments: argparse.Namespace) -> None:
    import tempfile
    from pathlib import Path

    import torch

    from isp.fast.engine import installed
    from isp.fast.exports import beside, digest_of, stamp
    from isp.fast.integers import obstacle
    from isp.files import whole_file
    from isp.locate import find_model
    from isp.nets.export import export_network, require
    from isp.nets.load import load_model
    from isp.nets.quantise import quantise, ranges_of
    from isp.nets.runtime import open_export

    require("onnx", "onnxscript", "onnxruntime", extra="fast")
    import onnx

    if arguments.crops < 1:
        raise ValueError(f"crops is {arguments.crops}; expected at least 1")
    weights = find_model(arguments.model)
    path, digest, model = beside(weights, "int8"), digest_of(weights), load_model(weights)
    seen, held = crops(arguments.data, arguments.recipe, arguments.crops)
    with torch.inference_mode():
        inputs: list[np.ndarray] = [model.seen(batch.packed, batch.sigma)[0].numpy() for batch in seen]
        noise = [float(model.spread(batch.packed, batch.sigma).square().mean()) for batch in seen]
    counts = [1 / (variance + LEAST_NOISE) for variance in noise]
    with tempfile.TemporaryDirectory() as folder, whole_file(path, arguments.overwrite) as part:
        export = export_network(model, Path(folder, "float32.onnx"), digest)
        quantised = quantise(onnx.load(export.path), inputs, counts, arguments.keep)
        onnx.save(quantised, part)
        stamp(part, digest, export._replace(ranges=ranges_of(quantised, inputs)))
        runtime = "kernel" if obstacle(part) is None else installed()
        assert runtime is not None
        integers = open_export(part, digest, runtime)
        print(f"{'S, O':>16} {'float32':>8} {'int8':>8}  dB, {runtime}")
        for level, batches in held.items():
            figures = [sum(psnr(model, net, batch) for batch in batches) / len(batches) for net in (model, integers)]
            print(f"{'{:g}, {:g}'.format(*level):>16} {figures[0]:8.3f} {figures[1]:8.3f}")
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def crops(data: Sequence[str], recipe: str, number: int) -> tuple[list[Batch], dict[tuple[float, float], list[Batch]]]:
    """Noisy crops to take ranges from, and others, at each of LEVELS, to see the cost on."""
    import torch

    from isp.datasets.recipes import load_recipe
    from isp.datasets.sources import Joined, open_source
    from isp.datasets.synthesis import CameraChoice, make_pair
    from isp.train.data import Batch, renoised

    source, how, camera = Joined([open_source(place) for place in data]), load_recipe(recipe), CameraChoice("random")
    step = max(len(source) // (number + 6), 1)
    pairs = [make_pair(source, how, camera, seed=0, index=i * step, size=SIDE) for i in range(number + 6)]
    seen = [Batch.of(pair, torch.device("cpu")) for pair in pairs[:number]]
    seen += [renoised(pair, *level, seed=i) for i, pair in enumerate(pairs[:number:3]) for level in EXTREMES]
    return seen, {level: [renoised(pair, *level, seed=i) for i, pair in enumerate(pairs[number:])] for level in LEVELS}


def psnr(model: Model, net: object, batch: Batch) -> float:
    """Of one crop, under the cube root of TOE, where errors count as they are seen."""
    import torch

    from isp.stages.demosaic.curve import TOE, encode

    with torch.inference_mode():
        made = net(batch.packed, batch.sigma)  # type: ignore[operator]
    error = encode(made.clamp(0, 1), TOE) - encode(batch.target.clamp(0, 1), TOE)
    return float(-10 * error.square().mean().log10())


if __name__ == "__main__":
    sys.exit(main())
