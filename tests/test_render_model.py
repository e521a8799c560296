"""Rendering with a model in the place of the demosaic: the picture, the record, and what is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dng_factory import make_dng
from PIL import Image

import isp
from isp.locate import find_model
from isp.nets import inference
from isp.nets.load import save_model
from isp.nets.model import Model, ModelConfig
from isp.options import DEFAULT_MODEL, RenderOptions
from isp.parameters import resolve
from isp.pipeline import camera_stages, develop, sensor_stages
from isp.raw.opcodes import GainMap
from isp.render import main
from isp.stages.demosaic.curve import toe

NOISE = (1e-3, 1e-6)
PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")


def save(folder: Path, trained: bool = False, **changes: Any) -> Path:
    """A model over msg whose tail is 0, so that it is msg itself; trained: one with a tail of some size."""
    values: dict[str, Any] = {
        "arguments": {"planes": 20, "width": 8, "blocks": 1},
        "inputs": ("packed", "sigma", "base"),
        "base": "msg",
        "residual": True,
        "toe": toe(NOISE),
        **changes,
    }
    torch.manual_seed(0)
    model = Model(ModelConfig("flat", **values))
    if trained:
        torch.nn.init.normal_(model.network.tail.weight, std=0.1)
    return save_model(folder, model, metadata={"noise": "any"}).parent


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "untrained")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "trained", trained=True)


def dng(path: Path, cfa: str | None = "RGGB", size: tuple[int, int] = (45, 52), **tags: Any) -> Path:
    """A raw file with a bright, clipped part and a dark one; a noise profile unless told."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    ramp = np.linspace(600, 4400, size[1])
    mosaic = np.clip(ramp + rng.normal(0, 60, size), 0, 4095).astype(np.uint16)
    tags = {"noise_profile": NOISE, "iso": 800, "as_shot_neutral": (0.5, 1.0, 0.7), **tags}
    return make_dng(path, mosaic, cfa=cfa, black_level=512, white_level=4095, **tags)


def render_png(*arguments: str | Path) -> np.ndarray:
    arguments = tuple(map(str, arguments))
    target = arguments[arguments.index("-o") + 1]
    assert main([*arguments, "-Y"]) == 0
    with Image.open(target) as picture:
        return np.asarray(picture).astype(int)


@pytest.mark.parametrize("look", ["neutral", "standard"])
@pytest.mark.parametrize("cfa", PHASES)
def test_a_model_that_is_msg_renders_as_msg(tmp_path: Path, untrained: Path, cfa: str, look: str) -> None:
    source = dng(tmp_path / "a.dng", cfa)
    common = (source, "--look", look, "-o", tmp_path / "a.png")
    expected = render_png(*common, "--demosaic", "msg")
    assert np.abs(render_png(*common, "--model", untrained) - expected).max() <= 1
    raw = isp.read(source)
    one, two = (
        isp.render(raw, RenderOptions(look=look, **how)) for how in ({"demosaic": "msg"}, {"model": str(untrained)})
    )
    assert (one - two).abs().max() < 1e-5


def test_strength_changes_the_picture(tmp_path: Path, trained: Path) -> None:
    source = dng(tmp_path / "a.dng")
    weak, plain, strong = (
        render_png(source, "--model", trained, "--strength", s, "-o", tmp_path / "a.png") for s in ("0", "1", "4")
    )
    assert (weak != plain).any()
    assert (strong != plain).any()


def test_the_record_names_model_and_noise(tmp_path: Path, trained: Path) -> None:
    digest = hashlib.sha256((trained / "model.safetensors").read_bytes()).hexdigest()
    for tags, origin, values in (
        ({}, "IFD0 tag 51041", [list(NOISE)] * 3),
        ({"noise_profile": None, "unique_camera_model": "NIKON D850"}, "profile nikon-d850 at ISO 800", None),
        ({"noise_profile": None}, "estimated from the frame", None),
    ):
        source = dng(tmp_path / "a.dng", size=(300, 320), **tags)
        options = ["--model", str(trained), "--strength", "0.5", "--runtime", "torch", "--record", "-Y"]
        assert main([str(source), *options]) == 0
        record = json.loads((tmp_path / "a.png.json").read_text())
        assert record["options"]["model"] == {"value": str(trained), "origin": "user"}
        said = record["parameters"]
        assert said["model"]["value"] == str(trained)
        assert said["model_file"]["value"] == str(trained / "model.safetensors")
        assert said["model_sha256"]["value"] == digest
        assert said["strength"] == {"value": 0.5, "origin": "options.strength"}
        assert said["runtime"]["value"] == "torch"
        assert said["noise_profile"]["origin"].startswith(origin)
        if values is not None:
            assert said["noise_profile"]["value"] == values


