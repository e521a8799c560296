"""A recipe that trains in seconds, and pictures for it."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isp.datasets.dead_leaves import dead_leaves


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(6):
        pixels = dead_leaves(96, 96, np.random.default_rng(i))
        Image.fromarray((pixels * 255).round().astype(np.uint8)).save(folder / f"leaf-{i}.png")
    return folder


@pytest.fixture
def values(photos: Path) -> dict:
    """Of a recipe: 12 steps of a network of 1,000 parameters."""
    return {
        "name": "small",
        "model": {"network": "flat", "arguments": {"planes": 8, "width": 4, "blocks": 1}},
        "data": {"sources": [str(photos)], "recipes": ["wide", "mialgo"], "pool": 3, "renew": 2, "held_out": 0.3},
        "phases": [
            {"steps": 7, "batch": 4, "patch": 8, "losses": {"display": {"l1": 1}}},
            {"steps": 5, "batch": 2, "patch": 12, "losses": {"root": {"l2": 1}, "display-clipped": {"l1": 0.5}}},
        ],
        "rates": [{"steps": 4, "rate": 0.01, "warm_up": 2}, {"steps": 8, "rate": 0.01, "to": 1e-5}],
        "validation": {"every": 6, "pictures": 2, "size": 16, "samples": 1},
        "device": "cpu",
        "log_every": 3,
        "ema": 0.9,
        "checkpoint_minutes": 0,
    }


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without figures, which take a third of a second at each validation; test_report.py has them."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
