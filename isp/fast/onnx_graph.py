"""The graph of an ONNX file, read without the package onnx, whose import takes longer than a small network runs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from isp.fast.protobuf import message, varint

DTYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64}  # of TensorProto, as far as they occur


class Node(NamedTuple):
    """A node of an ONNX graph; attributes that are numbers or texts."""

    kind: str
    inputs: list[str]
    output: str
    attributes: dict[str, Any]


class Graph(NamedTuple):
    nodes: list[Node]
    arrays: dict[str, np.ndarray]
    input: str
    output: str


def read_graph(content: bytes) -> Graph:
    """A GraphProto of ONNX with one input and one output. ValueError, KeyError or IndexError where it is none."""
    nodes: list[Node] = []
    arrays: dict[str, np.ndarray] = {}
    inputs: list[str] = []
    outputs: list[str] = []
    for number, value in message(memoryview(content)):
        if number == 1:
            nodes.append(_node(_bytes(value)))
        elif number == 5:
            name, array = _array(_bytes(value))
            arrays[name] = array
        elif number in (11, 12):
            (inputs if number == 11 else outputs).append(_text(dict(message(_bytes(value)))[1]))
    inputs = [name for name in inputs if name not in arrays]
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(f"{len(inputs)} inputs and {len(outputs)} outputs; expected one of each")
    return Graph(nodes, arrays, inputs[0], outputs[0])


def _node(content: bytes | memoryview) -> Node:
    inputs: list[str] = []
    outputs: list[str] = []
    kind, attributes = "", {}
    for number, value in message(content):
        if number == 1:
            inputs.append(_text(value))
        elif number == 2:
            outputs.append(_text(value))
        elif number == 4:
            kind = _text(value)
        elif number == 5:
            name, given = _attribute(_bytes(value))
            attributes[name] = given
    if len(outputs) != 1:
        raise ValueError(f"{kind} with {len(outputs)} outputs")
    return Node(kind, inputs, outputs[0], attributes)


def _attribute(content: bytes | memoryview) -> tuple[str, Any]:
    name = ""
    given: Any = None
    numbers: list[int] = []
    for number, value in message(content):
        if number == 1:
            name = _text(value)
        elif number == 2:
            given = float(np.frombuffer(_bytes(value), "<f4")[0])
        elif number == 3:
            given = _number(value)
        elif number == 4:
            given = _text(value)
        elif number == 8:
            numbers += [value] if isinstance(value, int) else _varints(value)
    return name, numbers or given


def _array(content: bytes | memoryview) -> tuple[str, np.ndarray]:
    name, kind, raw = "", 0, None
    shape: list[int] = []
    for number, value in message(content):
        if number == 1:
            shape += [value] if isinstance(value, int) else _varints(value)
        elif number == 2:
            kind = _number(value)
        elif number == 8:
            name = _text(value)
        elif number == 9:
            raw = value
    if kind not in DTYPES or raw is None:
        raise ValueError(f"array {name} of type {kind}, or not in raw bytes")
    return name, np.frombuffer(_bytes(raw), DTYPES[kind]).reshape(shape)


def _varints(content: bytes | memoryview) -> list[int]:
    found, at = [], 0
    while at < len(content):
        value, at = varint(content, at)
        found.append(value)
    return found


def _number(value: bytes | memoryview | int) -> int:
    if not isinstance(value, int):
        raise ValueError("bytes where there should be a number")
    return value


def _bytes(value: bytes | memoryview | int) -> bytes | memoryview:
    if isinstance(value, int):
        raise ValueError("a number where there should be bytes")
    return value


def _text(value: bytes | memoryview | int) -> str:
    return bytes(_bytes(value)).decode()
