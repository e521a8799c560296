"""python -m tools.evaluate: pictures through simulated cameras and raw developers, against the truth."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad
from tqdm import tqdm

from isp import developers
from isp.cameras import load_camera
from isp.datasets.sources import ImageFolder, read_picture
from isp.developers import PROGRAMS
from isp.files import whole_file
from isp.metrics import (
    RAIM_2025_RECONSTRUCTED,
    RAIM_2026,
    ciede2000,
    dists,
    lpips,
    niqe,
    psnr,
    raim_score,
    ssim,
)
from isp.metrics.raim import Part
from isp.options import RenderOptions
from isp.parameters import RenderParameters, resolve
from isp.pipeline import camera_stages, display_stages, render, run, sensor_stages, unprocess
from isp.primaries import D65
from isp.raw import RawImage, write_dng
from isp.raw.cfa import CANONICAL, CFA
from isp.stages.demosaic import LIBRAW, METHODS
from isp.stages.demosaic.libraw import NAMES
from isp.stages.network import demosaic_by_network
from tools.make_pairs import executor, whole

if TYPE_CHECKING:
    from isp.nets.model import Model
    from isp.nets.runtime import Runtime

EXAMPLES = """\
The truth, sRGB, becomes the linear mosaic of a camera at D65; noise is added (variance = S x + O, black 0 and white 1)
and the counts rounded; every developer makes an sRGB picture of the same frame, which is rounded to 8 bits. Metrics are
of encoded sRGB over the whole picture, and the mean over the pictures.

developers:
  auto, msg, libraw:AHD ...        the neutral render of this library, with that demosaic
  msg-linear ...                   the same, interpolated on linear light instead of under the curve
  libraw-AHD, libraw-DHT+FBDD ...  LibRaw's own postprocess of the DNG, +FBDD with its noise reduction (full)
  rawtherapee, darktable           their command lines, neutral, where installed

levels, separated by commas:
  reference          S:O of 0:0, 8e-4:2e-6, 3.2e-3:2.5e-5 and 1.3e-2:3.5e-4
  3.2e-3:2.5e-5      these figures, for every camera
  iso1600            what the camera's noise profile says (or --noise PROFILE, for every camera)

examples:
  python -m tools.evaluate kodak/ --model models/flat --every 3           a look while training
  python -m tools.evaluate kodak/ --model flat --model models/flat/model-int8.onnx    what 8 bits cost
  python -m tools.evaluate kodak/ --model flat --model tiny --developers all -o report/ --crops
  python -m tools.evaluate kodak/ --cameras nikon-d850,canon-eos-r5 --phases RGGB,GBRG --levels iso100,iso6400 \\
      --noise imx586 --model flat --jobs 8

exit code: 0 done, 2 wrong usage, 130 interrupted
"""
REFERENCE = "0:0,8e-4:2e-6,3.2e-3:2.5e-5,1.3e-2:3.5e-4"
PROTOCOL = (
    "Of encoded sRGB rounded to 8 bits, no border left out (but the 4 pixels that RawTherapee cuts), mean over the "
    "pictures. Noise S:O with variance S x + O, black 0 and white 1."
)
SIDE, GAP, CAPTION = 160, 2, 14  # pixels of a crop, between two of them, and of its caption
SHEETS = 12  # pictures whose crops are in the page, some 300 kB each
DEFAULT = "msg,menon2007,libraw-DHT,libraw-AHD+FBDD"


# --- the camera ------------------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """One square of the grid."""

    camera: str  # a name or path of isp.cameras.load_camera
    phase: str  # the 2x2 of a Bayer array, "x-trans" or "quad-bayer"
    level: str  # as in --levels, one
    noise: str | None = None  # profile of the ISO levels; None: the camera's

    def __str__(self) -> str:
        return f"{self.camera}, {self.phase}, {self.level}"


def array(phase: str) -> CFA:
    """The array of a phase's name; ValueError for an unknown one."""
    return CFA(*CANONICAL[phase]) if phase in ("x-trans", "quad-bayer") else CFA(phase)


