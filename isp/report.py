"""The report of a render: what every stage made of the frame, as one HTML page to look into."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from isp.options import RenderOptions
from isp.output.page import Html, fold, paragraph, skeleton, table, tag
from isp.output.viewer import (
    Layer,
    Place,
    Show,
    Window,
    any_in,
    by_colour,
    display_space,
    histogram,
    number,
    quantised,
    reduced,
    shown,
    sites,
    to_display,
    viewer,
)
from isp.pipeline import box_size
from isp.raw.cfa import CFA
from isp.raw.metadata import RawMetadata
from isp.raw.opcodes import Opcode, TrimBounds
from isp.stages.geometry import Box, orient
from isp.stages.opcodes import after_trims

if TYPE_CHECKING:
    from isp.parameters import RenderParameters
    from isp.raw.image import RawImage

WINDOW = 200_000  # pixels of the region whose values the page carries, unless told: some 8 MB
OVERVIEW = 1200  # pixels: the longer side of an overview is at most this
SHARP = 16_000_000  # pixels of the finished picture up to which its overview is not reduced
BINS = 256
MOST_SHOWN = 4.0  # a histogram ends here at the latest; what is brighter counts in its last bin

# What each stage does, and which fields of RawMetadata and RenderParameters it goes by.
STAGES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "counts": ("The sensor's numbers as stored, masked borders included.", ("cfa", "height", "width"), ()),
    "opcodes1": ("The file's OpcodeList1, on the stored counts.", ("opcode_list1",), ()),
    "linearise": ("LinearizationTable: stored codes to linear counts.", ("linearization_table",), ()),
    "active-area": ("The part of the sensor that sees light.", ("active_area",), ()),
    "normalise": (
        "Black level to 0, white level to 1; negatives stay.",
        ("black_level", "black_level_delta_h", "black_level_delta_v", "white_level"),
        (),
    ),
    "opcodes2": ("The file's OpcodeList2, on the linear mosaic: lens shading.", ("opcode_list2",), ()),
    "defects": ("Hot and dead pixels found and mended.", (), ("fix_defects",)),
    "monochrome": ("One channel becomes three equal ones.", (), ()),
    "white-balance": (
        "Gains that make the neutral grey.",
        ("as_shot_neutral", "as_shot_white_xy"),
        ("neutral", "gains", "white_xy", "temperature", "tint"),
    ),
    "demosaic": ("Three colours at each pixel, from one.", ("noise_profile",), ("demosaic",)),
    "network": (
        "Demosaic and denoise by the model.",
        (),
        ("model", "model_file", "model_sha256", "runtime", "precision", "strength", "noise_profile", "demosaic"),
    ),
    "highlights": ("What to do where the sensor saturated.", (), ("highlights",)),
    "opcodes3": ("The file's OpcodeList3, on camera RGB: lens corrections.", ("opcode_list3",), ()),
    "colour": (
        "Camera RGB to linear ProPhoto RGB, by the matrices of the file.",
        ("calibration_illuminant1", "calibration_illuminant2", "color_matrix1", "color_matrix2", "forward_matrix1"),
        ("cam_to_prophoto", "white_xy", "temperature"),
    ),
    "hue-sat-map": ("The profile's hue, saturation and value table.", (), ("hue_sat_map", "hue_sat_map_encoding")),
    "exposure": ("Stops: what the file asks for, and the user's.", ("baseline_exposure",), ("exposure_ev",)),
    "look-table": ("The profile's look.", (), ("look", "look_table", "look_table_encoding")),
    "output-primaries": ("Linear ProPhoto RGB to the primaries of the output.", (), ("space", "prophoto_to_output")),
    "gamut": ("Colours that the output cannot show are drawn in.", (), ("look", "space")),
    "tone": ("The tone curve: the profile's own, or the filmic one.", (), ("look", "tone_curve")),
    "encode": ("The output's transfer curve.", (), ("space",)),
    "default-crop": ("The part that the file wants shown.", ("default_crop_origin", "default_crop_size"), ()),
    "orient": ("The way up.", ("orientation",), ()),
}


@dataclass(frozen=True)
class Seen:
    """A stage's result, measured; what is not kept is the tensor."""

    layer: Layer
    statistics: Html
    seconds: float | None
    megabytes: float
    peak: float | None  # MB


