"""Networks in 8-bit integers: what equalisation keeps, and what the codes are."""

from collections.abc import Callable
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isp.nets.model import Model, ModelConfig
from isp.nets.quantise import LARGEST, LEVELS, PATCHES, SHARES, Graph, _patches, byte_range, equalise, quantise, rounded

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))), reason="needs onnx, onnxscript and onnxruntime"
)
PLANES = 8


Exported = Callable[[float], Any]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """By slope, made once: the file of a small pyramid whose channels differ in range by orders of magnitude."""
    made: dict[float, Any] = {}

    def of(slope: float) -> Any:
        if slope not in made:
            made[slope] = export_of(slope, tmp_path_factory.mktemp("pyramid"))
        return deepcopy(made[slope])

    return of


def export_of(slope: float, folder: Path) -> Any:
    import onnx

    from isp.nets.export import export_network

    torch.manual_seed(0)
    arguments = {"planes": PLANES, "widths": [8, 12], "blocks": [1, 2], "slope": slope}
    model = Model(ModelConfig("pyramid", arguments))
    with torch.no_grad():
        for name, x in model.named_parameters():
            if x.ndim == 4:
                x.normal_(0, (2 / x[0].numel()) ** 0.5)
                if "second" not in name:
                    x *= 10 ** torch.empty(len(x), 1, 1, 1).uniform_(-1, 1)
            else:
                x.normal_(0, 0.1)
    export_network(model, folder / "model.onnx", "0" * 64)
    return onnx.load(folder / "model.onnx")


def inputs(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.random((1, PLANES, 16, 16), dtype=np.float32) for _ in range(count)]


