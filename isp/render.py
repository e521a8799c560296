"""python -m isp.render: raw files to pictures."""

from __future__ import annotations

if __name__ in ("__main__", "__mp_main__"):  # a process of our own
    import gc

    gc.disable()  # imports make no garbage; until startup.finish

    from isp import startup

    startup.begin()

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from isp import __version__, ahead
from isp.options import (
    DEFAULT_MODEL,
    DEMOSAICS,
    HIGHLIGHTS,
    LOOKS,
    PRECISIONS,
    RUNTIMES,
    SPACES,
    WHITE_BALANCES,
    RenderOptions,
)

if TYPE_CHECKING:
    from isp.batch import Outcome
    from isp.jobs import Job

EXAMPLES = """\
examples:
  python -m isp.render photo.dng                            writes photo.png beside it
  python -m isp.render photo.dng -o photo.tif -b 16 --space prophoto
  python -m isp.render photo.dng -o photo.exr               scene-linear, unclipped
  python -m isp.render photos/ 'more/**/*.nef' -o out/ --workers 4
  python -m isp.render photos/ -o 'out/*.jpg' --quality 92 --look neutral --exposure 0.5
  python -m isp.render photo.dng --model flat --strength 0.7
  python -m isp.render photo.dng --report photo.html        every stage to look into, in a browser
  python -m isp.render photo.dng --dump-config > photo.dng.isp.yaml

formats, by the suffix of OUT: .png (8, 16 bits), .tif .tiff (8, 16, 32), .jpg .jpeg (8), .avif (8), .exr (32, 16).
.exr and 32-bit .tif hold scene-linear float values, without look, tone curve, clipping or encoding. Options for
photo.dng may stand in photo.dng.isp.yaml (look: neutral, exposure: 0.5, ...); the command line wins over them.

exit code: 0 all done, 1 some files failed (the others are written), 2 wrong usage, 130 interrupted
"""
# what the command line says beside RenderOptions
NOT_OPTIONS = {
    *("inputs", "output", "overwrite", "bits", "quality", "threads", "workers", "device"),
    *("dump_stages", "dump_config", "record", "report", "report_region", "debug"),
}

GO_WITH = ("strength", "runtime", "precision", "tint")  # another option, which may stand in a sidecar


