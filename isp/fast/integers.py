"""Networks in integers by the compiled kernel: a quantised export (isp.nets.quantise) as the steps of integers.c.

Convolutions of bytes read bytes, as onnxruntime and OpenVINO do; those that the export leaves in float32 read words, 16
bits of each channel's range with room above, times weights of as many bits as their sums have room for. What is added
lies in halves. So it gives what the others give of the same file, to what is rounded in another place. It takes
processors with AVX2 and more, and graphs of convolutions (3x3, 2x2 with a stride of 2, 1x1), ReLUs, sums and shuffles:
`obstacle` tells.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Container, Iterator, Mapping
from ctypes import c_float, c_int32, c_int64, c_void_p
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from isp.fast.exports import fields
from isp.fast.library import UnavailableError, library
from isp.fast.onnx_graph import Graph, Node, read_graph
from isp.threads import in_threads

MOST_LANES = 16  # of a vector of sums
MOST_SPAN = 16  # groups of channels in a matrix of weights
MOST_ADDED = 2  # results of others, to one
WORD, INPUT = 8191, 4095  # the largest, of results and of the input: with more, sums would leave too few for weights
ROOM = 4  # times the largest value that a range was taken from, at which words saturate; half as many of the input
FEWER = 4  # by what sums of words come multiplied where they are made by fewer products
SUM = 2**31 - 1
LARGEST = 2**14 - 1  # of the weights of words
LARGEST_BYTE = 127  # of those that isp.nets.quantise has rounded to so many, but for this share of a step
SAME = 1e-3
ALIGNED = 64  # bytes
DEEPEST = 3  # halvings
TURN = 2**DEEPEST  # rows of the input, or as much of what is made of it, before it is the next one's turn
POINTS = {  # of three taps, times what divides them; by how many rows of sums are made of them at once
    2: np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]),
    4: np.array([[6, 0, 0], [-1, -1, -1], [-1, 1, -1], [1, 2, 4], [1, -2, 4], [0, 0, 6]]),
}
COLUMNS = 24 + 2  # that are read at once for these
MOST_DEEP = 128  # channels that are read for these
OUTPUTS = 2  # times TURN rows of the output that are kept: while some are read, the next ones begin


class Form(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("row", c_int64), ("high", c_int64), ("site", c_int32), ("rows", c_int32)]


class Step(ctypes.Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("weights", "scale", "bias", "fine")),
        ("source", Form),
        ("added", Form * MOST_ADDED),
        *((name, Form) for name in ("bytes", "words", "halves")),
        ("planes", c_void_p * OUTPUTS),
        ("plane", c_int64),
        *((name, c_int32) for name in ("makes", "reads")),
        ("adds", c_int32 * MOST_ADDED),
        *((name, c_int32) for name in ("wide", "kernel", "groups", "height", "width", "stride", "spread")),
        *((name, c_int32) for name in ("down", "right", "vectors", "channels", "chunks", "span", "together")),
        ("joined", c_int32),
        *((name, c_float) for name in ("coarse", "zero", "slope")),
    ]


class Convolution(NamedTuple):
    """A convolution with all that is done to its sums before others read them."""

    source: str
    reads: str  # "bytes" or "words"
    weights: np.ndarray  # out in k k, whole numbers
    scale: np.ndarray  # out: a sum's worth
    bias: np.ndarray  # out
    shuffle: bool  # of 2 x 2, the four quarters' channels one after the other
    added: list[str]
    slope: float  # below 0; 1: no activation
    result: str


class Arithmetic(NamedTuple):
    """How the kernel computes on a processor. lanes: channels in a vector of sums. vectors: of a step, at most.
    matrices: whether sums are products of matrices (AMX). pairs: whether bytes lie in words and are multiplied as they
    are, two products to a sum (AVX2). fewer: whether convolutions 3x3 of bytes take fewer products."""

    lanes: int = 16
    vectors: int = 4
    matrices: bool = False
    pairs: bool = False
    fewer: bool = False

    def group(self, reads: str, together: int = 1) -> int:
        """Channels whose products go to a sum at once. together: rows of sums that are made at once."""
        return 2 if self.pairs or together > 1 or (reads == "words" and not self.matrices) else 4

    def each(self, kind: str) -> int:
        """Bytes of a value, from one to the next."""
        return {"bytes": 1 + self.pairs, "words": 2 - self.matrices, "halves": 2}[kind]


class Part(NamedTuple):
    """The weights of a step, as integers.c takes them."""

    weights: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    vectors: int
    channels: int  # that are stored
    first: int  # of the result
    quarter: int  # of a shuffle
    chunks: int  # of groups in a row of taps, and groups in each, for matrices; 0: for vectors
    span: int
    together: int  # rows that are made at once


class Bytes(NamedTuple):
    scale: float
    zero: int


class Network(NamedTuple):
    """What there is to do, and in which forms each result is read."""

    planes: int  # of the input
    input: str
    output: str
    convolutions: list[Convolution]
    channels: dict[str, int]
    level: dict[str, int]  # of each result: 2^level samples of the input from site to site
    bytes: dict[str, Bytes]
    words: dict[str, np.ndarray]  # for 1, of each channel
    reach: int  # samples of the input, to each side
    rows: dict[tuple[str, str], int]  # of each result and form, that are still to be read at any time
    behind: int  # turns that the output is behind the input
    parts: list[list[Part]]  # of each convolution
    arithmetic: Arithmetic

    def size(self, name: str, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of a result, of an input of height x width."""
        return height >> self.level[name], width >> self.level[name]

    def even(self, name: str) -> int:
        """What the channels of a result are filled up to a multiple of, for those that read it in bytes or words."""
        kinds = [kind for kind, names in (("bytes", self.bytes), ("words", self.words)) if name in names]
        return max(map(self.arithmetic.group, kinds), default=1)


