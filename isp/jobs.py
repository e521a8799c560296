"""What a batch has to do: which raw file becomes which picture, and with which options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from isp.dataclass import dataclass
from isp.options import RenderOptions
from isp.output import FORMATS, depth

# What a folder is searched for, by suffix. A .npy counts where a YAML that describes it stands beside it.
RAW_SUFFIXES = {
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos", ".mrw"),
    *(".nef", ".npy", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
}
DEFAULT_SUFFIX = ".png"
MODEL_OPTIONS = ("model", "strength", "runtime", "precision")
SIDECAR_SUFFIX = ".isp.yaml"  # photo.dng.isp.yaml holds the options of photo.dng


@dataclass(frozen=True)
class Job:
    """One file's way through the command."""

    source: Path
    target: Path
    given: dict[str, Any] = field(default_factory=dict)  # options that the caller states; a sidecar may state more
    bits: int | None = None
    quality: int = 95
    overwrite: bool = False
    device: str = "cpu"
    threads: int | None = None  # of the processor; None leaves that to PyTorch
    dump_stages: Path | None = None
    record: bool = False
    report: Path | None = None  # an HTML page of all stages
    report_region: tuple[int, int, int, int] | None = None  # x, y, width, height whose values it holds
    progress: bool = False  # show how far a model has come with the file


def find_inputs(arguments: Sequence[str]) -> list[Path]:
    """The files that the arguments name, each once, in their order: a file as it is (even if missing), the raw files in
    a folder (not in its subfolders), the raw files that match a glob pattern (`**` reaches into subfolders). A link to
    a file is one of its own: whoever gives it another name waits for a picture of that name.

    Raises ValueError for a folder or a pattern that holds none, and for an empty name.
    """
    found: dict[Path, Path] = {}
    for argument in arguments:
        if not argument:  # Path takes it for the current folder, and it is what a variable of a shell may hold
            raise ValueError("an input's name is empty; . is the current folder")
        path = Path(argument)
        if path.is_dir():
            paths = sorted(p for p in path.iterdir() if _is_raw(p))
        elif not path.exists() and (matching := _matching(argument)) is not None:
            paths = sorted(p for p in map(Path, matching) if _is_raw(p))
        else:
            paths = [path]
        if not paths:
            raise ValueError(f"{argument}: no raw files; looked for {' '.join(sorted(RAW_SUFFIXES))}")
        for p in paths:
            found.setdefault(p.parent.resolve() / p.name, p)
    return list(found.values())


def _matching(pattern: str) -> list[str] | None:
    """The files that match a glob pattern; None where it is none."""
    import glob

    return glob.glob(pattern, recursive=True) if glob.has_magic(pattern) else None


def _is_raw(path: Path) -> bool:
    if path.suffix.lower() not in RAW_SUFFIXES or not path.is_file():
        return False
    if path.suffix.lower() != ".npy":
        return True
    from isp.raw.headerless import find_sidecar

    return find_sidecar(path) is not None


def find_target(source: Path, out: str | None, suffix: str = DEFAULT_SUFFIX) -> Path:
    """Where the picture of `source` goes.

    out: None or a suffix (".jpg"): beside the source; a folder (one that exists, or a name that ends in / or has no
    suffix): into it; a name with * in it: * becomes the source's name without suffix; else the file itself. suffix:
    where `out` states none. Raises ValueError for a place that is none.
    """
    if out is None or out.lower() in (*FORMATS, suffix):
        return source.with_suffix(out or suffix)
    if not out:
        raise ValueError("the output's name is empty; . is the current folder")
    path = Path(out)
    if out.endswith("/") or path.is_dir() or not path.suffix:
        if path.exists() and not path.is_dir():
            raise ValueError(f"{out} is no folder; expected one, or the name of a file with a suffix")
        return path / f"{source.stem}{suffix}"
    return path.with_name(path.name.replace("*", source.stem))


def plan(inputs: Sequence[Path], out: str | None, bits: int | None, dumps: bool) -> list[tuple[Path, Path]]:
    """Source and target of each input.

    Raises ValueError where two files would be written to the same place, one onto a raw file, or to a format that is
    unknown or does not hold so many bits; for stage dumps too, which go by the input's name alone.
    """
    pairs = [(source, find_target(source, out)) for source in inputs]
    taken: dict[Path, Path] = {}
    sources = {source.resolve() for source in inputs}
    for source, target in pairs:
        depth(target, bits)
        if target.resolve() in sources:
            raise ValueError(f"{target} is an input; choose another output with -o")
        if (other := taken.setdefault(target.resolve(), source)) is not source:
            hint = "a folder (-o out/) or a pattern (-o 'out/*.jpg')" if other.stem != source.stem else "another folder"
            raise ValueError(f"{other} and {source} would both be written to {target}; give them {hint}")
    stems: dict[str, Path] = {}
    for source in inputs if dumps else ():
        if (other := stems.setdefault(source.stem, source)) is not source:
            raise ValueError(f"the stages of {other} and {source} would be dumped under the same names")
    return pairs


def plan_reports(inputs: Sequence[Path], out: str) -> list[Path]:
    """Where the report of each input goes: a file, a folder or a pattern, as for pictures. Raises ValueError for what
    is no .html, and where two reports would be written to the same place."""
    reports = [find_target(source, out, ".html") for source in inputs]
    taken: dict[Path, Path] = {}
    for source, report in zip(inputs, reports, strict=True):
        if report.suffix.lower() != ".html":
            raise ValueError(f"{report}: a report is a page; give a name that ends in .html, or a folder")
        if (other := taken.setdefault(report.resolve(), source)) is not source:
            raise ValueError(f"the reports of {other} and {source} would both be written to {report}")
    return reports


def resolve_options(job: Job) -> tuple[RenderOptions, dict[str, str]]:
    """The options of a job: what is given, completed by the file's sidecar, completed by the defaults; and the origin
    of each that is no default. `linear` follows from what the target holds.

    Raises ValueError, which names the sidecar, for what is no option or no value of one.
    """
    sidecar = job.source.with_name(job.source.name + SIDECAR_SUFFIX)
    stated = _read_sidecar(sidecar) if sidecar.exists() else {}
    if "wb" in job.given:  # a temperature would take the place of the white balance
        stated = {name: value for name, value in stated.items() if name not in ("temperature", "tint")}
    if job.given.get("model") is not None:  # and so would a model, and a demosaic
        stated = {name: value for name, value in stated.items() if name != "demosaic"}
    if "demosaic" in job.given:
        stated = {name: value for name, value in stated.items() if name not in MODEL_OPTIONS}
    default = {} if "demosaic" in {**stated, **job.given} else {"model": "auto"}
    values = {**default, **stated, **job.given, "linear": depth(job.target, job.bits)[1]}
    options = RenderOptions.from_dict(values, sidecar.name if stated else "options")
    origins = dict.fromkeys(stated, f"sidecar {sidecar.name}") | dict.fromkeys(job.given, "user")
    return options, {**origins, "linear": f"what {job.target.suffix} holds"}


def _read_sidecar(path: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path.name}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is not valid YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"{path.name} holds {type(values).__name__}; expected `option: value` lines")
    if "linear" in values:
        raise ValueError(f"{path.name}: linear follows from the output: .exr and -b 32 .tif are, the others are not")
    return values
