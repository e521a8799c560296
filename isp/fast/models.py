"""Which runtime runs a model, at which precision and from which file; without PyTorch."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from isp.fast import integers
from isp.fast.engine import PACKAGES, installed, matrix_bfloat16, native_bfloat16
from isp.fast.exports import Export, beside, digest_of, find_export, read_export
from isp.locate import find_model


class Choice(NamedTuple):
    """How a model runs. path: the network's file; None: for PyTorch, and where it is still to be made."""

    weights: Path
    sha256: str  # of the weights
    runtime: str
    precision: str
    path: Path | None
    reason: str  # for the record

    def export(self) -> Export:
        """What the file says; ValueError where it is damaged or not of these weights."""
        assert self.path is not None
        stat = self.path.stat()
        return _read(self.path, self.sha256, (stat.st_mtime_ns, stat.st_size))


def choose(source: str | Path, runtime: str = "auto", precision: str = "auto") -> Choice:
    """The runtime and the precision that a model runs with, where they are left open.

    runtime auto: the compiled kernel, of a file in int8 that it runs on this processor; else OpenVINO, else
    onnxruntime, where it is installed and the network's file is there or can be made; else PyTorch. precision auto:
    int8 in the kernel; in OpenVINO int8, where such a file lies beside the weights, unless the processor multiplies
    matrices of bfloat16 and the network is there for that, else bfloat16 where the processor has it; float32 in all
    other cases.
    ValueError, in one line, for what is no model, not installed, or not there.
    """
    weights = find_model(source)
    stat = weights.stat()
    sha256 = _digest(weights, (stat.st_mtime_ns, stat.st_size))
    quantised = beside(weights, "int8")
    in_integers = quantised.is_file()
    reason = f"options.runtime: {runtime}"
    if runtime in ("auto", "kernel"):
        if precision not in ("auto", "int8"):
            obstacle: str | None = f"precision {precision}; the kernel runs int8"
        else:
            obstacle = integers.obstacle(quantised) if in_integers else f"no {quantised}"
        if obstacle is None:
            reason = reason if runtime == "kernel" else "auto: int8 beside the weights, and a processor for it"
            return Choice(weights, sha256, "kernel", "int8", quantised, reason)
        if runtime == "kernel":
            raise ValueError(f"runtime kernel: {obstacle}; leave --runtime")
    if runtime == "auto":
        runtime = installed() or "torch"
        reason = "auto: neither openvino nor onnxruntime is installed" if runtime == "torch" else "auto: installed"
        in_bytes = precision == "int8" or (precision == "auto" and runtime == "openvino" and in_integers)
        if runtime != "torch" and not in_bytes and find_export(weights, "float32") is None and not can_export():
            runtime, reason = "torch", "auto: no export of the model, and onnx or onnxscript is not installed"
    elif runtime != "torch" and find_spec(PACKAGES[runtime]) is None:
        package = PACKAGES[runtime]
        raise ValueError(f"{package} not installed; pip install {package}, or pip install 'isp[fast]'")
    if runtime == "torch":
        if precision not in ("auto", "float32"):
            if installed() is not None:
                raise ValueError(f"precision {precision} does not run in PyTorch; leave --runtime, or --precision")
            raise ValueError(
                f"precision {precision} needs the package openvino or onnxruntime; pip install 'isp[fast]'"
            )
        return Choice(weights, sha256, runtime, "float32", None, reason)
    if precision == "auto":
        precision = "float32"
        if runtime == "openvino":
            rather = matrix_bfloat16() and find_export(weights, "bfloat16") is not None
            if in_integers and not rather:
                precision = "int8"
            elif native_bfloat16():
                precision = "bfloat16"
    if precision == "bfloat16" and not (runtime == "openvino" and native_bfloat16()):
        raise ValueError("precision bfloat16 needs OpenVINO and a processor with avx512_bf16 or amx_bf16")
    if precision == "int8" and not in_integers:
        raise ValueError(f"no {quantised}; python -m tools.quantise makes it")
    return Choice(weights, sha256, runtime, precision, find_export(weights, precision), reason)


def can_export() -> bool:
    """Whether the packages that write an ONNX file are installed."""
    return all(find_spec(package) for package in ("onnx", "onnxscript"))


@lru_cache(maxsize=8)
def _digest(weights: Path, version: tuple[int, int]) -> str:
    return digest_of(weights)


@lru_cache(maxsize=8)
def _read(path: Path, sha256: str, version: tuple[int, int]) -> Export:
    return read_export(path, sha256)
