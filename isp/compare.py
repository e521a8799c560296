"""python -m isp.compare: pictures and renders of one scene over each other, with their differences, as one page."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from isp.options import LOOKS, RenderOptions

if TYPE_CHECKING:
    from isp.output.page import Html
    from isp.output.viewer import Layer
    from isp.raw.image import RawImage

EXAMPLES = """\
each of A, B, C ... is one of
  picture.png         a picture, taken as sRGB (PNG, TIFF, JPEG, AVIF; EXR as scene-linear)
  photo.dng           a raw file: what `python -m isp.render` makes of it
  isp:KEY=VALUE,...   the raw, rendered with these options (of isp.RenderOptions): isp:demosaic=menon2007,exposure=0.5
  model:NAME          the raw, rendered with a network: a shipped name, a folder or a .safetensors file
  libraw:AHD          the raw, by LibRaw's own postprocess with this demosaic; libraw:AHD+FBDD with its noise reduction
  rawtherapee         the raw, by RawTherapee's neutral profile, where rawtherapee-cli is installed
  darktable           the raw, by darktable without a tone curve, where darktable-cli is installed

`the raw` is --raw RAW, or the one raw file among A, B, C ... A is what the others are measured by. A file whose name is
also one of these words is ./NAME.

examples:
  python -m isp.compare before.png after.png
  python -m isp.compare truth.png photo.dng model:flat libraw:AHD -o flat.html
  python -m isp.compare photo.dng libraw:DHT rawtherapee darktable
  python -m isp.compare isp:demosaic=msg isp:demosaic=menon2007 --raw photo.dng
  python -m isp.compare model:flat model:runs/mine isp:look=neutral --raw photo.dng --look neutral

Pictures are compared as a file of 8 bits holds them. Raws are rendered with --look neutral unless told, which is what
the other developers are asked for: with the standard look, a comparison with them shows the tone curve and little else.
Developers that show more or less of a frame's border are cut to what all show, and the page says so; other pictures
must be of one size.

exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted
"""
PATCH = 64  # pixels: the side of the patches that are ranked
WORST = 12  # patches in the list
WHOLE = 3_000_000  # pixels of all pictures together whose values the page holds; of more, those of the worst patches
MARGIN = 64  # pixels around a worst patch that the page holds too
SHARP = 16_000_000  # pixels of a picture up to which it is shown in full resolution everywhere
MAP = 1200  # pixels: the longer side of a map of differences, reduced
WHITE_DIFFERENCE = 10.0  # CIEDE2000 shown white
LINEAR_SHOWN = 0.1  # linear difference shown black or white
STEP_PICTURE, STEP_LINEAR, STEP_COLOUR = 1 / 255, 2.0**-12, 2.0**-6
BORDER = 32  # pixels by which another developer's picture may be smaller than the frame


class Picture(NamedTuple):
    """One side of a comparison. name: its argument, a file without its folder. pixels: H W 3, float32, encoded sRGB in
    [0, 1], rounded to 8 bits. box: where it lies in the upright active area (top, left, bottom, right), for a picture
    of the raw; None for a file."""

    name: str
    pixels: np.ndarray
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Source:
    """What an argument asks for. kind: "file", "raw", "isp", "libraw" or a program's name."""

    argument: str
    kind: str
    options: RenderOptions | None = None
    algorithm: str = ""


def parse(argument: str, look: str) -> Source:
    """The source that an argument names. ValueError says what is wrong with it."""
    from isp.developers import PROGRAMS
    from isp.jobs import RAW_SUFFIXES
    from isp.stages.demosaic.libraw import NAMES

    base = RenderOptions(look=look)
    word, colon, rest = argument.partition(":")
    if argument in PROGRAMS:
        if PROGRAMS[argument].version() is None:
            raise ValueError(f"{argument} is not installed: {PROGRAMS[argument].command} is not on the PATH")
        return Source(argument, argument)
    if word == "libraw" and colon:
        algorithm, _, reduction = rest.partition("+")
        if algorithm not in NAMES or reduction not in ("", "FBDD"):
            raise ValueError(f"{argument!r}: expected libraw:NAME or libraw:NAME+FBDD with one of {', '.join(NAMES)}")
        return Source(argument, "libraw", algorithm=rest)
    if word == "model" and colon:
        from isp.nets.load import find_model

        find_model(rest)
        return Source(argument, "isp", replace(base, model=rest))
    if argument == "isp" or (word == "isp" and colon):
        return Source(argument, "isp", _options(rest, base, argument))
    path = Path(argument)
    if not path.is_file():
        raise ValueError(
            f"{argument!r}: no such file, and none of isp:KEY=VALUE, model:NAME, libraw:NAME, {', '.join(PROGRAMS)}"
        )
    if path.suffix.lower() in RAW_SUFFIXES:
        return Source(argument, "raw", base)
    return Source(argument, "file")


