"""Renders with a network without PyTorch against isp.pipeline: phases, sizes, tiles; and the files of networks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from dng_factory import make_dng
from torch.nn.functional import pixel_unshuffle

import isp
import isp.fast as classical
from isp.datasets.dead_leaves import dead_leaves
from isp.fast import display, network, picture_size
from isp.fast.engine import PACKAGES, Whole, native_bfloat16
from isp.fast.exports import beside, cached, digest_of, read_export
from isp.fast.library import MACHINE, UnavailableError, library
from isp.fast.models import Choice, choose
from isp.fast.structures import Band
from isp.locate import model_folders
from isp.nets.export import TOLERANCE, difference, export_network, overlap_of
from isp.nets.load import WEIGHTS, load_model, save_model
from isp.nets.model import Model, ModelConfig
from isp.nets.runtime import open_export
from isp.noise.gaussian import gaussian_noise, noise_std
from isp.options import RenderOptions
from isp.parameters import resolve
from isp.pipeline import camera_stages, run, sensor_stages
from isp.raw import CFA
from isp.raw.opcodes import GainMap
from isp.stages.demosaic import mosaic

NOISE = (1e-3, 1e-6)
PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")
RUNTIMES = [
    pytest.param(name, marks=pytest.mark.skipif(not find_spec(package), reason=f"needs {package}"))
    for name, package in PACKAGES.items()
]
needs_kernel = pytest.mark.skipif(isinstance(library(), UnavailableError), reason=f"no kernel: {library()}")
needs_runtime = pytest.mark.skipif(not any(map(find_spec, PACKAGES.values())), reason="needs openvino or onnxruntime")
needs_export = pytest.mark.skipif(
    not (find_spec("onnx") and find_spec("onnxscript")), reason="needs onnx and onnxscript: pip install 'isp[export]'"
)
# network, arguments and the rest: each input, with a base seen and not seen, without one, and on linear light
MODELS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "pyramid": (
        "pyramid",
        {"planes": 20, "widths": (8, 8), "blocks": (1, 1)},
        {"inputs": ("packed", "sigma", "base"), "base": "msg", "residual": True, "toe": 5e-3},
    ),
    "flat": ("flat", {"planes": 8, "width": 8, "blocks": 2}, {"base": "msg", "residual": True, "toe": 1e-3}),
    "b2fnet": (
        "b2fnet",
        {"planes": 20, "widths": (4, 6, 8)},
        {"inputs": ("packed", "sigma", "base"), "base": "msg", "residual": True, "toe": 5e-3},
    ),
    "plain": ("flat", {"planes": 4, "width": 8, "blocks": 1}, {"inputs": ("packed",)}),
    "seen": (  # the base is looked at and not added
        "flat",
        {"planes": 20, "width": 8, "blocks": 1},
        {"inputs": ("packed", "sigma", "base"), "base": "msg", "toe": 5e-3},
    ),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of small models in which every part has a say, with their networks beside the weights."""
    folders = {}
    for name, (kind, arguments, rest) in MODELS.items():
        folders[name] = folder = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        model = Model(ModelConfig(kind, arguments, **rest)).eval()
        for p in model.parameters():
            if not p.any():
                p.data.normal_(0, 0.02)
        weights = save_model(folder, model, metadata={"noise": "any"})
        export_network(model, beside(weights, "float32"), digest_of(weights))
    return folders


def frame(path: Path, cfa: str = "RGGB", size: tuple[int, int] = (70, 84), **tags: Any) -> isp.RawImage:
    """A raw with a dark part and a clipped one."""
    rng = np.random.default_rng(0)
    counts = np.clip(np.linspace(600, 4400, size[1]) + rng.normal(0, 60, size), 0, 4095)
    tags = {"noise_profile": NOISE, "as_shot_neutral": (0.5, 1.0, 0.7), "black_level": 512, "white_level": 4095, **tags}
    return isp.read(make_dng(path, counts.astype(tags.pop("dtype", np.uint16)), cfa=cfa, **tags))