def test_the_default_is_the_shipped_model_where_it_suits(tmp_path: Path) -> None:
    """For Bayer frames whose noise is known, where a fast runtime is installed; a demosaic that is asked for wins."""
    fast = any(find_spec(name) for name in ("openvino", "onnxruntime"))
    for tags, arguments, model in (
        ({}, [], DEFAULT_MODEL if fast else None),
        ({"noise_profile": None, "unique_camera_model": "NIKON D850"}, [], DEFAULT_MODEL if fast else None),
        ({"noise_profile": None}, [], None),
        ({}, ["--demosaic", "auto"], None),
        ({}, ["--runtime", "torch"], DEFAULT_MODEL),
    ):
        source = dng(tmp_path / "a.dng", **tags)
        assert main([str(source), "--record", "-Y", *arguments]) == 0
        record = json.loads((tmp_path / "a.png.json").read_text())
        assert record["parameters"]["model"]["value"] == model
        assert record["options"]["model"]["value"] == model
        assert model is not None or record["parameters"]["demosaic"]["value"] == "msg"


def test_the_record_has_the_file_that_ran_and_the_reasons_of_what_was_left_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr("isp.fast.models.matrix_bfloat16", lambda: False)
    source = dng(tmp_path / "a.dng")
    unknown = dng(tmp_path / "b.dng", noise_profile=None)

    def record(source: Path, *arguments: str) -> tuple[dict[str, Any], dict[str, Any]]:
        assert main([str(source), "--record", "-Y", "-o", str(tmp_path / "a.png"), *arguments]) == 0
        record = json.loads((tmp_path / "a.png.json").read_text())
        return record["options"], record["parameters"]

    folder = find_model(DEFAULT_MODEL).parent
    for arguments, name, reason in (
        ([], "model-int8.onnx", "auto: the model has it"),
        (["--precision", "float32"], "model.onnx", "options.precision"),
        (["--runtime", "torch"], "model.safetensors", "auto: of runtime torch"),
    ):
        options, said = record(source, *arguments)
        assert options["model"]["origin"] == "default: pyramid, as the noise is known (IFD0 tag 51041 NoiseProfile)"
        assert said["model_file"]["value"] == str(folder / name)
        assert said["model_sha256"]["value"] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert said["precision"]["origin"] == reason
    options, said = record(unknown)
    assert options["model"]["origin"].startswith("default: none, as the noise of the frame is not known")
    assert said["model_file"]["value"] is said["model_sha256"]["value"] is None


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["--precision", "int8"], "precision is 'int8'"),
        (["--runtime", "torch"], "runtime is 'torch'"),
        (["--strength", "2"], "strength is 2.0"),
    ],
)
def test_what_goes_with_a_model_says_why_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], asked: str
) -> None:
    source = dng(tmp_path / "a.dng", noise_profile=None)
    assert main([str(source), *arguments]) == 1
    assert capsys.readouterr().err == (
        f"{source}: error: {asked}, but it goes with a model, and there is none: the noise of the frame is not known "
        "(no NoiseProfile, and no profile of the camera); name one: --model NAME\n"
    )


def test_stages_are_dumped_with_the_network_among_them(tmp_path: Path, trained: Path) -> None:
    source = dng(tmp_path / "a.dng")
    assert main([str(source), "--model", str(trained), "--dump-stages", str(tmp_path / "stages")]) == 0
    names = [path.name.split("-", 1)[1] for path in sorted((tmp_path / "stages").iterdir())]
    assert "network.exr" in names
    assert "demosaic.exr" not in names


def test_a_model_of_the_dumped_config_and_of_a_sidecar(
    tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = dng(tmp_path / "a.dng")
    plain = render_png(source, "--demosaic", "rcd", "-o", tmp_path / "1.png")
    with_model = render_png(source, "--model", trained, "--strength", "2", "-o", tmp_path / "1.png")
    assert (plain != with_model).any()
    assert main([str(source), "--model", str(trained), "--strength", "2", "--dump-config"]) == 0
    sidecar = tmp_path / "a.dng.isp.yaml"
    sidecar.write_text(capsys.readouterr().out)
    assert (render_png(source, "-o", tmp_path / "2.png") == with_model).all()
    assert (render_png(source, "--demosaic", "rcd", "-o", tmp_path / "3.png") == plain).all()
    sidecar.write_text(f"model: {trained}\n")
    assert (render_png(source, "--strength", "2", "-o", tmp_path / "5.png") == with_model).all()
    sidecar.write_text("demosaic: rcd\n")
    assert (render_png(source, "--model", trained, "--strength", "2", "-o", tmp_path / "4.png") == with_model).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "MODEL", "--demosaic", "msg"], "demosaic is 'msg', but model "),
        (["--model", "nothing"], "no model 'nothing'; shipped are: "),
        (["--demosaic", "msg", "--strength", "0.5"], "strength is 0.5, but it goes with a model, and there is none"),
        (["--demosaic", "msg", "--runtime", "onnx"], "runtime is 'onnx', but it goes with a model, and there is none"),
        (["--model", "MODEL", "--strength", "-1"], "strength is -1.0; expected 0 to 10"),
        (["--model", "MODEL", "--strength", "nan"], "strength is nan; expected 0 to 10"),
        (["--model", "MODEL", "--runtime", "tpu"], "invalid choice: 'tpu'"),
    ],
)
def test_wrong_usage(
    tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    source = dng(tmp_path / "a.dng")
    with pytest.raises(SystemExit) as exit_:
        main([str(source), *(str(trained) if part == "MODEL" else part for part in arguments)])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("x-trans", "models are trained on Bayer mosaics; render it without a model"),
        ("quad-bayer", "models are trained on Bayer mosaics; render it without a model"),
        ("monochrome", "there is nothing to demosaic; render it without a model"),
        ("linear", "there is nothing to demosaic; render it without a model"),
    ],
)
def test_what_models_do_not_take(
    tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str], kind: str, reason: str
) -> None:
    mosaic = np.full((36, 36, 3) if kind == "linear" else (36, 36), 1000, np.uint16)
    cfa = {
        "x-trans": "GBGGRGRGRBGBGBGGRGGRGGBGBGBRGRGRGGBG",
        "quad-bayer": "RRGGRRGGGGBBGGBB",
        "monochrome": None,
        "linear": None,
    }[kind]
    source = make_dng(tmp_path / "a.dng", mosaic, cfa=cfa, white_level=(4095,) * (3 if kind == "linear" else 1))
    assert main([str(source), "--model", str(trained)]) == 1
    expected = f"{source}: error: model {str(trained)!r} cannot take a {kind} frame: {reason}\n"
    assert capsys.readouterr().err == expected
    assert main([str(source)]) == 0


