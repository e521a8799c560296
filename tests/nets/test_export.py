"""Exported models against PyTorch, in the runtimes that are installed."""

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dng_factory import make_dng
from nets.test_networks import SMALL

import isp
from isp.fast.engine import PACKAGES
from isp.nets import NETWORKS, runtime
from isp.nets.export import TOLERANCE, TOLERANCE_HALF, Whole, difference, export_onnx
from isp.nets.inference import develop_mosaic
from isp.nets.load import load_model, save_model
from isp.nets.model import Model, ModelConfig
from isp.nets.runtime import load_runtime
from isp.raw.cfa import CFA
from tools.export import main

needs_export = pytest.mark.skipif(
    not (find_spec("onnx") and find_spec("onnxscript")), reason="needs onnx and onnxscript: pip install 'isp[export]'"
)
needs_minutes = pytest.mark.skipif(
    not os.environ.get("ISP_TEST_EXPORTS"), reason="all exports take minutes: ISP_TEST_EXPORTS=1 tests them"
)
installed = [
    pytest.param(name, marks=pytest.mark.skipif(not find_spec(package), reason=f"needs {package}"))
    for name, package in PACKAGES.items()
]


def model(name: str, base: str | None = "bilinear") -> Model:
    """A small one in which every part has a say: the noise map, where its network takes one, and base and curve."""
    values: dict[str, Any] = {"network": name, "arguments": SMALL[name], "base": base, "toe": 1e-3}
    values["residual"] = base is not None
    if NETWORKS[name].kind == "raw":
        values["arguments"] = SMALL[name] | {"planes": 8}
    torch.manual_seed(0)
    made = Model(ModelConfig(**values)).eval()
    for p in made.parameters():
        if not p.any():
            p.data.normal_(0, 0.1)
    return made


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flat")
    save_model(folder, model("flat"), metadata={"noise": "shot 1e-4 to 1e-2"})
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@needs_export
@pytest.mark.slow
@pytest.mark.parametrize("name", [n if n == "pyramid" else pytest.param(n, marks=needs_minutes) for n in SMALL])
def test_every_network_exports(name: str, tmp_path: Path) -> None:
    """At sizes and batches other than those it was traced with; the file says what it is and not where it was made."""
    made = model(name, None if NETWORKS[name].kind == "raw" else "bilinear")
    path = tmp_path / "model.onnx"
    export_onnx(made, path)
    assert str(Path(__file__).parents[2]).encode() not in path.read_bytes()
    for runtime_name, package in PACKAGES.items():
        if find_spec(package):
            assert difference(made, Whole(path, runtime_name)) < TOLERANCE, runtime_name
    if name == "pyramid":
        import onnx

        shuffles = [node for node in onnx.load(path).graph.node if node.op_type == "DepthToSpace"]
        modes = [attribute.s for node in shuffles for attribute in node.attribute if attribute.name == "mode"]
        assert modes == [b"DCR"] * 3, "channels of a pixel side by side"


@needs_export
@needs_minutes
@pytest.mark.parametrize("base", ["malvar2004", "menon2007", "rcd", "dlmmse", "msg"])
def test_every_base_exports(base: str, tmp_path: Path) -> None:
    made = model("flat", base)
    export_onnx(made, tmp_path / "model.onnx")
    for runtime_name, package in PACKAGES.items():
        if find_spec(package):
            assert difference(made, Whole(tmp_path / "model.onnx", runtime_name)) < TOLERANCE, runtime_name


