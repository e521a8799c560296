"""The scores by hand."""

import pytest
import torch

from isp.metrics import RAIM_2025_RECONSTRUCTED, RAIM_2026, raim_score

PLAUSIBLE = {"psnr": 33.0, "ssim": 0.92, "lpips": 0.08, "dists": 0.05, "niqe": 3.8, "other": 7.0}


def test_by_hand() -> None:
    values = {name: torch.tensor([v, v]) for name, v in PLAUSIBLE.items()}
    # 20 x .66 + 15 x .84 + 20 x .8 + 40 x 5/6 + 30 x .62
    expected = 13.2 + 12.6 + 16 + 100 / 3 + 18.6
    assert raim_score(values, RAIM_2025_RECONSTRUCTED).tolist() == pytest.approx([expected] * 2, abs=1e-4)
    assert raim_score(values, RAIM_2026).tolist() == pytest.approx([19.8 + 18.9 + 24] * 2, abs=1e-4)


def test_best_and_worst() -> None:
    for parts in (RAIM_2025_RECONSTRUCTED, RAIM_2026):
        best = {name: torch.tensor([float(p.best)]) for name, p in parts.items()}
        worst = {name: torch.tensor([float(p.worst)]) for name, p in parts.items()}
        assert raim_score(best, parts).item() == pytest.approx(sum(p.points for p in parts.values()))
        assert raim_score(worst, parts).item() == pytest.approx(0)


def test_a_missing_metric_is_named() -> None:
    with pytest.raises(ValueError, match="needs psnr, ssim, lpips; lpips is missing"):
        raim_score({"psnr": torch.tensor([30.0]), "ssim": torch.tensor([0.9])}, RAIM_2026)
