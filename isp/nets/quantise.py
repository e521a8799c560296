"""Networks in 8-bit integers: an exported network's convolutions, from what they see on a calibration set.

Weights are int8 with a scale for each output channel, inputs of convolutions uint8 with one scale and zero point for
the tensor (R. Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference", 2018, Sec. 3). Weights
are rounded one after the other, each with regard for what those before it have changed (`rounded`), to half of their
range: processors of x86 without VNNI add two products in 16 bits, and 2 x 255 x 63 fits. It costs 0.01 dB; with the
whole range `flat` lost 2 dB there, and now its sums are those of all others. Sums, skips and outputs of convolutions
stay float32; so do the first convolution, whose inputs hold figures as small as the noise and are planes of a picture,
subtracted from each other, and all that is no convolution. Weights of other convolutions that stay float32 are rounded
to 127, which the compiled kernel can make use of and nobody sees. Before, channels that share a tensor are brought near
to one range by factors that cancel between the convolutions that write it and those that read it (M. Nagel et al.,
"Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019; the exponent as in G. Xiao et al.,
"SmoothQuant", ICML 2023): of `flat`, it lowers the error of the integers by 10 dB. A range is the one of least squared
error over the calibration set, whose parts count by the inverse of what is noise in them: steps should be fine where
there is little to hide them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np

BALANCE = 0.75  # 1: channels of a tensor come to one range; 0: the weights that read them do
SHARES = np.geomspace(1, 0.15, 16)  # of a tensor's whole range, tried for the least error
SAMPLES = 8192  # of a tensor, for each part of the calibration set
PATCHES = 512  # of a convolution's input, for each part of the calibration set
DAMPING = 0.01  # of the mean square of what a weight sees: that no weight makes up for more than it should
LEVELS = 255
LARGEST = 63  # code of a weight
KEPT = 127  # of the weights of what stays float32


def quantise(
    model: Any, inputs: Sequence[np.ndarray], weights: Sequence[float] | None = None, keep: Sequence[int] | None = None
) -> Any:
    """An onnx.ModelProto with QuantizeLinear and DequantizeLinear around its convolutions, as OpenVINO and onnxruntime
    run in integers.

    model: of one input, with constant weights. inputs: of the calibration set, 1 planes h w. weights: what a
    squared error in each of them counts; None: the same. keep: convolutions, by their number, that stay float32,
    negative ones from the end; None: those that read the input.
    """
    import onnx

    graph = Graph(model)
    number, first = len(graph.convolutions()), graph.proto.input[0].name
    if keep is None:
        keep = [i for i, node in enumerate(graph.convolutions()) if node.input[0] == first]
    if bad := [i for i in keep if not -number <= i < number]:
        raise ValueError(f"keep names convolution {bad[0]}; the network has {number}, counted from 0")
    equalise(graph, inputs)
    kept = [graph.convolutions()[i].output[0] for i in keep]
    counts = np.ones(len(inputs)) if weights is None else np.asarray(weights)
    nodes = [node for node in graph.convolutions() if node.input[0] != first or node.output[0] not in kept]
    seen = values_of(graph.model, [node.input[0] for node in nodes if node.output[0] not in kept], inputs, _samples)
    patches = [
        values_of(graph.model, [node.input[0]], inputs, partial(_patches, node, graph.get(node.input[1]).shape))
        for node in nodes
    ]
    tensors: dict[str, str] = {}
    for node, what in zip(nodes, patches, strict=True):
        name = node.input[0]
        if node.output[0] in kept:
            graph.round_weights(node, what[name], counts)
            continue
        if name not in tensors:
            tensors[name] = graph.in_bytes(node, *byte_range(seen[name], counts))
        node.input[0] = tensors[name]
        graph.weights_in_bytes(node, what[name], counts)
    onnx.checker.check_model(graph.model)
    return graph.model


def ranges_of(model: Any, inputs: Sequence[np.ndarray]) -> dict[str, list[float]]:
    """Of what the convolutions that stay float32 read, the largest absolute value of each channel on the calibration
    set."""
    constant = {x.name for x in model.graph.initializer}
    names = [node.input[0] for node in model.graph.node if node.op_type == "Conv" and node.input[1] in constant]
    found = values_of(model, names, inputs, _channel_maxima)
    return {name: [float(f"{x:.4g}") for x in values] for name, values in found.items()}


def equalise(graph: Graph, inputs: Sequence[np.ndarray]) -> None:
    """Scale the channels of tensors that convolutions write and read; what the graph computes stays the same.

    Tensors that are added, and a ReLU's or a shuffle's two sides, have one factor for each channel. Those of the
    graph's input and output, and of any other operator, stay as they are; so do those of a shuffle of what no
    convolution writes, or of what others read too.
    """
    groups = _Groups()
    fixed: list[str] = [x.name for x in (*graph.proto.input, *graph.proto.output)]
    shuffles: dict[str, tuple[str, int, Callable[..., np.ndarray]]] = {}
    written = {node.output[0] for node in graph.convolutions()}
    reads = Counter(name for node in graph.proto.node for name in node.input)
    reads.update(x.name for x in graph.proto.output)
    for node in graph.proto.node:
        tensors = [name for name in (*node.input, *node.output) if name not in graph.arrays]
        if node.op_type == "Conv":
            if any(a.name == "group" and a.i != 1 for a in node.attribute):
                fixed += tensors
        elif node.op_type in ("Add", "Relu", "LeakyRelu"):
            if len(tensors) < len(node.input) + 1:  # a constant is added
                fixed += tensors
            for name in tensors[1:]:
                groups.join(tensors[0], name)
        elif node.op_type == "DepthToSpace" and node.input[0] in written and reads[node.input[0]] == 1:
            blocks = next(a.i for a in node.attribute if a.name == "blocksize") ** 2
            of_pixel = any(a.name == "mode" and a.s == b"CRD" for a in node.attribute)  # a channel's pixels in a row
            shuffles[node.input[0]] = (node.output[0], blocks, np.repeat if of_pixel else np.tile)
        else:
            fixed += tensors
    convolutions = graph.convolutions()
    # Before a shuffle, the tensor has the factors of the one behind it.
    closed = {groups.of(name) for name in fixed} | {groups.of(name) for name in shuffles}
    read = {groups.of(node.input[0]) for node in convolutions} - closed
    names = [node.input[0] for node in convolutions if groups.of(node.input[0]) in read]
    largest = values_of(graph.model, names, inputs, _channel_maxima)
    factors: dict[str, np.ndarray] = {}
    for group in read:
        mine = [node for node in convolutions if groups.of(node.input[0]) == group]
        activity = np.max([largest[node.input[0]] for node in mine], axis=0)
        weight = np.max([np.abs(graph.get(node.input[1])).max((0, 2, 3)) for node in mine], axis=0)
        factor = np.maximum(activity, 1e-6) ** BALANCE / np.maximum(weight, 1e-6) ** (1 - BALANCE)
        factor = np.clip(factor / np.exp(np.log(factor).mean()), 1e-2, 1e2)
        factors[group] = (1 / factor).astype(np.float32)
    for node in convolutions:
        weight, name = graph.get(node.input[1]), node.output[0]
        before = factors.get(groups.of(node.input[0]))
        after = factors.get(groups.of(name))
        if name in shuffles and (behind := factors.get(groups.of(shuffles[name][0]))) is not None:
            after = shuffles[name][2](behind, shuffles[name][1])
        if before is not None:
            weight = weight / before[None, :, None, None]
        if after is not None:
            weight = weight * after[:, None, None, None]
            graph.set(node.input[2], graph.get(node.input[2]) * after)
        graph.set(node.input[1], weight)


def byte_range(values: np.ndarray, weights: np.ndarray) -> tuple[float, int]:
    """The scale and the zero point of bytes that hold values, parts by samples, with the least weighted error."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 1e-9)
    found = []
    for share in SHARES:
        scale = (high - low) * share / LEVELS
        zero = round(-low * share / scale)
        codes = np.clip(np.round(values / scale) + zero, 0, LEVELS)
        found.append((float(weights @ np.square((codes - zero) * scale - values).mean(1)), scale, zero))
    return min(found)[1:]


