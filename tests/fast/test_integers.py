"""Networks in integers by the compiled kernel: against onnxruntime on the same files, and what it does not run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from ctypes import CDLL
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dng_factory import make_dng
from torch.nn.functional import conv2d

import isp
import isp.fast as classical
from isp.fast import integers, network
from isp.fast.engine import _flags
from isp.fast.exports import beside, digest_of, fields, stamp
from isp.fast.integers import (
    INPUT,
    OUTPUTS,
    POINTS,
    SUM,
    TURN,
    WORD,
    Arithmetic,
    Network,
    Stream,
    at_points,
    network_of,
    obstacle,
    open_threads,
    parts_of,
    read_network,
    together,
)
from isp.fast.library import FLAGS, UnavailableError, _compile, _load, library
from isp.fast.models import choose
from isp.fast.onnx_graph import Graph, Node, read_graph
from isp.fast.protobuf import field
from isp.locate import model_folders
from isp.nets.load import WEIGHTS, load_model, save_model
from isp.nets.model import Model, ModelConfig
from isp.nets.runtime import open_export
from isp.options import RenderOptions
from isp.parameters import resolve
from isp.pipeline import camera_stages, run, sensor_stages

found = library()
runs = not isinstance(found, UnavailableError) and bool(found.isp_integers_lanes())
needs_it = pytest.mark.skipif(not runs, reason="needs a compiler and a processor with AVX2")
needs_packages = pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))), reason="needs onnx, onnxscript and onnxruntime"
)
QUANTISED = [name for name, folder in model_folders().items() if beside(folder / WEIGHTS, "int8").is_file()]
FULL = {"inputs": ("packed", "sigma", "base"), "base": "msg", "residual": True, "toe": 5e-3}
# Channels that fill no vector, several steps' worth of them, both activations, each kernel, one and two that are added.
NETWORKS: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "narrow": ("pyramid", {"planes": 20, "widths": [5, 18, 7], "blocks": [1, 1, 2], "slope": 0.1}, (0, -1)),
    "wide": ("pyramid", {"planes": 20, "widths": [82, 131], "blocks": [1, 1]}, (0, 1, -1, -2)),
    "flat": ("flat", {"planes": 20, "width": 35, "blocks": 2}, (0,)),
    # ends by shortcuts: the input is read twice, and of one result both bytes and words
    "joined": ("pyramid", {"planes": 20, "widths": [18, 7], "blocks": [1, 1], "joined": True}, (0, 1, -3)),
}


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of small models of random weights with their networks in integers."""
    import onnx

    from isp.nets.export import export_network
    from isp.nets.quantise import quantise, ranges_of

    folders = {}
    for name, (kind, arguments, keep) in NETWORKS.items():
        folders[name] = folder = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        model = Model(ModelConfig(kind, arguments, **FULL)).eval()
        for p in model.parameters():
            if not p.any():
                p.data.normal_(0, 0.05)
        weights = save_model(folder, model, metadata={"noise": "any"})
        export = export_network(model, beside(weights, "float32"), digest_of(weights))
        calibration = [frames(1, 48, 40, seed=seed) for seed in range(4)]
        made = quantise(onnx.load(export.path), calibration, keep=keep)
        onnx.save(made, beside(weights, "int8"))
        stamp(beside(weights, "int8"), digest_of(weights), export._replace(ranges=ranges_of(made, calibration)))
    return folders


