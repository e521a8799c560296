"""ONNX files in OpenVINO or onnxruntime, on the CPU, without PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}  # by the name of a runtime; the first is the faster
Network = Callable[..., np.ndarray]  # the inputs of a file, in its order, to its output; float32


def installed() -> str | None:
    """The fastest runtime of which the package is installed."""
    return next((runtime for runtime, package in PACKAGES.items() if find_spec(package)), None)


def open_network(
    path: Path, runtime: str, threads: int, streams: int = 1, shape: tuple[int, ...] | None = None
) -> list[Network]:
    """As many calls of the network in a file as there are streams: each is for one thread at a time, and returns an
    array that its next call overwrites.

    threads: of the processor, shared by the streams. shape: of its one input, where it is always the same.
    ValueError, in one line, for a file that the runtime cannot read.
    """
    opened = {"openvino": _openvino, "onnx": _onnxruntime}[runtime]
    try:
        return opened(path, threads, streams, shape)
    except Exception as error:  # of kinds of their own
        text = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: {PACKAGES[runtime]} cannot open it: {text}") from error


def _openvino(path: Path, threads: int, streams: int, shape: tuple[int, ...] | None) -> list[Network]:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    if shape is not None:
        model.reshape(list(shape))
    # float32 is held to: OpenVINO otherwise takes bfloat16 where the processor has it.
    properties = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": streams}
    compiled = core.compile_model(model, "CPU", properties)

    def call() -> Network:
        request = compiled.create_infer_request()
        return lambda *given: request.infer(list(given), share_inputs=True, share_outputs=True)[0]

    return [call() for _ in range(streams)]


def _onnxruntime(path: Path, threads: int, streams: int, shape: tuple[int, ...] | None) -> list[Network]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(threads // streams, 1)
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [x.name for x in session.get_inputs()]
    return [lambda *given: session.run(None, dict(zip(names, given, strict=True)))[0] for _ in range(streams)]