def rounded(
    weights: np.ndarray, patches: np.ndarray, counts: np.ndarray, largest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers for weights, out n, and what they leave missing in the mean of the output: each in turn makes up
    for what rounding those before it has done to the output (E. Frantar et al., "GPTQ", ICLR 2023, Sec. 3).

    patches: parts of what is seen by samples by n. counts: of each part, what a squared error counts. largest: of the
    numbers.
    """
    share = counts / counts.sum()
    mean = share @ patches.mean(1)
    centred = (patches - mean).astype(np.float64)
    hessian = np.einsum("p,psi,psj->ij", share, centred, centred, optimize=True)
    hessian += DAMPING * max(float(np.trace(hessian)) / len(hessian), 1e-12) * np.eye(len(hessian))
    factor = np.linalg.cholesky(np.linalg.inv(hessian)).T
    left = weights.astype(np.float64)
    codes = np.empty_like(left)
    for i in range(left.shape[1]):
        codes[:, i] = np.clip(np.round(left[:, i]), -largest, largest)
        error = (left[:, i] - codes[:, i]) / factor[i, i]
        left[:, i:] -= error[:, None] * factor[i, i:]
    return codes.astype(np.int8), (weights - codes) @ mean


class Graph:
    """An ONNX graph whose convolutions have constant weights and biases."""

    def __init__(self, model: Any) -> None:
        from onnx import numpy_helper

        self.model, self.proto = model, model.graph
        self.arrays = {x.name: x for x in self.proto.initializer}
        self.get: Callable[[str], np.ndarray] = lambda name: numpy_helper.to_array(self.arrays[name])
        for node in self.convolutions():  # each gets weights and a bias of its own
            if len(node.input) < 3:
                node.input.append("")
            weight = self.get(node.input[1])
            bias = self.get(node.input[2]) if node.input[2] else np.zeros(len(weight), np.float32)
            node.input[1] = self.add(f"{node.output[0]}.weight", weight)
            node.input[2] = self.add(f"{node.output[0]}.bias", bias)
        used = {name for node in self.proto.node for name in node.input}
        for name in set(self.arrays) - used:
            self.proto.initializer.remove(self.arrays.pop(name))

    def convolutions(self) -> list[Any]:
        return [node for node in self.proto.node if node.op_type == "Conv"]

    def add(self, name: str, value: np.ndarray) -> str:
        from onnx import numpy_helper

        while name in self.arrays:
            name += "'"
        self.proto.initializer.append(numpy_helper.from_array(value, name))
        self.arrays[name] = self.proto.initializer[-1]
        return name

    def set(self, name: str, value: np.ndarray) -> None:
        from onnx import numpy_helper

        self.arrays[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))

    def in_bytes(self, reader: Any, scale: float, zero: int) -> str:
        """The name of what a convolution reads, through bytes."""
        name = reader.input[0]
        given = [
            self.add(f"{name}.scale", np.array(scale, np.float32)),
            self.add(f"{name}.zero", np.array(zero, np.uint8)),
        ]
        self._insert(reader, "QuantizeLinear", [name, *given], f"{name}.bytes")
        return self._insert(reader, "DequantizeLinear", [f"{name}.bytes", *given], f"{name}.in_bytes")

    def round_weights(
        self, node: Any, patches: np.ndarray, counts: np.ndarray, largest: int = KEPT
    ) -> tuple[np.ndarray, np.ndarray]:
        """To whole numbers up to the largest, times a scale of each output channel; both."""
        weight = self.get(node.input[1])
        scale = np.maximum(np.abs(weight).max((1, 2, 3)), 1e-12) / largest
        codes, off = rounded(weight.reshape(len(weight), -1) / scale[:, None], patches, counts, largest)
        codes = codes.reshape(weight.shape)
        self.set(node.input[1], codes * scale[:, None, None, None])
        self.set(node.input[2], self.get(node.input[2]) + scale * off)
        return codes, scale

    def weights_in_bytes(self, node: Any, patches: np.ndarray, counts: np.ndarray) -> None:
        codes, scale = self.round_weights(node, patches, counts, LARGEST)
        given = [
            self.add(f"{node.input[1]}.codes", codes),
            self.add(f"{node.input[1]}.scale", scale.astype(np.float32)),
            self.add(f"{node.input[1]}.zero", np.zeros(len(scale), np.int8)),
        ]
        old = self.arrays.pop(node.input[1])
        self.proto.initializer.remove(old)
        node.input[1] = self._insert(node, "DequantizeLinear", given, f"{node.input[1]}.in_bytes", axis=0)

    def _insert(self, before: Any, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        place = next(i for i, node in enumerate(self.proto.node) if node.output[0] == before.output[0])
        self.proto.node.insert(place, helper.make_node(kind, inputs, [output], **attributes))
        return output


def values_of(
    model: Any, names: Sequence[str], inputs: Sequence[np.ndarray], of: Callable[[list[np.ndarray]], np.ndarray]
) -> dict[str, np.ndarray]:
    """of(the values of a tensor on all inputs), for each name."""
    import onnxruntime
    from onnx import helper

    names = list(dict.fromkeys(names))
    if not names:  # for which a session would give all outputs
        return {}
    given = model.graph.input[0].name
    model = deepcopy(model)
    known = {x.name for x in (*model.graph.input, *model.graph.output)}
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in known)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    asked = [name for name in names if name != given]
    for x in inputs:
        made = session.run(asked, {given: x}) if asked else []
        for name, value in [*zip(asked, made, strict=True), *([(given, x)] if given in found else [])]:
            found[name].append(value)
    return {name: of(values) for name, values in found.items()}


class _Groups:
    """Tensors that belong together."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}

    def of(self, name: str) -> str:
        while (parent := self.parent.get(name, name)) != name:
            name = parent
        return name

    def join(self, one: str, other: str) -> None:
        self.parent[self.of(one)] = self.of(other)


def _channel_maxima(values: list[np.ndarray]) -> np.ndarray:
    return np.max([np.abs(x).max((0, 2, 3)) for x in values], axis=0)


def _samples(values: list[np.ndarray]) -> np.ndarray:
    """Parts by SAMPLES, at most."""
    flat = [x.ravel() for x in values]
    step = max(min(map(len, flat)) // SAMPLES, 1) | 1  # odd: of all rows and columns
    return np.stack([x[: min(map(len, flat)) : step] for x in flat])


def _patches(node: Any, shape: tuple[int, ...], values: list[np.ndarray]) -> np.ndarray:
    """What a convolution's kernel sees of each part at PATCHES places: parts, places, in x k x k. Of one in groups or
    with holes, zeros: as if nothing were known."""
    ints = {a.name: list(a.ints) for a in node.attribute}
    if values[0].shape[1] != shape[1] or {*ints.get("dilations", [1])} != {1}:
        return np.zeros((len(values), 1, int(np.prod(shape[1:]))), np.float32)
    top, left, bottom, right = ints.get("pads", [0] * 4)
    down, across = ints.get("strides", [1, 1])
    found = []
    for x in values:
        padded = np.pad(x[0], ((0, 0), (top, bottom), (left, right)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, shape[2:], (1, 2))[:, ::down, ::across]
        places = np.random.default_rng(0).integers(windows.shape[1] * windows.shape[2], size=PATCHES)
        rows, columns = np.divmod(places, windows.shape[2])
        found.append(windows[:, rows, columns].swapaxes(0, 1).reshape(PATCHES, -1))
    return np.stack(found)
