"""python -m isp.compare: what is compared with what, the figures, and the page in a browser."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import Browser
from PIL import Image

from isp.compare import PATCH, Picture, aligned, difference, main, page, parse
from isp.developers import PROGRAMS
from isp.metrics import ciede2000, psnr, ssim
from isp.output.page import write_page
from isp.raw import CFA, RawImage, RawMetadata, write_dng

MATRIX = [[0.8443, -0.1990, -0.0571], [-0.4748, 1.2164, 0.2867], [-0.1364, 0.2383, 0.8064]]


def pictures(height: int = 70, width: int = 150, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two pictures as 8 bits hold them: smooth noise, and the same with a spoilt square at rows 10 to 20, columns 80
    to 100."""
    first = np.random.default_rng(seed).integers(40, 200, (height, width, 3)).astype(np.float32) / 255
    second = first.copy()
    second[10:20, 80:100, 0] += 30 / 255
    return first, second


def save(path: Path, pixels: np.ndarray) -> str:
    Image.fromarray((pixels * 255 + 0.5).astype(np.uint8)).save(path)
    return str(path)


def raw_file(path: Path, **changes: Any) -> str:
    """A small Bayer frame; LibRaw wants some 22 rows."""
    height, width = 48, 64
    values: dict[str, Any] = {
        "height": height, "width": width, "cfa": CFA("RGGB"), "black_level": np.full((1, 1, 1), 512.0),
        "white_level": [16383.0], "calibration_illuminant1": 21, "color_matrix1": MATRIX,
        "as_shot_neutral": [0.6, 1.0, 0.7], **changes,
    }  # fmt: skip
    y, x = np.mgrid[:height, :width]
    light = 512 + 9000 * (0.2 + 0.8 * x / width) * (0.5 + 0.5 * y / height)
    write_dng(path, RawImage(light.astype(np.uint16), RawMetadata(**values)))
    return str(path)


def tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def test_figures_are_those_of_the_metrics() -> None:
    first, second = pictures()
    found = difference(second, first)
    x, y = tensor(second), tensor(first)
    assert found.figures["PSNR, dB"] == pytest.approx(float(psnr(x, y, 1.0, 0)))
    assert found.figures["SSIM"] == pytest.approx(float(ssim(x, y, 1.0, 0)))
    assert found.figures["CIEDE2000, mean"] == pytest.approx(float(ciede2000(x, y, 1.0, 0)))
    assert found.figures["most"] == pytest.approx(found.colour.max())
    by_hand = 30 / 255 * np.sqrt(200 / (70 * 150 * 3))
    assert found.figures["PSNR, dB"] == pytest.approx(-20 * math.log10(by_hand), rel=1e-4)


def test_linear_difference_is_signed_and_linear() -> None:
    """IEC 61966-2-1, by hand."""
    first, second = np.full((12, 12, 3), 0.5, np.float32), np.full((12, 12, 3), 0.25, np.float32)
    decoded = [((v + 0.055) / 1.055) ** 2.4 for v in (0.25, 0.5)]
    assert difference(second, first).linear == pytest.approx(decoded[0] - decoded[1])
    assert difference(first, second).linear == pytest.approx(decoded[1] - decoded[0])


def test_worst_patches() -> None:
    first, second = pictures()
    worst = difference(second, first).worst
    assert [(top, left) for top, left, *_ in worst] == [(0, PATCH)]
    top, left, height, width, mean, most = worst[0]
    assert (height, width) == (64, 64)
    colour = difference(second, first).colour[top : top + height, left : left + width]
    assert (mean, most) == pytest.approx((colour.mean(), colour.max()))
    assert difference(first, first).worst == []


def test_lpips_or_why_not(weights: Path) -> None:
    from isp.metrics import lpips

    first, second = pictures()
    name = "LPIPS (SqueezeNet)"
    found = difference(second, first).figures
    assert found[name] == pytest.approx(float(lpips(tensor(second), tensor(first), 1.0, 0)))