def network_of(graph: Graph, ranges: Mapping[str, list[float]], arithmetic: Arithmetic) -> Network:
    """The steps of a graph. ranges: of what convolutions in float32 read, the largest value of each channel.

    ValueError, in one line, for what is none of the operators that this is for, or where a range is missing.
    """
    by_output = {node.output: node for node in graph.nodes}
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    coded = _coded(graph)
    fine = {
        name: (WORD / ROOM / np.maximum(np.array(largest), 1e-6)).astype(np.float32) for name, largest in ranges.items()
    }
    words: dict[str, np.ndarray] = {}
    convolutions: list[Convolution] = []
    channels: dict[str, int] = {}
    level, reach = {graph.input: 0}, {graph.input: 0}
    for node in (node for node in graph.nodes if node.kind == "Conv"):
        codes = by_output.get(node.inputs[1])
        kernel = _kernel_of(node, graph.arrays[node.inputs[1] if codes is None else codes.inputs[0]].shape)
        if codes is not None:
            source, reads = _read_in_bytes(by_output[node.inputs[0]], by_output), "bytes"
            weights, scale, bias = _of_bytes(graph, codes, graph.arrays[node.inputs[2]], coded[source])
        else:
            source, reads = node.inputs[0], "words"
            weights, bias = graph.arrays[node.inputs[1]], graph.arrays[node.inputs[2]]
            if source not in fine or len(fine[source]) != weights.shape[1]:
                raise ValueError(f"no range of {source}; make the file anew with tools.quantise")
            if source != graph.input:  # whose channels differ in kind
                fine[source] = np.full_like(fine[source], fine[source].min())
            words[source] = fine[source]
            room = INPUT * FEWER if source == graph.input and kernel == 3 else WORD  # the same weights everywhere
            weights, scale = _of_words(weights / fine[source][None, :, None, None], room)
        if source not in level:
            raise ValueError(f"{source} is read before it is made")
        if scale.shape != weights.shape[:1] or bias.shape != weights.shape[:1]:
            raise ValueError(f"{scale.shape} scales and {bias.shape} biases of {node.output}; expected {len(weights)}")
        if channels.setdefault(source, weights.shape[1]) != weights.shape[1]:
            raise ValueError(f"{source} has {channels[source]} channels, and {node.output} reads {weights.shape[1]}")
        shuffle, added, slope, result = _fused(node.output, readers, level, graph.output)
        here = level[source] + (kernel == 2) - shuffle
        made = len(weights) // (4 if shuffle else 1)
        if result in level or (shuffle and len(weights) % 4):
            raise ValueError(f"{result} is made twice, or of channels that are no four quarters")
        if here < 0 or any((level[name], channels.get(name)) != (here, made) for name in added):
            raise ValueError(f"{', '.join(added)} and {node.output} are added, but are not of one shape")
        if here > DEEPEST:
            raise ValueError(f"{result} is halved {here} times; at most {DEEPEST}")
        level[result], channels[result] = here, made
        reach[result] = max(reach[source] + (kernel > 1) * 2 ** level[source], *(reach[name] for name in added), 0)
        convolutions.append(Convolution(source, reads, weights, scale, bias, shuffle, added, slope, result))
    if graph.input in coded:
        raise ValueError(f"{graph.input}, the input, is read in bytes; make the file anew with tools.quantise")
    halves = {name for c in convolutions for name in c.added}
    made_of = {c.result for c in convolutions}
    number = sum(1 + c.shuffle + len(c.added) + (c.slope != 1) for c in convolutions)
    others = [node for node in graph.nodes if node.kind not in ("QuantizeLinear", "DequantizeLinear")]
    if number != len(others) or not {*coded, *halves} <= made_of:
        raise ValueError("operators in an order that is not this network's")
    if convolutions[-1].result != graph.output or level[graph.output] != 0 or graph.output in readers:
        raise ValueError(f"{graph.output} is not what the last convolution makes for nobody else, at the input's size")
    network = Network(
        channels[graph.input], graph.input, graph.output, convolutions, channels, level, coded, words,
        reach[graph.output], {}, 0, [], arithmetic,
    )  # fmt: skip
    parts = [
        parts_of(
            c,
            network.even(c.result),
            arithmetic,
            together(c, level[c.source], arithmetic, INPUT if c.source == graph.input else WORD),
            network.even(c.source),
        )
        for c in convolutions
    ]
    rows, behind = rows_of(network)
    return network._replace(rows=rows, behind=behind, parts=parts)