def run(model: Any, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def noise_of(model: Any, truth: Any) -> float:
    """Of the output on pictures that ranges were not taken from, dB under the signal."""
    pairs = [(run(model, x), run(truth, x)) for x in inputs(3, seed=1)]
    return float(10 * np.log10(np.mean([(a - b) ** 2 for a, b in pairs]) / np.mean([b**2 for _, b in pairs])))


@pytest.mark.parametrize("slope", [0.0, 0.1])
@pytest.mark.parametrize("mode", [b"DCR", b"CRD"])
def test_equalisation_changes_weights_and_not_the_function(slope: float, mode: bytes, exported: Exported) -> None:
    model = exported(slope)
    for node in model.graph.node:  # another order of channels is another network, as good as this one
        for attribute in node.attribute:
            if attribute.name == "mode" and node.op_type == "DepthToSpace":
                attribute.s = mode
    graph = Graph(deepcopy(model))
    before = {node.output[0]: graph.get(node.input[1]) for node in graph.convolutions()}
    equalise(graph, inputs(4))
    changed = [
        node for node in graph.convolutions() if not np.allclose(graph.get(node.input[1]), before[node.output[0]])
    ]
    assert len(changed) == len(before), "every convolution reads or writes a tensor whose channels are scaled"
    x = inputs(1, seed=1)[0]
    expected = run(model, x)
    assert np.abs(run(graph.model, x) - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("between", ["Relu", "Sigmoid", "another reader"])
def test_equalisation_leaves_shuffles_that_no_convolution_feeds_alone(between: str) -> None:
    """Convolution, something, shuffle, convolution: the function stays what it is."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    scales = 10 ** rng.uniform(-1, 1, (8, 1, 1, 1))
    weights = {
        "first": (rng.standard_normal((8, PLANES, 3, 3)) * scales).astype(np.float32),
        "second": rng.standard_normal((4, 2, 3, 3)).astype(np.float32),
        "third": rng.standard_normal((4, 8, 3, 3)).astype(np.float32),
    }
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [helper.make_node("Conv", ["x", "first"], ["a"], **pads)]
    shuffled = "a"
    if between != "another reader":
        nodes.append(helper.make_node(between, ["a"], ["b"]))
        shuffled = "b"
    nodes.append(helper.make_node("DepthToSpace", [shuffled], ["c"], blocksize=2))
    nodes.append(helper.make_node("Conv", ["c", "second"], ["y"], **pads))
    if between == "another reader":
        nodes[-1].output[0] = "d"
        nodes.append(helper.make_node("Conv", ["a", "third"], ["e"], **pads))
        nodes.append(helper.make_node("Resize", ["e", "", "sizes"], ["f"]))
        nodes.append(helper.make_node("Add", ["d", "f"], ["y"]))
    given = [numpy_helper.from_array(weight, name) for name, weight in weights.items()]
    given.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "sizes"))
    used = {name for node in nodes for name in node.input}
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, p, None, None]) for n, p in (("x", PLANES), ("y", 4))
    ]
    made = helper.make_graph(nodes, "g", ends[:1], ends[1:], [x for x in given if x.name in used])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    expected = run(model, inputs(1, seed=1)[0])
    graph = Graph(deepcopy(model))
    equalise(graph, inputs(4))
    assert np.abs(run(graph.model, inputs(1, seed=1)[0]) - expected).max() < 1e-5 * np.abs(expected).max()


def test_a_convolution_that_is_not_there_cannot_be_kept(exported: Exported) -> None:
    model = exported(0.0)
    number = sum(node.op_type == "Conv" for node in model.graph.node)
    with pytest.raises(ValueError, match=f"keep names convolution {number}; the network has {number}, counted from 0"):
        quantise(model, inputs(1), keep=[0, number])


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_the_network_in_integers(slope: float, exported: Exported) -> None:
    """Codes that fit, kept convolutions as they were, and the noise of eight bits: a step is 1/63 of the most in a
    channel, -41 dB where weights are spread evenly, and layers of channels that differ a hundredfold add up."""
    from onnx import numpy_helper

    model = exported(slope)
    made = quantise(deepcopy(model), inputs(6), keep=[0, -1])
    arrays = {x.name: numpy_helper.to_array(x) for x in made.graph.initializer}
    codes = [array for name, array in arrays.items() if name.endswith(".codes")]
    convolutions = [node for node in made.graph.node if node.op_type == "Conv"]
    assert len(codes) == len(convolutions) - 2
    for array in codes:
        assert array.dtype == np.int8
        largest = np.abs(array.astype(int)).max((1, 2, 3))
        assert largest.max() <= LARGEST
        assert largest.min() >= LARGEST - 3, "each channel has its own scale; weights make up for each other"
    readers = [sum(name in node.input[:2] for node in convolutions) for name in arrays]
    assert sum(readers) == 2, "two convolutions have weights in float"
    assert -50 < noise_of(made, model) < -22


def test_equalisation_is_worth_it(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself: of weights that do not make up for each other."""

    def nearest(weights: np.ndarray, patches: np.ndarray, counts: np.ndarray, largest: int) -> tuple[np.ndarray, float]:
        return np.clip(np.round(weights), -largest, largest).astype(np.int8), 0.0

    monkeypatch.setattr("isp.nets.quantise.rounded", nearest)
    model = exported(0.1)
    with_it = noise_of(quantise(deepcopy(model), inputs(6)), model)
    monkeypatch.setattr("isp.nets.quantise.equalise", lambda graph, inputs: None)
    assert with_it < noise_of(quantise(deepcopy(model), inputs(6)), model) - 1


def test_a_range_is_the_best_of_those_tried() -> None:
    """Against a plain search, on values with a long tail: the whole range is not the best, and 0 is a code."""
    rng = np.random.default_rng(0)
    values = rng.laplace(0.2, 1, (2, 100_000))
    weights = np.array([1.0, 3.0])
    scale, zero = byte_range(values, weights)
    low, high = values.min(), values.max()

    def error(share: float) -> float:
        step = (high - low) * share / LEVELS
        offset = round(-low * share / step)
        restored = (np.clip(np.round(values / step) + offset, 0, LEVELS) - offset) * step
        return float(weights @ ((restored - values) ** 2).mean(1))

    best = min(SHARES, key=error)
    assert best < 1
    assert scale == pytest.approx((high - low) * best / LEVELS)
    assert isinstance(zero, int)
    assert 0 < zero < LEVELS
    flat = byte_range(np.zeros((1, 10)), np.ones(1))
    assert flat[0] > 0, "a tensor of nothing has a scale too"


def test_parts_count_by_their_weights() -> None:
    """A part whose values are small has a fine step where it alone counts."""
    values = np.stack([np.linspace(0, 0.2, 1000), np.linspace(0, 1, 1000)])
    fine = byte_range(values, np.array([1.0, 0.0]))[0]
    coarse = byte_range(values, np.array([0.0, 1.0]))[0]
    assert fine < coarse / 2


def seen_by(n: int, seed: int) -> np.ndarray:
    """Parts by samples by n, as alike as neighbouring pixels are."""
    rng = np.random.default_rng(seed)
    common = rng.normal(0.5, 0.3, (3, 400, 1))
    return common + rng.normal(0, 0.1, (3, 400, n))


def test_rounding_is_all_but_the_best_that_there_is() -> None:
    """Against all ways to round each weight up or down: of the error that rounding to the nearest leaves beyond the
    least, at most a quarter; 40 rows, mean of each kind."""
    counts = np.array([1.0, 2.0, 0.5])
    errors = []
    for seed in range(40):
        patches, weights = seen_by(6, seed), np.random.default_rng(seed).uniform(-20, 20, (1, 6))

        def error(codes: np.ndarray, patches: np.ndarray = patches, weights: np.ndarray = weights) -> float:
            off = (patches - (counts / counts.sum()) @ patches.mean(1)) @ (codes - weights)[0]
            return float(counts @ np.square(off).mean(1))

        ups = np.array(np.meshgrid(*[[0, 1]] * 6)).reshape(6, -1).T
        best = min(error(np.floor(weights) + up) for up in ups)
        errors.append(
            [best, error(rounded(weights, patches, counts, LARGEST)[0].astype(float)), error(np.round(weights))]
        )
    best, ours, nearest = np.mean(errors, 0)
    assert ours - best < 0.25 * (nearest - best), (best, ours, nearest)


def test_what_rounding_takes_from_the_mean_is_said() -> None:
    patches, counts = seen_by(9, 1), np.array([3.0, 1.0, 0.0])
    weights = np.random.default_rng(2).uniform(-2 * LARGEST, 2 * LARGEST, (5, 9))
    codes, off = rounded(weights, patches, counts, LARGEST)
    assert codes.dtype == np.int8
    assert np.abs(codes).max() == LARGEST
    mean = (counts / counts.sum()) @ patches.mean(1)
    np.testing.assert_allclose(codes @ mean + off, weights @ mean)
    still = np.zeros_like(patches)  # nothing is seen: nothing can be made up for
    assert (rounded(weights, still, counts, LARGEST)[0] == np.clip(np.round(weights), -LARGEST, LARGEST)).all()


@pytest.mark.skipif(find_spec("onnx") is None, reason="needs onnx")
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(3, 1, 1), (2, 2, 0), (1, 1, 0)])
def test_patches_are_what_a_convolution_sees(kernel: int, stride: int, pad: int) -> None:
    from onnx import helper

    shape, weights = [kernel] * 2, torch.randn(4, 3, kernel, kernel, generator=torch.Generator().manual_seed(0))
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=shape, strides=[stride] * 2, pads=[pad] * 4)
    x = torch.rand(1, 3, 12, 8, generator=torch.Generator().manual_seed(1))
    y = torch.nn.functional.conv2d(x, weights, stride=stride, padding=pad)[0].flatten(1)
    made = weights.flatten(1) @ torch.from_numpy(_patches(node, tuple(weights.shape), [x.numpy()])[0]).T  # out, places
    assert made.shape == (4, PATCHES)
    nearest = (made[:, :, None] - y[:, None]).abs().amax(0).min(1)
    assert nearest.values.max() < 1e-5
    assert len(nearest.indices.unique()) > 0.9 * y.shape[1]
    assert not _patches(node, (4, 1, kernel, kernel), [x.numpy()]).any(), "in groups: rounded to the nearest"
