"""What tests share: where the development data is."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real raws and photographs beside the checkout; tests that need it skip where it is absent."""
    folder = Path(__file__).parents[2] / "shared"
    if not (folder / "data" / "raw").is_dir():
        pytest.skip("needs ../shared/data (real raws and photographs), which is not beside this checkout")
    return folder


@pytest.fixture
def weights(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of perceptual weights among the development data, as ISP_WEIGHTS."""
    folder = shared / "weights"
    if not folder.is_dir():
        pytest.skip("needs ../shared/weights (trunks and heads of perceptual metrics)")
    monkeypatch.setenv("ISP_WEIGHTS", str(folder))
    return folder
