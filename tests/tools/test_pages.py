"""The tools' pages in a browser: no error, no request, every picture decoded, nothing wider than the window."""

import json

import numpy as np
import pytest
from PIL import Image

from isp.cameras import load_camera
from isp.datasets.preview import preview_page
from isp.datasets.recipes import load_recipe
from isp.datasets.sources import DeadLeaves
from isp.datasets.synthesis import CameraChoice, make_pair
from isp.noise.profile import NoiseProfile, TableRow
from isp.output.page import write_page
from isp.train.report import write_report
from tools import calibrate_noise, evaluate

LONG = "a/very_long_name_of_a_picture_that_no_window_of_a_phone_could_ever_hold_in_a_single_line.png"


def evaluation(folder):
    cells = [evaluate.Cell("nikon-d850", "RGGB", level) for level in evaluate.REFERENCE.split(",")]
    names = ["menon2007", "libraw-AHD+FBDD", "out/with-a-long-name/model"]
    of = {(LONG, cell): {name: {"psnr": 30.0 - i} for i, name in enumerate(names)} for cell in cells}
    strips = {LONG: {cell: np.full((160, 640, 3), 99, np.uint8) for cell in cells}}
    figures = evaluate.Figures(of)
    parts = evaluate.tables(figures, cells, names[:2], names[2:], ["psnr"])
    write_page(folder / "page.html", evaluate.page("python " + LONG, figures, cells, names, ["psnr"], parts, strips))
    return folder / "page.html"


def training(folder):
    (folder / "samples").mkdir()
    Image.new("RGB", (960, 768)).save(folder / "samples" / "0000010.png")
    (folder / "config.yaml").write_text(f"name: {LONG}\n")
    (folder / "run.json").write_text(json.dumps({"version": "0", "commit": None}))
    about = {"seconds": 60.0, "rate": 1e-3, "seconds_per_step": 0.3, "waited": 0.1}
    lines = [{"step": s, "kind": "training", "display.l1": 1 / s, "norm.model": 1.0, **about} for s in (5, 10)]
    lines += [{"step": 10, "kind": "validation", "seconds": 60.0, "psnr.0": 30.0, "psnr": 30.0}]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_report(folder)
    return folder / "report.html"


def preview(folder):
    pairs = [make_pair(DeadLeaves(64), load_recipe("wide"), CameraChoice("random"), seed=0, index=0, size=16)]
    preview_page(folder / "page.html", pairs)
    return folder / "page.html"


def calibration(folder):
    result = calibrate_noise.IsoResult(800, [64.0] * 4, estimate=(2.0, 9.0))
    row = TableRow(iso=800, shot=(1e-3,), read=(1e-6,))
    profile = NoiseProfile(LONG, "sensor", "test", "none", 1000.0, 10, (800, 800), table=(row,))
    meta = load_camera("nikon-d850").frame
    write_page(folder / "page.html", calibrate_noise.make_page([result], profile, meta, ["K " + 200 * "9"], None))
    return folder / "page.html"


@pytest.mark.parametrize("make", [evaluation, training, preview, calibration], ids=lambda make: make.__name__)
def test_pages_open(make, browser, tmp_path):
    page = make(tmp_path)
    for width, height in ((1280, 800), (390, 780)):
        browser.size(width, height, mobile=width < 600)
        browser.open(page)
        browser.settle()
        assert browser.errors == []
        assert browser.requests == []
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