def by_pipeline(raw: isp.RawImage, options: RenderOptions) -> np.ndarray:
    """Camera RGB after the network, 3 H W."""
    seen: dict[str, torch.Tensor] = {}
    x = run(sensor_stages(raw.meta), raw.tensor())
    with torch.inference_mode():
        run(camera_stages(raw.meta, resolve(raw.meta, options, x)), x, lambda name, y: seen.update({name: y}))
    return seen["network"][0].numpy()


def agree(
    raw: isp.RawImage, model: Path, runtime: str = "auto", memory: float = network.MEMORY, **options: Any
) -> None:
    """The fast way and PyTorch's, to rounding."""
    fast = RenderOptions(model=str(model), runtime=runtime, precision="float32", **options)
    assert network.obstacle(raw, fast) is None
    expected = by_pipeline(raw, RenderOptions(model=str(model), runtime="torch", **options))
    found = network.camera_rgb(raw, resolve(raw.meta, fast), 2, memory)
    assert np.abs(found - expected).max() < TOLERANCE * max(1, np.abs(expected).max())


@needs_kernel
@needs_runtime
@needs_export
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("name", MODELS)
def test_it_is_the_pipeline_in_every_phase(name: str, phase: str, exported: dict[str, Path], tmp_path: Path) -> None:
    strength = {} if name == "plain" else {"strength": 0.7}
    agree(frame(tmp_path / "a.dng", phase), exported[name], **strength)


@needs_kernel
@needs_runtime
@needs_export
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("size", [(2, 2), (3, 2), (5, 61), (64, 7)])
def test_sizes(size: tuple[int, int], runtime: str, exported: dict[str, Path], tmp_path: Path) -> None:
    agree(frame(tmp_path / "a.dng", "GRBG", size), exported["pyramid"], runtime)


@needs_kernel
@needs_runtime
@needs_export
def test_tiles_are_the_whole(exported: dict[str, Path], tmp_path: Path) -> None:
    """With memory for few samples: many tiles, whose cuts do not show."""
    raw = frame(tmp_path / "a.dng", "GBRG", (323, 257))
    for name in ("pyramid", "flat"):
        export = choose(exported[name]).export()
        assert len(network.grid(196, 164, export, "float32", 2, 2e6)) >= 4
        agree(raw, exported[name], memory=2e6)


@needs_kernel
@needs_runtime
@needs_export
def test_float_counts_shading_and_levels(exported: dict[str, Path], tmp_path: Path) -> None:
    """What the inputs are made of: float mosaics, tables, black by row, and a lens shading that lifts the noise too."""
    gains = np.linspace(1, 2, 12).reshape(3, 4, 1)
    shading = GainMap(bottom=70, right=84, map_gains=gains, map_spacing_v=0.5, map_spacing_h=1 / 3)
    raw = frame(tmp_path / "a.dng", "BGGR")
    agree(isp.RawImage(raw.mosaic.astype(np.float32) + 0.25, raw.meta), exported["flat"])
    meta = replace(raw.meta, opcode_list2=(shading,), black_level_delta_v=np.linspace(0, 40, 70))
    agree(isp.RawImage(raw.mosaic, meta), exported["pyramid"])
    table = replace(raw.meta, linearization_table=np.arange(4096) ** 1.02)
    agree(isp.RawImage(raw.mosaic, table), exported["flat"])