def test_strength_without_a_noise_map_is_refused(tmp_path: Path) -> None:
    blind = save(tmp_path / "blind", arguments={"planes": 16, "width": 8, "blocks": 1}, inputs=("packed", "base"))
    raw = isp.read(dng(tmp_path / "a.dng"))
    isp.render(raw, RenderOptions(model=str(blind)))
    with pytest.raises(ValueError, match="takes no noise map"):
        isp.render(raw, RenderOptions(model=str(blind), strength=0.5))


def test_gradients_and_the_way_back(tmp_path: Path, trained: Path) -> None:
    meta = isp.read(dng(tmp_path / "a.dng")).meta
    options = RenderOptions(model=str(trained), look="neutral", highlights="none")
    counts = (512 + 2000 * torch.rand(1, 1, 45, 52)).requires_grad_()
    picture, _ = develop(counts, meta, options)
    picture.square().sum().backward()
    assert counts.grad is not None
    assert (counts.grad != 0).float().mean() > 0.99
    back = isp.unprocess(picture.detach(), meta, options)
    assert back.shape == counts.shape
    unknown = replace(meta, noise_profile=None)
    balance, network = camera_stages(unknown, resolve(unknown, options))
    x = balance.forward(counts.detach())
    with pytest.raises(ValueError, match="is told the noise, which is unknown; resolve"):
        network.forward(x)


def test_lens_shading_lifts_the_noise(tmp_path: Path, untrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the model is told where a gain map doubles: twice the noise of the sample before it."""
    doubling = GainMap(top=0, left=0, bottom=45, right=52, plane=0, planes=1, row_pitch=1, col_pitch=1,
                       map_spacing_v=1.0, map_spacing_h=1.0, map_origin_v=0.0, map_origin_h=0.0,
                       map_gains=np.full((1, 1, 1), 2.0))  # fmt: skip
    told = []
    whole = inference.develop_mosaic

    def spy(model: Any, mosaic: torch.Tensor, sigma: torch.Tensor, *more: Any, **named: Any) -> torch.Tensor:
        told.append(sigma)
        return whole(model, mosaic, sigma, *more, **named)

    monkeypatch.setattr(inference, "develop_mosaic", spy)
    raw = isp.read(dng(tmp_path / "a.dng"))
    for meta in (raw.meta, replace(raw.meta, opcode_list2=(doubling,))):
        develop(raw.tensor(), meta, RenderOptions(model=str(untrained)))
    x = torch.from_numpy((raw.mosaic.astype(np.float64) - 512) / (4095 - 512))[0::2, 0::2]  # red, whose gain is 2
    expected = 2 * (NOISE[0] * x.clamp(min=0) + NOISE[1]).sqrt()
    assert torch.allclose(told[0][0, 0, 0::2, 0::2].double(), expected, rtol=1e-4)
    assert torch.allclose(told[1], 2 * told[0], rtol=1e-4)


def test_the_list_of_stages_says_where_the_network_stands(tmp_path: Path, trained: Path) -> None:
    raw = isp.read(dng(tmp_path / "a.dng"))
    p = resolve(raw.meta, RenderOptions(model=str(trained)))
    names = [stage.name for stage in [*sensor_stages(raw.meta), *camera_stages(raw.meta, p)]]
    assert names[-3:] == ["white-balance", "network", "highlights"]


@pytest.mark.slow
def test_batches_in_processes(tmp_path: Path, trained: Path) -> None:
    for name in "abc":
        dng(tmp_path / "in" / f"{name}.dng")
    arguments = [str(tmp_path / "in"), "--model", str(trained), "-t", "1"]
    assert main([*arguments, "-o", f"{tmp_path}/one/"]) == 0
    assert main([*arguments, "-o", f"{tmp_path}/two/", "--workers", "2"]) == 0
    for name in "abc":
        assert (tmp_path / "one" / f"{name}.png").read_bytes() == (tmp_path / "two" / f"{name}.png").read_bytes()
