"""Curves of reports: drawn where matplotlib is, named where it is not."""

import base64
import re
import sys

import pytest

from isp.output.plots import curves

LINES = {"flat <b>": ([0, 1, 2], [30.0, 28.0, 25.0]), "msg": ([0, 2], [31.0, 20.0])}


def test_without_matplotlib_a_line_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    part = curves(LINES, "noise", "PSNR, dB", "PSNR against the noise")
    assert part.startswith("<p>PSNR against the noise: the figure needs matplotlib, pip install")


def test_lines_axes_and_names_are_drawn():
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    part = curves(LINES, "noise", "PSNR, dB", "PSNR against the noise", log_y=True)
    svg = base64.b64decode(re.search(r"svg\+xml;base64,([^\"]+)", part)[1]).decode()
    for text in ("noise", "PSNR, dB", "flat &lt;b&gt;", "msg"):
        assert f"<!-- {text} -->" in svg  # matplotlib draws text as outlines, and says before each what it is
    assert "<figcaption>PSNR against the noise</figcaption>" in part
    assert "data:image/svg+xml" in curves({}, "noise", "PSNR, dB", "nothing yet")
