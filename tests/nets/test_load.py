"""Models in files: what save_model writes load_model reads, and what is no model is refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

import isp
from isp.nets import NETWORKS
from isp.nets.checkpoints import load_official
from isp.nets.load import find_model, load_model, open_model, read_header, save_model
from isp.nets.model import Model, ModelConfig

NOISE = {"noise": "shot 1e-4 to 1e-2"}


def small(**changes: Any) -> Model:
    values = {"network": "flat", "arguments": {"planes": 20, "width": 8, "blocks": 1}, "toe": 1e-5, "base": "msg"}
    values |= {"inputs": ("packed", "sigma", "base"), "residual": True}
    torch.manual_seed(0)
    model = Model(ModelConfig(**{**values, **changes}))
    torch.nn.init.normal_(model.network.tail.weight, std=0.1)
    return model.eval()


def developed(model: Model) -> torch.Tensor:
    x = torch.rand((1, 4, 12, 10), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(x, 0.1 * x)


def test_saved_is_loaded_by_folder_file_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    weights = save_model(tmp_path / "models" / "mine", model, metadata=NOISE, card="# Mine\n")
    folder = weights.parent
    assert {path.name for path in folder.iterdir()} == {"card.md", "config.yaml", "model.safetensors"}
    lone = tmp_path / "lone.safetensors"
    lone.write_bytes(weights.read_bytes())
    monkeypatch.setenv("ISP_HOME", str(tmp_path))
    for source in (folder, str(folder), weights, lone, "mine"):
        loaded = isp.load_model(source)
        assert loaded.config == model.config
        assert not loaded.training
        assert torch.allclose(developed(loaded), developed(model), atol=1e-6)
    assert yaml.safe_load((folder / "config.yaml").read_text())["network"] == "flat"
    header = read_header(weights)
    assert header["noise"] == NOISE["noise"]
    assert header["version"] == isp.__version__
    assert "RGGB" in header["mosaic"]
    assert "linear" in header["target"]


def test_half_is_stored_and_float32_loaded(tmp_path: Path) -> None:
    model = small()
    full = save_model(tmp_path / "full", model, metadata=NOISE)
    half = save_model(tmp_path / "half", model, metadata=NOISE, half=True)
    assert half.stat().st_size < 0.75 * full.stat().st_size
    loaded = load_model(half)
    assert {x.dtype for x in loaded.state_dict().values()} == {torch.float32}
    assert 0 < (developed(loaded) - developed(model)).abs().max() < 1e-2


def test_nothing_is_overwritten_unless_told(tmp_path: Path) -> None:
    save_model(tmp_path, small(), metadata=NOISE, card="first")
    with pytest.raises(FileExistsError, match="exists; pass overwrite=True"):
        save_model(tmp_path, small(toe=None), metadata=NOISE, card="second")
    assert (tmp_path / "card.md").read_text() == "first"
    save_model(tmp_path, small(toe=None), metadata=NOISE, card="second", overwrite=True)
    assert load_model(tmp_path).config.toe is None
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metadata": {}}, 'metadata has no "noise"'),
        ({"metadata": {**NOISE, "config": "x"}}, "'config', which save_model writes itself"),
        ({"metadata": NOISE, "half": True}, "weights tail.bias are not finite numbers as float16"),
    ],
)
def test_what_is_not_saved(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    model = small()
    torch.nn.init.constant_(model.network.tail.bias, 1e6)
    with pytest.raises(ValueError, match=message):
        save_model(tmp_path / "new", model, **arguments)
    assert not (tmp_path / "new").exists()


def test_the_open_model_is_kept_until_its_file_changes(tmp_path: Path) -> None:
    save_model(tmp_path, small(), metadata=NOISE)
    one = open_model(tmp_path)
    assert open_model(tmp_path / "model.safetensors") is one
    save_model(tmp_path, small(toe=None), metadata=NOISE, overwrite=True)
    assert open_model(tmp_path) is not one


def write(folder: Path, header: dict[str, str] | None = None, config: str | None = None, **more: Any) -> Path:
    """A model's folder as somebody else may have made it."""
    model = small()
    state = {**{name: x.clone() for name, x in model.network.state_dict().items()}, **more}
    folder.mkdir()
    save_file({name: x for name, x in state.items() if x is not None}, folder / "model.safetensors", header)
    if config is not None:
        (folder / "config.yaml").write_text(config)
    return folder


CONFIG = "network: flat\narguments: {planes: 20, width: 8, blocks: 1}\ninputs: [packed, sigma, base]\nbase: msg\n"