def test_tiles_cover_the_canvas_once(tmp_path: Path) -> None:
    """Every sample is given once, by a tile that sees as far around it as it is asked to, or to the end."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        multiple, reach = int(rng.choice([1, 4])), int(rng.integers(1, 40))
        h, w = (multiple * int(n) for n in rng.integers(20, 300, 2))
        export = network.Export(tmp_path, {}, "raw", multiple, multiple, 60, reach, float(rng.integers(100, 40000)))
        precision = str(rng.choice(["float32", "int8"]))
        reach = 60 if precision == "float32" else reach
        columns = float(rng.choice([0, 2e4]))
        tiles = network.grid(h, w, export, precision, 2, 5e6 if columns else network.MEMORY, columns)
        if columns and 2 * 4 * reach * columns < 5e6:
            assert min(2, len(tiles)) * tiles[0].part.width * columns <= 5e6
        given = np.zeros((h, w), int)
        for (top, left, height, width), (first, last, start, end) in (
            ((t.part.top, t.part.left, t.part.height, t.part.width), t.box) for t in tiles
        ):
            given[first:last, start:end] += 1
            assert (height, width) == (tiles[0].part.height, tiles[0].part.width)
            assert top % multiple == left % multiple == height % multiple == width % multiple == 0
            assert top <= max(first - reach, 0)
            assert left <= max(start - reach, 0)
            assert top + height >= min(last + reach, h)
            assert left + width >= min(end + reach, w)
        assert (given == 1).all()


@needs_kernel
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("inputs", [("packed", "sigma"), ("packed", "sigma", "base")])
def test_inputs_a_few_rows_at_a_time(inputs: tuple[str, ...], phase: str, tmp_path: Path) -> None:
    """Bit for bit those of the whole tile at once, made by whoever takes them or ahead of that, before and after, as
    far as there is room; what is added to the output of rows is still there when that comes."""
    raw = frame(tmp_path / "a.dng", phase, (70, 1100))
    p = resolve(raw.meta, RenderOptions())
    p = replace(p, noise_profile=np.array([[1e-3, 1e-6]]))
    mosaic = classical.counted(raw, p)
    canvas = network.canvas_of(raw.meta, p, mosaic, 4, 4)
    h, w = canvas.height // 2, canvas.width // 2 - 8
    config = {"inputs": list(inputs), "residual": True}
    export = network.Export(tmp_path, config, "raw", 4, 4, 60, 60, 1.0)
    part, behind = network.Part(0, 4, h, w), 3
    whole = network.Inputs(export, h, w, 1)
    whole.begin(mosaic, canvas, part)
    expected, base = whole.take(), whole.base(0)
    assert expected is not None
    assert base is not None
    few = network.Inputs(export, 8, w, behind + 1 + network.AHEAD)
    for ahead in (False, True, False):
        few.begin(mosaic, canvas, part)
        for number in range(-(-h // 8)):
            made = [few.make() for _ in range(network.AHEAD + 2)] if ahead else []
            assert sum(made) <= network.AHEAD
            x = few.take()
            while ahead and few.make():
                pass
            rows = slice(8 * number, min(8 * number + 8, h))
            assert x is not None
            assert (x[:, : rows.stop - rows.start] == expected[:, rows]).all()
            before = max(number - behind, 0)
            late, rows = few.base(before), slice(8 * before, 8 * before + 8)
            assert late is not None
            assert (late == base[:, rows]).all()
        assert few.take() is None


SHIPPED = [name for name, folder in model_folders().items() if (folder / "model.onnx").is_file()]
QUANTISED = [name for name, folder in model_folders().items() if (folder / "model-int8.onnx").is_file()]


def test_a_model_ships_with_its_network() -> None:
    assert SHIPPED
    assert set(model_folders()) == {*SHIPPED, *QUANTISED}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_networks_are_those_of_their_weights(name: str, runtime: str) -> None:
    weights = model_folders()[name] / WEIGHTS
    fast = open_export(beside(weights, "float32"), digest_of(weights), runtime)
    assert difference(load_model(name), fast) < TOLERANCE


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", QUANTISED)
def test_integers_are_near(name: str, runtime: str) -> None:
    """On a noisy ramp of all brightnesses the difference is a small part of the noise."""
    weights = model_folders()[name] / WEIGHTS
    integers = open_export(beside(weights, "int8"), digest_of(weights), runtime)
    model = load_model(name)
    generator = torch.Generator().manual_seed(0)
    packed = torch.linspace(0, 1, 64).expand(1, 4, 64, 64) ** 2
    sigma = (3e-3 * packed + 2e-5).sqrt()
    packed = packed + sigma * torch.randn(packed.shape, generator=generator)
    with torch.inference_mode():
        error = (integers(packed, sigma) - model(packed, sigma)).square().mean().sqrt()
    assert 0 < error < 0.125 * sigma.square().mean().sqrt()


@pytest.mark.skipif(not (MACHINE in ("x86_64", "AMD64") and find_spec("openvino")), reason="needs x86 and OpenVINO")
@pytest.mark.parametrize("name", QUANTISED)
def test_integers_are_the_same_without_vnni(name: str, tmp_path: Path) -> None:
    """Where products are added in 16 bits, which oneDNN does when told that there is AVX2 alone, none saturates. With
    weights of the whole range outputs moved by up to 0.16."""
    weights = model_folders()[name] / WEIGHTS
    path = beside(weights, "int8")
    planes = sum(network.PLANES[given] for given in read_export(path, digest_of(weights)).config["inputs"])
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from isp.fast.engine import open_network\n"
        f"x = np.random.default_rng(0).uniform(0, 1, (1, {planes}, 48, 64)).astype(np.float32) ** 2\n"
        "np.save(sys.argv[2], open_network(Path(sys.argv[1]), 'openvino', 1)(x))\n"
    )
    outputs = []
    for isa in ("AVX2", "ALL"):
        environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": isa, "ISP_CACHE": str(tmp_path / isa)}
        subprocess.run([sys.executable, "-c", code, path, tmp_path / "y.npy"], check=True, env=environment)
        outputs.append(np.load(tmp_path / "y.npy"))
    assert np.abs(outputs[0] - outputs[1]).mean() < 5e-4  # a rounding of what stays float32 may move a code; 7e-3, then


@pytest.mark.parametrize("name", QUANTISED)
def test_two_products_fit_into_16_bits(name: str) -> None:
    """Of any byte and the weights of the file, whatever processor reads it."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(beside(model_folders()[name] / WEIGHTS, "int8")).graph
    codes = [onnx.numpy_helper.to_array(x) for x in graph.initializer if x.name.endswith(".codes")]
    assert len(codes) > 5
    assert max(np.abs(x.astype(int)).max() for x in codes) == 63 <= (2**15 - 1) // (2 * 255)


