"""The gallery: its pictures are there, small, and what the command makes."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from tools import gallery

DOCS = Path(__file__).parents[2] / "docs"


def test_every_picture_is_there_and_shown():
    page = (DOCS / "gallery.md").read_text("utf-8")
    named = re.findall(r"!\[[^]]+\]\(gallery/([^)]+)\)", page)
    files = sorted((DOCS / "gallery").iterdir())
    assert sorted(named) == [path.name for path in files]
    assert sum(path.stat().st_size for path in files) < 1.5e6
    for path in files:
        with Image.open(path) as picture:
            assert picture.format == "JPEG"
            colours = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
            assert "sRGB" in ImageCms.getProfileDescription(colours)
    for link in re.findall(r"\]\(([^)#]+)\)", page):
        assert (DOCS / link).exists(), link


@pytest.mark.parametrize("part", [gallery.stages, gallery.pairs], ids=lambda part: part.__name__)
def test_the_command_makes_them_again(part, tmp_path):
    """Those parts that take seconds: the same text, and pixels within a level in the mean."""
    assert part(tmp_path) in (DOCS / "gallery.md").read_text("utf-8")
    for path in tmp_path.iterdir():
        made, shipped = (np.asarray(Image.open(x)).astype(int) for x in (path, DOCS / "gallery" / path.name))
        assert np.abs(made - shipped).mean() < 1