def _options(text: str, base: RenderOptions, argument: str) -> RenderOptions:
    """base with KEY=VALUE,KEY=VALUE; values as YAML has them (a white balance of gains: wb=2.1/1/1.6)."""
    from dataclasses import asdict

    import yaml

    values: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"{argument!r}: {part!r} is not KEY=VALUE")
        values[key] = value.replace("/", ",") if key == "wb" else yaml.safe_load(value)
    if values.get("linear"):
        raise ValueError(f"{argument!r}: linear pictures are not compared; their encoded ones are")
    if values.get("space", "srgb") != "srgb":
        raise ValueError(f"{argument!r}: pictures are compared in sRGB; leave out space")
    return RenderOptions.from_dict({**asdict(base), **values}, argument)


def develop(sources: Sequence[Source], raw_path: Path | None) -> list[Picture]:
    """The pictures of the sources. ValueError or OSError where one cannot be had."""
    named = [Path(source.argument) for source in sources if source.kind == "raw"]
    chosen = raw_path or (named[0] if len(named) == 1 else None)
    lacking = [source.argument for source in sources if source.kind not in ("file", "raw")]
    if lacking and chosen is None:
        held = "several raws are given" if named else "no raw is given"
        raise ValueError(f"{lacking[0]} needs a raw to develop, and {held}; say which with --raw RAW")
    return [_picture(source, chosen) for source in sources]


def _picture(source: Source, chosen: Path | None) -> Picture:
    from isp.developers import PROGRAMS, by_libraw

    if source.kind == "file":
        return Picture(Path(source.argument).name, _rounded(_read(Path(source.argument))))
    path = Path(source.argument) if source.kind == "raw" else chosen
    assert path is not None
    name = path.name if source.kind == "raw" else source.argument
    import isp.raw

    raw = isp.raw.read(path)
    own = _upright_boxes(raw)
    if source.options is not None:
        from isp.pipeline import render

        pixels = render(raw, source.options)[0].permute(1, 2, 0).numpy()
        return Picture(name, _rounded(pixels), own[1])
    if source.kind == "libraw":
        algorithm, _, reduction = source.algorithm.partition("+")
        by = partial(by_libraw, algorithm=algorithm, fbdd=bool(reduction))
        return Picture(name, pixels := _rounded(by(path)), _box_of(name, pixels, *own))
    with tempfile.TemporaryDirectory() as folder:
        try:
            pixels = _rounded(PROGRAMS[source.kind].develop(path.resolve(), Path(folder)))
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            raise ValueError(f"{name}: {error}") from error
    return Picture(name, pixels, _box_of(name, pixels, *own))


def _read(path: Path) -> np.ndarray:
    from isp.datasets.sources import read_picture

    _warn_of_profile(path)
    return read_picture(path).permute(1, 2, 0).numpy()


def _warn_of_profile(path: Path) -> None:
    """A line for a picture that says that it is not sRGB: its numbers are taken as they are."""
    from io import BytesIO

    from PIL import Image, ImageCms

    try:
        with Image.open(path) as image:
            icc = image.info.get("icc_profile")
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(icc))).strip() if icc else "sRGB"
    except (OSError, ValueError, SyntaxError, ImageCms.PyCMSError):  # not Pillow's, or damaged: the reader will tell
        return
    if "srgb" not in name.lower():
        warnings.warn(f"{path} has the profile {name!r} and is taken as sRGB", stacklevel=2)


def _rounded(pixels: np.ndarray) -> np.ndarray:
    """float32: as an 8-bit file holds it."""
    from isp.output import quantise

    return np.divide(quantise(pixels.astype(np.float32), 8, as_float=False), 255, dtype=np.float32)


