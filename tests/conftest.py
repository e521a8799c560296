"""What tests share: where the development data is, and one thread for each of the processes that they run in."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, find_browser

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports PyTorch: workers share the processors


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real raws and photographs beside the checkout; tests that need it skip where it is absent."""
    folder = Path(__file__).parents[2] / "shared"
    if not (folder / "data" / "raw").is_dir():
        pytest.skip("needs ../shared/data (real raws and photographs), which is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium for pages; tests that need it skip where none is installed."""
    command = find_browser()
    if command is None:
        pytest.skip("needs chromium (or google-chrome) on the PATH")
    found = Browser(command)
    yield found
    found.close()


@pytest.fixture
def weights(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of perceptual weights among the development data, as ISP_WEIGHTS."""
    folder = shared / "weights"
    if not folder.is_dir():
        pytest.skip("needs ../shared/weights (trunks and heads of perceptual metrics)")
    monkeypatch.setenv("ISP_WEIGHTS", str(folder))
    return folder
