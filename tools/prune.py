"""python -m tools.prune: a model without the units of its network that rest, or with fewer units, planes and layers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLES = """\
examples:
  python -m tools.prune models/mine --data photos/ -o models/mine-pruned
  python -m tools.prune models/mine --data photos/ --units 16 32 20 0 32 32 -o models/narrow     a start for a recipe
  python -m tools.prune models/mine --data photos/ --widths 32 32 16 -o models/narrow            and this is one
  python -m tools.prune models/mine --data photos/ --join -o models/joined                       and this
  python -m tools.prune pyramid-large --data photos/ dead-leaves --batches 400 -o models/pyramid-large -Y

Training leaves some ReLUs at 0 for good (`idle` in a run's log). Those that are 0 for all of the noisy windows that a
recipe makes of the pictures are left out: on such pictures the model computes what it did, in less time. Too few
batches leave out units that are wanted; of pyramids with plain ReLUs. --units leaves fewer, or with 0 no block at all;
--widths mixes the planes that go from block to block, so that few hold most of what is made of them, and leaves all
units; --join lets the first and the last block do what the convolutions before and behind them did. All three cost
quality: a start for more training. Exports beside the weights belong to them: make them anew
(tools.export, tools.quantise).

exit code: 0 written, 2 wrong usage, no such model, or a folder that exists
"""
BATCH, SIDE = 8, 96  # pairs, and packed sites of their side


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.prune",
        description="A model without the units of its network that rest, or with fewer units, planes and layers.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", metavar="NAME", help="a shipped model, a folder or a .safetensors file")
    add("--data", nargs="+", required=True, metavar="FOLDER", help="photographs, or dead-leaves")
    add("--recipe", default="wide", metavar="NAME", help="of pairs; default: wide")
    add("--batches", type=int, default=200, metavar="N", help=f"of {BATCH} windows; default: 200")
    add(
        "--units",
        type=int,
        nargs="+",
        metavar="N",
        help="of each block, those that add most; 0: no such block; default: all that are on",
    )
    add("--widths", type=int, nargs="+", metavar="N", help="planes of each level; default: all")
    add("--join", action="store_true", help="without convolutions before the first block and behind the last")
    add("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the model goes")
    add("-Y", "--overwrite", action="store_true", help="replace a model that is there (refused otherwise)")
    arguments = parser.parse_args(argv)
    try:
        run(arguments)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def run(arguments: argparse.Namespace) -> None:
    from itertools import islice

    import torch
    from tqdm import tqdm

    from isp.datasets.recipes import load_recipe
    from isp.datasets.sources import Joined, open_source
    from isp.datasets.synthesis import CameraChoice, PairStream
    from isp.locate import WEIGHTS, find_model
    from isp.nets.join import join, refuse_ends
    from isp.nets.load import load_model, read_header, save_model
    from isp.nets.narrow import narrow, refuse_widths
    from isp.nets.prune import prune
    from isp.train.data import Batch

    if arguments.batches < 1:
        raise ValueError(f"batches is {arguments.batches}; expected at least 1")
    weights = find_model(arguments.model)
    if (arguments.output / WEIGHTS).exists() and not arguments.overwrite:
        raise FileExistsError(f"{arguments.output / WEIGHTS} exists; -Y overwrites it")
    model, header = load_model(weights), read_header(weights)
    if arguments.widths:
        refuse_widths(model, arguments.widths)
    if arguments.join:
        refuse_ends(model)
    source = Joined([open_source(place) for place in arguments.data])
    stream = PairStream(source, load_recipe(arguments.recipe), CameraChoice("random"), batch=BATCH, size=SIDE)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        pairs = tqdm(islice(stream, arguments.batches), total=arguments.batches, unit="batch", disable=None)
        return ((one.packed, one.sigma) for one in (Batch.of(pair, torch.device("cpu")) for pair in pairs))

    smaller = model
    if arguments.units or not (arguments.widths or arguments.join):
        smaller = prune(smaller, batches(), arguments.units)
    if arguments.widths:
        smaller = narrow(smaller, batches(), arguments.widths)
    if arguments.join:
        smaller = join(smaller, batches())
    metadata = {name: text for name, text in header.items() if name not in ("config", "mosaic", "target", "version")}
    half = _stored_as_half(weights)
    save_model(arguments.output, smaller, metadata=metadata, half=half, overwrite=arguments.overwrite)
    before, after = (sum(x.numel() for x in net.parameters()) for net in (model, smaller))
    print(f"{arguments.output}: {after / 1e6:.3f} M parameters, were {before / 1e6:.3f} M")
    for export in sorted(arguments.output.glob("*.onnx")):
        print(f"{export} belongs to the weights that were there; make it anew")


def _stored_as_half(weights: Path) -> bool:
    from safetensors import safe_open

    with safe_open(weights, "pt") as file:
        return all(file.get_slice(name).get_dtype() == "F16" for name in file.keys())  # noqa: SIM118 - no mapping


if __name__ == "__main__":
    sys.exit(main())
