"""Tiles give what the whole gives, at every size, and keep the CFA's phase."""

import pytest
import torch
import torch.nn.functional as F

from isp.tiling import PERIOD, tiled


def blur(x: torch.Tensor) -> torch.Tensor:
    """5x5 mean with reflected borders: looks 2 pixels around."""
    return F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), 5, stride=1)


@pytest.mark.parametrize("size", [(5, 7), (24, 24), (61, 97), (128, 130), (40, 300)])
def test_tiled_equals_whole(size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    assert (tiled(blur, x, halo=2, tile=36) - blur(x)).abs().max() < 1e-12


def test_a_halo_too_small_shows() -> None:
    """The test above has power: without a halo the seams differ."""
    x = torch.rand(1, 1, 96, 96, dtype=torch.float64)
    assert (tiled(blur, x, halo=0, tile=36) - blur(x)).abs().max() > 1e-3


def test_tiles_start_in_phase() -> None:
    period = torch.arange(PERIOD * PERIOD, dtype=torch.float32).view(PERIOD, PERIOD)
    seen = []
    frame = period.repeat(9, 9)[None, None]

    def look(x: torch.Tensor) -> torch.Tensor:
        seen.append(float(x[0, 0, 0, 0]))
        return x

    assert torch.equal(tiled(look, frame, halo=5, tile=30), frame)
    assert len(seen) > 4
    assert set(seen) == {0.0}


def test_inference_mode_reaches_every_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    x = torch.rand(1, 1, 120, 120)
    with torch.inference_mode():
        assert torch.equal(tiled(lambda part: part * 2, x, halo=0, tile=36), x * 2)
