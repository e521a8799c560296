"""Reports of renders: what the page holds are the stages' tensors, and a browser shows them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import Browser

import isp
from isp.options import RenderOptions
from isp.output.page import write_page
from isp.output.viewer import quantised
from isp.pipeline import develop
from isp.raw import CFA, RawImage, RawMetadata, write_dng
from isp.raw.opcodes import TrimBounds
from isp.render import main
from isp.report import STAGES, StageReport

BLACK, WHITE = 512.0, 4095.0
MATRIX = [[0.8443, -0.1990, -0.0571], [-0.4748, 1.2164, 0.2867], [-0.1364, 0.2383, 0.8064]]


def frame(height: int = 61, width: int = 84, seed: int = 0, **changes: Any) -> RawImage:
    """A noisy gradient with a saturated corner and samples below black."""
    values: dict[str, Any] = {
        "height": height,
        "width": width,
        "cfa": CFA("RGGB"),
        "black_level": np.full((1, 1, 1), BLACK),
        "white_level": [WHITE],
        "calibration_illuminant1": 21,
        "color_matrix1": MATRIX,
        "as_shot_neutral": [0.6, 1.0, 0.7],
        "origins": {"as_shot_neutral": "IFD0 tag 50728 AsShotNeutral"},
        **changes,
    }
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).normal(0, 40, (height, width))
    light = BLACK + 3000 * x / width * (0.3 + 0.7 * y / height) + noise
    light[:8, -8:] = 60000
    light[10:12, 50:52] = BLACK - 100
    return RawImage(np.clip(np.rint(light), 0, WHITE).astype(np.uint16), RawMetadata(**values))


def report_of(
    raw: RawImage, options: RenderOptions = RenderOptions(), region: tuple[int, int, int, int] | None = None
) -> tuple[str, dict[str, torch.Tensor]]:
    """The page, and every stage's tensor by name."""
    stages = {"counts": raw.tensor()}
    report = StageReport(raw, options, region)
    report("counts", raw.tensor())

    def watch(name: str, x: torch.Tensor) -> None:
        stages[name] = x
        report(name, x)

    _, parameters = develop(raw.tensor(), raw.meta, options, watch=watch)
    return report.page(parameters, {"look": "user"}), stages


def opened(browser: Browser, page: str, folder: Path, size: tuple[int, int] = (1280, 800)) -> None:
    write_page(folder / "report.html", page, overwrite=True)
    browser.size(*size, mobile=size[0] < 600)
    browser.open(folder / "report.html")
    browser.evaluate("isp.ready().then(() => 0)")
    browser.settle()
    assert browser.errors == []
    assert browser.requests == []


Made = tuple[RawImage, str, dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def made() -> Made:
    """A frame, the page of its render, and its stages."""
    raw = replace(frame(), path=Path("a very long name of a raw file that says where and when it was taken 2026.dng"))
    return raw, *report_of(raw)


TURNED = {
    "orientation": 6,
    "active_area": (3, 5, 59, 80),
    "default_crop_origin": (4.0, 6.0),
    "default_crop_size": (66.0, 44.0),
}
TRIMS = (TrimBounds(top=4, left=6, bottom=57, right=80),)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        TURNED,
        {"orientation": 7, "active_area": (2, 0, 60, 84)},
        {"orientation": 3, "opcode_list2": TRIMS},
        {"orientation": 8, "opcode_list3": TRIMS, "active_area": (1, 1, 61, 83)},
        {"cfa": None, "color_matrix1": None, "as_shot_neutral": None, "calibration_illuminant1": 0, "orientation": 5},
    ],
)
def test_places_of_all_stages_are_linked(changes: dict[str, Any]) -> None:
    """A bright spot lies where each layer's place says that it does."""
    meta = frame(**changes).meta
    counts = np.full((61, 84), 600, np.uint16)
    counts[24:28, 40:44] = 4000
    raw = RawImage(counts, meta)
    report = StageReport(raw, RenderOptions(look="neutral"))
    stages = {"counts": raw.tensor()}
    report("counts", raw.tensor())

    def watch(name: str, x: torch.Tensor) -> None:
        stages[name] = x
        report(name, x)

    develop(raw.tensor(), meta, RenderOptions(look="neutral"), watch=watch)

    def middle(x: torch.Tensor) -> np.ndarray:
        bright = x[0].mean(0).double()
        rows, columns = torch.nonzero(bright > (bright.min() + bright.max()) / 2, as_tuple=True)
        return np.array([float(rows.double().mean()), float(columns.double().mean())]) + 0.5

    y, x = middle(stages["orient"])
    assert report.size == stages["orient"].shape[-2:]
    for seen in report.seen:
        placed = [a * y + b * x + c for a, b, c in seen.layer.place]
        assert placed == pytest.approx(middle(stages[seen.layer.name]), abs=0.6), seen.layer.name
        assert seen.layer.size == stages[seen.layer.name].shape[-2:]


