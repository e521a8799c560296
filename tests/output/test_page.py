"""Pages that stand alone: escaping, the policy, pictures with their profiles, tables, figures."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isp.output.icc import profile
from isp.output.page import (
    Html,
    code,
    figure,
    fold,
    grid,
    json_block,
    markup,
    paragraph,
    picture,
    skeleton,
    table,
    tag,
    write_page,
)

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(1)>&'\u202egpj\x00\udc80"


class Names(HTMLParser):
    """The elements and attributes of a page, as a browser's parser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((name, dict(attributes)))


def decoded(html: str) -> Image.Image:
    data = re.search(r'src="data:image/[a-z]+;base64,([^"]+)"', html)
    assert data is not None
    return Image.open(io.BytesIO(base64.b64decode(data[1])))


def test_hostile_text_stays_text_everywhere(tmp_path: Path) -> None:
    pixels = np.zeros((2, 3))
    parts = [
        paragraph(HOSTILE),
        code(HOSTILE),
        table([[HOSTILE, HOSTILE]], (HOSTILE, HOSTILE), HOSTILE),
        picture(pixels, HOSTILE),
        fold(HOSTILE, HOSTILE),
        grid([tag("p", HOSTILE, title=HOSTILE)]),
        json_block("data", {HOSTILE[:-1]: HOSTILE[:-1]}),
        HOSTILE,
    ]
    page = skeleton(HOSTILE, {HOSTILE: parts}, subtitle=HOSTILE)
    names = Names(page).found
    assert sum(name == "script" for name, _ in names) == 1  # the data block, which is none
    assert not [a for _, attributes in names for a in attributes if a.startswith("on") or a == "style"]
    assert all(attributes.get("src", "data:").startswith("data:") for _, attributes in names)
    assert "\u202e" not in page
    assert "\0" not in page
    write_page(tmp_path / "a.html", page)
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == page


def test_markup_escapes_once() -> None:
    assert markup("a < b & c") == "a &lt; b &amp; c"
    assert markup(markup("a < b")) == "a &lt; b"
    assert paragraph("<", Html("<b>x</b>")) == "<p>&lt;<b>x</b></p>"


def test_data_comes_back_as_it_was() -> None:
    value = {"name": "</script><!--", "numbers": [1, 0.5, -3e-9]}
    block = json_block("data", value)
    text = block.split(">", 1)[1].rsplit("<", 1)[0]
    assert "<" not in text
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_block("data", float("nan"))


def test_policy_names_every_style_and_script_by_its_hash() -> None:
    page = skeleton("a", {})
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'none'"
    assert rules["img-src"] == "data:"
    styles = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in styles]
    assert rules["style-src"] == " ".join(f"'sha256-{value}'" for value in hashes)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("space", ["srgb", "display-p3"])
def test_picture_carries_its_profile(kind: str, space: str) -> None:
    flat = np.full((8, 12, 3), (0.5, 0.25, 0.75))
    with decoded(picture(flat, "a", space=space, kind=kind, quality=95)) as image:
        assert image.size == (12, 8)
        assert image.info["icc_profile"] == profile(space)
        off = np.abs(np.asarray(image.convert("RGB"), np.float64) - flat * 255).max()
    assert off <= (0.5 if kind == "png" else 3)


def test_png_is_exact_and_floats_are_clipped_and_rounded() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert np.array_equal(np.asarray(decoded(picture(pixels))), pixels)
    grey = np.array([[-1.0, 0.5, 2.0]])
    assert np.asarray(decoded(picture(grey))).tolist() == [[0, 128, 255]]
    assert 'alt="a &lt; b"' in picture(grey, "a < b")


@pytest.mark.parametrize(
    ("pixels", "kind", "message"),
    [
        (np.zeros((2, 2, 4)), "png", r"H W 3 or H W; got shape \(2, 2, 4\)"),
        (np.zeros((0, 2, 3)), "png", "got shape"),
        (np.zeros((2, 2, 3), np.uint16), "png", "float or uint8 samples; got uint16"),
        (np.zeros((2, 2, 3)), "gif", "kind is 'gif'; expected one of png, jpeg, webp"),
    ],
)
def test_what_is_no_picture_is_refused(pixels: np.ndarray, kind: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        picture(pixels, kind=kind)


def test_numbers_of_a_table_stand_to_the_right() -> None:
    cells = re.findall(r"<td( class=\"number\")?>([^<]*)<", table([["a", 1, "35.2 dB", "none", "−0.5", "12 %"]]))
    assert [(bool(number), text) for number, text in cells] == [
        (True, "1"),
        (True, "35.2 dB"),
        (False, "none"),
        (True, "−0.5"),
        (True, "12 %"),
    ]


def test_figure_is_inside_the_page() -> None:
    matplotlib_figure = pytest.importorskip("matplotlib.figure", reason="needs matplotlib")
    fig = matplotlib_figure.Figure()
    fig.subplots().plot([1, 2, 3])
    drawn = figure(fig, "loss")
    assert 'src="data:image/svg+xml;base64,' in drawn
    with decoded(figure(fig, "loss", kind="png")) as image:
        assert image.format == "PNG"