def _upright_boxes(raw: RawImage) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """Height and width of the active area the way up it is shown, and the default crop in it."""
    import torch

    from isp.stages.geometry import crop, orient
    from isp.stages.opcodes import after_trims

    meta = raw.meta
    top, left, bottom, right = meta.area
    opcodes = (*meta.opcode_list2, *meta.opcode_list3)
    if after_trims((0, 0, bottom - top, right - left), opcodes) != (0, 0, bottom - top, right - left):
        size = after_trims(meta.crop, opcodes)  # a trim: nobody else's frame can be told from ours
        height, width = size[2] - size[0], size[3] - size[1]
        return (height, width), (0, 0, height, width)
    shown = torch.zeros(1, 1, bottom - top, right - left, dtype=torch.bool)
    crop(shown, meta.crop).fill_(True)
    upright = orient(shown, meta.orientation)[0, 0].numpy()
    rows, columns = (np.flatnonzero(upright.any(axis)) for axis in (1, 0))
    height, width = upright.shape
    return (height, width), (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def _box_of(
    name: str, pixels: np.ndarray, area: tuple[int, int], crop: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    """Where another developer's picture lies in the upright active area: the default crop, or the middle of it all."""
    height, width = pixels.shape[:2]
    if (height, width) == (crop[2] - crop[0], crop[3] - crop[1]):
        return crop
    down, right = area[0] - height, area[1] - width
    if not (0 <= down <= BORDER and 0 <= right <= BORDER and down % 2 == 0 and right % 2 == 0):
        raise ValueError(
            f"{name} made {width}x{height} pixels of an active area of {area[1]}x{area[0]}; they cannot be laid upon "
            "each other"
        )
    return down // 2, right // 2, down // 2 + height, right // 2 + width


def aligned(pictures: Sequence[Picture]) -> tuple[list[Picture], str]:
    """The pictures cut to what all show, and a sentence about what was cut. ValueError, one line, for pictures that
    are not of one size."""
    boxes = [picture.box for picture in pictures if picture.box is not None]
    said = ""
    if boxes and len(set(boxes)) > 1:
        common = (*(max(box[i] for box in boxes) for i in (0, 1)), *(min(box[i] for box in boxes) for i in (2, 3)))
        cut, names = [], []
        for picture in pictures:
            if picture.box is None:
                cut.append(picture)
                continue
            top, left = common[0] - picture.box[0], common[1] - picture.box[1]
            part = picture.pixels[top : top + common[2] - common[0], left : left + common[3] - common[1]]
            cut.append(picture._replace(pixels=part, box=common))  # type: ignore[arg-type]
            if part.shape != picture.pixels.shape:
                names.append(f"{picture.name} from {picture.pixels.shape[1]}x{picture.pixels.shape[0]}")
        pictures = cut
        said = f"Cut to what all show: {', '.join(names)}."
    first = pictures[0]
    for other in pictures[1:]:
        if other.pixels.shape != first.pixels.shape:
            sizes = [f"{one.name} is {one.pixels.shape[1]}x{one.pixels.shape[0]}" for one in (first, other)]
            raise ValueError(f"{' and '.join(sizes)} pixels; pictures of one size are compared")
    return list(pictures), said


# --- differences -----------------------------------------------------------------------------------------------------


class Difference(NamedTuple):
    """Of a picture to the first. colour: H W 1, CIEDE2000; linear: H W 3, linear sRGB, this less the first."""

    colour: np.ndarray
    linear: np.ndarray
    figures: dict[str, float | str]
    worst: list[tuple[int, int, int, int, float, float]]  # top, left, height, width, mean and largest CIEDE2000


def difference(picture: np.ndarray, truth: np.ndarray) -> Difference:
    """Both H W 3, encoded sRGB in [0, 1]."""
    import torch

    from isp.metrics import lpips, psnr, ssim
    from isp.metrics.ciede2000 import delta_e_2000, lab
    from isp.stages.encode import decode

    x, y = (torch.from_numpy(np.ascontiguousarray(v)).permute(2, 0, 1)[None] for v in (picture, truth))
    with torch.inference_mode():
        bands = [slice(top, top + 512) for top in range(0, x.shape[-2], 512)]  # float64 of all of it would be large
        colour = torch.cat([delta_e_2000(lab(x[:, :, b]), lab(y[:, :, b])) for b in bands], 1)[0].float().numpy()
        linear = (decode(x, "srgb") - decode(y, "srgb"))[0].permute(1, 2, 0).numpy()
        figures: dict[str, float | str] = {"PSNR, dB": float(psnr(x, y, 1.0, 0))}
        metrics = (("SSIM", ssim), ("LPIPS (SqueezeNet)", lpips))
        for name, metric in metrics:
            try:
                figures[name] = float(metric(x, y, 1.0, 0))
            except FileNotFoundError as error:
                figures[name] = "–"
                figures[f"{name}: why"] = str(error)
            except ValueError as error:  # a picture smaller than its window
                figures[name] = "–"
                figures[f"{name}: why"] = str(error)
    figures["CIEDE2000, mean"] = float(colour.mean())
    figures["95 % below"] = float(np.percentile(colour, 95))
    figures["most"] = float(colour.max())
    return Difference(colour[..., None], linear, figures, worst_patches(colour))


def worst_patches(colour: np.ndarray) -> list[tuple[int, int, int, int, float, float]]:
    """The patches of a grid with the largest mean, H W: top, left, height, width, mean, largest; those that differ."""
    height, width = colour.shape
    found = []
    for top in range(0, height, PATCH):
        for left in range(0, width, PATCH):
            part = colour[top : top + PATCH, left : left + PATCH]
            found.append((top, left, *part.shape, float(part.mean()), float(part.max())))
    return sorted((patch for patch in found if patch[5] > 0), key=lambda patch: -patch[4])[:WORST]


# --- the page --------------------------------------------------------------------------------------------------------


def page(pictures: Sequence[Picture], note: str = "", notes: Sequence[str] = ()) -> str:
    """The page that compares pictures of one size, the others with the first."""
    from isp.output.page import paragraph, skeleton
    from isp.output.viewer import viewer

    height, width = pictures[0].pixels.shape[:2]
    found = [difference(picture.pixels, pictures[0].pixels) for picture in pictures[1:]]
    windows = _windows(height, width, len(pictures), [patch for one in found for patch in one.worst])
    layers, panels = [], []
    for number, picture in enumerate(pictures):
        letter = chr(ord("A") + number) if number < 26 else str(number + 1)
        layers.append(_picture_layer(f"{letter} {picture.name}", picture.pixels, windows))
        panels.append(paragraph(f"{picture.name}, {width}x{height}, as 8 bits hold it; values are exact."))
    for number, (picture, one) in enumerate(zip(pictures[1:], found, strict=True)):
        letter = chr(ord("B") + number) if number < 25 else str(number + 2)
        layers += _difference_layers(letter, one, windows)
        panels += [
            paragraph(f"CIEDE2000 between {picture.name} and A: black 0, white {WHITE_DIFFERENCE:g} and more."),
            paragraph(
                f"Linear sRGB of {picture.name} less that of A: grey 0, white +{LINEAR_SHOWN:g} and more, black "
                f"−{LINEAR_SHOWN:g} and less."
            ),
        ]
    body, block = viewer(
        layers,
        panels,
        frame=(height, width),
        first=(0, 1),
        mode="slider",
        before=_summary(pictures, found, [note, *notes], whole=len(windows) == 1 and windows[0][2:] == (height, width)),
        quality=92,
    )
    title = " / ".join(picture.name for picture in pictures)
    return skeleton(
        title, {"": body}, subtitle="compared", assets=("viewer.css", "viewer.js"), blocks=[block], body="app"
    )


def _windows(
    height: int, width: int, count: int, worst: Sequence[tuple[int, int, int, int, float, float]]
) -> list[tuple[int, int, int, int]]:
    """Boxes top, left, height, width whose values the page holds: all, or what lies around the worst patches."""
    if height * width * count <= WHOLE:
        return [(0, 0, height, width)]
    boxes: dict[tuple[int, int, int, int], None] = {}
    for top, left, h, w, *_ in worst:
        t, l = max(top - MARGIN, 0), max(left - MARGIN, 0)  # noqa: E741
        boxes[t, l, min(top + h + MARGIN, height) - t, min(left + w + MARGIN, width) - l] = None
    return list(boxes)


def _picture_layer(name: str, pixels: np.ndarray, windows: Sequence[tuple[int, int, int, int]]) -> Layer:
    from isp.output.viewer import Layer, Show, Window, reduced, shown

    height, width = pixels.shape[:2]
    show = Show(encoded="srgb")
    factor = 1 if height * width <= SHARP else -(-max(height, width) // MAP)
    if windows and windows[0][2:] == (height, width):
        factor = -(-max(height, width) // MAP)
    return Layer(
        name=name,
        size=(height, width),
        channels=3,
        show=show,
        unit="",
        overview=shown(reduced(pixels, factor), show, "srgb"),
        factor=factor,
        windows=[Window(t, l, pixels[t : t + h, l : l + w], STEP_PICTURE) for t, l, h, w in windows],  # noqa: E741
        low=None,
        high=(1.0, 1.0, 1.0),
    )


def _difference_layers(letter: str, one: Difference, windows: Sequence[tuple[int, int, int, int]]) -> list[Layer]:
    from isp.output.viewer import Layer, Show, Window, heat, reduced, signed

    height, width = one.colour.shape[:2]
    factor = -(-max(height, width) // MAP)
    layers = []
    for name, values, gain, colours, drawn, step, unit in (
        ("ΔE", one.colour, 1 / WHITE_DIFFERENCE, "heat", heat, STEP_COLOUR, "CIEDE2000"),
        ("linear", one.linear, 1 / LINEAR_SHOWN, "signed", signed, STEP_LINEAR, "linear"),
    ):
        layers.append(
            Layer(
                name=f"{letter}−A {name}",
                size=(height, width),
                channels=values.shape[2],
                show=Show(gain=gain),
                unit=unit,
                overview=drawn(reduced(values, factor) * gain),
                factor=factor,
                windows=[Window(t, l, values[t : t + h, l : l + w], step) for t, l, h, w in windows],  # noqa: E741
                colours=colours,
            )
        )
    return layers


def _summary(pictures: Sequence[Picture], found: Sequence[Difference], notes: Sequence[str], whole: bool) -> Html:
    """Figures, notes and the worst patches."""
    from isp.output.page import Html, fold, paragraph, table, tag

    names = [name for name in found[0].figures if not name.endswith(": why")]
    letters = [chr(ord("B") + number) if number < 25 else str(number + 2) for number in range(len(found))]
    rows = [
        [name, *(value if isinstance(value := one.figures[name], str) else f"{value:.4g}" for one in found)]
        for name in names
    ]
    why = {name.removesuffix(": why"): text for name, text in found[0].figures.items() if name.endswith(": why")}
    title = f"The others to A, {pictures[0].name}"
    parts: list[Any] = [table(rows, ("", *letters), title)]
    parts += [fold(f"Why no {name}", paragraph(text)) for name, text in why.items()]
    parts += [paragraph(text) for text in notes if text]
    for letter, picture, one in zip(letters, pictures[1:], found, strict=True):
        buttons = [
            [
                tag("button", f"x {left}, y {top}", type="button", data_goto=f"{top},{left},{h},{w}"),
                f"{mean:.2f}",
                f"{most:.2f}",
            ]
            for top, left, h, w, mean, most in one.worst
        ]
        title = f"Worst patches of {letter}, {picture.name}"
        listed = table(buttons, ("patch", "ΔE, mean", "most")) if buttons else paragraph("The pictures are equal.")
        parts.append(tag("details", tag("summary", title), listed, open=letter == "B"))
    held = (
        "The page holds every value."
        if whole
        else "The page holds the values around the worst patches (dashed frames); elsewhere it shows pictures for the "
        "eye (JPEG) and no values."
    )
    about = paragraph(
        f"Of encoded sRGB rounded to 8 bits, no border left out. {held} CIEDE2000 is held to "
        f"±{STEP_COLOUR / 2:.2g}, linear differences to ±{STEP_LINEAR / 2:.2g} or a coarser step that spans them."
    )
    return Html("".join(map(str, (*parts, fold("About this page", about)))))


# --- the command -----------------------------------------------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m isp.compare",
        usage="%(prog)s A B [C ...] [--raw RAW] [-o OUT.html]   (--help lists all)",
        description="Compare pictures, raws, models and other developers, as one HTML page: slider, flicker, "
        "differences, figures, worst patches.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("sources", nargs="+", metavar="A", help="what is compared, two or more; see below")
    add("--raw", type=Path, metavar="RAW", help="the raw file that models and developers develop")
    add("--look", choices=LOOKS, default="neutral", help="of what isp renders; default: neutral")
    add("-o", "--output", type=Path, default=Path("compare.html"), metavar="OUT", help="default: compare.html")
    add("-Y", "--overwrite", action="store_true", help="replace a page that exists (refused otherwise)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, develop, compare, write; returns the exit code."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if len(arguments.sources) < 2:
        parser.error("one picture is given; two or more are compared")
    try:
        if arguments.output.suffix.lower() != ".html":
            raise ValueError(f"{arguments.output}: the comparison is a page; give a name that ends in .html")
        if arguments.output.exists() and not arguments.overwrite:
            raise ValueError(f"{arguments.output} exists; -Y overwrites it")
        sources = [parse(argument, arguments.look) for argument in arguments.sources]
    except (ValueError, OSError) as error:
        parser.error(" ".join(str(error).split()))
    try:
        compare(sources, arguments.raw, arguments.output, arguments.overwrite)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def compare(sources: Sequence[Source], raw: Path | None, output: Path, overwrite: bool) -> None:
    """Write the page. What is wrong with a file and does not stop it is said on stderr and on the page."""
    from isp.output.page import write_page

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pictures, note = aligned(develop(sources, raw))
    notes = list(dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning)))
    for line in notes:
        print(f"warning: {line}", file=sys.stderr)
    look = {source.options.look for source in sources if source.options is not None}
    looks = f"Rendered by isp with the {' and the '.join(sorted(look))} look." if look else ""
    write_page(output, page(pictures, note, [looks, *notes]), overwrite)


if __name__ == "__main__":
    sys.exit(main())
