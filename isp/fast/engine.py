"""ONNX files in OpenVINO, onnxruntime or the compiled kernel, on the CPU, without PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from threading import local
from typing import Any, Protocol

import numpy as np

from isp.cache import own_folder
from isp.fast import integers

PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}  # by the name of a runtime; the first is the faster
COMPILED = 8  # of a network, for so many shapes and settings, are kept
Network = Callable[..., np.ndarray]  # the inputs of a file, in its order, to its output; float32


def installed() -> str | None:
    """The fastest runtime of which the package is installed."""
    return next((runtime for runtime, package in PACKAGES.items() if find_spec(package)), None)


class Stream(Protocol):
    """A network for tiles of one size, for one thread at a time: some of their rows in a call, or all."""

    def begin(self) -> None:
        """The next rows are the first of a tile."""

    def __call__(self, x: np.ndarray | None) -> np.ndarray | None:
        """From the next rows, planes h w, or None after the last, to the next rows of the output, 3 2h 2w or 12 h w,
        which the next call overwrites; None where there are none yet."""


class Whole:
    """A network that takes all rows of a tile in a call."""

    def __init__(self, run: Callable[[np.ndarray], np.ndarray]) -> None:
        self.run = run

    def begin(self) -> None:
        """A tile is a call."""

    def __call__(self, x: np.ndarray | None) -> np.ndarray | None:
        return None if x is None else self.run(x[None])[0]


def native_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in vectors, as Linux lists it; twice as fast as float32, then."""
    return bool({"avx512_bf16", "amx_bf16"} & _flags())


def matrix_bfloat16() -> bool:
    """Whether the processor multiplies matrices of bfloat16 (AMX): OpenVINO is as fast in it as in int8 there, and
    nearer to float32."""
    return "amx_bf16" in _flags()


@cache
def _flags() -> frozenset[str]:
    """What an x86 processor can do, as Linux lists it; nothing elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return frozenset(next((line.split() for line in lines if line.startswith("flags")), []))
    except OSError:
        return frozenset()


def open_network(path: Path, runtime: str, threads: int, precision: str = "float32") -> Network:
    """The call of an ONNX file, for inputs of any size that it takes, with so many threads of the processor.

    Threads may call it at once; what it gives is overwritten when the same thread calls it again.

    precision: of what the file has in float32. OpenVINO computes it in bfloat16, where the processor can, unless it is
    "float32". ValueError, in one line, for a file that the runtime cannot read.
    """
    with _one_line(path, runtime):
        if runtime == "kernel":
            return integers.open_threads(path, threads)
        if runtime == "openvino":
            return _requests(_openvino(path, threads, 1, None, precision))
        session = _onnxruntime(path, threads)
        names = [x.name for x in session.get_inputs()]
        return lambda *given: session.run(None, dict(zip(names, given, strict=True)))[0]


def open_streams(
    path: Path, runtime: str, shape: tuple[int, ...], streams: int, precision: str = "float32"
) -> list[Stream]:
    """The network in an ONNX file as so many streams, each for one thread at a time and of one thread; else as
    open_network."""
    with _one_line(path, runtime):
        if runtime == "kernel":
            network = integers.read_network(path)
            return [integers.Stream(network, *shape[2:]) for _ in range(streams)]
        if runtime == "openvino":
            compiled = _openvino(path, streams, streams, shape, precision)
            return [Whole(_request(compiled.create_infer_request())) for _ in range(streams)]
        session = _onnxruntime(path, 1)
        name = session.get_inputs()[0].name
        return [Whole(lambda x: session.run(None, {name: x})[0])] * streams


def _requests(compiled: Any) -> Network:
    """A request for each thread, which refuses a second one while it runs and keeps its output in its own memory."""
    own = local()

    def run(*given: np.ndarray) -> np.ndarray:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        output: np.ndarray = own.request.infer(list(given), share_inputs=True, share_outputs=True)[0]
        return output

    return run


def _request(request: Any) -> Callable[[np.ndarray], np.ndarray]:
    import openvino

    output = request.get_output_tensor().data

    def run(x: np.ndarray) -> np.ndarray:
        request.set_input_tensor(openvino.Tensor(x, shared_memory=True))  # OpenVINO knows no more than the address
        request.start_async()
        request.wait()
        return output

    return run


def _openvino(path: Path, threads: int, streams: int, shape: tuple[int, ...] | None, precision: str) -> Any:
    import openvino

    # Some of its tables are made when the first array is handed over: two threads that do so at once would each wait
    # for the other, one with the table's lock and one with Python's.
    openvino.Tensor(np.zeros((1, 1), np.float32), shared_memory=True)
    core = openvino.Core()
    model = core.read_model(path)
    if shape is not None:
        model.reshape(list(shape))
    arithmetic = "bf16" if precision != "float32" and native_bfloat16() else "f32"
    properties = {"INFERENCE_PRECISION_HINT": arithmetic, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": streams}
    try:
        # What it compiles is kept: two thirds of the time to do so. It makes anew what is not whole, or of another
        # version or processor.
        folder = own_folder(f"openvino-{sha256(path.read_bytes()).hexdigest()[:24]}")
    except OSError:
        return core.compile_model(model, "CPU", properties)
    compiled = core.compile_model(model, "CPU", properties | {"CACHE_DIR": str(folder)})
    with suppress(OSError):  # another process has removed them too, perhaps
        for old in sorted(folder.glob("*.blob"), key=lambda blob: blob.stat().st_mtime_ns)[:-COMPILED]:
            old.unlink()
    return compiled


def _onnxruntime(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@contextmanager
def _one_line(path: Path, runtime: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of kinds of their own
        text = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: {PACKAGES.get(runtime, 'the kernel')} cannot open it: {text}") from error
