"""python -m tools.train: train a network by a recipe."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

EXAMPLES = """\
examples:
  python -m tools.train models/flat/recipe.yaml data.sources=[photos/]
  python -m tools.train models/flat/recipe.yaml data.sources=[photos/,dead-leaves] phases.0.batch=8 seed=1 -o out/seed1
  python -m tools.train models/mialgo-stage1/recipe.yaml data.store=pairs/ shorten=1000          a look at a long recipe
  torchrun --nproc-per-node 8 -m tools.train models/mialgo-stage1/recipe.yaml data.sources=[photos/]

The same command goes on from the checkpoint of a run that was interrupted, however that happened, and ends with the
same weights. SIGTERM and Ctrl-C write a checkpoint first. The run's folder takes config.yaml, run.json, log.jsonl,
report.html (anew at each validation), samples/, tensorboard/ (where tensorboard is installed), checkpoint.pt and, in
the end, model/.

exit code: 0 done, or stopped by SIGTERM after a checkpoint; 1 a loss was not finite; 2 wrong usage; 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.train",
        description="Train a network by a recipe: stage 1, a GAN stage, or distillation, as the recipe says.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("recipe", type=Path, metavar="RECIPE.yaml")
    add(
        "overrides",
        nargs="*",
        metavar="key.sub=value",
        help="in place of the recipe's values; a list's items by number",
    )
    add("-o", "--output", type=Path, metavar="DIR", help="the run's folder; default: out/NAME")
    add("--quiet", action="store_true", help="no progress")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    arguments = build_parser().parse_intermixed_args(argv)
    try:
        return train(arguments.recipe, arguments.overrides, arguments.output, not arguments.quiet)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def train(recipe: Path, overrides: Sequence[str], output: Path | None, progress: bool) -> int:
    """Run a recipe to its end, or to a signal; the exit code."""
    from isp.train.config import TrainConfig
    from isp.train.engine import Engine, NotFiniteError
    from isp.train.group import processes
    from isp.train.loops import loop_of
    from isp.train.teaching import prepare

    config = TrainConfig.load(recipe, overrides)
    folder = output or Path("out") / config.name
    with processes(config.device) as group:
        prepare(config, group, progress)
        engine = Engine(config, folder, group, progress=progress)
        try:
            loop_of(config)(engine)
        except NotFiniteError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        if engine.stopped:
            if group.rank == 0:
                print(f"stopped at step {engine.step}; the same command goes on from there", file=sys.stderr)
            return 0 if engine.stopped == signal.SIGTERM else 130
        if group.rank == 0:
            print(engine.finish())
    return 0


def leave(code: int) -> NoReturn:
    """End the process; under torchrun at once, for gloo's threads may outlive the group and abort the interpreter's own
    way out."""
    if "WORLD_SIZE" in os.environ:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    leave(main())
