"""The picture viewer of the reports: layers that are looked at side by side, over each other, or one after another.

A layer is one picture: a stage's result, a render, a map of differences. The page carries an overview of all of it (an
image, reduced, for the eye) and, in one or more windows, its values at full resolution, for the eye and for the
read-out. Values are packed as integers of 16 bits, value = offset + step * integer, the step the smallest power of two
that spans them: the read-out differs from the values given by at most half a step, which the page states; whole numbers
(counts) are exact.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from math import ceil, floor, log2
from typing import Any, NamedTuple

import numpy as np

from isp.output.page import Html, json_block, picture_url, tag
from isp.primaries import CURVES, SPACES, prophoto_to
from isp.raw.cfa import CFA

Place = tuple[tuple[int, int, int], tuple[int, int, int]]
NOT_FINITE = 65535  # the integer of a value that is no finite number
LARGEST = 65534

TOOLBAR = (
    ("fit", "Fit", "the whole picture (0)"),
    ("out", "−", "smaller (-)"),
    ("in", "+", "larger (+)"),
    ("one", "1:1", "a pixel of the picture on a pixel of the screen (1)"),
)
KEYS = (
    ("← →", "the layer before, the next one"),
    ("+ − 1 0", "larger, smaller, 1:1, all of it"),
    ("W A S D", "move up, left, down, right"),
    ("F, V, M", "flicker, slider, single picture"),
    ("B", "look at the other layer while the key is down"),
    ("[ ]", "darker, brighter by half a stop (of the view alone)"),
    ("C, X, N", "colours of the filter array, clipped pixels, negative pixels"),
)


class Window(NamedTuple):
    """Values of a layer at full resolution. values: h w C, float; top, left: where they lie in the layer. step: carry
    them as multiples of it, where the smallest step that spans them would be finer than they are."""

    top: int
    left: int
    values: np.ndarray
    step: float | None = None


class Show(NamedTuple):
    """From a layer's values to what a screen shows: (value - black) * gain, decoded if it is encoded for a space, times
    the matrix to the screen's primaries, encoded for the screen."""

    black: float = 0.0
    gain: float = 1.0
    encoded: str | None = None  # a space, where values are display-encoded
    matrix: np.ndarray | None = None  # 3x3, linear


@dataclass(frozen=True)
class Layer:
    """One picture of the viewer.

    place: 2x3, from a place (y, x) in the common frame to one in this layer: rows of (of y, of x, constant); pixel
        (0, 0) covers y and x from 0 to 1. Turns and mirrors are whole numbers; scales are not foreseen.
    overview: h/factor w/factor [3], uint8, display-encoded for the page's space; overview_cfa: in false colours.
    low, high: a value below low[c] counts as negative, one from high[c] on as clipped; None: nothing does.
    clipped, negative: of the size of the overview: whether any pixel under it is.
    """

    name: str
    size: tuple[int, int]
    channels: int
    show: Show
    unit: str
    overview: np.ndarray
    factor: int
    windows: Sequence[Window]
    place: Place = ((1, 0, 0), (0, 1, 0))
    cfa: CFA | None = None  # seen from the layer's top left
    overview_cfa: np.ndarray | None = None
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    clipped: np.ndarray | None = None
    negative: np.ndarray | None = None
    colours: str = "picture"  # or "heat" (0 to 1 after show), or "signed" (-1 to 1 around grey)
    note: str = ""


@dataclass
class Store:
    """The packed values of all layers, each content once: stages that leave a window as it was cost nothing."""

    packed: dict[str, str] = field(default_factory=dict)

    def put(self, window: Window, period: int) -> dict[str, Any]:
        """What the page's script needs to unpack a window. period: columns to the neighbour of the same colour."""
        integers, offset, step = quantised(window.values, window.step)
        data = pack(integers, period)
        key = sha256(data).hexdigest()[:16]
        self.packed.setdefault(key, base64.b64encode(data).decode("ascii"))
        height, width, channels = integers.shape
        return {
            "top": window.top, "left": window.left, "height": height, "width": width, "channels": channels,
            "offset": offset, "step": step, "period": period, "data": key,
        }  # fmt: skip