def frames(batch: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Something like what networks see: smooth, with noise, and a map of it that is smaller by far."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.4, 0.1, (batch, 20, height, width)) + np.linspace(0, 0.4, width)
    x[:, 4:8] *= 0.05
    return x.astype(np.float32)


def by_onnxruntime(path: Path, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def by_numpy(network: Network, x: np.ndarray) -> np.ndarray:
    """What the steps are, a whole tensor at a time: sums exact, the rest rounded to float32 where the kernel does."""
    f4 = np.float32
    forms: dict[tuple[str, str], np.ndarray] = {}

    def keep(name: str, value: np.ndarray) -> None:
        if name in network.words:
            fine, largest = network.words[name][None, :, None, None], INPUT if name == network.input else WORD
            forms[name, "words"] = np.rint(np.clip(value * fine, -largest, largest))
        if name in network.bytes:
            scale, zero = network.bytes[name]
            forms[name, "bytes"] = np.clip(np.rint(f4(value.astype(float) * f4(1 / scale) + zero)), 0, 255) - zero
        forms[name, "halves"] = value.astype(np.float16).astype(f4)

    keep(network.input, x)
    value = x
    for c in network.convolutions:
        kernel = c.weights.shape[2]
        given, weights = (torch.from_numpy(a.astype(float)) for a in (forms[c.source, c.reads], c.weights))
        sums = conv2d(given, weights, stride=1 + (kernel == 2), padding=int(kernel == 3))
        if c.reads == "bytes":  # the kernel's sums are of codes, and its bias knows what zero has added
            sums += network.bytes[c.source].zero * weights.sum((1, 2, 3))[:, None, None]
        scale, bias = (a.astype(f4).astype(float)[:, None, None] for a in (c.scale, c.bias))
        value = f4(f4(sums.numpy()).astype(float) * scale + bias)
        if c.shuffle:
            b, n, h, w = value.shape
            value = value.reshape(b, 2, 2, n // 4, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(b, n // 4, 2 * h, 2 * w)
        for name in c.added:
            value = value + forms[name, "halves"]
        value = np.where(value < 0, value * f4(c.slope), value)
        keep(c.result, value)
    return value


def through(network: Network, x: np.ndarray) -> np.ndarray:
    """1 planes h w, in one stream."""
    return again(Stream(network, *x.shape[2:]), x)


def again(stream: Stream, x: np.ndarray) -> np.ndarray:
    parts = [y.copy() for _, y in stream.all(x[0])]
    return np.concatenate(parts, 1)[None, :, : x.shape[2]]


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


@needs_it
@needs_packages
@pytest.mark.parametrize("size", [(4, 4), (4, 100), (8, 52), (64, 24), (76, 60), (200, 16)])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_what_onnxruntime_makes_of_the_file(name: str, size: tuple[int, int], quantised: dict[str, Path]) -> None:
    """Both are as far from float32, and nearer to each other than if they were so by chance (1.4): codes that lie
    between two fall to either side."""
    path = quantised[name] / "model-int8.onnx"
    x = frames(1, *size, seed=9)
    expected = by_onnxruntime(path, x)
    exact = by_onnxruntime(quantised[name] / "model.onnx", x)
    cost = rms(expected - exact)
    assert obstacle(path) is None
    stream = Stream(read_network(path), *size)
    y = again(stream, x)
    assert y.shape == expected.shape
    assert rms(y - exact) < 1.2 * cost
    assert rms(y - expected) < 1.2 * cost
    assert (again(stream, x) == y).all(), "of rows of the tile before"


@needs_it
@needs_packages
@pytest.mark.parametrize("name", QUANTISED)
def test_shipped_networks(name: str) -> None:
    """Each against onnxruntime, in the tiles of both, on a ramp of all brightnesses under noise."""
    weights = model_folders()[name] / WEIGHTS
    path, model = beside(weights, "int8"), load_model(name)
    sha256 = digest_of(weights)
    packed = torch.linspace(0, 1, 64).expand(1, 4, 96, 64) ** 2
    sigma = (3e-3 * packed + 2e-5).sqrt()
    packed = packed + sigma * torch.randn(packed.shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        kernel, other = (open_export(path, sha256, r)(packed, sigma).numpy() for r in ("kernel", "onnx"))
        exact = model(packed, sigma).numpy()
    assert rms(kernel - exact) < 1.05 * rms(other - exact)
    # rounded in another place: less than what integers cost, or, where that is next to nothing, than the noise by far
    assert rms(kernel - other) < max(0.75 * rms(other - exact), rms(sigma.numpy()) / 15)


@needs_it
@needs_packages
@pytest.mark.parametrize("size", [(4, 4), (12, 100), (76, 60), (200, 16)])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_its_steps(name: str, size: tuple[int, int], quantised: dict[str, Path]) -> None:
    """All but everywhere to rounding; where the last bit of a sum turns a code, what follows of it."""
    network = read_network(quantised[name] / "model-int8.onnx")
    x = frames(1, *size, seed=3)
    x[..., : size[1] // 4] *= 9  # beyond what words hold
    expected = by_numpy(network, x)
    difference = np.abs(through(network, x) - expected)
    assert np.median(difference) < 1e-6 * np.abs(expected).max()
    assert rms(difference) < 2e-3 * rms(expected)


@needs_it
@needs_packages
@pytest.mark.parametrize("name", NETWORKS)
def test_bands_are_the_whole(name: str, quantised: dict[str, Path]) -> None:
    """Bit for bit: threads share the rows, each with what its network sees around them."""
    path = quantised[name] / "model-int8.onnx"
    x = frames(1, 232, 44)
    one, four = open_threads(path, 1)(x), open_threads(path, 4)(x)
    assert (one == four).all()
    assert (one == through(read_network(path), x)).all()


@needs_packages
@pytest.mark.skipif(not integers.arithmetic_here().matrices, reason="needs a compiler and a processor with AMX")
@pytest.mark.parametrize("size", [(4, 4), (4, 100), (8, 52), (64, 24), (76, 60), (200, 132)])
@pytest.mark.parametrize("name", NETWORKS)
def test_matrices_make_the_same_sums(
    name: str, size: tuple[int, int], quantised: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit what vectors make: all widths, below and beyond the two times 16 columns that go at once."""
    path, x = quantised[name] / "model-int8.onnx", frames(1, *size, seed=5)
    x[..., size[0] // 2 :] *= -3  # words of both signs, up to the largest
    made = through(read_network(path), x)
    monkeypatch.setattr(integers, "arithmetic_here", lambda: Arithmetic())
    assert not read_network(path).arithmetic.matrices
    assert (through(read_network(path), x) == made).all()


SHORT = {  # processors without AVX-512: what they have instead, and how they compute
    "alderlake": ({"avx_vnni", "f16c", "fma"}, Arithmetic(lanes=8, vectors=3)),
    "haswell": ({"avx2", "f16c", "fma"}, Arithmetic(lanes=8, vectors=2, pairs=True, fewer=True)),
}


@pytest.fixture(scope="module", params=SHORT)
def short_vectors(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, CDLL]:
    """The kernel for a processor without AVX-512."""
    if not SHORT[request.param][0] <= _flags():
        pytest.skip(f"needs a processor with {' '.join(sorted(SHORT[request.param][0]))}")
    if integers.arithmetic_here() == SHORT[request.param][1]:
        pytest.skip("this processor computes like that anyway")
    path = tmp_path_factory.mktemp("kernel") / "kernel.so"
    flags = [f"-march={request.param}" if flag == "-march=native" else flag for flag in FLAGS]
    try:
        _compile([*shlex.split(os.environ.get("CC") or "cc"), *flags], path)
        return request.param, _load(path)
    except UnavailableError as error:
        pytest.skip(f"needs a compiler that knows {request.param}: {error}")


@needs_it
@needs_packages
@pytest.mark.parametrize("size", [(4, 4), (8, 52), (76, 60)])
@pytest.mark.parametrize("name", [*NETWORKS, *QUANTISED])
def test_short_vectors_make_the_same(
    name: str,
    size: tuple[int, int],
    quantised: dict[str, Path],
    short_vectors: tuple[str, CDLL],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bit for bit what longer ones make."""
    path = quantised[name] / "model-int8.onnx" if name in NETWORKS else beside(model_folders()[name] / WEIGHTS, "int8")
    x = frames(1, *size, seed=5)[:, : read_network(path).planes]
    made = through(read_network(path), x)
    kind, kernel = short_vectors
    monkeypatch.setattr(integers, "library", lambda: kernel)
    assert read_network(path).arithmetic == SHORT[kind][1]
    assert (through(read_network(path), x) == made).all()


POINTED = {  # kernels that make rows by fewer products: of words and bytes in AVX2, of words alone, of both in AVX-512
    "avx2": (["-march=haswell"], {1, 2, 4}),
    "intel": (["-march=icelake-server"], {1, 2}),
    "amd": (["-march=icelake-server", "-D__znver4__"], {1, 2, 4}),
}


@pytest.fixture(scope="module", params=POINTED)
def by_points(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[CDLL, set[int]]:
    """One of them, and how many rows it makes at once."""
    flags, kinds = POINTED[request.param]
    if request.param != "avx2" and "avx512_vnni" not in _flags():
        pytest.skip("needs a processor with AVX-512 VNNI")
    if request.param == "avx2" and integers.arithmetic_here().pairs:
        assert isinstance(found, CDLL)
        return found, kinds
    path = tmp_path_factory.mktemp("points") / "kernel.so"
    _compile([*shlex.split(os.environ.get("CC") or "cc"), *FLAGS, *flags], path)
    return _load(path), kinds


@needs_it
@needs_packages
@pytest.mark.parametrize("size", [(4, 4), (4, 100), (8, 52), (64, 24), (76, 60), (200, 132)])
@pytest.mark.parametrize("name", [*NETWORKS, "pyramid"])
def test_fewer_products_make_the_same_sums(
    name: str,
    size: tuple[int, int],
    quantised: dict[str, Path],
    by_points: tuple[CDLL, set[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bit for bit what all products make, of the largest codes too: tiles narrower and wider than a piece, rows that
    are no multiple of those that go together."""
    monkeypatch.setattr(integers, "library", lambda: by_points[0])
    path = quantised[name] / "model-int8.onnx" if name in NETWORKS else beside(model_folders()[name] / WEIGHTS, "int8")
    said, graph = fields(path.read_bytes())
    given = read_graph(graph), json.loads(said["network"])["ranges"], integers.arithmetic_here()
    fewer = network_of(*given)
    assert {part.together for parts in fewer.parts for part in parts} == by_points[1] or name == "flat"
    monkeypatch.setattr(integers, "together", lambda *_: 1)
    x = frames(1, *size, seed=5)[:, : fewer.planes]
    x[..., size[0] // 2 :] *= -30
    assert (through(fewer, x) == through(network_of(*given), x)).all()


def test_constants_are_those_of_the_kernel() -> None:
    """Which the kernel's source names alike, or has in other units."""
    source = (Path(integers.__file__).parent / "integers.c").read_text()
    told = {name: int(value) for name, value in re.findall(r"([A-Z_]+) = (\d+)[ ,]", source)}
    assert (told["WORD"], told["INPUT"], told["TURN"]) == (WORD, INPUT, TURN)
    assert 16 * told["MOST_SIXTEENS"] == integers.MOST_DEEP
    assert told["MOST_MADE_ACROSS"] + 2 == integers.COLUMNS


@pytest.mark.parametrize("rows", POINTS)
def test_products_at_points_are_a_convolution(rows: int) -> None:
    """Of three taps, by the points and what they stand for: the polynomials of weights and samples multiplied there."""
    rng = np.random.default_rng(0)
    taps = rng.integers(-127, 128, 3)
    points = [0, 1, -1, 2, -2][: rows + 1]
    at = [sum(t * p**i for i, t in enumerate(taps)) for p in points] + [taps[2]]
    made = POINTS[rows] @ taps
    factors = {2: [2, 1, 1, 2], 4: [6, -1, -1, 1, 1, 6]}[rows]
    assert made.tolist() == [factor * value for factor, value in zip(factors, at, strict=True)]


@needs_packages
@pytest.mark.parametrize("name", NETWORKS)
def test_weights_for_matrices(name: str, quantised: dict[str, Path]) -> None:
    """Seven bits and what is above them, or bytes; groups of four channels, taps row by row, zeros behind."""
    network = read_network(quantised[name] / "model-int8.onnx")
    kinds = set()
    for c in network.convolutions:
        for part in parts_of(c, 1, Arithmetic(matrices=True)):
            assert 1 <= part.span <= 16
            planes = part.weights if c.reads == "words" else part.weights[None]
            kinds.add((c.reads, len(planes)))
            value = sum(plane.astype(int) * 128**i for i, plane in enumerate(planes))  # taps' rows, groups, out, 4
            assert value.shape[1] == part.chunks * part.span
            kernel, groups = c.weights.shape[2], -(-c.weights.shape[1] // 4)
            assert not value[:, kernel * groups :].any()
            value = value[:, : kernel * groups].reshape(kernel, kernel, groups, -1, 4).transpose(3, 2, 4, 0, 1)
            value = value.reshape(len(value), -1, kernel, kernel)[:, : c.weights.shape[1]]
            first = part.quarter * len(c.weights) // 4 + part.first if c.shuffle else part.first
            expected = c.weights[first : first + part.channels]
            assert (value[: len(expected)] == expected).all()
            assert not value[len(expected) :].any() or c.shuffle
    assert {("bytes", 1), ("words", 2)} <= kinds


@needs_it
@needs_packages
def test_what_is_beyond_the_range_saturates(quantised: dict[str, Path]) -> None:
    """Words hold four times what was seen; a sample a thousand times as bright is as one of four."""
    stream = Stream(read_network(quantised["flat"] / "model-int8.onnx"), 16, 16)
    x = frames(1, 16, 16)
    bright, brighter = x.copy(), x.copy()
    bright[..., 8, 8], brighter[..., 8, 8] = 1e3, 1e30
    y = again(stream, bright)
    assert np.isfinite(y).all()
    assert (again(stream, brighter) == y).all()


@needs_packages
@pytest.mark.parametrize("name", QUANTISED)
def test_sums_fit_into_32_bits(name: str) -> None:
    """Of the largest inputs that there are, with the signs that add up."""
    network = read_network(beside(model_folders()[name] / WEIGHTS, "int8"))
    for c in network.convolutions:
        largest = 255 if c.reads == "bytes" else INPUT if c.source == network.input else WORD
        assert np.abs(c.weights.astype(np.int64)).sum((1, 2, 3)).max() * largest <= SUM
        assert np.abs(c.weights).max() <= (2**15 - 1 if c.reads == "words" else 127)
        for level in range(3):
            if (rows := together(c, level, Arithmetic(lanes=8, vectors=2, pairs=True, fewer=True), largest)) > 1:
                assert np.abs(at_points(c.weights, rows)).max() < 2**15
                assert largest * (100 if rows == 4 else 4) < 2**15
                assert np.abs(c.weights.astype(np.int64)).sum((1, 2, 3)).max() * largest * {2: 4, 4: 64}[rows] < 2**31
    kept = [c for c in network.convolutions if c.reads == "words"]
    assert kept, "the first convolution reads words"
    # what stays float32 in the file keeps ten bits and more of its weights, or those to which it was rounded there
    assert min(np.abs(c.weights).max((1, 2, 3)).min() for c in kept if c.source == network.input) > 500
    assert min(np.abs(c.weights).max((1, 2, 3)).min() for c in kept) >= 64
    if name == "pyramid":  # made by a quantise that rounds them
        assert [np.abs(c.weights).max() for c in kept if c.source != network.input] == [127]


@needs_packages
def test_rows_are_as_few_as_are_read(quantised: dict[str, Path]) -> None:
    """What the next convolution reads is gone after a few rows; what waits to be added, after the reach."""
    network = read_network(quantised["narrow"] / "model-int8.onnx")
    for (name, kind), rows in network.rows.items():
        most = TURN + network.reach if kind == "halves" else 2 * TURN
        assert 1 <= rows <= most, (name, kind)


@needs_it
@needs_packages
def test_shapes_are_checked(quantised: dict[str, Path]) -> None:
    network = read_network(quantised["narrow"] / "model-int8.onnx")
    with pytest.raises(ValueError, match="a tile of 6x8; expected multiples of 4"):
        Stream(network, 6, 8)
    with pytest.raises(ValueError, match=r"expected float32 20 8 8, got float32 \(20, 8, 12\)"):
        Stream(network, 8, 8)(frames(1, 8, 12)[0])


@needs_it
@needs_packages
@pytest.mark.parametrize("phase", ["RGGB", "GRBG", "GBRG", "BGGR"])
@pytest.mark.parametrize("size", [(70, 84), (71, 93)])
def test_the_render_is_the_pipelines(
    phase: str, size: tuple[int, int], quantised: dict[str, Path], tmp_path: Path
) -> None:
    """Without PyTorch, and stage by stage in PyTorch, with the same integers; inputs differ in their last bits, which
    turns a word in a thousand, and codes after it: by less than the integers cost."""
    rng = np.random.default_rng(0)
    counts = np.clip(np.linspace(600, 4400, size[1]) + rng.normal(0, 60, size), 0, 4095).astype(np.uint16)
    tags = {"noise_profile": (1e-3, 1e-6), "as_shot_neutral": (0.5, 1.0, 0.7), "black_level": 512, "white_level": 4095}
    raw = isp.read(make_dng(tmp_path / "a.dng", counts, cfa=phase, **tags))
    options = RenderOptions(model=str(quantised["narrow"]), runtime="kernel")
    assert network.obstacle(raw, options) is None
    p = resolve(raw.meta, options)
    assert (p.runtime, p.precision) == ("kernel", "int8")
    integers, exact = (stage_by_stage(raw, replace(options, runtime=runtime)) for runtime in ("kernel", "torch"))
    rgb = network.camera_rgb(raw, p, 2)
    cost = rms(integers - exact)
    assert rms(rgb - integers) < 0.75 * cost
    assert rms(rgb - exact) < 1.1 * cost


@needs_it
@needs_packages
def test_tiles_of_a_frame_are_the_whole(quantised: dict[str, Path], tmp_path: Path) -> None:
    """Side by side and one below the other: by what the overlap of the file leaves, far less than the integers cost."""
    rng = np.random.default_rng(0)
    counts = np.clip(np.linspace(600, 4400, 530) + rng.normal(0, 60, (410, 530)), 0, 4095).astype(np.uint16)
    tags = {"noise_profile": (1e-3, 1e-6), "as_shot_neutral": (0.5, 1.0, 0.7), "black_level": 512, "white_level": 4095}
    raw = isp.read(make_dng(tmp_path / "a.dng", counts, cfa="GRBG", **tags))
    options = RenderOptions(model=str(quantised["narrow"]), runtime="kernel")
    p = resolve(raw.meta, options)
    whole, many = network.camera_rgb(raw, p, 1), network.camera_rgb(raw, p, 8)
    choice = choose(quantised["narrow"], "kernel")
    canvas = network.canvas_of(raw.meta, p, classical.counted(raw, p), 4, 4)
    tiles = network.tiles_of(choice, canvas.height // 2, canvas.width // 2, 8)
    assert {len({getattr(tile.part, side) for tile in tiles}) > 1 for side in ("top", "left")} == {True}
    exact = stage_by_stage(raw, replace(options, runtime="torch"))
    assert rms(many - whole) < 0.3 * rms(whole - exact)


def stage_by_stage(raw: isp.RawImage, options: RenderOptions) -> np.ndarray:
    """Camera RGB after the network, 3 H W, by isp.pipeline."""
    seen: dict[str, torch.Tensor] = {}
    x = run(sensor_stages(raw.meta), raw.tensor())
    with torch.inference_mode():
        run(camera_stages(raw.meta, resolve(raw.meta, options, x)), x, lambda name, y: seen.update({name: y}))
    return seen["network"][0].numpy()


@needs_packages
def test_what_is_chosen(quantised: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(quantised["flat"], folder)
    monkeypatch.setattr(integers, "obstacle", lambda path: None)
    assert choose(folder)[2:4] == ("kernel", "int8")
    assert choose(folder, "kernel")[2:5] == ("kernel", "int8", folder / "model-int8.onnx")
    assert choose(folder, precision="float32").runtime != "kernel"
    with pytest.raises(ValueError, match=r"^runtime kernel: precision float32; the kernel runs int8; leave --runtime$"):
        choose(folder, "kernel", "float32")
    monkeypatch.setattr(integers, "obstacle", lambda path: "no AVX-512 VNNI")
    assert choose(folder).runtime != "kernel"
    with pytest.raises(ValueError, match=r"^runtime kernel: no AVX-512 VNNI; leave --runtime$"):
        choose(folder, "kernel")
    (folder / "model-int8.onnx").unlink()
    with pytest.raises(ValueError, match=r"^runtime kernel: no .*model-int8.onnx; leave --runtime$"):
        choose(folder, "kernel")


@needs_packages
def test_a_range_that_is_none(quantised: dict[str, Path], tmp_path: Path) -> None:
    """Metadata is no part of what the file's own hash covers."""
    content = (quantised["narrow"] / "model-int8.onnx").read_bytes()
    for wrong in (b'"ranges": [1, 2, 3]', b'"ranges": {"x": "a"}', b'"ranges": 7'):
        path = tmp_path / "a.onnx"
        said, graph = fields(content)
        values = json.loads(said["network"])
        values["ranges"] = json.loads(b"{" + wrong + b"}")["ranges"]
        path.write_bytes(field(7, graph) + field(14, field(1, b"network") + field(2, json.dumps(values).encode())))
        assert (refusal(path) or "").startswith(f"{path} is no network that the kernel runs: ")


def refusal(path: Path) -> str | None:
    try:
        read_network(path)
    except ValueError as error:
        return str(error)
    return None


@needs_packages
def test_files_that_are_none(quantised: dict[str, Path], tmp_path: Path) -> None:
    """Cut short, garbled, without ranges: a line each, and never anything else."""
    content = (quantised["narrow"] / "model-int8.onnx").read_bytes()
    path = tmp_path / "model-int8.onnx"
    rng = np.random.default_rng(0)
    for i in range(60):
        damaged = bytearray(content[: int(rng.integers(0, len(content)))] if i % 2 else content)
        for at in rng.integers(0, len(damaged), 20) if i % 3 and damaged else ():
            damaged[int(at)] = int(rng.integers(0, 256))
        path.write_bytes(damaged)
        if (reason := refusal(path)) is not None:
            assert "\n" not in reason
            assert reason.startswith(f"{path} is no network that the kernel runs: ")
    said, graph = fields(content)
    with pytest.raises(ValueError, match=r"no range of x; make the file anew with tools.quantise"):
        network_of(read_graph(graph), {}, Arithmetic())
    assert "ranges" in said["network"]


CONV = {"pads": [1] * 4}
ARRAYS: dict[str, np.ndarray] = {
    "w": np.ones((12, 12, 3, 3), np.float32),
    "b": np.zeros(12, np.float32),
    "wide": np.ones((100, 12, 3, 3), np.float32),
    "wide.b": np.zeros(100, np.float32),
    "half": np.ones((12, 12, 2, 2), np.float32),
    "one": np.ones((12, 12, 1, 1), np.float32),
    "six": np.ones((6, 12, 3, 3), np.float32),
    "none": np.ones((0, 12, 3, 3), np.float32),
    "tall": np.ones((12, 12, 3, 1), np.float32),
    "codes": np.ones((12, 12, 3, 3), np.int8),
    "scale": np.array(0.1, np.float32),
    "other": np.array(0.2, np.float32),
    "zero": np.array(3, np.uint8),
    "scales": np.ones(12, np.float32),
    "zeros": np.zeros(12, np.int8),
}


def conv(source: str, result: str, weights: str = "w", bias: str = "b", **attributes: Any) -> Node:
    return Node("Conv", [source, weights, bias], result, {"pads": [1] * 4, **attributes})


def in_bytes(name: str, scale: str = "scale") -> list[Node]:
    return [
        Node("QuantizeLinear", [name, "scale", "zero"], f"{name}.q", {}),
        Node("DequantizeLinear", [f"{name}.q", scale, "zero"], f"{name}.dq", {}),
        Node("DequantizeLinear", ["codes", "scales", "zeros"], f"{name}.w", {"axis": 0}),
    ]


REFUSED: dict[str, tuple[list[Node], str]] = {
    "strides": ([conv("x", "y", strides=[2, 2])], r"y of .3, 3., strides .2, 2."),
    "no border": ([conv("x", "y", pads=[0] * 4)], r"convolution y of .3, 3., strides"),
    "groups": ([conv("x", "y", group=2)], "convolution y with groups or dilations"),
    "another kernel than it says": (
        [conv("x", "y", kernel_shape=[1, 1], pads=[0] * 4)],
        r"weights of y of .12, 12, 3, 3., not as the convolution says",
    ),
    "a kernel that is not square": ([conv("x", "y", "tall")], "convolution y of .3, 1."),
    "another side than it says": ([conv("x", "y", "tall", kernel_shape=[3, 3])], "not as the convolution says"),
    "no channels": ([conv("x", "y", "none")], r"weights of y of .0, 12"),
    "another number of biases": ([conv("x", "y", bias="wide.b")], "biases of y; expected 12"),
    "made twice": ([conv("x", "a", "wide", "wide.b"), conv("x", "a"), conv("a", "y")], "a is made twice"),
    "made of itself": ([conv("x", "x"), conv("x", "y")], "x is made twice"),
    "read before it is made": ([conv("a", "y"), conv("x", "a")], "no range of a|a is read before"),
    "an output that is read": ([conv("x", "y"), conv("y", "z")], "no range of y|y is not what the last"),
    "an output that is not the last": ([conv("x", "y"), conv("x", "z")], "y is not what the last convolution makes"),
    "an output of half the size": (
        [conv("x", "y", "half", strides=[2, 2], pads=[0] * 4)],
        "y is not what the last convolution makes for nobody else, at the input's size",
    ),
    "quarters of six": (
        [conv("x", "h", "half", strides=[2, 2], pads=[0] * 4), conv("h", "a", "six", bias="six.b"),
         Node("DepthToSpace", ["a"], "y", {"blocksize": 2})],
        "no range of h|y is made twice, or of channels",
    ),
    "another operator": ([conv("x", "a"), Node("Sigmoid", ["a"], "y", {})], "operators in an order"),
    "another shuffle": (
        [conv("x", "a"), Node("DepthToSpace", ["a"], "y", {"blocksize": 2, "mode": "CRD"})],
        "shuffle y in another order",
    ),
    "a shuffle beyond the input's size": (
        [conv("x", "a"), Node("DepthToSpace", ["a"], "y", {"blocksize": 2})],
        "not of one shape",
    ),
    "a slope": ([conv("x", "a"), Node("LeakyRelu", ["a"], "y", {"alpha": 2.0})], r"slope 2.0 of y"),
    "bytes of two scales": (
        [conv("x", "a"), *in_bytes("a", "other"), conv("a.dq", "y", "a.w")],
        "a.dq is not what was there before it was quantised",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_network_of_this_kind_is_refused(name: str) -> None:
    nodes, message = REFUSED[name]
    arrays = {**ARRAYS, "six.b": np.zeros(6, np.float32)}
    ranges = {key: [1.0] * 12 for key in "xahde"}
    with pytest.raises(ValueError, match=message):
        network_of(Graph(nodes, arrays, "x", "y"), ranges, Arithmetic())


def test_it_is_not_refused_where_nothing_is_wrong() -> None:
    """The parts of the graphs above, put together rightly."""
    nodes = [conv("x", "a"), *in_bytes("a"), conv("a.dq", "c", "a.w"), Node("Add", ["c", "a"], "d", {}), conv("d", "y")]
    network = network_of(Graph(nodes, ARRAYS, "x", "y"), {key: [1.0] * 12 for key in "xd"}, Arithmetic())
    assert [(c.source, c.reads, c.added, c.result) for c in network.convolutions] == [
        ("x", "words", [], "a"),
        ("a", "bytes", ["a"], "d"),
        ("d", "words", [], "y"),
    ]


def test_a_network_that_is_too_deep_is_refused() -> None:
    """Rather than planned for: of 60 halvings a row would be more than there is memory for."""
    arrays = {"w": np.ones((1, 1, 2, 2), np.float32), "b": np.zeros(1, np.float32)}
    nodes = [Node("Conv", [f"{i}", "w", "b"], f"{i + 1}", {"strides": [2, 2]}) for i in range(60)]
    with pytest.raises(ValueError, match="4 is halved 4 times; at most 3"):
        network_of(Graph(nodes, arrays, "0", "60"), {f"{i}": [1.0] for i in range(60)}, Arithmetic())


@needs_packages
@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("name", [*QUANTISED, *NETWORKS])
def test_no_row_is_written_over_that_is_still_read(
    name: str, pairs: bool, quantised: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of isp_integers, row by row, at heights from one step of the network up: what a row reads is there, and
    still in its place; and no form keeps a row more than it takes."""
    arithmetic = Arithmetic(lanes=8, vectors=2, pairs=True, fewer=True) if pairs else Arithmetic()
    monkeypatch.setattr(integers, "arithmetic_here", lambda: arithmetic)
    folder = quantised[name] if name in quantised else model_folders()[name]
    network = read_network(beside(folder / WEIGHTS, "int8"))
    step = 2 ** max(network.level.values())
    needed = dict.fromkeys(network.rows, 0)

    def read(result: str, form: str, first: int, last: int, height: int, done: dict[str, int]) -> None:
        size = network.size(result, height, 0)[0]
        there = min(done[result], size)
        assert there > min(last, size - 1)
        needed[result, form] = max(needed[result, form], there - max(first, 0))

    for height in (step, 2 * step, TURN + step, 5 * TURN - step, (4 * network.reach + 3 * TURN) // step * step):
        done = dict.fromkeys(network.level, 0)
        given = turns = 0  # of the output, and all
        while given * TURN < height:
            done[network.input] += TURN
            turns += 1
            for c, parts in zip(network.convolutions, network.parts, strict=True):
                kernel, spread, stride = c.weights.shape[2], 1 + c.shuffle, 1 + (c.weights.shape[2] == 2)
                there = min((done[c.source] - (kernel == 3)) // stride, *(done[n] // spread for n in c.added), 10**6)
                y = done[c.result] // spread
                while y < there:
                    end = y + parts[0].together - (0 if y else -there % parts[0].together)
                    if end > there:
                        break
                    end_here = min(end, network.size(c.source, height, 0)[0] // stride)
                    for row in range(y, end_here):
                        above = kernel == 3
                        read(c.source, c.reads, row * stride - above, row * stride + (kernel > 1), height, done)
                        for other in c.added:
                            read(other, "halves", row * spread, row * spread + spread - 1, height, done)
                    y = end
                done[c.result] = y * spread
            assert done[network.output] <= (given + OUTPUTS) * TURN, "rows that nobody has had yet"
            assert turns - given <= network.behind + 1
            given += done[network.output] >= min((given + 1) * TURN, height)
    for form, rows in needed.items():
        assert rows == network.rows[form], form


@needs_it
@needs_packages
@pytest.mark.parametrize("height", [1, 3, 6, 9])
def test_fewer_products_in_tiles_of_every_width(
    height: int, quantised: dict[str, Path], by_points: tuple[CDLL, set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Narrower than a piece, where what lies beyond the row is read and not used, and a piece and a bit; and of rows of
    the tile before, as they are when the first rows that go together are fewer, nothing is left."""
    monkeypatch.setattr(integers, "library", lambda: by_points[0])
    said, graph = fields((quantised["flat"] / "model-int8.onnx").read_bytes())
    given = read_graph(graph), json.loads(said["network"])["ranges"], integers.arithmetic_here()
    fewer = network_of(*given)
    assert {part.together for parts in fewer.parts for part in parts} != {1}
    monkeypatch.setattr(integers, "together", lambda *_: 1)
    every = network_of(*given)
    for width in range(1, 53):
        x = frames(1, height, width, seed=width)
        x[..., width // 2 :] *= -30
        stream = Stream(fewer, height, width)
        again(stream, frames(1, height, width, seed=width + 1) * 9)
        assert (again(stream, x) == through(every, x)).all(), width


@needs_it
@pytest.mark.parametrize("channels", [115, 116, 128])
def test_fewer_products_of_the_largest_weights_and_codes(channels: int) -> None:
    """Sums come out where they have just room for what they are multiplied by, and one channel more is refused that."""
    rng = np.random.default_rng(channels)
    codes = rng.choice(np.array([-127, 127], np.int8), (9, channels, 3, 3))
    codes[0], codes[1] = 127, -127
    arrays = {
        "w": np.eye(channels, dtype=np.float32)[..., None, None], "b": np.zeros(channels, np.float32),
        "codes": codes, "scales": np.ones(9, np.float32), "zeros": np.zeros(9, np.int8),
        "none": np.zeros(9, np.float32), "scale": np.array(1, np.float32), "zero": np.array(0, np.uint8),
    }  # fmt: skip
    nodes = [Node("Conv", ["x", "w", "b"], "a", {}), *in_bytes("a"), conv("a.dq", "y", "a.w", "none")]
    network = network_of(Graph(nodes, arrays, "x", "y"), {"x": [255.0] * channels}, integers.arithmetic_here())
    pairs = Arithmetic(lanes=8, vectors=2, pairs=True, fewer=True)
    assert together(network.convolutions[1], 0, pairs) == (4 if channels == 115 else 1)
    for share in (0.5, 1):
        x = np.where(rng.random((1, channels, 9, 27)) < share, 900, -900).astype(np.float32)
        code = torch.from_numpy(np.clip(x, 0, 255).astype(float))
        sums = conv2d(code, torch.from_numpy(codes.astype(float)), padding=1).numpy()
        assert (through(network, x) == sums.astype(np.float32)).all()


@needs_it
def test_one_convolution_of_words_against_float64() -> None:
    """The first convolution of a network, which the file leaves in float32: 13 bits of the range of what it reads."""
    rng = np.random.default_rng(0)
    arrays = {"w": rng.normal(0, 0.2, (12, 6, 3, 3)).astype(np.float32), "b": rng.normal(0, 0.1, 12).astype(np.float32)}
    node = Node("Conv", ["x", "w", "b"], "y", {"pads": [1] * 4})
    x = rng.uniform(-1, 1, (1, 6, 17, 31)).astype(np.float32)
    y = through(network_of(Graph([node], arrays, "x", "y"), {"x": [1.0] * 6}, integers.arithmetic_here()), x)
    expected = conv2d(*(torch.from_numpy(a).double() for a in (x, arrays["w"], arrays["b"])), padding=1).numpy()
    assert np.abs(y - expected).max() < 5e-3
    assert rms(y - expected) < 6e-4


@needs_it
@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize("channels", [17, 18, 19, 20])
@pytest.mark.parametrize("alone", [False, True])
def test_a_result_that_is_read_in_bytes_and_in_words(
    kernel: int, channels: int, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sites are as wide as both want them. alone: a row of sums at a time."""
    if alone:
        monkeypatch.setattr(integers, "together", lambda *given: 1)
    rng = np.random.default_rng(0)
    shapes = {"w": (channels, 6, 3, 3), "v": (channels, channels, kernel, kernel), "u": (4 * channels, channels, 1, 1)}
    arrays = {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
    arrays |= {f"{name}.b": rng.normal(0, 0.1, shape[0]).astype(np.float32) for name, shape in shapes.items()}
    codes = rng.integers(-63, 64, (channels, channels, 3, 3)).astype(np.int8)
    arrays |= {"codes": codes, "scales": np.full(channels, 2e-3, np.float32), "zeros": np.zeros(channels, np.int8)}
    arrays |= {"scale": np.array(0.02, np.float32), "zero": np.array(128, np.uint8), "w3.b": arrays["w.b"]}
    said = {1: {"pads": [0] * 4}, 2: {"pads": [0] * 4, "strides": [2, 2]}, 3: {"pads": [1] * 4}}[kernel]
    nodes = [conv("x", "a", "w", "w.b"), Node("Conv", ["a", "v", "v.b"], "c", said), *in_bytes("a")]
    if kernel == 2:
        nodes.append(Node("Conv", ["c", "u", "u.b"], "d", {"pads": [0] * 4}))
        nodes.append(Node("DepthToSpace", ["d"], "e", {"blocksize": 2, "mode": "DCR"}))
        nodes += [conv("a.dq", "f", "a.w", "w3.b"), Node("Add", ["e", "f"], "y", {})]
    else:
        nodes += [conv("a.dq", "f", "a.w", "w3.b"), Node("Add", ["c", "f"], "y", {})]
    ranges = {"x": [1.0] * 6, "a": [2.0] * channels, "c": [4.0] * channels}
    network = network_of(Graph(nodes, arrays, "x", "y"), ranges, integers.arithmetic_here())
    x = rng.uniform(-1, 1, (1, 6, 20, 52)).astype(np.float32)
    expected = by_numpy(network, x)
    assert rms(through(network, x) - expected) < 2e-3 * rms(expected)
