"""Networks as ONNX files: where they are, what they say of themselves, and whether they are whole and of these weights.

Such a file holds a network alone, without the curve and the demosaic that stand around it and, mostly, without the
shuffle that it ends in: its output is then batch 12 h w. It lies beside the weights it was made from, `model.onnx` or,
quantised, `model-int8.onnx`, or else in the cache folder. Its metadata names the weights by their SHA-256, holds the
SHA-256 of its graph, and says what it takes to run it; none of it needs a package to be read.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from isp import __version__
from isp.cache import cache_folder
from isp.fast.protobuf import field, message

# The names beside model.safetensors, by precision.
BESIDE = {"float32": "model.onnx", "bfloat16": "model.onnx", "int8": "model-int8.onnx"}
GRAPH, METADATA = 7, 14  # fields of an ONNX file (ModelProto in onnx.proto3)


class Export(NamedTuple):
    """A network in a file."""

    path: Path
    config: dict[str, Any]  # isp.nets.model.ModelConfig of the model it is from
    kind: str  # of the network, and its rules: isp.nets
    multiple: int
    minimum: int
    reach: int | None
    overlap: int | None  # samples around a site beyond which its output all but forgets them: isp.nets.export.SEAM
    sample_bytes: float  # that a sample of its input needs on its way through, in float32
    ranges: dict[str, list[float]] | None = None  # of int8, of what convolutions in float32 read: isp.nets.quantise


def beside(weights: Path, precision: str) -> Path:
    """Where the export of this precision lies beside weights."""
    if weights.name == "model.safetensors":
        return weights.with_name(BESIDE[precision])
    return weights.with_name(BESIDE[precision].replace("model", weights.stem, 1))


def find_export(weights: Path, precision: str) -> Path | None:
    """The file of these weights at this precision, beside them or, but for int8, in the cache; None: there is none."""
    path = beside(weights, precision)
    if path.is_file():
        return path
    with suppress(OSError):  # no home directory
        if precision != "int8" and (path := cached(weights)).is_file():
            return path
    return None


def cached(weights: Path) -> Path:
    """Where the float32 export of these weights is kept; it may not exist yet. The name goes by the weights, the
    configuration beside them, and the code of the networks."""
    key = sha256(f"{digest_of(weights)} {__version__} {_code()}".encode())
    for path in (weights.with_name("config.yaml"), weights.with_suffix(".yaml")):
        if path.is_file():
            key.update(path.read_bytes())
    return cache_folder() / f"network-{key.hexdigest()[:24]}.onnx"


def digest_of(weights: Path) -> str:
    """SHA-256 of a file."""
    return sha256(weights.read_bytes()).hexdigest()


@cache
def _code() -> str:
    digest = sha256()
    for path in sorted((Path(__file__).parents[1] / "nets").glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def read_export(path: Path, weights_sha256: str) -> Export:
    """What a file says of its network. ValueError, in one line, where it is damaged or made from other weights."""
    content = path.read_bytes()
    again = "make it anew: python -m tools.export NAME --network, or python -m tools.quantise NAME"
    try:
        said, graph = fields(content)
        values = json.loads(said["network"])
        export = Export(path, **values)
        whole = said["graph_sha256"] == sha256(graph).hexdigest()
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path} is damaged, or no network of this library; {again}") from error
    if not whole:
        raise ValueError(f"{path} is damaged: its graph is not the one it was written with; {again}")
    if said.get("weights_sha256") != weights_sha256:
        raise ValueError(f"{path} was made from other weights than those beside it; {again}")
    return export


def stamp(path: Path, weights_sha256: str, export: Export) -> None:
    """Append to an ONNX file what read_export looks for."""
    _, graph = fields(path.read_bytes())
    values = export._asdict()
    del values["path"]
    said = {
        "network": json.dumps(values),
        "weights_sha256": weights_sha256,
        "graph_sha256": sha256(graph).hexdigest(),
        "version": __version__,
    }
    with path.open("ab") as file:  # fields of a message may stand in any order
        for key, value in said.items():
            entry = b"".join(field(number, text.encode()) for number, text in ((1, key), (2, value)))
            file.write(field(METADATA, entry))


def fields(content: bytes) -> tuple[dict[str, str], bytes]:
    """The metadata and the graph of an ONNX file. ValueError or IndexError where it is none."""
    said, graph = {}, b""
    for number, value in message(content):
        if isinstance(value, int):
            continue
        if number == GRAPH:
            graph = bytes(value)
        elif number == METADATA:
            entry = {key: bytes(text).decode() for key, text in message(value) if not isinstance(text, int)}
            said[entry[1]] = entry.get(2, "")
    if not graph:
        raise ValueError("no graph")
    return said, graph