def noise_of(cell: Cell) -> np.ndarray:
    """NoiseProfile of a cell, planes 2; ValueError for a level that cannot be read or that nobody knows."""
    if cell.level.startswith("iso"):
        try:
            iso = float(cell.level[3:])
        except ValueError:
            raise ValueError(f"level is {cell.level!r}; expected iso and a number, as iso1600") from None
        camera = load_camera(cell.camera)
        profile = replace(camera, noise=cell.noise or camera.noise).metadata(2, 2, iso=iso).noise_profile
        if profile is None:
            raise ValueError(f"nothing is known of the noise of {cell.camera} at ISO {iso:g}; give --noise PROFILE")
        return profile
    try:
        shot, read = (float(part) for part in cell.level.split(":"))
    except ValueError:
        raise ValueError(f"level is {cell.level!r}; expected reference, S:O as 8e-4:2e-6, or iso1600") from None
    if not (0 <= shot < 1 and 0 <= read < 1):
        raise ValueError(f"level is {cell.level!r}; expected variances per white level, from 0 to below 1")
    return np.array([[shot, read]])


def simulate(picture: Tensor, cell: Cell, seed: int = 0) -> RawImage:
    """The frame of a camera that saw this picture, 1 3 H W, sRGB in [0, 1], at D65: whole counts, with NoiseProfile.

    The noise is Gaussian, of the standard deviation sqrt(S x + O) of the clean mosaic x, before rounding. The camera
    has no ForwardMatrix, which LibRaw ignores: so that all developers mean the same colours.
    """
    from isp.noise import from_dng_noise_profile
    from isp.noise.gaussian import noise_std
    from isp.stages.normalise import denormalise

    cfa, profile = array(cell.phase), noise_of(cell)
    frame = load_camera(cell.camera).metadata(*picture.shape[-2:], white_xy=D65, cfa=cfa)
    meta = replace(frame, forward_matrix1=None, forward_matrix2=None, forward_matrix3=None, noise_profile=profile)
    seen = unprocess(picture, meta, RenderOptions(look="neutral"), to="normalise")
    shot, read = (period_map(values, cfa, seen) for values in from_dng_noise_profile(profile, cfa))
    normal = np.random.default_rng(seed).standard_normal(seen.shape, np.float32)
    noisy = seen + noise_std(seen, shot, read) * torch.from_numpy(normal)
    counts = denormalise(noisy, meta).round().clamp(0, float(meta.white_level[0]))
    return RawImage(counts[0, 0].numpy().astype(np.uint16), meta)