def _read_in_bytes(node: Node, by_output: Mapping[str, Node]) -> str:
    """What a DequantizeLinear gives back, of the QuantizeLinear before it with the same scale and zero point."""
    before = by_output[node.inputs[0]]
    if (node.kind, before.kind) != ("DequantizeLinear", "QuantizeLinear") or node.inputs[1:] != before.inputs[1:]:
        raise ValueError(f"{node.output} is not what was there before it was quantised")
    return before.inputs[0]


def _coded(graph: Graph) -> dict[str, Bytes]:
    """What is read in bytes."""
    found = {}
    for node in graph.nodes:
        if node.kind == "QuantizeLinear":
            scale, zero = (graph.arrays[name] for name in node.inputs[1:])
            if zero.dtype != np.uint8 or scale.size != 1 or not 0 < scale < np.inf or node.inputs[0] in found:
                raise ValueError(f"{node.inputs[0]} is not quantised to bytes of one scale")
            found[node.inputs[0]] = Bytes(float(scale), int(zero))
    return found


def _kernel_of(node: Node, shape: tuple[int, ...]) -> int:
    """The side of a convolution's kernel: 3 with a border of zeros, 2 without one and with a stride of 2, or 1."""
    if len(shape) != 4 or 0 in shape or [*shape[2:]] != node.attributes.get("kernel_shape", [*shape[2:]]):
        raise ValueError(f"weights of {node.output} of {shape}, not as the convolution says")
    strides, pads = node.attributes.get("strides", [1, 1]), node.attributes.get("pads", [0] * 4)
    kernel, known = shape[2], {3: (1, 1), 2: (2, 0), 1: (1, 0)}
    if shape[3] != kernel or kernel not in known or [{*strides}, {*pads}] != [{n} for n in known[kernel]]:
        raise ValueError(f"convolution {node.output} of {list(shape[2:])}, strides {strides}, pads {pads}")
    if node.attributes.get("group", 1) != 1 or {*node.attributes.get("dilations", [1])} != {1}:
        raise ValueError(f"convolution {node.output} with groups or dilations")
    return kernel