@needs_export
@pytest.mark.parametrize("name", installed)
def test_a_runtime_stands_for_the_model(
    name: str, saved: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the tiled inference, and from the cache the second time."""
    monkeypatch.setenv("ISP_CACHE", str(cache))
    made, fast = load_model(saved), load_runtime(saved, name)
    assert (fast.config, fast.multiple, fast.reach) == (made.config, made.multiple, made.reach)
    assert difference(made, fast) < TOLERANCE
    mosaic = torch.rand((1, 1, 151, 90), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        one, two = (develop_mosaic(m, mosaic, 0.1 * mosaic, CFA("GBRG"), tile=100) for m in (made, fast))
    assert (one - two).abs().max() < TOLERANCE

    def exported(*_: Any, **__: Any) -> None:
        raise AssertionError("exported again")

    monkeypatch.setattr(runtime, "export_network", exported)
    load_runtime(saved / "model.safetensors", name)
    changed = model("flat")
    with torch.no_grad():
        next(changed.parameters()).add_(1)
    save_model(tmp_path / "changed", changed, metadata={"noise": "none"})
    with pytest.raises(AssertionError, match="exported again"):
        load_runtime(tmp_path / "changed", name)
    with pytest.raises(ValueError, match="gradients go through runtime torch alone"):
        fast(torch.rand(1, 4, 8, 8, requires_grad=True), torch.rand(1, 4, 8, 8))


@needs_export
@pytest.mark.parametrize("name", installed)
def test_render_by_a_runtime(
    name: str, saved: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ISP_CACHE", str(cache))
    mosaic = np.random.default_rng(0).integers(600, 3000, (64, 80)).astype(np.uint16)
    tags: dict[str, Any] = {"noise_profile": (1e-3, 1e-6), "as_shot_neutral": (0.5, 1.0, 0.7)}
    raw = isp.read(make_dng(tmp_path / "a.dng", mosaic, cfa="GRBG", black_level=512, white_level=4095, **tags))
    one, two = (
        isp.render(raw, isp.RenderOptions(model=str(saved), look="neutral", runtime=runtime, precision="float32"))
        for runtime in ("torch", name)
    )
    assert (one - two).abs().max() < 1e-3  # encoded, where the curve is steep near black


@needs_export
@pytest.mark.slow
@pytest.mark.parametrize("half", [False, pytest.param(True, marks=needs_minutes)])
def test_command(
    half: bool, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.onnx"
    given = [str(saved), "--onnx", str(path), *(["--fp16"] if half else [])]
    assert main(given) == 0
    said = capsys.readouterr().out
    for package in PACKAGES.values():
        assert f"{package}: " in said
    import onnx

    file = onnx.load(path)
    onnx.checker.check_model(file, full_check=True)
    assert [x.name for x in file.graph.input] == ["packed", "sigma"]
    assert [x.name for x in file.graph.output] == ["rgb"]
    assert {x.type.tensor_type.elem_type for x in (*file.graph.input, *file.graph.output)} == {onnx.TensorProto.FLOAT}
    stored = {x.data_type for x in file.graph.initializer if len(x.dims) == 4}
    assert (onnx.TensorProto.FLOAT16 in stored) == half
    metadata = {x.key: x.value for x in file.metadata_props}
    assert ModelConfig.from_dict(json.loads(metadata["config"])) == load_model(saved).config
    assert json.loads(metadata["sizes"])["multiple"] == 1
    assert "RGGB" in metadata["mosaic"]
    assert main(given) == 2
    assert "exists" in capsys.readouterr().err
    content = path.read_bytes()
    monkeypatch.setattr("isp.nets.export.export_onnx", lambda _, part, **__: part.write_bytes(content))
    path.write_bytes(b"before")
    assert main([*given, "-Y", "--tolerance", "1e-12"]) == 1
    assert "is not written" in capsys.readouterr().err
    assert path.read_bytes() == b"before"
    assert TOLERANCE < TOLERANCE_HALF


def test_errors_are_one_line(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ISP_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="runtime is 'tpu'; expected one of openvino, onnx"):
        load_runtime(saved, "tpu")
    for module in ("isp.nets.export", "isp.fast.models"):
        monkeypatch.setattr(f"{module}.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"openvino not installed; pip install openvino, or pip install 'isp\[fast\]'"):
        load_runtime(saved, "openvino")
    with pytest.raises(
        ValueError, match=r"onnx and onnxscript not installed; pip install onnx onnxscript, or .*export"
    ):
        export_onnx(model("flat"), tmp_path / "x.onnx")
    assert main(["no-such", "--onnx", str(tmp_path / "x.onnx")]) == 2
    assert capsys.readouterr().err.startswith("error: no model 'no-such'; shipped are")
    assert main([str(saved), "--onnx", str(tmp_path / "x.onnx"), "--tolerance", "-1"]) == 2
    assert "tolerance is -1; expected a number above 0" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
