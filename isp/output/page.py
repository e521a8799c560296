"""HTML pages that stand alone: one file with its style, scripts and pictures inside, which asks nothing of a network.

    from isp.output.page import figure, picture, skeleton, table, write_page

    sections = {
        "Figures": [paragraph("Means over 24 pictures."), table(rows, header=("developer", "PSNR, dB"))],
        "Curves": [figure(fig, "Loss over the steps")],
        "Pictures": [grid([picture(array, "flat, frame 3"), picture(truth, "truth")])],
    }
    write_page("report.html", skeleton("Evaluation of flat", sections), overwrite=True)

Everything that makes a part of a page returns `Html`. Where an argument is plain text, it is escaped; where it is
`Html`, it is taken as it is: so a file's name or a tag of a raw file can hold what it likes. The page's
Content-Security-Policy allows the styles and scripts of this package by their SHA-256, pictures inside the page, and
nothing else: no inline handler, no style attribute, no request.
"""

from __future__ import annotations

import base64
import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isp import __version__
from isp.files import whole_file
from isp.output import quantise
from isp.output.icc import profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HIDDEN = ("Cc", "Cf", "Co", "Cn")  # Unicode's categories: control, format (directions), private, unassigned
MIME = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


class Html(str):
    """Markup that is safe to put into a page. What is no Html is text, and is escaped."""


def markup(value: object) -> Html:
    """Html as it is; anything else as text, escaped, its control characters and directions of writing (with which a
    name could pretend to be another) shown as �."""
    if isinstance(value, Html):
        return value
    text = str(value).encode("utf-8", "replace").decode()  # a file name's undecodable bytes are lone surrogates
    if text.isprintable():
        return Html(escape(text))
    return Html(escape("".join("\ufffd" if unicodedata.category(c) in HIDDEN and c not in "\n\t" else c for c in text)))


def tag(name: str, /, *content: object, **attributes: str | int | bool | None) -> Html:
    """<name attributes>content</name>. class_ is class; an underscore in a name is a hyphen; True is an attribute
    without a value, False and None leave it out."""
    stated = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{markup(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in ("img", "meta", "link", "input", "br"):
        return Html(f"<{name}{stated}>")
    return Html(f"<{name}{stated}>{''.join(map(markup, content))}</{name}>")


def paragraph(*content: object) -> Html:
    return tag("p", *content)


def code(text: object) -> Html:
    """Text as a command or a file shows it, line by line."""
    return tag("pre", tag("code", text))


def table(rows: Iterable[Sequence[object]], header: Sequence[object] = (), caption: object = None) -> Html:
    """A table: header names the columns; of each row, the first cell is its name, and numbers are set to the right.

    It scrolls by itself where the window is too narrow.
    """
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in header))) if header else ""
    lines = []
    for first, *others in rows:
        cells = [tag("td", cell, class_="number" if _is_number(cell) else None) for cell in others]
        lines.append(tag("tr", tag("th", first, scope="row"), *cells))
    title = "" if caption is None else tag("caption", caption)
    return tag("div", tag("table", title, head, tag("tbody", *lines)), class_="scroll", tabindex=0)


def _is_number(cell: object) -> bool:
    if isinstance(cell, (int, float)):
        return True
    try:
        float(str(cell).strip("+–−% ").split(" ")[0] or 0)
    except ValueError:
        return False
    return not isinstance(cell, Html)


def picture(
    pixels: np.ndarray,
    caption: object = None,
    *,
    alt: str | None = None,
    space: str = "srgb",
    kind: str = "png",
    quality: int = 90,
) -> Html:
    """A <figure> with the picture inside the page, with the ICC profile of its space.

    pixels: H W 3 or H W, display-encoded; float (black 0, white 1, clipped) or uint8. kind: "png" (exact), "jpeg" or
    "webp" of this quality. alt: what it shows, for those who cannot see it; else the caption says so.
    """
    height, width = pixels.shape[:2]
    source = picture_url(pixels, space=space, kind=kind, quality=quality)
    said = alt if alt is not None else "" if caption is None else str(caption)
    image = tag("img", src=source, alt=said, width=width, height=height, decoding="async")
    return tag("figure", image, "" if caption is None else tag("figcaption", caption))


