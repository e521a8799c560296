"""python -m tools.distill: train a student to give what a teacher gives."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = """\
examples:
  python -m tools.distill flat models/tiny/recipe.yaml data.sources=[photos/]
  python -m tools.distill out/teacher/model models/tiny/recipe.yaml data.sources=[photos/] teacher.truth=0.5
  python -m tools.distill flat models/tiny/recipe.yaml data.store=pairs/ --cache out/flat-on-pairs.h5
  torchrun --nproc-per-node 8 -m tools.distill flat models/tiny/recipe.yaml data.sources=[photos/]

STUDENT.yaml is any recipe of tools.train without `gan`; its losses hold between student and teacher (teacher.weight, 1
unless told) and between student and truth (teacher.truth). Features: teacher.features=0.1
teacher.layers=[[body.3,body.1]], names of modules in the two networks. Everything else is as in tools.train.

exit code: as tools.train
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.distill",
        description="Train a student by a recipe, against the truth and against a trained teacher.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("teacher", metavar="TEACHER", help="a trained model: a shipped name, a folder or a .safetensors file")
    add("student", type=Path, metavar="STUDENT.yaml")
    add("overrides", nargs="*", metavar="key.sub=value", help="in place of the recipe's values")
    add("-o", "--output", type=Path, metavar="DIR", help="the run's folder; default: out/NAME")
    add("--cache", metavar="FILE.h5", help="compute the teacher's outputs for all pairs of data.store once, into this")
    add("--quiet", action="store_true", help="no progress")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    from tools.train import train

    arguments = build_parser().parse_intermixed_args(argv)
    overrides = [*arguments.overrides, f"teacher.model={arguments.teacher}"]
    if arguments.cache:
        overrides.append(f"teacher.cache={arguments.cache}")
    try:
        return train(arguments.student, overrides, arguments.output, not arguments.quiet)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    from tools.train import leave

    leave(main())
