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
  python -m tools.export flat --network     its network alone, as model.onnx beside the weights, for isp.render

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
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--onnx", type=Path, metavar="OUT.onnx", help="the whole model, curve and demosaic included")
    target.add_argument(
        "--network", action="store_true", help="the network alone, beside the weights: renders then need no PyTorch"
    )
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
        if arguments.network and arguments.fp16:
            raise ValueError("--fp16 goes with --onnx")
        return export(arguments.model, arguments.onnx, arguments.fp16, arguments.tolerance, arguments.overwrite)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def export(source: str, path: Path | None, half: bool, tolerance: float | None, overwrite: bool) -> int:
    """path: of the whole model; None for the network alone, beside the weights."""
    from isp.fast.engine import PACKAGES
    from isp.fast.exports import beside, digest_of
    from isp.files import whole_file
    from isp.locate import find_model
    from isp.nets.export import TOLERANCE, TOLERANCE_HALF, Whole, difference, export_network, export_onnx
    from isp.nets.load import load_model
    from isp.nets.runtime import open_export

    if tolerance is None:
        tolerance = TOLERANCE_HALF if half else TOLERANCE
    if not tolerance > 0:
        raise ValueError(f"tolerance is {tolerance:g}; expected a number above 0")
    weights = find_model(source)
    model, digest = load_model(weights), digest_of(weights)
    alone, path = path is None, path or beside(weights, "float32")
    wrong = False
    try:
        with whole_file(path, overwrite) as part:
            if alone:
                export_network(model, part, digest, overwrite=True)
            else:
                export_onnx(model, part, half=half, overwrite=True)
            for runtime, package in PACKAGES.items():
                if find_spec(package) is None:
                    print(f"{package}: not installed, not checked")
                    continue
                error = difference(model, open_export(part, digest, runtime) if alone else Whole(part, runtime))
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