needs_bfloat16 = pytest.mark.skipif(
    not (native_bfloat16() and find_spec("openvino")), reason="needs OpenVINO and a processor with bfloat16"
)


@needs_bfloat16
@pytest.mark.parametrize("name", SHIPPED)
def test_bfloat16_is_as_near_as_integers(name: str, tmp_path: Path) -> None:
    """On that ramp its error is below a tenth of the noise, or where shortcuts carry the picture a quarter (a fifth is
    measured), in tiles that overlap by less than the reach, and at most a quarter above that of integers, whose rest is
    bfloat16 too (an eighth is measured)."""
    shot, read = 3e-3, 2e-5
    rng = np.random.default_rng(0)
    clean = np.tile(np.linspace(0, 0.9, 640) ** 2, (480, 1))
    noisy = clean + np.sqrt(shot * clean + read) * rng.standard_normal(clean.shape)
    counts = np.clip(np.round(600 + 15000 * noisy), 0, 16383).astype(np.uint16)
    tags = {"as_shot_neutral": (0.5, 1.0, 0.7), "black_level": 600, "white_level": 15600, "noise_profile": (shot, read)}
    raw = isp.read(make_dng(tmp_path / "a.dng", counts, **tags))
    exact, near = (resolve(raw.meta, RenderOptions(model=name, precision=p)) for p in ("float32", "bfloat16"))
    assert near.precision == "bfloat16"
    export = choose(name, precision="bfloat16").export()
    assert export.reach is not None
    assert export.overlap is not None
    assert export.overlap < export.reach
    found, expected = network.camera_rgb(raw, near, 2, memory=3e7), network.camera_rgb(raw, exact, 2, memory=3e7)
    error = np.sqrt(np.square(found - expected).mean())
    assert 0 < error < np.sqrt((shot * clean + read).mean()) / (4 if name == "pyramid" else 10)
    if name in QUANTISED:
        options = RenderOptions(model=name, precision="int8", runtime="openvino")
        rough = network.camera_rgb(raw, resolve(raw.meta, options), 2, memory=3e7)
        assert error < 1.25 * np.sqrt(np.square(rough - expected).mean())