def _of_bytes(graph: Graph, codes: Node, bias: np.ndarray, given: Bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, what a sum is worth, and the bias that takes away what the zero of the bytes that are read has added."""
    weights, of_channel, zeros = (graph.arrays[name] for name in codes.inputs)
    if (codes.kind, codes.attributes.get("axis", 1), weights.dtype) != ("DequantizeLinear", 0, np.int8) or zeros.any():
        raise ValueError(f"{codes.output} are not symmetric bytes")
    weights = weights.astype(np.int32)
    scale = given.scale * of_channel
    return weights, scale, bias - given.zero * scale * weights.sum((1, 2, 3))


def _of_words(weights: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers for weights, of as many bits as leave sums in 32, and what a sum is worth; bytes, where they are
    that. room: the largest word, times what sums come multiplied by."""
    absolute = np.abs(weights)
    needed = absolute.sum((1, 2, 3)) * room / (SUM * (1 - 1e-3))  # less what rounding may add
    largest = np.maximum(absolute.max((1, 2, 3)), 1e-30)
    scale, whole = np.zeros_like(largest), np.zeros(len(largest), bool)
    for most in range(LARGEST_BYTE, LARGEST_BYTE - 8, -1):  # of a channel whose largest has become smaller
        codes = weights / (largest / most)[:, None, None, None]
        now = ~whole & (np.abs(codes - np.rint(codes)) < SAME).all((1, 2, 3))
        scale, whole = np.where(now, largest / most, scale), whole | now
        if whole.all() or not whole.any():
            break
    if whole.all() and (needed <= scale).all():
        return np.rint(weights / scale[:, None, None, None]).astype(np.int32), scale
    scale = np.maximum(needed, largest / LARGEST)
    return np.rint(weights / scale[:, None, None, None]).astype(np.int32), scale


def _fused(
    name: str, readers: Mapping[str, list[Node]], made: Container[str], output: str
) -> tuple[bool, list[str], float, str]:
    """What is done to sums that nothing else reads: a shuffle, what is added to them, the slope of an activation (1:
    none), and the name of what comes of it."""
    shuffle, added, slope = False, list[str](), 1.0
    while len(nodes := readers.get(name, [])) == 1 and name != output and slope == 1:
        node = nodes[0]
        if node.kind == "DepthToSpace" and not added and not shuffle:
            if node.attributes.get("blocksize") != 2 or node.attributes.get("mode", "DCR") != "DCR":
                raise ValueError(f"shuffle {node.output} in another order")
            shuffle = True
        elif node.kind == "Add" and len(added) < MOST_ADDED:
            other = next(x for x in node.inputs if x != name)
            if other not in made:
                break
            added.append(other)
        elif node.kind in ("Relu", "LeakyRelu"):
            slope = 0.0 if node.kind == "Relu" else node.attributes.get("alpha", 0.01)
            if not 0 <= slope < 1:
                raise ValueError(f"slope {slope} of {node.output}")
        else:
            break
        name = node.output
    return shuffle, added, slope, name


def obstacle(path: Path) -> str | None:
    """Why the kernel cannot run this file here, in a few words; None where it can."""
    found = library()
    if isinstance(found, UnavailableError):
        return str(found)
    if not found.isp_integers_lanes():
        return "a processor without AVX2, FMA and F16C"
    try:
        read_network(path)
    except (ValueError, OSError) as error:
        return str(error)
    return None


def read_network(path: Path) -> Network:
    """The network in a file of isp.nets.quantise. ValueError, in one line, for one that the kernel does not run."""
    stat = path.stat()
    return _read(path, (stat.st_mtime_ns, stat.st_size), arithmetic_here())


@lru_cache(maxsize=8)
def _read(path: Path, version: tuple[int, int], arithmetic: Arithmetic) -> Network:
    try:
        said, graph = fields(path.read_bytes())
        return network_of(read_graph(graph), json.loads(said["network"]).get("ranges") or {}, arithmetic)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, StopIteration) as error:
        raise ValueError(f"{path} is no network that the kernel runs: {' '.join(str(error).split())}") from error


