"""The list of models and networks, and where docs/networks.md has its tables; these are in nets/test_published.py."""

from pathlib import Path

import pytest
import torch

from isp.nets import NETWORKS
from isp.nets.load import save_model
from isp.nets.model import Model, ModelConfig
from tools import models


def test_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A model tells its size, what its card says at the top, and else what the header of its weights says."""
    config = ModelConfig("flat", {"planes": 8, "width": 8, "blocks": 2}, base="msg", residual=True)
    torch.manual_seed(0)
    card = "---\ntrained on: street scenes\nquality: 35.1 dB at ISO 800\n---\n\n# Told\n"
    header = {"noise": "shot 1e-4 to 1e-2", "recipe": "wide", "steps": "700"}
    save_model(tmp_path / "models" / "told", Model(config), metadata=header, card=card)
    save_model(tmp_path / "models" / "plain", Model(config), metadata=header, card="# Plain\n")
    (tmp_path / "models" / "broken").mkdir()
    (tmp_path / "models" / "broken" / "model.safetensors").write_bytes(b"no")
    monkeypatch.setattr(models, "NETWORKS", {name: NETWORKS[name] for name in ("flat", "tiny-unet-rgb")})
    folders = {path.name: path for path in sorted((tmp_path / "models").iterdir())}
    monkeypatch.setattr(models, "model_folders", lambda: folders)  # not those that ship
    assert models.main([]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    # head 8 -> 8, four convolutions 8 -> 8, tail 8 -> 12, with biases; a quarter of the picture's pixels each
    parameters = 5 * (8 * 8 * 9 + 8) + 8 * 12 * 9 + 12
    macs = (5 * 8 * 8 * 9 + 8 * 12 * 9) / 4
    for text in (f"{parameters / 1e6:.3f} M", f"{macs / 1e3:.1f}", "26", "street scenes", "35.1 dB at ISO 800"):
        assert text in lines["told"]
    assert "wide, 700 steps, shot 1e-4 to 1e-2" in lines["plain"]
    assert "error: " in lines["broken"]
    assert "0.075 M" in lines["tiny-unet-rgb"]
    assert "xrestormer" not in lines


def test_a_document_without_its_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "PARTS", {"sizes": lambda: "| table |"})
    assert models.written("a\n<!-- sizes -->\nold\n<!-- end -->\nb") == "a\n<!-- sizes -->\n| table |\n<!-- end -->\nb"
    with pytest.raises(ValueError, match=r"networks\.md has no lines <!-- sizes --> and <!-- end -->"):
        models.written("nothing")