@pytest.mark.parametrize(
    "changes",
    [TURNED, {"cfa": CFA("GBGGRGRGRBGBGBGGRGGRGGBGBGBRGRGRGGBG", 6, 6)}, {"opcode_list2": TRIMS}],
    ids=["turned", "x-trans", "trimmed"],
)
def test_values_in_the_page_are_the_tensors(browser: Browser, tmp_path: Path, changes: dict[str, Any]) -> None:
    raw = frame(**changes)
    page, stages = report_of(raw)
    opened(browser, page, tmp_path)
    names = browser.evaluate("[...document.querySelectorAll('.card .name')].map(e => e.textContent)")
    assert names == list(stages)
    height, width = stages["orient"].shape[-2:]
    points = np.random.default_rng(1).integers(0, (height, width), (40, 2)).tolist()
    script = f"""{points}.map(([y, x]) => [...Array({len(names)}).keys()].map((layer) => {{
        const place = isp.place(layer, y + 0.5, x + 0.5).map(Math.floor);
        return [place, isp.read(layer, ...place)];
    }}))"""
    shifted = []
    for (y, x), layers in zip(points, browser.evaluate(script), strict=True):
        for name, ((row, column), values) in zip(names, layers, strict=True):
            tensor = stages[name][0, :, row, column].double().numpy()
            # the stated precision: half a step of the smallest power of two that spans the stage
            _, _, step = quantised(stages[name][0].numpy())
            assert np.abs(tensor - values).max() <= (0 if step == 1 else step / 2 + 1e-12), (name, y, x)
        shifted.append(layers[0][0])
    if changes == TURNED:  # the picture's place (y, x), by hand: turned clockwise, crop at (6, 4), area at (3, 5)
        assert shifted == [[3 + 6 + 44 - 1 - x, 5 + 4 + y] for y, x in points]


def test_precision_is_stated_and_small(browser: Browser, tmp_path: Path, made: Made) -> None:
    _, page, stages = made
    opened(browser, page, tmp_path)
    stated = browser.evaluate(
        "[...document.querySelectorAll('.panel')].map(e => e.textContent.match(/Values of the region: ([^]*?)\\.$/)[1])"
    )
    assert stated[0] == "exact"
    for text, (name, x) in zip(stated[3:], list(stages.items())[3:], strict=True):
        assert float(text.removeprefix("to ±")) <= float(x.max() - x.min()) * 2**-16, name


def pixels_at(browser: Browser, row: int, column: int, side: int = 1) -> list[list[int]]:
    """The colours on the canvas of side x side screen pixels in the middle of a pixel, without borders around it."""
    script = f"""(() => {{
        const canvas = document.getElementById("view"), {{ scale, y, x }} = isp.state;
        const left = Math.round(canvas.width / 2 - x * scale) + {column} * scale + (scale - {side}) / 2;
        const top = Math.round(canvas.height / 2 - y * scale) + {row} * scale + (scale - {side}) / 2;
        return [...canvas.getContext("2d").getImageData(left, top, {side}, {side}).data];
    }})()"""
    data = browser.evaluate(script)
    return [data[i : i + 3] for i in range(0, len(data), 4)]