def build_parser() -> argparse.ArgumentParser:
    """The command line; render options that are not given stay absent from the result."""
    parser = argparse.ArgumentParser(
        prog="python -m isp.render",
        usage="%(prog)s IN... [-o OUT] [options]   (--help lists them)",
        description="Render raw files (DNG, and whatever LibRaw reads) to pictures with ICC profile and EXIF.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("inputs", nargs="+", metavar="IN", help="raw file, folder (not its subfolders) or glob pattern in quotes")
    add(
        "-o",
        "--output",
        metavar="OUT",
        help="file, folder, suffix (.jpg) or pattern ('out/*.tif'); default: .png beside IN",
    )
    add("-Y", "--overwrite", action="store_true", help="replace pictures that exist (refused otherwise)")
    add("-b", "--bits", type=int, choices=(8, 16, 32), help="bits per sample; default: 8, TIFF 16, EXR 32")
    add("--quality", type=_between(1, 100), default=95, metavar="Q", help="1 to 100, for JPEG and AVIF; default: 95")
    add(
        "-t",
        "--threads",
        type=_between(1, 1024),
        metavar="N",
        help="processor threads per picture; default: all, or a share of them",
    )
    add(
        "--workers",
        type=_between(1, 256),
        default=1,
        metavar="N",
        help="pictures rendered at once, in processes of their own; default: 1",
    )
    add("--device", default="cpu", metavar="D", help="cpu (default), cuda or cuda:N")

    group = parser.add_argument_group("rendering", argument_default=argparse.SUPPRESS)
    add = group.add_argument
    add(
        "--look",
        choices=LOOKS,
        help="standard (default): the file's own look table and tone curve, or else a filmic curve; "
        "neutral: the DNG specification's linear rendering",
    )
    add(
        "--demosaic",
        metavar="NAME",
        help="in the place of a model: auto (the best for the sensor), a method's name (an unknown one lists them), or "
        "libraw:AHD and the like",
    )
    add(
        "--model",
        metavar="NAME",
        help="a network in place of the demosaic: a shipped one, a folder or a .safetensors; default: auto, which is "
        f"{DEFAULT_MODEL} for Bayer files whose noise is known (NoiseProfile, or a profile of the camera)",
    )
    add("--strength", type=float, metavar="S", help="with --model: times the noise that it is told; default: 1")
    add("--runtime", choices=RUNTIMES, help="with --model: what runs it; default: auto, the fastest there is")
    add(
        "--precision",
        choices=PRECISIONS,
        help="with --model: default: auto, the fastest: int8 where the model has it, else bfloat16 where the processor "
        "has that",
    )
    white = group.add_mutually_exclusive_group()
    white.add_argument(
        "--wb",
        default=argparse.SUPPRESS,
        metavar="WB",
        help=f"{', '.join(WHITE_BALANCES)}, or gains R,G,B; default: as-shot",
    )
    white.add_argument(
        "--temperature", default=argparse.SUPPRESS, type=float, metavar="K", help="white balance in kelvin"
    )
    add("--tint", type=float, metavar="T", help="with --temperature: makes the picture greener (-) or more magenta (+)")
    add("--exposure", type=float, metavar="EV", help="stops, added to what the file asks for")
    add(
        "--highlights",
        choices=HIGHLIGHTS,
        help="default: auto (clip for the neutral look, reconstruct for the standard one)",
    )
    add("--space", choices=SPACES, help="colour space of the output; default: srgb")
    add("--fix-defects", action=argparse.BooleanOptionalAction, help="find and mend hot and dead pixels")

    group = parser.add_argument_group("inspection")
    add = group.add_argument
    add("--dump-stages", type=Path, metavar="DIR", help="write each stage's result to DIR as NAME.03-demosaic.exr")
    add("--report", metavar="HTML", help="write a page of all stages, to look into: file, folder or pattern")
    add(
        "--report-region",
        type=_region,
        metavar="X,Y,W,H",
        help="of the picture, in pixels: what the report holds all values of; default: its middle",
    )
    add("--dump-config", action="store_true", help="print each file's resolved options as YAML and render nothing")
    add("--record", action="store_true", help="write OUT.json: options, parameters and their origins, versions, hashes")
    add("--debug", action="store_true", help="show the traceback of a failure")
    add("--version", action="version", version=f"isp {__version__}")
    return parser


def _between(least: int, most: int) -> Any:
    def whole(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return whole


def _region(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if len(parts) != 4 or not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not x,y,width,height in whole pixels")
    return tuple(map(int, parts))


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, load, call, save; returns the exit code."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        if __name__ == "__main__":
            if arguments.workers == 1:
                ahead.begin(Path(arguments.inputs[0]))
            startup.finish()
        try:
            jobs = _jobs(arguments)
        except OSError as error:  # a name that is too long, a folder that may not be read
            parser.error(f"{error.strerror}: {error.filename}")
        except (ValueError, RuntimeError) as error:  # RuntimeError: Python 3.12 and before, of links in a circle
            parser.error(" ".join(str(error).split()))
        if not arguments.dump_config:
            return _render(jobs, arguments.workers, arguments.debug)
        try:
            return _print_options(jobs)
        except OSError as error:
            print(f"standard output: error: {error.strerror}", file=sys.stderr)
            return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _jobs(arguments: argparse.Namespace) -> list[Job]:
    """What there is to do. Raises ValueError for all that can be known to be wrong before the work starts."""
    from isp.jobs import SIDECAR_SUFFIX, Job, find_inputs, plan, plan_reports

    given = {name: value for name, value in vars(arguments).items() if name not in NOT_OPTIONS}
    inputs = find_inputs(arguments.inputs)
    complete = not any(source.with_name(source.name + SIDECAR_SUFFIX).is_file() for source in inputs)
    # what goes with another option may have that one in a sidecar, and is then checked with it, file by file
    alone = {name: value for name, value in given.items() if complete or name not in GO_WITH}
    alone = alone if "demosaic" in alone else {"model": "auto", **alone}
    RenderOptions.from_dict(alone, "command line")
    if (name := given.get("demosaic", "auto")) not in ("auto", *DEMOSAICS):
        from isp.stages.demosaic import LIBRAW

        if name not in LIBRAW:
            raise ValueError(f"demosaic is {name!r}; expected one of {', '.join(('auto', *DEMOSAICS, *LIBRAW))}")
    if given.get("model") not in (None, "auto"):
        from isp.locate import find_model

        find_model(given["model"])
    if arguments.device != "cpu":
        import torch

        if not (arguments.device.split(":")[0] == "cuda" and torch.cuda.is_available()):
            raise ValueError(f"device {arguments.device!r} is not there; expected cpu, or cuda where PyTorch finds it")
    pairs = plan(inputs, arguments.output, arguments.bits, dumps=bool(arguments.dump_stages))
    if arguments.report_region and not arguments.report:
        raise ValueError("--report-region goes with --report, and there is none")
    reports = plan_reports(inputs, arguments.report) if arguments.report else [None] * len(inputs)
    names = ("bits", "quality", "overwrite", "device", "dump_stages", "record", "report_region")
    common = {name: getattr(arguments, name) for name in names}
    threads = arguments.threads or (_share_of_processors(arguments.workers) if arguments.workers > 1 else None)
    progress = arguments.workers == 1
    return [
        Job(source, target, given, threads=threads, progress=progress, report=report, **common)
        for (source, target), report in zip(pairs, reports, strict=True)
    ]


def _share_of_processors(workers: int) -> int:
    from isp.threads import processors

    return max(processors() // workers, 1)


def _print_options(jobs: Sequence[Job]) -> int:
    """Each file's options as YAML that a sidecar may hold; the file's name is a comment."""
    from dataclasses import asdict

    import yaml

    from isp.jobs import resolve_options

    failed = 0
    for number, job in enumerate(jobs):
        try:
            options = asdict(resolve_options(job)[0])
        except ValueError as error:
            failed += 1
            print(f"{job.source}: error: {error}", file=sys.stderr)
            continue
        del options["linear"]  # follows from the output
        print(("---\n" if number else "") + f"# {job.source}\n" + yaml.safe_dump(options, sort_keys=False), end="")
    sys.stdout.flush()
    return 1 if failed else 0


def _render(jobs: Sequence[Job], workers: int, debug: bool) -> int:
    """Do the jobs and tell on stderr what went wrong, a line each."""
    from isp.batch import run

    failed = 0
    outcomes: Iterable[Outcome] = run(jobs, min(workers, len(jobs)))
    write: Callable[..., None] = print
    if len(jobs) > 1:
        from tqdm import tqdm

        outcomes, write = tqdm(outcomes, total=len(jobs), unit="file", disable=None), tqdm.write
    for outcome in outcomes:
        for line in _lines(outcome, debug):
            write(line, file=sys.stderr)
        failed += outcome.error is not None
    if failed and len(jobs) > 1:
        print(f"{failed} of {len(jobs)} files failed", file=sys.stderr)
    return 1 if failed else 0


def _lines(outcome: Outcome, debug: bool) -> list[str]:
    name = " ".join(str(outcome.job.source).splitlines())
    lines = [f"{name}: warning: {text}" for text in outcome.warnings]
    if outcome.error is not None:
        lines += [outcome.traceback.rstrip()] if debug and outcome.traceback else []
        lines.append(f"{name}: error: {outcome.error}")
    return lines


class _CallableModule(ModuleType):
    """Importing this module sets `isp.render` to it, where the function of that name was: calling either renders."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from isp.pipeline import render

        return render(*args, **kwargs)


if __name__ in ("__main__", "__mp_main__"):  # in processes of our own
    # OpenVINO's converter of other formats takes longer to import than all the rest of it, which does without
    sys.modules["openvino.tools.ovc"] = None  # type: ignore[assignment]

if __name__ == "__mp_main__":
    startup.finish()

if __name__ == "__main__":
    code = main()
    if code in (0, 1) and sys.modules["__main__"].__dict__ is globals():  # a process of our own, which was not stopped
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # a pipe that nobody reads; nothing is left in them that was not told
                stream.flush()
        os._exit(code)  # all is written; OpenVINO takes 0.04 s to be taken down
    sys.exit(code)
else:
    sys.modules[__name__].__class__ = _CallableModule