def open_threads(path: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """The network in a file for inputs of any size that it takes, 1 planes h w, in bands of rows, one for each thread.
    One call at a time works; others wait."""
    network = read_network(path)
    step = 2 ** max(network.level.values())
    shared = -(-network.reach // step) * step
    streams: list[Stream | None] = [None] * threads
    alone = Lock()

    def run(x: np.ndarray) -> np.ndarray:
        units = x.shape[2] // step
        count = max(min(threads, units // max(2 * shared // step, 1)), 1)
        cuts = [i * units // count * step for i in range(count + 1)]
        output = np.empty((1, network.channels[network.output], *x.shape[2:]), np.float32)

        def band(i: int) -> None:
            top, bottom = cuts[i], cuts[i + 1]
            first, end = max(top - shared, 0), min(bottom + shared, x.shape[2])
            stream = streams[i]
            if stream is None or (stream.height, stream.width) != (end - first, x.shape[3]):
                stream = streams[i] = Stream(network, end - first, x.shape[3])
            for row, y in stream.all(x[0, :, first:end]):
                start, stop = max(top, first + row), min(bottom, first + row + TURN)
                if start < stop:
                    output[0, :, start:stop] = y[:, start - first - row : stop - first - row]

        with alone:
            in_threads(band, range(count), count)
        return output

    return run


def arithmetic_here() -> Arithmetic:
    """Of this processor; where the kernel does not run, of another."""
    found = library()
    if isinstance(found, UnavailableError) or not (lanes := found.isp_integers_lanes()):
        return Arithmetic()
    return Arithmetic(
        lanes,
        found.isp_integers_vectors(),
        bool(found.isp_integers_matrices()),
        bool(found.isp_integers_pairs()),
        bool(found.isp_integers_fewer()),
    )


def together(c: Convolution, level: int, arithmetic: Arithmetic, largest: int = WORD) -> int:
    """Rows of sums that a convolution makes at once: more than one by fewer products, of words, and of bytes where they
    pay. A turn has as many, or more. largest: of the words that it reads, if it reads words."""
    if c.weights.shape[2] != 3 or c.weights.shape[1] > MOST_DEEP:
        return 1
    if arithmetic.matrices or (c.reads == "bytes" and not arithmetic.fewer):
        return 1
    rows, read = (4, 255) if c.reads == "bytes" else (2, largest)
    room = 64 if rows == 4 else FEWER  # by which sums come multiplied
    fits = (
        np.abs(c.weights).sum((1, 2, 3)).max() * read * room <= SUM and np.abs(at_points(c.weights, rows)).max() < 2**15
    )
    return min(rows, TURN >> level) if fits else 1


def at_points(weights: np.ndarray, rows: int) -> np.ndarray:
    """Weights out in 3 3 for so many rows of sums at once, times what their fractions divide by: out in 6 6 of F(4x4,
    3x3) or 4 4 of F(2x2, 3x3) of Lavin and Gray (CVPR 2016)."""
    # in float64, which BLAS multiplies and in which whole numbers stay whole
    both = np.kron(POINTS[rows], POINTS[rows]).astype(np.float64)
    return (weights.reshape(-1, 9) @ both.T).astype(weights.dtype).reshape(*weights.shape[:2], rows + 2, rows + 2)


def parts_of(c: Convolution, even: int, arithmetic: Arithmetic, at_once: int = 1, read: int = 1) -> list[Part]:
    """A convolution's channels in steps of as many vectors as there may be, or in one for more than one row at once.
    even, read: to multiples of so many channels what is stored and what is read are filled up."""
    lanes, most, matrix = arithmetic[:3]
    group = arithmetic.group(c.reads, at_once)
    read = max(read, group)  # the channels of neighbouring sites follow each other
    kind = np.int8 if group == 4 and c.reads == "bytes" else np.int16
    quarters = 4 if c.shuffle else 1
    channels = len(c.weights) // quarters
    vectors = -(-channels // lanes)
    steps = 1 if at_once > 1 else -(-vectors // most)
    sizes = [vectors // steps + (i < vectors % steps) for i in range(steps)]
    found = []
    for quarter in range(quarters):
        first = 0
        for size in sizes:
            rows = slice(quarter * channels + first, quarter * channels + min(first + size * lanes, channels))
            given = at_points(c.weights[rows], at_once) if at_once > 1 else c.weights[rows]
            filled = np.zeros((size * lanes, -(-given.shape[1] // read) * read, *given.shape[2:]), kind)
            filled[: len(given), : given.shape[1]] = given
            # rows of taps, groups of a row, channels, those of a group
            packed = filled.reshape(len(filled), -1, group, *given.shape[2:]).transpose(3, 4, 1, 0, 2)
            packed = packed.reshape(len(packed), -1, len(filled), group)
            chunks = span = 0
            if matrix:
                chunks = -(-packed.shape[1] // MOST_SPAN)
                span = -(-packed.shape[1] // chunks)
                packed = np.pad(packed, ((0, 0), (0, chunks * span - packed.shape[1]), (0, 0), (0, 0)))
                if kind == np.int16:
                    low_high = (packed,) if np.abs(c.weights).max() <= LARGEST_BYTE else (packed & 127, packed >> 7)
                    packed = np.stack(low_high).astype(np.int8)
            if at_once > 1:  # two vectors after the other, or one that is alone
                apart = 1 if size == 1 else 2
                packed = np.pad(packed, ((0, 0), (0, 0), (0, size % apart * lanes), (0, 0)))
                packed = packed.reshape((at_once + 2) ** 2, -1, -(-size // apart), apart * lanes, group)
                packed = packed.transpose(2, 0, 1, 3, 4)
            scale, bias = np.zeros(size * lanes, np.float32), np.zeros(size * lanes, np.float32)
            scale[: len(given)], bias[: len(given)] = c.scale[rows], c.bias[rows]
            stored = min(size * lanes, -(-channels // even) * even - first)
            found.append(Part(_aligned(packed), scale, bias, size, stored, first, quarter, chunks, span, at_once))
            first += size * lanes
    return found


class Stream:
    """A network for tiles of one size, for one thread at a time: TURN of their rows in a call."""

    def __init__(self, network: Network, height: int, width: int) -> None:
        self.network, self.height, self.width = network, height, width
        deepest = max(network.level.values())
        if height % 2**deepest or width % 2**deepest:
            raise ValueError(f"a tile of {height}x{width}; expected multiples of {2**deepest}")
        self.keep: list[Any] = []
        self.borders: list[tuple[np.ndarray, int]] = []  # which are still to be filled, and with what
        self.output = np.zeros((OUTPUTS, network.channels[network.output], TURN, width), np.float32)
        forms = self._forms()
        self.words = forms[network.input, "words"]
        self.fine = c_void_p(self._at(network.words[network.input]))
        self.number = {name: i for i, name in enumerate([network.input, *(c.result for c in network.convolutions)])}
        steps = []
        for c, parts in zip(network.convolutions, network.parts, strict=True):
            for number, part in enumerate(parts):
                steps.append(self._step(c, part, forms))
                steps[-1].joined = number > 0
        self.steps = (Step * len(steps))(*steps)
        self.done = (c_int32 * len(self.number))()
        self.given = 0  # turns of the output

    def begin(self) -> None:
        """The next rows are the first of a tile."""
        self.done[:] = [0] * len(self.done)
        self.given = 0
        while self.borders:  # by the thread that works here, as all that touches fresh memory
            border, zero = self.borders[-1]
            border[:] = zero
            self.borders.pop()

    def __call__(self, x: np.ndarray | None) -> np.ndarray | None:
        """From the next rows of a tile, planes TURN w, those of its output, channels TURN w, that are then done; which
        the next call overwrites. At the end of the tile, of the last rows so many count as it has; None for x
        gives what is left. None: there are none yet."""
        if x is not None and (x.shape != (self.network.planes, TURN, self.width) or x.dtype != np.float32):
            raise ValueError(f"expected float32 {self.network.planes} {TURN} {self.width}, got {x.dtype} {x.shape}")
        x = None if x is None else np.ascontiguousarray(x)
        _kernel().isp_integers(
            None if x is None else c_void_p(x.ctypes.data), self.network.planes, self.height, self.width,
            self.fine, ctypes.byref(self.words), self.steps, len(self.steps), self.done,
        )  # fmt: skip
        if self.done[-1] < min((self.given + 1) * TURN, self.height):
            return None
        self.given += 1
        return self.output[(self.given - 1) % OUTPUTS]

    def all(self, x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """The output of a whole tile, planes h w, as it comes: the number of the first row, and channels TURN w."""
        self.begin()
        rows, taken = np.zeros((len(x), TURN, self.width), np.float32), 0
        while self.given * TURN < self.height:
            rows[:, : self.height - taken] = x[:, taken : taken + TURN]
            if (y := self(rows if taken < self.height else None)) is not None:
                yield (self.given - 1) * TURN, y
            taken = min(taken + TURN, self.height)

    def _forms(self) -> dict[tuple[str, str], Form]:
        """In one piece of memory, of zeros that nobody has touched yet."""
        network, forms, at = self.network, {}, 0
        places = {key: _layout(network, *key, self.width) for key in network.rows}
        beyond = COLUMNS * max(site for site, _ in places.values())  # what is read of narrow tiles and not used
        memory = self._kept(aligned(sum((network.rows[key] + 2) * row for key, (_, row) in places.items()) + beyond))
        for (name, kind), (site, row) in places.items():
            rows, width = network.rows[name, kind], network.size(name, 0, self.width)[1]
            if kind == "bytes":
                lines = memory[at : at + (rows + 1) * row].reshape(rows + 1, row)
                borders = lines[:, :site], lines[:, (width + 1) * site :], lines[-1]
                each = np.int16 if network.arithmetic.pairs else np.uint8
                self.borders += [(border.view(each), network.bytes[name].zero) for border in borders]
            high = (width + 2) * site if network.arithmetic.matrices and kind == "words" else 0
            forms[name, kind] = Form(memory.ctypes.data + at + site, row, high, site, rows)
            at += (rows + 2) * row
        return forms

    def _step(self, c: Convolution, part: Part, forms: dict[tuple[str, str], Form]) -> Step:
        network = self.network
        height, width = network.size(c.source, self.height, self.width)
        kernel = c.weights.shape[2]
        stride = 2 if kernel == 2 else 1
        group = network.arithmetic.group(c.reads, part.together)
        read = max(network.even(c.source), group)
        groups = -(-c.weights.shape[1] // read) * read // group
        wide = 0 if c.reads == "bytes" else 2 if network.arithmetic.matrices and part.weights.shape[0] == 1 else 1
        step = Step(
            weights=self._at(part.weights), scale=self._at(part.scale), bias=self._at(part.bias),
            source=forms[c.source, c.reads], wide=wide, kernel=kernel, groups=groups,
            height=height // stride, width=width // stride, stride=stride, spread=1 + c.shuffle,
            down=part.quarter // 2, right=part.quarter % 2, vectors=part.vectors, channels=part.channels,
            chunks=part.chunks, span=part.span, together=part.together, coarse=1, zero=0, slope=c.slope,
            makes=self.number[c.result], reads=self.number[c.source],
        )  # fmt: skip
        for i, name in enumerate(c.added):
            step.added[i] = _from(forms[name, "halves"], 2 * part.first)
            step.adds[i] = self.number[name]
        for kind in ("bytes", "words", "halves"):
            if (form := forms.get((c.result, kind))) is not None:
                setattr(step, kind, _from(form, network.arithmetic.each(kind) * part.first))
        if c.result in network.bytes:
            step.coarse, step.zero = 1 / network.bytes[c.result].scale, network.bytes[c.result].zero
            if c.slope == step.zero == 0 and not (step.words.data or step.halves.data or c.result == network.output):
                step.slope = 1  # bytes are not below 0 anyway
        if c.result in network.words:
            fine = np.zeros(part.vectors * network.arithmetic.lanes, np.float32)
            given = network.words[c.result][part.first :][: len(fine)]
            fine[: len(given)] = given
            step.fine = self._at(fine)
        if c.result == network.output:
            step.plane = TURN * self.width
            for i, rows in enumerate(self.output):
                step.planes[i] = self._at(rows[part.first :])
        return step

    def _kept(self, array: np.ndarray) -> np.ndarray:
        self.keep.append(array)
        return array

    def _at(self, array: np.ndarray) -> int:
        return self._kept(array).ctypes.data


def aligned(count: int) -> np.ndarray:
    """So many bytes of 0, from an address that is a multiple of ALIGNED."""
    memory = np.zeros(count + 2 * ALIGNED, np.uint8)  # as much again for what is read beyond the end and not used
    first = -memory.ctypes.data % ALIGNED
    return memory[first : first + count]


def _aligned(array: np.ndarray) -> np.ndarray:
    copy = aligned(array.nbytes).view(array.dtype).reshape(array.shape)
    copy[:] = array
    return copy


def rows_of(network: Network) -> tuple[dict[tuple[str, str], int], int]:
    """Of how many rows each form is still to be read at any time, as isp_integers goes about it; and by how many turns
    the output is behind. At the end of turn t there are TURN t rows of a result less so many that are late, or half or
    a quarter as many where it has so many sites."""
    late, found = {network.input: 0}, dict[tuple[str, str], int]()
    for c in network.convolutions:
        kernel, spread, made = c.weights.shape[2], 1 + c.shuffle, TURN >> network.level[c.result]
        stride = 1 + (kernel == 2)
        sums = max(-(-(late[c.source] + (kernel == 3)) // stride), *(-(-late[name] // spread) for name in c.added), 0)
        late[c.result] = sums * spread
        # what is there at the end of a turn, less what had been read before it
        needed = {(name, "halves"): made + late[c.result] - late[name] for name in c.added}
        needed[c.source, c.reads] = made // spread * stride + stride * sums + (kernel == 3) - late[c.source]
        for form, rows in needed.items():
            found[form] = max(found.get(form, 0), rows)
    return found, -(-late[network.output] // TURN)


def _layout(network: Network, name: str, kind: str, width: int) -> tuple[int, int]:
    """Bytes from site to site and from row to row."""
    even = MOST_LANES if kind == "halves" else network.even(name)
    apart = network.arithmetic.matrices and kind == "words"  # a plane of lower halves and one of upper ones
    site = -(-network.channels[name] // even) * even * network.arithmetic.each(kind)
    return site, -(-(network.size(name, 0, width)[1] + 2) * site * (1 + apart) // ALIGNED) * ALIGNED


def column_bytes(network: Network) -> float:
    """What a column of a tile needs in the network, however high it is."""
    return sum((count + 2) * _layout(network, *key, 4096)[1] / 4096 for key, count in network.rows.items())


def _from(form: Form, offset: int) -> Form:
    return Form(form.data + offset, form.row, form.high, form.site, form.rows)


def _kernel() -> ctypes.CDLL:
    found = library()
    assert isinstance(found, ctypes.CDLL)
    return found