def test_canvas_shows_the_colours_of_the_values_with_nearest_neighbour(
    browser: Browser, tmp_path: Path, made: Made
) -> None:
    _, page, stages = made
    opened(browser, page, tmp_path)
    wanted = (stages["orient"][0].clamp(0, 1) * 255 + 0.5).byte().permute(1, 2, 0).numpy()
    browser.evaluate("Object.assign(isp.state, {scale: 8, y: 30, x: 40}); isp.draw()")
    browser.settle()
    for y, x in ((30, 40), (25, 44), (33, 36)):
        found = pixels_at(browser, y, x, side=8)
        assert found == [found[0]] * 64
        assert np.abs(np.subtract(found[0], wanted[y, x])).max() <= 1


def test_zoom_pan_and_read_out(browser: Browser, tmp_path: Path, made: Made) -> None:
    raw, page, stages = made
    opened(browser, page, tmp_path)
    box = browser.box("#view")
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    browser.click("[data-do=one]")
    assert browser.evaluate("isp.state.scale") == 1
    before = browser.evaluate("[isp.state.y, isp.state.x]")
    for _ in range(12):
        browser.mouse("mouseWheel", *middle, deltaX=0, deltaY=-100)
    browser.settle()
    assert browser.evaluate("isp.state.scale") == pytest.approx(64)
    assert browser.evaluate("[isp.state.y, isp.state.x]") == pytest.approx(before, abs=1.01)
    browser.evaluate("Object.assign(isp.state, {y: 20.5, x: 30.5}); isp.draw()")
    browser.settle()
    browser.mouse("mouseMoved", *middle)
    browser.settle()
    said = browser.evaluate("document.getElementById('readout').textContent")
    assert "x 30, y 20" in said
    assert f"row 20, column 30: {'RGGB'[0]} {int(raw.mosaic[20, 30])} DN" in said
    picture = re.search(r"orient: R (\S+)  G (\S+)  B (\S+) encoded = (\S+)  (\S+)  (\S+) linear", said)
    assert picture is not None, said
    shown = stages["orient"][0, :, 20, 30].numpy()
    assert [float(v) for v in picture.groups()[:3]] == pytest.approx(shown, abs=3e-5)
    linear = np.where(shown < 0.04045, shown / 12.92, ((np.abs(shown) + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1
    assert [float(v) for v in picture.groups()[3:]] == pytest.approx(linear, abs=1e-4)
    cards = browser.evaluate("[...document.querySelectorAll('.card .value')].map(e => e.textContent)")
    assert cards[0] == str(int(raw.mosaic[20, 30]))
    assert all(cards)
    browser.drag(middle, (middle[0] - 128, middle[1] + 64))
    assert browser.evaluate("[isp.state.y, isp.state.x]") == pytest.approx([19.5, 32.5], abs=0.02)


def test_keyboard(browser: Browser, tmp_path: Path, made: Made) -> None:
    _, page, stages = made
    opened(browser, page, tmp_path)
    state = "isp.state"
    last = len(stages) - 1
    browser.key("ArrowLeft")
    assert browser.evaluate(f"[{state}.a, {state}.b]") == [last - 1, last - 2]
    assert browser.evaluate("document.querySelectorAll('.panel:not([hidden]) h2')[0].textContent") == list(stages)[-2]
    browser.key("1")
    browser.key("+")
    assert browser.evaluate(f"{state}.scale") == 2
    browser.key("d")
    assert browser.evaluate(f"{state}.cursor !== null")
    for key, name in (("c", "cfa"), ("x", "clipped"), ("n", "negative")):
        browser.key(key)
        assert browser.evaluate(f"{state}.{name}") is True
        assert (
            browser.evaluate(f"document.querySelector('[data-switch={name}]').getAttribute('aria-pressed')") == "true"
        )
    browser.key("]")
    assert browser.evaluate("document.getElementById('ev').textContent") == "+0.5 EV"
    browser.key("v")
    assert browser.evaluate(f"{state}.mode") == "slider"
    browser.key("b", release=False)
    assert browser.evaluate(f"{state}.flick") is True
    browser.key("b")
    assert browser.evaluate(f"{state}.flick") is False
    browser.key("0")
    assert browser.evaluate(f"{state}.scale") == 0
    assert browser.errors == []


def test_masks_and_false_colours(browser: Browser, tmp_path: Path, made: Made) -> None:
    _, page, stages = made
    opened(browser, page, tmp_path)
    settings = f"a: {list(stages).index('normalise')}, scale: 8, y: 20, x: 60, clipped: true, negative: true, cfa: true"
    browser.evaluate(f"Object.assign(isp.state, {{{settings}}}); isp.draw()")
    browser.settle()
    browser.settle()
    x = stages["normalise"][0, 0].numpy()
    assert x[3, 80] == 1
    assert pixels_at(browser, 3, 80) == [[255, 0, 200]]
    assert x[10, 50] < 0
    assert pixels_at(browser, 10, 50) == [[0, 225, 255]]
    for row, column, channel in ((20, 60, 0), (20, 61, 1), (21, 61, 2)):
        (colour,) = pixels_at(browser, row, column)
        assert colour[channel] > 20
        assert [value for c, value in enumerate(colour) if c != channel] == [0, 0]
    clipped = browser.evaluate("[...document.querySelectorAll('.card')].map(e => !!e.querySelector('.clipped'))")
    assert dict(zip(stages, clipped, strict=True))["normalise"]


@pytest.mark.parametrize("size", [(1280, 800), (390, 844), (844, 390)])
def test_nothing_overlaps(browser: Browser, tmp_path: Path, made: Made, size: tuple[int, int]) -> None:
    opened(browser, made[1], tmp_path, size)
    assert browser.evaluate("document.documentElement.scrollWidth") <= size[0]
    boxes = {name: browser.box(name) for name in ("header", ".toolbar", ".strip", ".screen", "#readout", ".panels")}
    names = list(boxes)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            a, b = boxes[one], boxes[other]
            apart = a["right"] <= b["left"] + 1 or b["right"] <= a["left"] + 1
            assert apart or a["bottom"] <= b["top"] + 1 or b["bottom"] <= a["top"] + 1, (one, other)
    assert boxes[".screen"]["height"] >= 200
    small = browser.evaluate(
        "[...document.querySelectorAll('.toolbar button')].filter(b => b.getBoundingClientRect().height < 30).length"
    )
    assert small == 0


def test_fingers(browser: Browser, tmp_path: Path, made: Made) -> None:
    """A tap reads out, two fingers zoom about what is between them, one drags."""
    opened(browser, made[1], tmp_path, (390, 844))
    browser.evaluate("Object.assign(isp.state, {scale: 8, y: 30, x: 40}); isp.draw()")
    browser.settle()
    box = browser.box("#view")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    browser.touch([(x + 20, y + 4)])
    assert browser.evaluate("isp.state.cursor.map(Math.floor)") == [30, 42]
    browser.touch([(x - 30, y), (x + 30, y)], [(x - 45, y), (x + 45, y)], [(x - 60, y), (x + 60, y)])
    assert browser.evaluate("isp.state.scale") == pytest.approx(16, rel=0.02)
    assert browser.evaluate("[isp.state.y, isp.state.x]") == pytest.approx([30, 40], abs=0.3)
    browser.touch([(x, y)], [(x + 16, y)], [(x + 64, y + 32)])
    assert browser.evaluate("[isp.state.y, isp.state.x]") == pytest.approx([28, 36], abs=0.3)
    assert browser.errors == []


def test_hostile_names_do_nothing(browser: Browser, tmp_path: Path) -> None:
    bad = "<img src=x onerror=window.hacked=1></script><script>window.hacked=1</script>"
    raw = replace(frame(unique_camera_model=bad, make=bad), path=Path(f"{bad.replace('/', '')}.dng"))
    page, _ = report_of(raw)
    opened(browser, page, tmp_path)
    assert browser.evaluate("window.hacked") is None
    assert browser.evaluate("document.querySelector('h1').textContent").startswith("<img src=x")


def test_parameters_say_where_they_came_from() -> None:
    page, _ = report_of(frame(), RenderOptions(look="neutral", wb="grey-world"))
    balance = page[page.index("<h2>white-balance</h2>") :]
    balance = balance[: balance.index("</section>")]
    assert '<span class="origin tag">tag</span><span> IFD0 tag 50728 AsShotNeutral</span>' in balance
    assert '<span class="origin estimated">estimated</span><span> estimated: grey-world</span>' in balance
    gamut = page[page.index("<h2>exposure</h2>") :]
    assert '<span class="origin default">default</span>' in gamut[: gamut.index("</section>")]
    encode = page[page.index("<h2>encode</h2>") :]
    assert (
        '<span class="origin default">default</span><span> options.space</span>' in encode[: encode.index("</section>")]
    )


def test_every_stage_is_described() -> None:
    """The names of isp.pipeline's stages, from its source: a new one must be explained here too."""
    source = (Path(isp.__file__).parent / "pipeline.py").read_text()
    names = set(re.findall(r'(?:Stage|opcode_stage|table_stage|matrix_stage)\(\s*"([a-z0-9-]+)"', source))
    assert names
    assert names <= set(STAGES)


def test_command_writes_picture_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dng(tmp_path / "a.dng", frame(64, 96))
    report = tmp_path / "reports"
    arguments = [str(tmp_path / "a.dng"), "--report", f"{report}/", "--report-region", "10,20,16,12"]
    assert main(arguments) == 0
    assert (tmp_path / "a.png").is_file()
    page = (report / "a.html").read_text(encoding="utf-8")
    assert "16x12 pixels from x 10, y 20 of 96x64" in page
    assert main([*arguments, "-o", str(tmp_path / "b.png")]) == 1
    assert "a.html exists; -Y overwrites it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--report", "a.pdf"], "a report is a page; give a name that ends in .html"),
        (["--report-region", "1,2,3,4"], "--report-region goes with --report"),
        (["--report", "a.html", "--report-region", "1,2,3"], "is not x,y,width,height in whole pixels"),
    ],
)
def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    write_dng(tmp_path / "a.dng", frame(64, 96))
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / "a.dng"), *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_region_outside_of_the_picture() -> None:
    with pytest.raises(ValueError, match=r"region 80,0,16,12 .* should lie in the picture, 84x61"):
        StageReport(frame(), RenderOptions(), (80, 0, 16, 12))


@pytest.mark.slow
def test_twelve_megapixels(browser: Browser, tmp_path: Path) -> None:
    height, width = 3000, 4000
    raw = frame(height, width, noise_profile=[[1e-3, 1e-5]])
    page, _ = report_of(raw)
    write_page(tmp_path / "report.html", page)
    assert (tmp_path / "report.html").stat().st_size < 25e6
    browser.size(1280, 800)
    # The page's processor time, all threads together: the wall clock of a machine with other work says nothing.
    before = browser.processor_seconds()
    wall = browser.open(tmp_path / "report.html")
    browser.settle()
    seconds = browser.processor_seconds() - before
    assert seconds < 3, f"{seconds:.2f} s of processor time, {wall:.2f} s by the clock"
    assert browser.errors == []