def test_missing_weights_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from isp.metrics import weights as module

    monkeypatch.setenv("ISP_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(module.torch.hub, "get_dir", lambda: str(tmp_path))
    module.loaded.cache_clear()
    first, second = pictures()
    text = page([Picture("a", first), Picture("b", second)])
    assert '<th scope="row">LPIPS (SqueezeNet)</th><td class="number">–</td>' in text
    assert "Why no LPIPS (SqueezeNet)" in text
    assert "squeezenet1_1" in text


def test_page_in_a_browser(browser: Browser, tmp_path: Path) -> None:
    first, second = pictures()
    names = ("<img src=x onerror=window.hacked=1>.png", "b.png")
    write_page(tmp_path / "c.html", page([Picture(n, p) for n, p in zip(names, (first, second), strict=True)]))
    browser.size(1280, 800)
    browser.open(tmp_path / "c.html")
    browser.evaluate("isp.ready().then(() => 0)")
    browser.settle()
    assert (browser.errors, browser.requests) == ([], [])
    assert browser.evaluate("window.hacked") is None
    one = difference(second, first)
    for layer, values, precision in (
        (0, first, 1e-7),
        (1, second, 1e-7),
        (2, one.colour, 2**-7),
        (3, one.linear, 2**-13),
    ):
        for row, column in ((0, 0), (12, 85), (69, 149)):
            found = browser.evaluate(f"isp.read({layer}, {row}, {column})")
            assert found == pytest.approx(values[row, column], abs=precision), (layer, row, column)

    assert browser.evaluate("isp.state.mode") == "slider"
    box = browser.box("#view")
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    browser.drag(middle, (box["x"] + box["width"] * 0.25, middle[1]))
    assert browser.evaluate("isp.state.split") == pytest.approx(0.25, abs=0.01)
    browser.evaluate(
        "(() => { const s = document.getElementById('split'); s.value = 900; s.dispatchEvent(new Event('input')); })()"
    )
    assert browser.evaluate("isp.state.split") == 0.9

    browser.evaluate("Object.assign(isp.state, {split: 0.5, scale: 16, y: 15, x: 85}); isp.draw()")
    browser.settle()
    script = """((x) => { const c = document.getElementById('view');
        return [...c.getContext('2d').getImageData(x, Math.round(c.height / 2) + 4, 1, 1).data].slice(0, 3); })"""
    width = browser.evaluate("document.getElementById('view').width")
    left = browser.evaluate(f"{script}({width} / 2 - 24)")  # two pixels to the left of column 85: of A
    right = browser.evaluate(f"{script}({width} / 2 + 24)")
    assert left == (first[15, 83] * 255).round().astype(int).tolist()
    assert right == (second[15, 86] * 255).round().astype(int).tolist()

    browser.click("[data-goto]")
    assert browser.evaluate("[isp.state.y, isp.state.x]") == [32, 96]
    assert "ΔE" in browser.evaluate("document.querySelector('.strip').textContent")
    browser.click("[data-mode=flicker]")
    seen = browser.evaluate(
        "new Promise(done => { const seen = []; const t = setInterval(() => { seen.push(isp.state.flick); "
        "if (new Set(seen).size > 1 || seen.length > 60) { clearInterval(t); done(seen); } }, 50); })"
    )
    assert set(seen) == {True, False}
    browser.click("[data-mode=single]")
    for size in ((1280, 800), (390, 844)):
        browser.size(*size, mobile=size[0] < 600)
        browser.settle()
        assert browser.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert browser.errors == []


def test_command_compares_raws_and_developers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = raw_file(tmp_path / "a.dng")
    out = tmp_path / "c.html"
    assert main([raw, "isp:demosaic=malvar2004", "libraw:AHD", "-o", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert "<title>a.dng / isp:demosaic=malvar2004 / libraw:AHD</title>" in text
    assert "with the neutral look" in text
    row = re.search(r"PSNR, dB</th><td class=\"number\">([\d.]+)</td><td class=\"number\">([\d.]+)", text)
    assert row is not None
    assert float(row[1]) > 45
    assert float(row[2]) > 30  # LibRaw at the same brightness and in the same colours
    with pytest.raises(SystemExit):
        main([raw, raw, "-o", str(out)])
    assert "exists; -Y overwrites it" in capsys.readouterr().err


def test_default_crop_of_the_raw_is_found_in_other_developers(tmp_path: Path) -> None:
    raw = raw_file(tmp_path / "a.dng", default_crop_origin=(4.0, 6.0), default_crop_size=(50.0, 38.0), orientation=6)
    assert main([raw, "libraw:LINEAR", "isp:demosaic=bilinear", "-o", str(tmp_path / "c.html")]) == 0
    text = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert "libraw:LINEAR from 48x64" in text
    row = re.search(r"PSNR, dB</th><td class=\"number\">([\d.]+)", text)
    assert row is not None
    assert float(row[1]) > 30


def test_pictures_of_two_sizes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = save(tmp_path / "a.png", np.zeros((4, 6, 3))), save(tmp_path / "b.png", np.zeros((4, 5, 3)))
    assert main([a, b, "-o", str(tmp_path / "c.html")]) == 1
    assert capsys.readouterr().err == "error: a.png is 6x4 and b.png is 5x4 pixels; pictures of one size are compared\n"


def test_what_all_show_is_kept() -> None:
    whole = np.arange(10 * 12 * 3, dtype=np.float32).reshape(10, 12, 3)
    kept, said = aligned([Picture("a", whole, (0, 0, 10, 12)), Picture("b", whole[2:8, 1:9], (2, 1, 8, 9))])
    assert np.array_equal(kept[0].pixels, whole[2:8, 1:9])
    assert np.array_equal(kept[0].pixels, kept[1].pixels)
    assert said == "Cut to what all show: a from 12x10."


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("nothing.png", "no such file, and none of isp:KEY=VALUE, model:NAME"),
        ("libraw:XYZ", "expected libraw:NAME or libraw:NAME+FBDD with one of AHD"),
        ("model:none", "no model 'none'; shipped are"),
        ("isp:look", "'look' is not KEY=VALUE"),
        ("isp:looks=neutral", "unknown key 'looks'; known keys"),
        ("isp:linear=true", "linear pictures are not compared"),
        ("isp:space=rec2020", "pictures are compared in sRGB"),
    ],
)
def test_unknown_sources(argument: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(argument, "neutral")


def test_options_of_a_render() -> None:
    source = parse("isp:wb=2/1/1.5,exposure=0.5,highlights=none", "standard")
    assert source.options is not None
    assert (source.options.wb, source.options.exposure, source.options.highlights) == ("2,1,1.5", 0.5, "none")
    assert source.options.look == "standard"


def test_a_program_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    for name in PROGRAMS:
        with pytest.raises(ValueError, match=f"{name} is not installed"):
            parse(name, "neutral")


def test_developers_need_a_raw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = save(tmp_path / "a.png", np.zeros((4, 6, 3)))
    assert main([a, "libraw:AHD", "-o", str(tmp_path / "c.html")]) == 1
    assert "libraw:AHD needs a raw to develop, and no raw is given; say which with --raw RAW" in capsys.readouterr().err


def test_a_profile_other_than_srgb_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from isp.output.icc import profile

    pixels = np.full((12, 12, 3), 128, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=profile("display-p3"))
    Image.fromarray(pixels).save(tmp_path / "b.png", icc_profile=profile("srgb"))
    assert main([str(tmp_path / "a.png"), str(tmp_path / "b.png"), "-o", str(tmp_path / "c.html")]) == 0
    said = capsys.readouterr().err
    assert "a.png has the profile 'Display P3' and is taken as sRGB" in said
    assert "b.png" not in said
    assert "The pictures are equal." in (tmp_path / "c.html").read_text(encoding="utf-8")