def picture_url(pixels: np.ndarray, *, space: str = "srgb", kind: str = "png", quality: int = 90) -> Html:
    """The picture as a data: URL; arguments as `picture`."""
    from PIL import Image

    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3) or 0 in pixels.shape:
        raise ValueError(f"a picture is an array H W 3 or H W; got shape {pixels.shape}")
    if pixels.dtype.kind == "f":
        pixels = quantise(pixels, 8, as_float=False)
    if pixels.dtype != np.uint8:
        raise ValueError(f"a picture holds float or uint8 samples; got {pixels.dtype}")
    if kind not in MIME:
        raise ValueError(f"kind is {kind!r}; expected one of {', '.join(MIME)}")
    settings: dict[str, Any] = {
        "png": {"compress_level": 6},
        "jpeg": {"quality": quality, "subsampling": "4:4:4"} if pixels.ndim == 3 else {"quality": quality},
        "webp": {"quality": quality, "method": 2},
    }[kind]
    icc = profile(space) if pixels.ndim == 3 else None  # ours describe three channels
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, kind.upper(), icc_profile=icc, **settings)
    return data_url(buffer.getvalue(), MIME[kind])


def data_url(data: bytes, mime: str) -> Html:
    return Html(f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}")


def figure(fig: Figure, caption: object = None, *, alt: str | None = None, kind: str = "svg") -> Html:
    """A matplotlib figure inside the page, as SVG (lines) or "png" (many points); it is not closed here."""
    buffer = BytesIO()
    settings = {"metadata": {"Date": None}} if kind == "svg" else {"dpi": 144}
    fig.savefig(buffer, format=kind, bbox_inches="tight", **settings)
    mime = "image/svg+xml" if kind == "svg" else MIME[kind]
    said = alt if alt is not None else "" if caption is None else str(caption)
    image = tag("img", src=data_url(buffer.getvalue(), mime), alt=said, class_="plot")
    return tag("figure", image, "" if caption is None else tag("figcaption", caption))


def grid(items: Iterable[Html]) -> Html:
    """Pictures side by side, as many as the window holds."""
    return tag("div", *items, class_="grid")


def fold(summary: object, *content: object) -> Html:
    """Content that opens at a click on its summary."""
    return tag("details", tag("summary", summary), *content)


def json_block(name: str, value: Any) -> Html:
    """Data for a script of the page, which finds it by its id. ValueError for what JSON has no word for (NaN)."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return Html(f'<script type="application/json" id="{markup(name)}">{text}</script>')


def asset(name: str) -> str:
    """A style or a script of this package."""
    return files("isp.output").joinpath("assets", name).read_text(encoding="utf-8")


def skeleton(
    title: object,
    sections: Mapping[str, object],
    *,
    subtitle: object = "",
    assets: Sequence[str] = (),
    blocks: Sequence[Html] = (),
    body: str | None = None,
) -> str:
    """The whole page. sections: title to content, Html or text, or a list of them; a section whose title is empty has
    no heading. assets: styles and scripts of this package beyond page.css (NAME.css, NAME.js), in order. blocks: data
    for scripts (json_block). body: its class; "app" fills the window and scrolls inside, where there is room."""
    styles = [asset(name) for name in ("page.css", *(name for name in assets if name.endswith(".css")))]
    scripts = [asset(name) for name in assets if name.endswith(".js")]
    policy = "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src {' '.join(map(_source, styles))}",
            f"script-src {' '.join(map(_source, scripts)) or repr('none')}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    head = [
        tag("meta", charset="utf-8"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="generator", content=f"isp {__version__}"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        *(Html(f"<style>{text}</style>") for text in styles),
    ]
    parts = [
        tag("header", tag("h1", title), tag("p", subtitle) if subtitle else ""),
        tag("main", *(_section(name, content) for name, content in sections.items())),
        tag("footer", tag("p", f"isp {__version__}")),
        *blocks,
        *(Html(f"<script>{text}</script>") for text in scripts),
    ]
    content = "\n".join(parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n{tag("head", *head)}\n{tag("body", Html(content), class_=body)}\n</html>\n'
    )


def _section(title: str, content: object) -> Html:
    parts = content if isinstance(content, (list, tuple)) else [content]
    return tag("section", tag("h2", title) if title else "", *parts)


def _source(text: str) -> str:
    """As Content-Security-Policy names an inline style or script that it allows (CSP 3, 6.7.2.4)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def write_page(path: str | Path, page: str, overwrite: bool = False) -> None:
    """Write a page, whole or not at all; FileExistsError where it exists, unless overwrite."""
    with whole_file(path, overwrite) as part:
        part.write_text(page, encoding="utf-8")