def test_a_config_beside_plain_weights_is_enough(tmp_path: Path) -> None:
    model = load_model(write(tmp_path / "plain", config=CONFIG))
    assert model.config.base == "msg"
    assert not model.config.residual


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "model.safetensors says not which network it belongs to; put config.yaml beside it"),
        ({"config": "network: flatt"}, "config.yaml: network is 'flatt'; expected one of .*flat"),
        ({"config": "netwrk: flat"}, "config.yaml: unknown key 'netwrk'; known keys: network, arguments"),
        ({"config": "- flat"}, "config.yaml holds list; expected keys and values"),
        ({"config": "network: ["}, "config.yaml cannot be read: while parsing"),
        ({"config": "network: flat\ntoe: 1e-3"}, "toe is '1e-3'; expected a number above 0"),
        ({"config": "network: flat\narguments: 5"}, "arguments is 5; expected keys and values"),
        ({"config": CONFIG + "residual: 1"}, "residual is 1; expected true or false"),
        ({"config": CONFIG.replace("base: msg", "base: ahd")}, "base is 'ahd'; expected one of bilinear"),
        ({"config": CONFIG.replace("width: 8", "widht: 8")}, "cannot build flat with .* unexpected keyword .*'widht'"),
        ({"config": CONFIG.replace("width: 8", "width: -8")}, "cannot build flat with"),
        ({"config": CONFIG.replace("width: 8", "width: x")}, "cannot build flat with"),
        ({"config": CONFIG.replace("width: 8", "width: 9")}, "does not fit Flat: .* of another shape"),
        ({"config": CONFIG, "head.weight": None}, "does not fit Flat: 1 missing .head.weight"),
        ({"config": CONFIG, "more": torch.zeros(3)}, "does not fit Flat: 1 too many .more"),
        ({"config": CONFIG, "tail.bias": torch.full((12,), torch.nan)}, "tail.bias holds values that are not finite"),
        ({"config": CONFIG, "header": {"config": "{"}}, "config in its header cannot be read"),
        (
            {"config": CONFIG, "header": {"config": json.dumps({**yaml.safe_load(CONFIG), "base": "rcd"})}},
            "base is 'rcd' in its header and 'msg' in .*config.yaml",
        ),
        ({"config": CONFIG, "header": {"target": "sRGB"}}, "the model gives 'sRGB'; this version renders"),
    ],
)
def test_hostile_folders(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    folder = write(tmp_path / "bad", **content)
    with pytest.raises(ValueError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>" + b" " * 100, "a web page"),
        (b"\x80\x02}q\x00.", "a PyTorch file under the name of safetensors"),
        (b"\x10\0\0\0\0\0\0\0{" + bytes(40), "damaged"),
    ],
)
def test_hostile_weights(tmp_path: Path, data: bytes, message: str) -> None:
    folder = write(tmp_path / "bad", config=CONFIG)
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_what_is_no_model_names_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISP_HOME", str(tmp_path))
    save_model(tmp_path / "models" / "mine", small(), metadata=NOISE)
    (tmp_path / "models" / "recipe-only").mkdir()
    (tmp_path / "weights.pth").write_bytes(b"x")
    for source, message in (
        ("yours", "no model 'yours'; shipped are: .*mine.*; or give a folder or a .safetensors file"),
        ("recipe-only", "no model 'recipe-only'"),
        ("", "no model ''; shipped are"),
        (tmp_path / "models" / "recipe-only", "holds no model.safetensors"),
        (tmp_path / "weights.pth", "is no model; expected a .safetensors file"),
        (tmp_path / "none.safetensors", "no model"),
    ):
        with pytest.raises(ValueError, match=message):
            find_model(source)


def test_headers_of_any_length(tmp_path: Path) -> None:
    """A header whose length begins with the byte 80, as pickles do, is among these."""
    lengths = set()
    for n in range(0, 272, 8):
        weights = save_model(tmp_path / str(n), small(), metadata={**NOISE, "note": "x" * n})
        lengths.add(weights.read_bytes()[0])
        load_model(weights)
    assert 0x80 in lengths


def test_a_released_checkpoint_becomes_a_model(tmp_path):
    """As docs/networks.md does it."""
    arguments = {"width": 8, "encoder": [1], "middle": 1, "decoder": [1]}
    released = NETWORKS["nafnet-rgb"](**arguments)
    torch.save({"params": released.state_dict()}, tmp_path / "released.pth")
    model = Model(ModelConfig("nafnet-rgb", arguments, base="malvar2004", toe=0.001))
    model.network.load_state_dict(load_official(tmp_path / "released.pth", model.network))
    save_model(tmp_path / "nafnet", model, metadata={"noise": "as its authors say"})
    loaded = load_model(tmp_path / "nafnet")
    packed, sigma = torch.rand(1, 4, 8, 8), torch.full((1, 4, 8, 8), 0.01)
    with torch.no_grad():
        assert torch.allclose(loaded(packed, sigma), model.eval()(packed, sigma), atol=1e-5)
    with pytest.raises(ValueError, match=r"docs/networks\.md"):
        load_model(tmp_path / "released.pth")
