"""python -m tools.export: write a model as an ONNX file, and check the file against PyTorch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

EXAMPLES = """\
examples:
  python -m tools.export flat --onnx flat.onnx
  python -m tools.export models/mine --onnx mine.onnx --fp16
  python -m tools.export mine.safetensors --onnx mine.onnx -Y --tolerance 1e-5

The file takes packed (batch 4 h w: R, G, G, B of each 2x2, white-balanced, linear, black 0, white 1) and sigma (batch
4 h w: the standard deviation of each sample's noise) and gives rgb (batch 3 2h 2w: camera RGB, linear, white-balanced),
all float32; h and w are multiples of what its metadata says under "sizes". After it is written it is compared with
PyTorch at sizes of its own in onnxruntime and OpenVINO, whichever is installed, and removed where they disagree.

exit code: 0 written and checked, 1 the file disagrees with PyTorch, 2 wrong usage, no model, or a package is missing
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.export",
        description="Write a model as an ONNX file, and check the file against PyTorch.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", metavar="NAME", help="a shipped model, a folder or a .safetensors file")
    add("--onnx", type=Path, required=True, metavar="OUT.onnx")
    add("--fp16", action="store_true", help="weights and arithmetic of the network in float16")
    add(
        "--tolerance",
        type=float,
        metavar="T",
        help="largest difference from PyTorch, times the largest value where that is above 1; "
        "default: 1e-4, with --fp16 2e-2",
    )
    add("-Y", "--overwrite", action="store_true", help="replace a file that exists (refused otherwise)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    arguments = build_parser().parse_args(argv)
    try:
        return export(arguments.model, arguments.onnx, arguments.fp16, arguments.tolerance, arguments.overwrite)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def export(source: str, path: Path, half: bool, tolerance: float | None, overwrite: bool) -> int:
    from isp.files import whole_file
    from isp.nets.export import TOLERANCE, TOLERANCE_HALF, difference, export_onnx
    from isp.nets.load import load_model
    from isp.nets.runtime import PACKAGES, Runtime, open_onnx

    if tolerance is None:
        tolerance = TOLERANCE_HALF if half else TOLERANCE
    if not tolerance > 0:
        raise ValueError(f"tolerance is {tolerance:g}; expected a number above 0")
    model = load_model(source)
    wrong = False
    try:
        with whole_file(path, overwrite) as part:
            export_onnx(model, part, half=half, overwrite=True)
            for runtime, package in PACKAGES.items():
                if find_spec(package) is None:
                    print(f"{package}: not installed, not checked")
                    continue
                run = Runtime(open_onnx(part, runtime), model.config, model.multiple, model.minimum, model.reach)
                error = difference(model, run)
                fits = error <= tolerance
                wrong |= not fits
                print(f"{package}: {error:.1e} from PyTorch, {'at most' if fits else 'above'} {tolerance:g}")
            if wrong:
                raise DisagreesError
    except DisagreesError:
        print(f"error: {path} is not written: it does not give what PyTorch gives", file=sys.stderr)
        return 1
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return 0


class DisagreesError(Exception):
    """Ends the writing of a file that is wrong."""


if __name__ == "__main__":
    sys.exit(main())