def quantised(values: np.ndarray, step: float | None = None) -> tuple[np.ndarray, float, float]:
    """uint16 integers with values = offset + step * integers, to half a step; offset and step. Whole numbers that span
    less than 65535 keep a step of 1. A step that is given is doubled until it spans the values."""
    finite = np.isfinite(values)
    known = values[finite].astype(np.float64)
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    if step is None and high - low <= LARGEST and bool((known == np.rint(known)).all()):
        step, offset = 1.0, low
    else:
        finest = (high - low) / (LARGEST - 1)
        if step is None:
            step = 2.0 ** ceil(log2(max(finest, 2.0**-60)))
        step *= 2.0 ** max(0, ceil(log2(max(finest, 2.0**-60) / step)))
        offset = floor(low / step) * step
    integers = np.full(values.shape, NOT_FINITE, np.uint16)
    integers[finite] = np.rint((known - offset) / step).astype(np.uint16)
    return integers, offset, step


def pack(integers: np.ndarray, period: int) -> bytes:
    """zlib of uint16 H W C: of three channels the first and the last less the second, then of each sample its
    difference to the one `period` columns before, with its sign in the lowest bit; high bytes, then low bytes, channel
    by channel. All modulo 65536."""
    x = integers.transpose(2, 0, 1).copy()
    if len(x) == 3:
        x[[0, 2]] -= x[1]
    x[:, :, period:] -= x[:, :, :-period].copy()
    signed = x.view(np.int16)
    folded = (signed << 1) ^ (signed >> 15)
    return zlib.compress(
        (folded.view(np.uint16) >> 8).astype(np.uint8).tobytes() + folded.astype(np.uint8).tobytes(), 6
    )


def display_space(space: str) -> str:
    """The space of the page's pictures: the smallest of the two that browsers draw in which holds `space`."""
    return "srgb" if space in ("srgb", "camera") else "display-p3"


def to_display(space: str, display: str) -> np.ndarray | None:
    """3x3 from the linear RGB of a space to that of the page; None where it is the same, and for camera RGB, which is
    shown as if it were the page's."""
    if space in ("camera", display):
        return None
    return prophoto_to(display) @ np.linalg.inv(prophoto_to(space))


def shown(values: np.ndarray, show: Show, display: str) -> np.ndarray:
    """uint8, H W 3 or H W 1: values H W C as the page shows them."""
    x = (np.nan_to_num(values.astype(np.float64)) - show.black) * show.gain
    if show.encoded is not None:
        if show.encoded == display:
            return _bytes(x)
        x = _decode(x, show.encoded)
    if show.matrix is not None:
        x = x @ show.matrix.T
    return _bytes(_encode(x, display))


def heat(x: np.ndarray) -> np.ndarray:
    """uint8, H W 3 from H W 1: 0 black, 1 white, over violet and orange; as viewer.js does it."""
    s = np.clip(x[..., 0].astype(np.float64), 0, 1)
    blue = np.where(s < 0.4, 1.4 * s, np.where(s < 0.7, 0.56 - 1.5 * (s - 0.4), 0.11 + 2.9 * (s - 0.7)))
    return _bytes(np.stack([1.6 * s**0.8, s**1.7, blue], -1))


def signed(x: np.ndarray) -> np.ndarray:
    """uint8, H W 3: -1 black, 0 grey, 1 white, of each channel."""
    return _bytes(0.5 + 0.5 * x)


def _bytes(x: np.ndarray) -> np.ndarray:
    return (np.clip(x, 0, 1) * 255 + 0.5).astype(np.uint8)


def _encode(x: np.ndarray, space: str) -> np.ndarray:
    slope, knee, scale, exponent, offset = CURVES[SPACES[space].transfer]
    return np.where(x < knee, x * slope, scale * np.maximum(x, knee) ** exponent - offset)


def _decode(y: np.ndarray, space: str) -> np.ndarray:
    slope, knee, scale, exponent, offset = CURVES[SPACES[space].transfer]
    return np.where(y < slope * knee, y / slope, ((np.maximum(y, 0) + offset) / scale) ** (1 / exponent))


def reduced(values: np.ndarray, factor: int) -> np.ndarray:
    """Means over squares of factor x factor pixels, H W C to ceil(H/factor) ceil(W/factor) C; those at the edge over
    what there is."""
    if factor == 1:
        return values
    rows, columns = (np.arange(0, n, factor) for n in values.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(values, rows, 0, dtype=np.float32), columns, 1)
    height, width = (np.diff(np.append(starts, n)) for starts, n in zip((rows, columns), values.shape, strict=False))
    return sums / (height[:, None] * width)[..., None]


def sites(x: Any, cfa: CFA | None) -> Iterator[tuple[int, Any]]:
    """Channel and samples of x, C H W (array or tensor): of each channel, or of each site of a mosaic's period."""
    if cfa is None:
        yield from enumerate(x)
        return
    for row in range(min(cfa.rows, x.shape[1])):
        for column in range(min(cfa.cols, x.shape[2])):
            yield int(cfa.channels[row, column]), x[0, row :: cfa.rows, column :: cfa.cols]


