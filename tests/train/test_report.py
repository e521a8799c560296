"""The page of a run: what its log says, its samples, and half lines."""

import importlib.util
import json

import pytest

from isp.train.config import TrainConfig
from isp.train.engine import Engine
from isp.train.group import processes
from isp.train.loops import stage1
from isp.train.report import SHEETS, write_report


@pytest.fixture
def undrawn():
    """Here figures are drawn."""


def test_the_page_says_what_the_log_says(values, tmp_path):
    folder = tmp_path / "run"
    with processes("cpu") as group:
        stage1(Engine(TrainConfig.from_dict(values), folder, group, progress=False))  # 12 steps, two validations
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "validation"][-1]
    page = (folder / "report.html").read_text()
    assert "Training of run" in page
    assert "step 12, 0 minutes" in page
    assert f'<th scope="row">all levels</th><td class="number">{last["psnr"]:.2f}</td>' in page
    assert page.count("data:image/jpeg") == 2
    assert page.count("data:image/svg+xml") == (4 if importlib.util.find_spec("matplotlib") else 0)
    assert "held_out: 0.3" in page

    with open(folder / "log.jsonl", "a") as file:
        file.write('{"step": 13, "ki')  # of a process that was killed
    first = sorted((folder / "samples").glob("*.png"))[0]
    (folder / "samples" / ".0000018.77-abcd.png").write_bytes(first.read_bytes()[:20])  # nor is that picture whole
    for step in range(20, 40):
        (folder / "samples" / f"{step:07d}.png").write_bytes(first.read_bytes())
    write_report(folder)
    page = (folder / "report.html").read_text()
    assert page.count("data:image/jpeg") == SHEETS
    assert page.index("step 39<") < page.index("step 6<")
    assert "step 12, 0 minutes" in page