def period_map(values: np.ndarray, cfa: CFA, x: Tensor) -> Tensor:
    """1 1 H W: one number per site of the CFA's period, repeated over the mosaic x, B 1 H W."""
    height, width = x.shape[-2:]
    period = torch.as_tensor(values, dtype=x.dtype, device=x.device).view(cfa.rows, cfa.cols)
    return period.repeat(-(-height // cfa.rows), -(-width // cfa.cols))[None, None, :height, :width]


@dataclass(frozen=True)
class Frame:
    """A simulated frame, in memory and, from when it is first asked for, as a DNG in `folder`."""

    raw: RawImage
    folder: Path

    @cached_property
    def path(self) -> Path:
        path = self.folder / "frame.dng"
        write_dng(path, self.raw, overwrite=True)
        return path


# --- developers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Developer:
    """develop: a frame to 1 3 h w, sRGB in [0, 1]; a border that it cuts off evenly is left out of the metrics too."""

    name: str
    develop: Callable[[Frame], Tensor]
    kinds: tuple[str, ...] = ("bayer",)  # of arrays that it treats
    model: bool = False


@cache
def developer(name: str) -> Developer:
    """The classical developer of that name; ValueError lists them."""
    if name == "auto":
        return Developer(name, by_isp, ("bayer", "x-trans", "quad-bayer"))
    if name in METHODS or name in LIBRAW:
        return Developer(name, partial(by_isp, demosaic=name), (METHODS | LIBRAW)[name].kinds)
    if name.endswith("-linear") and (method := name.removesuffix("-linear")) in METHODS:
        return Developer(name, partial(by_method_on_linear_light, name=method), METHODS[method].kinds)
    algorithm, _, reduction = name.removeprefix("libraw-").partition("+")
    if name.startswith("libraw-") and algorithm in NAMES and reduction in ("", "FBDD"):
        return Developer(name, partial(by_libraw, algorithm=algorithm, fbdd=bool(reduction)))
    if name in PROGRAMS:
        return Developer(name, partial(by_program, name=name), ("bayer", "x-trans"))
    known = ["auto", *METHODS, "msg-linear", *LIBRAW, *(f"libraw-{algorithm}[+FBDD]" for algorithm in NAMES), *PROGRAMS]
    raise ValueError(f"developer {name!r} is unknown; known: {', '.join(known)}, all")


def by_isp(frame: Frame, demosaic: str = "auto") -> Tensor:
    return render(frame.raw, RenderOptions(look="neutral", demosaic=demosaic)).clamp(0, 1)


def by_method_on_linear_light(frame: Frame, name: str) -> Tensor:
    return by_stage(frame, lambda x, cfa, p: METHODS[name].function(x, cfa))


def by_model(frame: Frame, model: Model | Runtime) -> Tensor:
    """What isp.render makes of the frame with this model, on the model's device."""

    def network(x: Tensor, cfa: CFA, p: RenderParameters) -> Tensor:
        return demosaic_by_network(x, cfa, model, p.gains, p.noise_profile)

    device = next(model.parameters()).device if isinstance(model, torch.nn.Module) else "cpu"
    return by_stage(frame, network, device)


def by_stage(frame: Frame, demosaic: Callable[..., Tensor], device: torch.device | str = "cpu") -> Tensor:
    """The neutral render with another demosaic(x, cfa, p): white-balanced mosaic B 1 H W to camera RGB B 3 H W."""
    meta = frame.raw.meta
    p = resolve(meta, RenderOptions(look="neutral"))
    assert meta.cfa is not None
    own = partial(demosaic, cfa=meta.cfa, p=p)
    stages = [
        stage._replace(forward=own, halo=None) if stage.name == "demosaic" else stage
        for stage in [*sensor_stages(meta), *camera_stages(meta, p), *display_stages(meta, p)]
    ]
    return run(stages, frame.raw.tensor(device)).clamp(0, 1).cpu()


def by_libraw(frame: Frame, algorithm: str, fbdd: bool = False) -> Tensor:
    return torch.from_numpy(developers.by_libraw(frame.path, algorithm, fbdd)).permute(2, 0, 1)[None]


def by_program(frame: Frame, name: str) -> Tensor:
    try:
        pixels = PROGRAMS[name].develop(frame.path, frame.folder)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{name}: {error}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float()


@cache
def model_developer(name: str, device: str) -> Developer:
    """The model of that name, folder or file, as a developer; ValueError or OSError where there is none."""
    from isp.nets.load import load_model
    from isp.nets.runtime import open_beside

    if name.endswith(".onnx"):
        return Developer(name, partial(by_model, model=open_beside(Path(name))), model=True)
    return model_as_developer(name.rstrip("/"), load_model(name).to(device))


def model_as_developer(name: str, model: Model) -> Developer:
    """A model at hand as a developer."""
    return Developer(name, partial(by_model, model=model.eval()), model=True)


def installed(name: str) -> bool:
    """Whether a classical developer can run here."""
    return name not in PROGRAMS or PROGRAMS[name].version() is not None


# --- metrics ---------------------------------------------------------------------------------------------------------


class Metric(NamedTuple):
    """function: developed and true picture B 3 H W, encoded sRGB, data_range, border; to B numbers. Without one, it is
    the score of isp.metrics.raim with these parts."""

    title: str
    digits: int
    sign: int  # 1: more is better; -1: less
    function: Callable[[Tensor, Tensor, float, int], Tensor] | None
    parts: Mapping[str, Part] = {}


METRICS = {
    "psnr": Metric("PSNR, dB", 2, 1, psnr),
    "ssim": Metric("SSIM", 4, 1, ssim),
    "lpips": Metric("LPIPS, SqueezeNet (less is better)", 4, -1, lpips),
    "dists": Metric("DISTS (less is better)", 4, -1, dists),
    "niqe": Metric("NIQE (less is better)", 3, -1, lambda x, truth, data_range, border: niqe(x, data_range, border)),
    "ciede2000": Metric("CIEDE2000 (less is better)", 3, -1, ciede2000),
    "raim-2025": Metric("RAIM 2025 score, reconstructed", 2, 1, None, RAIM_2025_RECONSTRUCTED),
    "raim-2026": Metric("RAIM 2026 score", 2, 1, None, RAIM_2026),
}


def values_of(x: Tensor, truth: Tensor, names: Iterable[str]) -> dict[str, float]:
    """The metrics of one picture, 1 3 H W, by name; what scores are made of is computed once."""
    found: dict[str, Tensor] = {}

    def value(name: str) -> Tensor:
        metric = METRICS[name]
        if name in found:
            return found[name]
        if metric.function is not None:
            found[name] = metric.function(x, truth, 1.0, 0)
        else:
            found[name] = raim_score({part: value(part) for part in metric.parts}, metric.parts)
        return found[name]

    return {name: float(value(name)) for name in names}


def usable(names: Sequence[str]) -> list[str]:
    """The metrics whose weights are here; the others are named on stderr."""
    found, grey = [], torch.full((1, 3, 192, 192), 0.5)
    for name in names:
        try:
            values_of(grey, grey, [name])
            found.append(name)
        except FileNotFoundError as error:
            print(f"warning: {name} is left out: {error}", file=sys.stderr)
    return found


def rounded(picture: Tensor) -> Tensor:
    """As an 8-bit file holds it, still in [0, 1]."""
    return (picture.clamp(0, 1) * 255).round() / 255


def measure(developed: Tensor, truth: Tensor, metrics: Iterable[str]) -> dict[str, float]:
    """The metrics of a developed picture, rounded to 8 bits; of the truth's middle where the developer cut a border."""
    height, width = developed.shape[-2:]
    cut = [(a - b) for a, b in zip(truth.shape[-2:], (height, width), strict=True)]
    if any(n < 0 or n % 2 for n in cut):
        raise ValueError(f"the developer made {width} x {height} of {truth.shape[-1]} x {truth.shape[-2]} pixels")
    top, left = (n // 2 for n in cut)
    truth = truth[..., top : top + height, left : left + width]
    return values_of(rounded(developed), truth, metrics)


# --- the grid --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """One picture in one cell, as a worker needs it."""

    folder: str
    name: str
    seed: int  # of the noise
    size: int | None
    cell: Cell
    developers: tuple[str, ...]
    models: tuple[str, ...]
    metrics: tuple[str, ...]
    device: str
    crops: bool

    @property
    def key(self) -> tuple[str, Cell]:
        return self.name, self.cell


class Result(NamedTuple):
    figures: dict[str, dict[str, float]]  # developer: metric: number
    strip: np.ndarray | None  # SIDE, n * SIDE, 3, uint8: the truth and what each developer made of it


def read_truth(folder: str | Path, name: str, size: int | None) -> Tensor:
    """1 3 H W, sRGB in [0, 1], of even height and width; size: its middle, at most this large."""
    picture = read_picture(Path(folder, name))[None].clamp(0, 1)
    height, width = (min(n, size or n) // 2 * 2 for n in picture.shape[-2:])
    top, left = ((n - m) // 2 for n, m in zip(picture.shape[-2:], (height, width), strict=True))
    return picture[..., top : top + height, left : left + width]


def evaluate(task: Task) -> Result:
    """What the developers of a task make of its picture in its cell."""
    developers = [*map(developer, task.developers), *(model_developer(name, task.device) for name in task.models)]
    truth = read_truth(task.folder, task.name, task.size)
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        frame = Frame(simulate(truth, task.cell, task.seed), Path(folder))
        return develop_all(frame, truth, developers, task.metrics, task.crops)


def develop_all(
    frame: Frame, truth: Tensor, developers: Sequence[Developer], metrics: Iterable[str], crops: bool = False
) -> Result:
    """The figures of every developer that treats the frame's array."""
    cfa = frame.raw.meta.cfa
    assert cfa is not None
    figures, shown = {}, [truth]
    for one in developers:
        if cfa.kind in one.kinds:
            picture = one.develop(frame)
            figures[one.name] = measure(picture, truth, metrics)
        shown.append(picture if cfa.kind in one.kinds else torch.zeros_like(truth))
    return Result(figures, strip(shown) if crops else None)


def seed_of(seed: int, index: int) -> int:
    """The seed of the noise of picture `index` of the folder: with seed 0, its index."""
    return 1_000_000 * seed + index


def strip(pictures: Sequence[Tensor]) -> np.ndarray:
    """SIDE, n * SIDE, 3, uint8: the same window of pictures side by side, where the first has most detail."""
    truth = pictures[0]
    side = min(SIDE, *truth.shape[-2:])
    steps = (truth.diff(dim=-1)[..., 1:, :].abs() + truth.diff(dim=-2)[..., 1:].abs()).mean(1, keepdim=True)
    detail = avg_pool2d(steps, side - 1, max(side // 4, 1))[0, 0]
    row, col = divmod(int(detail.argmax()), detail.shape[1])
    top, left = row * max(side // 4, 1), col * max(side // 4, 1)
    windows = []
    for picture in pictures:
        border = [(n - m) // 2 for n, m in zip(truth.shape[-2:], picture.shape[-2:], strict=True)]
        padded = pad(picture, (border[1], border[1], border[0], border[0]))
        windows.append(padded[0, :, top : top + side, left : left + side])
    return (torch.cat(windows, -1).permute(1, 2, 0) * 255).round().byte().numpy()


def contact_sheet(strips: Mapping[Cell, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """H W 3, uint8, of the strips of one picture: a row for each cell, a column for the truth and each developer."""
    from PIL import Image, ImageDraw

    side = next(iter(strips.values())).shape[0]
    step, row_step = side + GAP, side + CAPTION
    sheet = Image.new("RGB", (step * (1 + len(names)) - GAP, row_step * len(strips) + CAPTION), (40, 40, 40))
    pen = ImageDraw.Draw(sheet)
    for column, name in enumerate(("truth", *names)):
        pen.text((column * step + 2, 1), name[-side // 6 :], fill=(220, 220, 220))
        for row, pixels in enumerate(strips.values()):
            window = np.ascontiguousarray(pixels[:, column * side : (column + 1) * side])
            sheet.paste(Image.fromarray(window), (column * step, row * row_step + 2 * CAPTION))
    for row, cell in enumerate(strips):
        pen.text((2, row * row_step + CAPTION + 1), str(cell), fill=(220, 220, 220))
    return np.asarray(sheet)


# --- the report ------------------------------------------------------------------------------------------------------


class Figures:
    """figures[picture, cell][developer][metric], and their means."""

    def __init__(self, of: dict[tuple[str, Cell], dict[str, dict[str, float]]]) -> None:
        self.of = of

    def mean(self, name: str, metric: str, cells: Iterable[Cell]) -> float | None:
        """Over the pictures and these cells; None where the developer treats one of them not."""
        wanted = set(cells)
        found = [figures.get(name, {}).get(metric) for (_, cell), figures in self.of.items() if cell in wanted]
        known = [value for value in found if value is not None]
        return float(np.mean(known)) if known and len(known) == len(found) else None

    def best(self, names: Sequence[str], metric: str, cell: Cell) -> float | None:
        """The best mean of a cell."""
        means = [mean for name in names if (mean := self.mean(name, metric, [cell])) is not None]
        return METRICS[metric].sign * max(METRICS[metric].sign * mean for mean in means) if means else None


def shown(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


class Table(NamedTuple):
    title: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[str]]

    def markdown(self) -> str:
        lines = [f"| {self.title} | " + " | ".join(self.columns) + " |", "|---" * (len(self.columns) + 1) + "|"]
        return "\n".join(lines + [f"| {name} | " + " | ".join(row) + " |" for name, row in self.rows.items()])


def tables(
    figures: Figures,
    cells: Sequence[Cell],
    classical: Sequence[str],
    models: Sequence[str],
    metrics: Sequence[str],
    given: dict[Cell, float] | None = None,
) -> list[Table]:
    """The tables of a run. given: the excellence line of each cell (first metric); None: the best model's."""
    names = [*classical, *models]
    levels = list(dict.fromkeys(cell.level for cell in cells))
    parts = []
    for metric in metrics:
        rows = {}
        for name in names:
            means = [figures.mean(name, metric, [cell for cell in cells if cell.level == level]) for level in levels]
            rows[name] = [shown(mean, METRICS[metric].digits) for mean in means]
        parts.append(Table(METRICS[metric].title, levels, rows))
    first = METRICS[metrics[0]]
    if len(cells) > len(levels):
        rows = {
            str(cell): [shown(figures.mean(name, metrics[0], [cell]), first.digits) for name in names] for cell in cells
        }
        parts.append(Table(first.title, names, rows))
    if models and classical:
        rows = {name: shares(figures, cells, name, classical, models, metrics[0], given) for name in models}
        columns = ["cells above the acceptance line", "least distance", "at the excellence line", "least distance"]
        parts.append(Table(first.title, columns, rows))
    return parts


def shares(
    figures: Figures,
    cells: Sequence[Cell],
    name: str,
    classical: Sequence[str],
    models: Sequence[str],
    metric: str,
    given: dict[Cell, float] | None,
) -> list[str]:
    """How often, and by how much at worst, a model is above the best classical developer of a cell, and as good as the
    best model of it (or as the figure given)."""
    row = []
    for line in ("acceptance", "excellence"):
        distances = []
        for cell in cells:
            if line == "acceptance":
                bar = figures.best(classical, metric, cell)
            else:
                bar = figures.best(models, metric, cell) if given is None else given.get(cell)
            mean = figures.mean(name, metric, [cell])
            if bar is not None and mean is not None:
                distances.append(METRICS[metric].sign * (mean - bar))
        reached = sum(d > 0 if line == "acceptance" else d >= 0 for d in distances)
        worst = min(distances, default=None)
        row += [f"{reached} of {len(distances)}", "–" if worst is None else f"{worst:+.{METRICS[metric].digits}f}"]
    return row


def page(
    command: str,
    figures: Figures,
    cells: Sequence[Cell],
    names: Sequence[str],
    metrics: Sequence[str],
    parts: Sequence[Table],
    strips: Mapping[str, Mapping[Cell, np.ndarray]],
) -> str:
    """report.html: the tables, every metric against the noise, and crops of the pictures on which the developers differ
    most. strips: of each picture; empty without --crops."""
    from isp.output.page import code, paragraph, picture, skeleton
    from isp.output.page import table as html_table
    from isp.output.plots import curves

    levels: dict[str, list[Cell]] = {}
    for cell in cells:
        levels.setdefault(cell.level, []).append(cell)
    noise = {level: float(np.mean([grey_noise(cell) for cell in of])) for level, of in levels.items()}
    rising = sorted(levels, key=lambda level: noise[level])
    plots = []
    for metric in metrics if len(levels) > 1 else ():
        lines = {}
        for name in names:
            means = [(noise[level], figures.mean(name, metric, levels[level])) for level in rising]
            known = [(x, y) for x, y in means if y is not None]
            lines[name] = ([x for x, _ in known], [y for _, y in known])
        title = METRICS[metric].title
        x_label = "standard deviation of the noise at 18 % grey, % of white"
        plots.append(curves(lines, x_label, title, f"{title}, mean over the pictures"))
    most = sorted(strips, key=lambda name: -disagreement(figures, name, metrics[0]))[:SHEETS]
    pictures = [
        picture(contact_sheet(strips[name], names), f"{name}: the truth, and each developer", kind="jpeg", quality=92)
        for name in most
    ]
    said = "At 1:1, the window of each picture with most detail."
    if len(most) < len(strips):
        said += (
            f" {len(most)} of {len(strips)} pictures, those on which the developers differ most; the folder has all."
        )
    sections = {
        "Figures": [
            html_table([(k, *v) for k, v in part.rows.items()], ("", *part.columns), part.title) for part in parts
        ],
        "Against the noise": plots or paragraph("One level of noise: nothing to plot. --levels takes several."),
        "Crops": [paragraph(said), *pictures] if strips else paragraph("None were kept; --crops does."),
        "How": [code(command), paragraph(PROTOCOL)],
    }
    return skeleton("Evaluation", sections, subtitle=", ".join(names))


def grey_noise(cell: Cell) -> float:
    """Standard deviation of the noise of a cell at x = 0.18, mean over its planes, in % of white."""
    shot, read = noise_of(cell).T
    return float(100 * np.sqrt(0.18 * shot + read).mean())


def disagreement(figures: Figures, picture: str, metric: str) -> float:
    """The largest distance between two developers on a picture, over its cells."""
    of = [found.values() for (name, _), found in figures.of.items() if name == picture]
    return max((max(v[metric] for v in found) - min(v[metric] for v in found) for found in of if found), default=0.0)


def versions() -> dict[str, str]:
    from importlib.metadata import version

    from tools.compare_developers import DEVELOPERS

    libraries = {name: version(name) for name in ("torch", "numpy", "rawpy")}
    return {**libraries, **{one.name: found for one in DEVELOPERS if (found := one.version())}}


def record(
    arguments: argparse.Namespace, argv: Sequence[str], figures: Figures, cells: Sequence[Cell]
) -> dict[str, Any]:
    """report.json."""
    from benchmarks.measure import cpu_name

    device = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else "cpu"
    return {
        "command": command_line(argv),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {cpu_name()}; models on {device}",
        "versions": versions(),
        "protocol": PROTOCOL,
        "seed": arguments.seed,
        "cells": [{**cell._asdict(), "noise_profile": noise_of(cell).tolist()} for cell in cells],
        "figures": [
            {"picture": picture, **cell._asdict(), "developer": name}
            | {metric: round(value, 5) for metric, value in values.items()}
            for (picture, cell), found in figures.of.items()
            for name, values in found.items()
        ],
    }


def read_line(path: Path, metric: str) -> dict[Cell, float]:
    """The best mean of each cell in the report.json of an earlier run; ValueError for a file that is none."""
    try:
        found: dict[Cell, dict[str, list[float]]] = {}
        for row in json.loads(path.read_text(encoding="utf-8"))["figures"]:
            cell = Cell(row["camera"], row["phase"], row["level"], row["noise"])
            found.setdefault(cell, {}).setdefault(row["developer"], []).append(row[metric])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected the report.json of a run of this command with {metric} ({error})"
        ) from error
    sign = METRICS[metric].sign
    return {cell: sign * max(sign * float(np.mean(v)) for v in figures.values()) for cell, figures in found.items()}


# --- the command -----------------------------------------------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.evaluate",
        usage="%(prog)s FOLDER [options]   (--help lists them)",
        description="PSNR and more of developers, classical and learned, from the truth through a simulated camera.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="of pictures, taken as sRGB")
    add(
        "--model",
        action="append",
        default=[],
        metavar="M",
        help="name, folder, .safetensors or its .onnx; may be repeated",
    )
    add(
        "--developers",
        default=DEFAULT,
        metavar="LIST",
        help="classical ones (see below), all or none; default: %(default)s",
    )
    add("--levels", default="reference", metavar="LIST", help="of noise, see below; default: reference")
    add(
        "--cameras",
        default="nikon-d850",
        metavar="LIST",
        help="names (isp.cameras), .yaml or raw; default: %(default)s",
    )
    add("--phases", default="RGGB", metavar="LIST", help="RGGB, GRBG, GBRG, BGGR, x-trans, quad-bayer; default: RGGB")
    add("--noise", metavar="PROFILE", help="of the ISO levels, in place of the camera's; name or .yaml")
    add("--metrics", default="psnr,ssim", metavar="LIST", help=f"{', '.join(METRICS)} or all; default: %(default)s")
    add("--every", type=whole(1), default=1, metavar="N", help="every N-th picture of the folder, from the first")
    add("--size", type=whole(16), metavar="N", help="only the middle of each picture, N x N pixels")
    add("--seed", type=whole(0), default=0, metavar="N", help="of the noise; default: 0, which the tables use")
    add("--jobs", type=whole(1), default=1, metavar="N", help="processes, of one thread each; default: 1")
    add("--device", default="cpu", metavar="D", help="of the models, for example cuda; default: cpu")
    add("--excellence", type=Path, metavar="JSON", help="report of an earlier run whose best is the excellence line")
    add("-o", "--output", type=Path, metavar="DIR", help="write report.html, report.md, report.json, crops")
    add("--crops", action="store_true", help="with -o: crops of every picture, side by side, as PNG")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.crops and not arguments.output:
        parser.error("--crops needs -o DIR, where they go")
    try:
        return run_all(arguments, argv)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def run_all(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from PIL import Image

    metrics = usable(chosen(arguments.metrics, METRICS, "metric"))
    classical = classical_of(arguments.developers)
    if not metrics or not (classical or arguments.model):
        raise ValueError(f"nothing to evaluate: {'neither --developers nor --model' if metrics else 'no metrics'}")
    levels = arguments.levels.replace("reference", REFERENCE).split(",")
    cells = [
        Cell(camera, phase, level, arguments.noise if level.startswith("iso") else None)
        for camera in arguments.cameras.split(",")
        for phase in arguments.phases.split(",")
        for level in levels
    ]
    with warnings.catch_warnings(record=True) as said:  # complains before anything is begun
        for cell in cells:
            array(cell.phase)
            noise_of(cell)
    for line in dict.fromkeys(str(warning.message) for warning in said):
        print(f"warning: {line}", file=sys.stderr)
    warnings.filterwarnings("ignore", message=".*extrapolated", category=UserWarning)  # told once
    given = read_line(arguments.excellence, metrics[0]) if arguments.excellence else None
    models = [model_developer(name, arguments.device).name for name in arguments.model]
    names = ImageFolder(arguments.folder).names
    tasks = [
        Task(
            str(arguments.folder), name, seed_of(arguments.seed, index), arguments.size, cell, tuple(classical),
            tuple(arguments.model), tuple(metrics), arguments.device, arguments.crops,
        )
        for index, name in enumerate(names) if index % arguments.every == 0
        for cell in cells
    ]  # fmt: skip
    results = evaluate_all(tasks, arguments.jobs)
    figures = Figures({task.key: results[task.key].figures for task in tasks})
    pictures = list(dict.fromkeys(task.name for task in tasks))
    parts = tables(figures, cells, classical, models, metrics, given)
    text = f"`{command_line(argv)}`, {len(pictures)} pictures. {PROTOCOL}\n\n"
    text += "\n\n".join(part.markdown() for part in parts)
    print(text)
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        write(arguments.output / "report.md", text + "\n")
        write(arguments.output / "report.json", json.dumps(record(arguments, argv, figures, cells), indent=1) + "\n")
        names, strips = [*classical, *models], {}
        for picture in pictures if arguments.crops else ():
            strips[picture] = {cell: strip for cell in cells if (strip := results[picture, cell].strip) is not None}
            name = Path(picture).with_suffix(".png").as_posix().replace("/", "-")
            with whole_file(arguments.output / name, overwrite=True) as place:
                Image.fromarray(contact_sheet(strips[picture], names)).save(place, format="PNG")
        html = page(command_line(argv), figures, cells, names, metrics, parts, strips)
        write(arguments.output / "report.html", html)
    return 0


def command_line(argv: Sequence[str]) -> str:
    return shlex.join(["python", "-m", "tools.evaluate", *argv])


def evaluate_all(tasks: Sequence[Task], jobs: int) -> dict[tuple[str, Cell], Result]:
    """Every task's result by its key; the first error ends it."""
    results = {}
    with executor(min(jobs, len(tasks)), None) as pool, tqdm(total=len(tasks), unit="frame") as bar:
        try:
            futures = {}
            for task in tasks:
                futures[future := pool.submit(evaluate, task)] = task
                future.add_done_callback(lambda _: bar.update())
                if future.done():
                    future.result()
            for future in as_completed(futures):
                results[futures[future].key] = future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def write(path: Path, text: str) -> None:
    with whole_file(path, overwrite=True) as part:
        part.write_text(text, encoding="utf-8")


def chosen(text: str, known: Iterable[str], what: str) -> list[str]:
    """The names of a list with commas; ValueError for one that is unknown."""
    names = list(known) if text == "all" else text.split(",")
    for name in names:
        if name not in known:
            raise ValueError(f"{what} {name!r} is unknown; known: {', '.join(known)}")
    return names


def classical_of(text: str) -> list[str]:
    """The classical developers asked for; ValueError for an unknown one or one that is not installed."""
    if text == "none":
        return []
    if text == "all":
        bayer = [name for name, method in METHODS.items() if "bayer" in method.kinds]
        libraw = [f"libraw-{name}{more}" for name in NAMES for more in ("", "+FBDD")]
        return [*bayer, *libraw, *(name for name in PROGRAMS if installed(name))]
    names = [developer(name).name for name in text.split(",")]
    if missing := [name for name in names if not installed(name)]:
        raise ValueError(f"{missing[0]} is not installed, or not on the PATH")
    return names


if __name__ == "__main__":
    sys.exit(main())