class StageReport:
    """Watches a render (as isp.pipeline.develop's `watch`, and called with ("counts", counts) before it) and makes its
    page.

    region: x, y, width, height in the finished picture, of the pixels whose values the page carries; None: a part of
    at most WINDOW pixels in its middle (all of it where it is no larger). ValueError for a region outside of it.
    """

    def __init__(self, raw: RawImage, options: RenderOptions, region: tuple[int, int, int, int] | None = None) -> None:
        self.raw, self.options, self.meta = raw, options, raw.meta
        self.display = display_space(options.space)
        self.size, self.place, self.cfa = _frame(raw.meta)
        height, width = self.size
        self.region = region or _middle(height, width)
        x, y, w, h = self.region
        if not (w > 0 and h > 0 and x >= 0 and y >= 0 and x + w <= width and y + h <= height):
            raise ValueError(
                f"region {x},{y},{w},{h} (x, y, width, height) should lie in the picture, {width}x{height}"
            )
        self.state = "counts"
        self.seen: list[Seen] = []
        self.memory = _PeakMemory()
        self.started: float | None = None

    def __call__(self, name: str, x: Tensor) -> None:
        if x.device.type == "cuda":
            torch.cuda.synchronize(x.device)
        seconds = None if self.started is None else time.perf_counter() - self.started
        peak = self.memory.peak(x.device)
        with torch.no_grad():
            layer, statistics = self._measure(name, x[0].detach().float().cpu())
        self.seen.append(Seen(layer, statistics, seconds, x.numel() * x.element_size() / 1e6, peak))
        self.memory.reset(x.device)
        self.started = time.perf_counter()

    def _measure(self, name: str, x: Tensor) -> tuple[Layer, Html]:
        """x: C H W, float32."""
        self.state = {
            "normalise": "linear", "colour": "prophoto", "output-primaries": "output", "encode": "encoded",
        }.get(name, self.state)  # fmt: skip
        self._move(name)
        cfa = self.cfa if len(x) == 1 else None
        show = self._show()
        low, high = self._limits(x, name, cfa)
        height, width = x.shape[-2:]
        factor = 1 if name == "orient" and height * width <= SHARP else self._factor(height, width, cfa)
        values = x.numpy().transpose(1, 2, 0)  # H W C
        overview = shown(reduced(values, factor), show, self.display)
        clipped, negative = _beyond(values, high, cfa, np.greater_equal), _beyond(values, low, cfa, np.less)
        top, left, bottom, right = _placed(self.place, self.region, (height, width))
        windows = [Window(top, left, values[top:bottom, left:right].copy())] if top < bottom and left < right else []
        layer = Layer(
            name=name,
            size=(height, width),
            channels=len(x),
            show=show,
            unit="DN" if self.state == "counts" else "linear",
            overview=overview,
            factor=factor,
            windows=windows,
            place=self.place,
            cfa=cfa,
            overview_cfa=None if cfa is None else shown(by_colour(values[..., 0], cfa, factor), show, self.display),
            low=None if low is None else tuple(map(float, low)),
            high=None if high is None else tuple(map(float, high)),
            clipped=any_in(clipped, factor),
            negative=any_in(negative, factor),
            note=STAGES[name][0],
        )
        return layer, _statistics(x, cfa, low, high, self._marks())

    def _move(self, name: str) -> None:
        """Where the stage's result lies in the finished picture."""
        meta = self.meta
        if name.startswith("opcodes"):
            opcodes = {"1": meta.opcode_list1, "2": meta.opcode_list2, "3": meta.opcode_list3}[name[-1]]
            self._shift(*trimmed(opcodes))
        elif name == "active-area":
            self._shift(*after_trims(meta.area, meta.opcode_list1)[:2])
        elif name == "default-crop":
            self._shift(*after_trims(meta.crop, (*meta.opcode_list2, *meta.opcode_list3))[:2])
        elif name == "orient":
            self.place = ((1, 0, 0), (0, 1, 0))

    def _shift(self, top: int, left: int) -> None:
        (a, b, c), (d, e, f) = self.place
        self.place = ((a, b, c - top), (d, e, f - left))
        if self.cfa is not None:
            self.cfa = self.cfa.shifted(top, left)

    def _show(self) -> Show:
        meta, space = self.meta, self.options.space
        if self.state == "counts":
            black = float(meta.black_level.mean())
            return Show(black, 1 / max(float(meta.white_level.max()) - black, 1e-9))
        if self.state == "prophoto" and space != "camera":
            return Show(matrix=to_display("prophoto", self.display))
        if self.state == "output":
            return Show(matrix=to_display(space, self.display))
        if self.state == "encoded":
            return Show(encoded=space, matrix=to_display(space, self.display))
        return Show()

    def _limits(self, x: Tensor, name: str, cfa: CFA | None) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Of each of three channels (one, for a single channel without a CFA): below what a value is negative, and
        from where on clipped."""
        count = 3 if cfa is not None else len(x)
        if self.state == "counts":
            if self.meta.linearization_table is not None and name in ("counts", "opcodes1"):
                return None, None  # codes: the levels are those of linear counts
            black = np.broadcast_to(self.meta.black_level.min((0, 1)), count)
            return black.astype(np.float32), np.broadcast_to(self.meta.white_level, count).astype(np.float32)
        return np.zeros(count, np.float32), np.ones(count, np.float32)

    def _marks(self) -> list[tuple[float, str]]:
        if self.state == "counts":
            return [(float(self.meta.black_level.mean()), "black"), (float(self.meta.white_level.max()), "white")]
        return [(0.0, "0"), (1.0, "1")]

    def _factor(self, height: int, width: int, cfa: CFA | None) -> int:
        period = cfa.rows if cfa else 1
        return ceil(max(height, width) / (OVERVIEW * period)) * period

    # --- the page -----------------------------------------------------------------------------------------------------

    def page(self, parameters: RenderParameters, origins: Mapping[str, str]) -> str:
        """The page of the render that was watched. origins: of the options (isp.jobs.resolve_options)."""
        layers = [seen.layer for seen in self.seen]
        panels = [self._panel(seen, parameters, origins) for seen in self.seen]
        body, block = viewer(
            layers,
            panels,
            frame=self.size,
            display=self.display,
            first=(len(layers) - 1, max(len(layers) - 2, 0)),
            reading=[0],
            before=self._about(),
            quality=80,
        )
        name = self.raw.path.name if self.raw.path else "frame in memory"
        meta = self.meta
        camera = meta.unique_camera_model or " ".join(filter(None, (meta.make, meta.model))) or "unknown camera"
        subtitle = f"{camera}, {meta.kind}, {meta.width}x{meta.height}, stages of the render"
        return skeleton(
            name, {"": body}, subtitle=subtitle, assets=("viewer.css", "viewer.js"), blocks=[block], body="app"
        )

    def _about(self) -> Html:
        x, y, w, h = self.region
        height, width = self.size
        whole = (w, h) == (width, height)
        held = "the whole picture" if whole else f"{w}x{h} pixels from x {x}, y {y} of {width}x{height} (dashed frame)"
        parts = [
            paragraph(
                f"Values are held at full resolution for {held}; each stage says to what precision. Elsewhere the page "
                "shows an overview for the eye alone (JPEG), of the finished picture in full resolution, else reduced."
            ),
            paragraph(
                "Camera RGB and mosaics are shown as if they were the screen's colours, ProPhoto RGB and the output "
                f"are converted to {'sRGB' if self.display == 'srgb' else 'Display P3'}, all with its transfer curve. "
                "Histograms count on a logarithmic scale. Clipped: from 1 on (of counts: the white level); negative: "
                "below 0 (the black level)."
            ),
            paragraph(
                "Seconds and memory are those of each stage on the whole frame, one after another, as a report needs "
                "them; a render without a report runs neighbouring stages together, in tiles, in less of both. The "
                "first stage after the levels resolves the parameters too."
            ),
        ]
        if not whole:
            parts.append(paragraph("For another region, add to the command: ", tag("code", "--report-region X,Y,W,H")))
        return fold("About this page", *parts)

    def _panel(self, seen: Seen, parameters: RenderParameters, origins: Mapping[str, str]) -> Html:
        layer = seen.layer
        height, width = layer.size
        size = f"{width}x{height}, {layer.channels} channel{'s' if layer.channels > 1 else ''}"
        cost = [size, f"{seen.megabytes:.1f} MB"]
        if seen.seconds is not None:
            cost.append(f"{seen.seconds * 1000:.0f} ms" if seen.seconds < 1 else f"{seen.seconds:.2f} s")
        if seen.peak is not None:
            cost.append(f"peak of the process {seen.peak:.0f} MB")
        exact = [
            "exact" if step == 1 and float(offset).is_integer() else f"to ±{step / 2:.2g}"
            for _, offset, step in (quantised(window.values, window.step) for window in layer.windows)
        ]
        rows = list(_facts(layer.name, self.meta, parameters, origins))
        facts = [table(rows, ("parameter", "value", "from"))] if rows else []
        return Html(
            "".join(
                [
                    tag("h2", layer.name),
                    paragraph(layer.note),
                    paragraph(", ".join(cost)),
                    seen.statistics,
                    *facts,
                    *(paragraph(f"Values of the region: {text}.") for text in exact),
                ]
            )
        )


def _frame(meta: RawMetadata) -> tuple[tuple[int, int], Place, CFA | None]:
    """Height and width of the finished picture; where a place in it lies in the stored mosaic, as Layer.place; and the
    array seen from the mosaic's corner."""
    box = after_trims(meta.crop, (*meta.opcode_list2, *meta.opcode_list3))
    area = after_trims(meta.area, meta.opcode_list1)
    offsets = [trimmed(meta.opcode_list1), area[:2], trimmed(meta.opcode_list2), trimmed(meta.opcode_list3), box[:2]]
    origin = [sum(offset[axis] for offset in offsets) for axis in (0, 1)]
    size = box_size(box)
    corners = torch.stack(torch.meshgrid(torch.arange(2), torch.arange(2), indexing="ij"))  # of each pixel: row, column
    turned = orient(corners[None], meta.orientation)[0]

    def row(axis: int) -> tuple[int, int, int]:
        of_y, of_x = (int(turned[axis][to] - turned[axis, 0, 0]) for to in ((1, 0), (0, 1)))
        return of_y, of_x, origin[axis] + (size[axis] if of_y + of_x < 0 else 0)

    place = (row(0), row(1))
    cfa = meta.cfa and meta.cfa.shifted(-meta.area[0], -meta.area[1])
    return (size if place[0][0] else size[::-1]), place, cfa