def by_colour(mosaic: np.ndarray, cfa: CFA, factor: int) -> np.ndarray:
    """H W to ceil(H/factor) ceil(W/factor) 3: the mean of each colour. factor: a multiple of the array's period."""
    height, width = (-(-n // factor) for n in mosaic.shape)
    whole = [n // cfa.rows * cfa.rows for n in mosaic.shape]
    if 0 in whole:
        return np.zeros((height, width, 3), np.float32)
    sums, counts = np.zeros((3, height, width), np.float32), np.bincount(cfa.channels.ravel(), minlength=3)
    for channel, x in sites(mosaic[None, : whole[0], : whole[1]], cfa):
        part = reduced(x[..., None], factor // cfa.rows)[..., 0]
        sums[channel] += np.pad(part, [(0, n - m) for n, m in zip((height, width), part.shape, strict=True)], "edge")
    return (sums / counts[:, None, None]).transpose(1, 2, 0)


def any_in(mask: np.ndarray, factor: int) -> np.ndarray:
    """H W to ceil(H/factor) ceil(W/factor): whether any of a square is True."""
    rows, columns = (np.arange(0, n, factor) for n in mask.shape)
    if not mask.any():
        return np.zeros((len(rows), len(columns)), bool)
    return np.logical_or.reduceat(np.logical_or.reduceat(mask, rows, 0), columns, 1)


def viewer(
    layers: Sequence[Layer],
    panels: Sequence[Html],
    *,
    frame: tuple[int, int],
    display: str = "srgb",
    first: tuple[int, int] = (0, 0),
    mode: str = "single",
    before: Html | str = "",
    reading: Sequence[int] = (),
    quality: int = 88,
) -> tuple[Html, Html]:
    """The viewer's markup and its data block; its style and script are viewer.css and viewer.js.

    panels: what stands beside the picture, one for each layer. frame: height and width of the common frame. first: the
    layers to begin with. mode: "single", "slider" or "flicker". before: what stands above all panels. reading: layers
    that the read-out always names. quality: of the overviews, JPEG.
    """
    store = Store()
    cards, described = [], []
    for number, layer in enumerate(layers):
        period = layer.cfa.cols if layer.cfa else 1
        described.append(
            {
                "name": layer.name,
                "height": layer.size[0], "width": layer.size[1], "channels": layer.channels, "unit": layer.unit,
                "factor": layer.factor, "place": layer.place,
                "cfa": layer.cfa and {"letters": layer.cfa.pattern, "rows": layer.cfa.rows, "cols": layer.cfa.cols},
                "low": layer.low, "high": layer.high,
                "black": layer.show.black, "gain": layer.show.gain,
                "encoded": layer.show.encoded and list(CURVES[SPACES[layer.show.encoded].transfer]),
                "same": layer.show.encoded == display,
                "matrix": None if layer.show.matrix is None else layer.show.matrix.tolist(),
                "colours": layer.colours,
                "windows": [store.put(window, period) for window in layer.windows],
            }
        )  # fmt: skip
        images = [_overview(layer.overview, "grey" if layer.cfa else "all", layer, display, quality)]
        if layer.overview_cfa is not None:
            images.append(_overview(layer.overview_cfa, "cfa", layer, display, quality))
        for name, mask in (("clipped", layer.clipped), ("negative", layer.negative)):
            if mask is not None and mask.any():
                url = picture_url((mask * np.uint8(255)).astype(np.uint8))
                images.append(tag("img", src=url, alt="", class_=name, hidden=True))
        label = tag("span", layer.name, class_="name")
        cards.append(
            tag(
                "button",
                tag("span", *images, class_="images"),
                label,
                tag("span", class_="value"),
                class_="card",
                type="button",
                data_layer=number,
                title=layer.note or None,
            )
        )
    block = json_block(
        "viewer-data",
        {
            "layers": described, "store": store.packed, "frame": frame, "display": display, "first": first,
            "mode": mode, "curve": list(CURVES[SPACES[display].transfer]), "reading": list(reading),
        },
    )  # fmt: skip
    buttons = [tag("button", text, type="button", data_do=name, title=title) for name, text, title in TOOLBAR]
    modes = [
        tag("button", text, type="button", data_mode=name, aria_pressed="false", title=f"{what} ({key})")
        for name, text, what, key in (
            ("single", "Single", "one layer", "M"),
            ("slider", "Slider", "two layers, left and right of a line", "V"),
            ("flicker", "Flicker", "two layers in turn", "F"),
        )
    ]
    switches = [
        tag("button", text, type="button", data_switch=name, aria_pressed="false", title=title)
        for name, text, title in (
            ("cfa", "CFA", "mosaics in the colours of their filters (C)"),
            ("clipped", "Clipped", "pixels from white on, magenta (X)"),
            ("negative", "Negative", "pixels below black, cyan (N)"),
        )
        if any(getattr(layer, {"cfa": "cfa", "clipped": "high", "negative": "low"}[name]) for layer in layers)
    ]
    exposure = [
        tag("button", "◐−", type="button", data_do="darker", title="view darker by half a stop ([)"),
        tag("output", "0 EV", id="ev"),
        tag("button", "◐+", type="button", data_do="brighter", title="view brighter by half a stop (])"),
    ]
    names = [layer.name for layer in layers]
    choice = [
        tag("label", f"{letter} ", tag("select", *(tag("option", n, value=i) for i, n in enumerate(names)), id=id_))
        for letter, id_ in (("A", "layer-a"), ("B", "layer-b"))
    ]
    keys = tag("dl", *(part for key, what in KEYS for part in (tag("dt", key), tag("dd", what))))
    help_ = tag("details", tag("summary", "Keys"), keys, class_="keys")
    toolbar = tag(
        "div",
        *(tag("span", *group, class_="group") for group in (buttons, modes, choice, switches, exposure, [help_])),
        class_="toolbar",
        role="toolbar",
        aria_label="View",
    )
    screen = tag(
        "div",
        tag("canvas", id="view", tabindex=0, role="img", aria_label="The chosen layer; arrow keys change it"),
        tag("span", id="label-a", class_="label"),
        tag("span", id="label-b", class_="label"),
        tag("input", id="split", type="range", min=0, max=1000, value=500, aria_label="Slider", hidden=True),
        class_="screen",
    )
    readout = tag("p", "Move over the picture, or tap it.", id="readout", aria_live="off")
    aside = tag(
        "div",
        before,
        *(tag("section", panel, class_="panel", data_layer=i) for i, panel in enumerate(panels)),
        class_="panels",
    )
    return tag(
        "div",
        toolbar,
        tag("div", *cards, class_="strip", aria_label="Layers"),
        tag("div", screen, readout, class_="stage"),
        aside,
        class_="viewer",
    ), block


def number(value: float) -> str:
    """Four digits, or all that stand before the point."""
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def _overview(pixels: np.ndarray, class_: str, layer: Layer, display: str, quality: int) -> Html:
    grey = pixels.ndim == 3 and pixels.shape[2] == 1
    rgb = np.repeat(pixels, 3, 2) if grey else pixels  # so that the ICC profile fits it
    url = picture_url(rgb, space=display, kind="jpeg", quality=quality)
    return tag("img", src=url, alt=f"{layer.name}, overview", class_=class_, hidden=class_ == "cfa")


def histogram(counts: Sequence[Sequence[int]], low: float, high: float, marks: Sequence[tuple[float, str]]) -> Html:
    """An SVG of the histograms of 1 or 3 channels, all over the same bins from low to high, counts logarithmic.

    marks: values and their names, drawn as lines.
    """
    width, height = 256.0, 90.0
    top = max(log2(1 + max(map(max, counts))), 1e-9)
    paths = []
    for name, channel in zip("rgb" if len(counts) == 3 else "k", counts, strict=True):
        step = width / len(channel)
        steps = " ".join(
            f"V{height - height * log2(1 + n) / top:.1f}H{(i + 1) * step:.1f}" for i, n in enumerate(channel)
        )
        paths.append(Html(f'<path class="{name}" d="M0 {height:g}{steps}V{height:g}Z"/>'))
    lines = []
    for value, name in marks:
        if low <= value <= high:
            x = (value - low) / (high - low) * width
            anchor = "start" if x < width / 2 else "end"
            lines.append(Html(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height:g}"/>'))
            lines.append(tag("text", name, x=f"{x + (3 if anchor == 'start' else -3):.1f}", y="10", text_anchor=anchor))
    box = f'class="histogram" viewBox="0 0 {width:g} {height:g}" role="img" preserveAspectRatio="none"'
    drawing = Html(f'<svg {box} aria-label="Histogram, logarithmic">{"".join(paths)}{"".join(lines)}</svg>')
    ends = tag("div", tag("span", number(low)), tag("span", number(high)), class_="ends")
    return tag("figure", drawing, ends)