@pytest.mark.parametrize("name", SHIPPED)
def test_blocks_that_overlap_as_the_file_says_are_nearly_the_whole(name: str) -> None:
    """Photographs and noise other than those that the overlap was found on: no pixel at a border is off by a code of
    255 under the model's curve. At the noise it was found at, it is the file's."""
    model, export = load_model(name), choose(name, precision="float32").export()
    assert export.overlap is not None
    assert export.reach is not None
    assert overlap_of(model) == export.overlap
    clean = torch.from_numpy(dead_leaves(256, 512, np.random.default_rng(77))).permute(2, 0, 1)[None] ** 2.2
    for shot, read in ((0.0, 0.0), (1.3e-2, 3.5e-4)):
        noisy = pixel_unshuffle(mosaic(clean, CFA("RGGB")), 2)
        noisy = gaussian_noise(noisy, shot, read, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            seen = model.seen(noisy, noise_std(noisy, shot, read))[0]
            whole = model.network(seen)
            for start in range(60, 180, 40):  # the borders of what a tile gives
                part = model.network(seen[..., start - export.overlap : start + 60 + export.overlap])
                given = part[..., 2 * export.overlap : -2 * export.overlap]
                assert (given - whole[..., 2 * start : 2 * start + 120]).abs().max() < 1 / 255


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A copy of a shipped model's folder."""
    return Path(copytree(model_folders()[SHIPPED[0]], tmp_path / "copy"))


def test_a_stale_or_damaged_export_is_refused(shipped: Path) -> None:
    path, digest = shipped / "model.onnx", digest_of(shipped / WEIGHTS)
    assert read_export(path, digest).config["network"]
    with pytest.raises(
        ValueError, match=r"model.onnx was made from other weights .*; make it anew: python -m tools.exp"
    ):
        read_export(path, "0" * 64)
    content = path.read_bytes()
    for broken in (b"", content[:-400], content[: len(content) // 2], b"<html>" + content, content[:-9] + b"!" * 9):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"model.onnx is damaged") as refused:
            read_export(path, digest)
        assert "\n" not in str(refused.value)
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    with pytest.raises(ValueError, match=r"model.onnx is damaged: its graph is not the one"):
        read_export(path, digest)


@needs_kernel
@needs_runtime
def test_the_command_imports_neither_torch_nor_scipy(tmp_path: Path) -> None:
    raw = frame(tmp_path / "a.dng")
    target = tmp_path / "a.tif"
    code = (
        "import sys; from isp.render import main\n"
        f"code = main({[str(raw.path), '--model', SHIPPED[0], '-o', str(target), '--record']!r})\n"
        "assert not {'torch', 'scipy', 'onnx'} & set(sys.modules), 'imported'\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "a.tif.json").read_text())
    text = json.dumps(record)
    assert "isp.fast" in text
    assert record["parameters"]["runtime"]["value"] in PACKAGES
    assert record["parameters"]["runtime"]["origin"].startswith("auto")


@needs_kernel
@needs_runtime
def test_the_picture_is_that_of_the_pipeline(tmp_path: Path) -> None:
    """The shipped model to 8-bit codes: within one, and nearly everywhere equal, as the last bits fall."""
    raw = frame(tmp_path / "a.dng")
    options = RenderOptions(model=SHIPPED[0], look="neutral", precision="float32")
    pixels = np.empty((*picture_size(raw.meta), 3), np.uint8)
    p = network.develop(raw, options, pixels)
    expected = isp.render(raw, RenderOptions(model=SHIPPED[0], look="neutral", runtime="torch"))[0].permute(1, 2, 0)
    codes = (expected.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()
    assert p.precision == "float32"
    assert np.abs(pixels.astype(int) - codes).max() <= 1
    assert (pixels == codes).mean() > 0.98
    rgb, again = network.camera_rgb(raw, p, 1), np.empty_like(pixels)
    pieces = display(lambda number: Band.of(rgb, 0), raw.meta, p, again)
    for box in pieces.boxes:
        pieces.begin(box)
    pieces.finish(1)
    assert (again == pixels).all()


class Pixelwise:
    """A network that looks at nothing beside a sample, so many turns late, and is now fast and now slow."""

    def __init__(self, height: int, behind: int, rng: np.random.Generator) -> None:
        self.turns, self.behind, self.rng = -(-height // network.TURN), behind, rng

    @staticmethod
    def of(x: np.ndarray) -> np.ndarray:
        """Planes h w to 12 h w."""
        return np.stack([np.tanh(x[i % len(x)] * np.float32(0.5 + 0.05 * i)) for i in range(12)])

    def begin(self) -> None:
        self.waiting: list[np.ndarray] = []
        self.taken = 0

    def __call__(self, x: np.ndarray | None) -> np.ndarray | None:
        time.sleep(self.rng.choice([0, 0, 0, 2e-3]))
        if x is not None:
            self.waiting.append(self.of(x))
            self.taken += 1
        late = len(self.waiting) > self.behind or self.taken == self.turns
        return self.waiting.pop(0) if late else None


@needs_kernel
@pytest.mark.parametrize("seed", range(30))
def test_tiles_rows_and_threads_make_no_difference(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit what one tile at once gives, of any frame, crop and orientation: tiles side by side and one below the
    other, rows that come late, boxes that several tiles share, highlights that take a second look."""
    rng = np.random.default_rng(seed)
    h, w = (int(n) for n in (rng.integers(2, 420), rng.integers(2, 300)))
    top, left = (int(n) for n in rng.integers(0, 4, 2))
    down, across = int(rng.integers(0, h)), int(rng.integers(0, w))
    tags: dict[str, Any] = {
        "active_area": (top, left, top + h, left + w),
        "default_crop_origin": (across, down),
        "default_crop_size": (int(rng.integers(1, w - across + 1)), int(rng.integers(1, h - down + 1))),
        "orientation": int(rng.integers(1, 9)),
    }
    raw = frame(tmp_path / "a.dng", str(rng.choice(PHASES)), (top + h + 2, left + w + 1), **tags)
    by_rows, behind, threads = bool(rng.integers(0, 4)), int(rng.integers(0, 7)), int(rng.choice([1, 2, 3, 4, 16]))
    multiple, reach, memory = int(rng.choice([1, 4])), int(rng.integers(0, 9)), float(rng.choice([1e4, 1e6, 1e9]))
    config = {
        "inputs": ["packed", "sigma", "base"][: rng.integers(1, 4)],
        "residual": bool(rng.integers(0, 2)),
        "toe": 5e-3,
    }
    export = network.Export(tmp_path, {**config, "base": "msg"}, "raw", multiple, multiple, reach, reach, 60.0)

    def opened(_: Path, runtime: str, shape: tuple[int, ...], number: int, precision: str) -> list[Any]:
        if runtime == "kernel":
            return [Pixelwise(shape[2], behind, np.random.default_rng(i)) for i in range(number)]
        return [Whole(lambda x: Pixelwise.of(x[0])[None]) for _ in range(number)]

    def chosen(runtime: str) -> None:
        choice = Choice(raw.path, "", runtime, "float32", raw.path, "")
        monkeypatch.setattr("isp.fast.models.choose", lambda *_: choice)

    monkeypatch.setattr(Choice, "export", lambda self: export)
    monkeypatch.setattr(network, "open_streams", opened)
    monkeypatch.setattr(network, "read_network", lambda path: SimpleNamespace(behind=behind))
    monkeypatch.setattr(network, "column_bytes", lambda _: 1e3)
    monkeypatch.setattr(network, "MEMORY", memory)
    chosen("onnx")
    options = RenderOptions(model="any", highlights=str(rng.choice(["clip", "reconstruct"])), look="neutral")
    p = resolve(raw.meta, options)
    rgb, expected = network.camera_rgb(raw, p, 1, 1e12), np.zeros((*picture_size(raw.meta), 3), np.uint8)
    pieces = display(lambda number: Band.of(rgb, 0), raw.meta, p, expected)
    for box in pieces.boxes:
        pieces.begin(box)
    pieces.finish(1)
    chosen("kernel" if by_rows else "onnx")
    assert (network.camera_rgb(raw, p, threads, memory) == rgb).all()
    into, rows, times = np.zeros_like(expected), np.zeros_like(expected), np.zeros(len(expected), int)

    def write(first: int, given: np.ndarray) -> None:
        rows[first : first + len(given)] = given
        times[first : first + len(given)] += 1

    network.develop(raw, options, into, threads=threads)
    network.develop(raw, options, write, threads=threads)
    assert (into == expected).all()
    assert (rows == expected).all()
    assert (times == 1).all()


@needs_kernel
def test_it_leaves_off_when_a_thread_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when all tiles are done, which are as large as there are threads to share the frame."""
    raw = frame(tmp_path / "a.dng", size=(2000, 40))
    export = network.Export(tmp_path, {**MODELS["plain"][2], "residual": False, "toe": 0}, "raw", 4, 4, 4, 4, 60.0)
    calls = []

    class Slow(Pixelwise):
        def __call__(self, x: np.ndarray | None) -> np.ndarray | None:
            calls.append(self.behind)
            if self.behind == 0 and len(calls) > 20:
                raise ValueError("no more")
            time.sleep(0.002)
            return super().__call__(x)

    choice = Choice(raw.path, "", "kernel", "float32", raw.path, "")
    monkeypatch.setattr("isp.fast.models.choose", lambda *_: choice)
    monkeypatch.setattr(Choice, "export", lambda self: export)
    streams = [Slow(520, i, np.random.default_rng(i)) for i in range(2)]
    monkeypatch.setattr(network, "open_streams", lambda *_: streams)
    monkeypatch.setattr(network, "read_network", lambda path: SimpleNamespace(behind=1))
    monkeypatch.setattr(network, "column_bytes", lambda _: 1e3)
    with pytest.raises(ValueError, match="no more"):
        network.camera_rgb(raw, resolve(raw.meta, RenderOptions(model="any")), 2)
    assert len(calls) < 60 < 2 * 520 // network.TURN


def test_auto_falls_back_where_nothing_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in ("isp.fast.engine", "isp.fast.models"):
        monkeypatch.setattr(f"{module}.find_spec", lambda name: None)
    choice = choose(SHIPPED[0])
    assert (choice.runtime, choice.precision, choice.path) == ("torch", "float32", None)
    raw = frame(tmp_path / "a.dng")
    assert network.obstacle(raw, RenderOptions(model=SHIPPED[0])) == "runtime torch"
    assert isp.render(raw, RenderOptions(model=SHIPPED[0])).shape == (1, 3, 70, 84)
    with pytest.raises(
        ValueError, match=r"^openvino not installed; pip install openvino, or pip install 'isp\[fast\]'$"
    ):
        choose(SHIPPED[0], "openvino")
    with pytest.raises(ValueError, match="precision int8 needs the package openvino or onnxruntime"):
        choose(SHIPPED[0], precision="int8")


@needs_runtime
def test_what_is_chosen(shipped: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ISP_CACHE", str(tmp_path))
    (shipped / "model-int8.onnx").unlink(missing_ok=True)
    assert choose(shipped, precision="float32").path == choose(shipped).path == shipped / "model.onnx"
    monkeypatch.setattr("isp.fast.models.matrix_bfloat16", lambda: False)
    for native, precision in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr("isp.fast.models.native_bfloat16", lambda native=native: native)
        assert choose(shipped).precision == (precision if find_spec("openvino") else "float32")
    with pytest.raises(ValueError, match=r"precision bfloat16 needs OpenVINO and a processor with avx512_bf16 or amx"):
        choose(shipped, precision="bfloat16")
    with pytest.raises(ValueError, match=r"model-int8.onnx; python -m tools.quantise makes it"):
        choose(shipped, precision="int8")
    (shipped / "model-int8.onnx").touch()
    for native, precision in ((False, "int8"), (True, "bfloat16")):
        for kind in ("native", "matrix"):
            monkeypatch.setattr(f"isp.fast.models.{kind}_bfloat16", lambda native=native: native)
        assert choose(shipped).precision == (precision if find_spec("openvino") else "float32")
    assert choose(shipped, precision="int8").path == shipped / "model-int8.onnx"
    (shipped / "model-int8.onnx").unlink()
    (shipped / "model.onnx").rename(cached(shipped / WEIGHTS))
    assert choose(shipped).path == cached(shipped / WEIGHTS)
    cached(shipped / WEIGHTS).unlink()
    assert choose(shipped).path is None
    monkeypatch.setattr("isp.fast.models.can_export", lambda: False)
    assert choose(shipped).runtime == "torch"
    assert choose(shipped, "torch").reason == "options.runtime: torch"