def trimmed(opcodes: Sequence[Opcode]) -> tuple[int, int]:
    """Rows and columns that a list's TrimBounds take away at the top and at the left."""
    trims = [opcode for opcode in opcodes if isinstance(opcode, TrimBounds)]
    return sum(t.top for t in trims), sum(t.left for t in trims)


def _placed(place: Place, region: tuple[int, int, int, int], size: tuple[int, int]) -> Box:
    """The box of a layer that a region x, y, width, height of the picture is, cut to the layer's size."""
    x, y, w, h = region
    ends = [sorted(a * v + b * u + c for v, u in ((y, x), (y + h, x + w))) for a, b, c in place]
    (top, bottom), (left, right) = ends
    return max(top, 0), max(left, 0), min(bottom, size[0]), min(right, size[1])


def _middle(height: int, width: int) -> tuple[int, int, int, int]:
    """x, y, width, height of the middle: at most WINDOW pixels, in the picture's proportions, even numbers."""
    share = min(1.0, (WINDOW / (height * width)) ** 0.5)
    if share == 1:
        return 0, 0, width, height
    w, h = (max(2, int(n * share) // 2 * 2) for n in (width, height))
    return (width - w) // 4 * 2, (height - h) // 4 * 2, w, h


def _beyond(values: np.ndarray, limit: np.ndarray | None, cfa: CFA | None, compare: Callable[..., Any]) -> np.ndarray:
    """H W: where any sample of values, H W C, is beyond the limit of its channel."""
    found = np.zeros(values.shape[:2], bool)
    if limit is None:
        return found
    for channel, x in enumerate(np.moveaxis(values, 2, 0)):
        level = limit[channel] if cfa is None else limit[cfa.channel_map(*x.shape)]
        found |= compare(x, level)
    return found


def _statistics(
    x: Tensor,
    cfa: CFA | None,
    low: np.ndarray | None,
    high: np.ndarray | None,
    marks: Sequence[tuple[float, str]],
) -> Html:
    """Histogram and table of a stage's result, C H W."""
    bad = 0
    if not all(map(isfinite, map(float, x.aminmax()))):
        bad = int(torch.count_nonzero(~x.isfinite()))
        x = x.nan_to_num()
    channels = 3 if cfa is not None else len(x)
    names = "RGB" if channels == 3 else ["all"]
    least, most = (float(v) for v in x.aminmax())
    if marks[0][1] == "black":  # counts: bins of whole numbers, so that none of them is a comb
        first, last = min(least, marks[0][0]), max(most, marks[1][0])
        width = ceil((last - first + 1) / BINS) if first.is_integer() and last > 2 else (last - first) / BINS
        last = first + BINS * width
    else:
        first, last = max(min(least, 0.0), -1.0), max(min(most, MOST_SHOWN), 1.0)
    counts, totals = torch.zeros(channels, BINS, dtype=torch.long), [0] * channels
    sums, ends = [0.0] * channels, [(np.inf, -np.inf)] * channels
    beyond = [[0, 0] for _ in range(channels)]
    for channel, samples in sites(x, cfa):
        flat = samples.reshape(-1)
        counts[channel] += torch.histc(flat.clamp(first, last), BINS, first, last).long()
        totals[channel] += flat.numel()
        sums[channel] += float(flat.mean()) * flat.numel()
        a, b = (float(v) for v in flat.aminmax())
        ends[channel] = (min(a, ends[channel][0]), max(b, ends[channel][1]))
        if low is not None and high is not None:
            beyond[channel][0] += int(torch.count_nonzero(flat < float(low[channel])))
            beyond[channel][1] += int(torch.count_nonzero(flat >= float(high[channel])))
    rows = []
    for channel, name in enumerate(names):
        total = max(totals[channel], 1)
        shares = [f"{100 * count / total:.2g} %" for count in beyond[channel]] if low is not None else ["–", "–"]
        (a, b), mean = ends[channel], sums[channel] / total
        rows.append([name, number(a), number(mean), number(b), *shares])
    drawn = histogram(counts.tolist(), first, last, marks)
    said = table(rows, ("", "least", "mean", "most", "negative", "clipped"))
    warned = paragraph(f"{bad} values are not finite numbers.") if bad else ""
    return Html(drawn + said + warned)


def _facts(
    name: str, meta: RawMetadata, parameters: RenderParameters, origins: Mapping[str, str]
) -> Iterator[list[object]]:
    """Rows parameter, value, origin of a stage."""
    _, of_file, of_render = STAGES[name]
    for key in of_file:
        if (value := getattr(meta, key)) is not None:
            yield [key, _plain(value), _origin(meta.origins.get(key, "default"), origins)]
    for key in of_render:
        origin = parameters.origins.get("neutral" if key == "gains" else key, "default")
        yield [key, _plain(getattr(parameters, key)), _origin(origin, origins)]


def _plain(value: Any) -> Html:
    """A value as text: small arrays row by row."""
    if isinstance(value, np.ndarray):
        if value.size > 36:
            return tag("span", f"table of {' x '.join(map(str, value.shape))}")
        rows = value.reshape(-1, value.shape[-1]) if value.size else value.reshape(1, 0)
        lines = [tag("div", "  ".join(f"{v:.5g}" for v in row)) for row in rows]
        return tag("code", *lines)
    if isinstance(value, tuple) and value and isinstance(value[0], Opcode):
        return tag("span", ", ".join(type(opcode).__name__ for opcode in value))
    if isinstance(value, tuple):
        return tag("code", ", ".join(f"{v:.6g}" for v in value) if value else "none")
    if isinstance(value, bool):
        return tag("span", "yes" if value else "no")
    return tag("code", f"{value:.6g}" if isinstance(value, float) else "none" if value is None else value)


def _origin(origin: str, origins: Mapping[str, str]) -> Html:
    """The origin with its kind: tag (of the file), user, estimated or default."""
    option = next((word.split(":")[0] for word in origin.split("options.")[1:]), "").split(" ")[0]
    by_user, _, reason = origins.get(option, "").partition(": ")
    if by_user:
        kind, origin = by_user.split(" ")[0], reason or origin  # "user", "sidecar NAME", or "default: REASON"
    elif origin.startswith("estimated"):
        kind = "estimated"
    elif " tag " in f" {origin} " or "LibRaw" in origin:
        kind = "tag"
    else:
        kind = "default"
    return Html(tag("span", kind, class_=f"origin {kind}") + tag("span", "" if origin == kind else f" {origin}"))


class _PeakMemory:
    """The most memory that the process (on CUDA: PyTorch on the device) has held since the last reset, in MB; None
    where the system does not tell. Linux: /proc/self/status VmHWM, reset by writing 5 to clear_refs (proc(5))."""

    def reset(self, device: torch.device) -> None:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            self.works = False

    def __init__(self) -> None:
        self.works = Path("/proc/self/status").is_file()

    def peak(self, device: torch.device) -> float | None:
        if device.type == "cuda":
            return torch.cuda.max_memory_allocated(device) / 1e6
        if not self.works:
            return None
        lines = Path("/proc/self/status").read_text().splitlines()
        line = next((line for line in lines if line.startswith("VmHWM")), None)
        return int(line.split()[1]) / 1000 * 1.024 if line else None
