"""Models run by onnxruntime or OpenVINO in the place of PyTorch, on the CPU.

A model is exported to ONNX when it is first asked for and kept in a cache folder, $ISP_CACHE or else ~/.cache/isp; a
file there belongs to one set of weights, one configuration and one state of this library's code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import isp
from isp._version import __version__
from isp.nets.export import INPUTS, export_onnx, least, require
from isp.nets.load import build, find_model, load_model, read_config
from isp.nets.model import ModelConfig

PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}  # by the name of a runtime


class Runtime:
    """What stands for an isp.nets.model.Model in isp.nets.inference: packed RGGB B 4 h w and its noise's standard
    deviation B 4 h w to camera RGB B 3 2h 2w, float32 tensors; h and w multiples of `multiple`, at least `minimum`.
    No gradients."""

    def __init__(
        self,
        run: Callable[[dict[str, np.ndarray]], np.ndarray],
        config: ModelConfig,
        multiple: int,
        minimum: int,
        reach: int | None,
    ) -> None:
        self.run, self.config = run, config
        self.multiple, self.minimum, self.reach = multiple, minimum, reach

    def __call__(self, packed: Tensor, sigma: Tensor) -> Tensor:
        if torch.is_grad_enabled() and (packed.requires_grad or sigma.requires_grad):
            raise ValueError("gradients go through runtime torch alone; load the model with isp.load_model")
        given = (x.detach().cpu().contiguous().numpy() for x in (packed, sigma))
        return torch.from_numpy(self.run(dict(zip(INPUTS, given, strict=True)))).to(packed.device)


def load_runtime(source: str | Path, runtime: str) -> Runtime:
    """The model of a shipped name, a folder or a .safetensors file, as load_model takes it; runtime: one of PACKAGES.

    ValueError, in one line, for what is no model and where a package is missing.
    """
    if runtime not in PACKAGES:
        raise ValueError(f"runtime is {runtime!r}; expected one of {', '.join(PACKAGES)}")
    require(PACKAGES[runtime], extra="fast")
    weights = find_model(source)
    config = read_config(weights)
    path = cache_folder() / f"{config.network}-{key(weights, config)}.onnx"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        export_onnx(load_model(weights), path, overwrite=True)
    with torch.device("meta"):
        rules = build(config, weights)
    return Runtime(open_onnx(path, runtime), config, rules.multiple, least(rules), rules.reach)


def open_onnx(path: Path, runtime: str) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """A call of an exported file: its inputs by name to its one output. As many threads as PyTorch has."""
    threads = torch.get_num_threads()
    if runtime == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda given: session.run(None, given)[0]
    import openvino

    # float32 is held to: OpenVINO otherwise takes bfloat16 where the processor has it.
    properties = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(str(path), "CPU", properties)
    return lambda given: compiled(given)[0].copy()


def cache_folder() -> Path:
    """Where exported files are kept."""
    return Path(os.environ.get("ISP_CACHE") or Path.home() / ".cache" / "isp")


def key(weights: Path, config: ModelConfig) -> str:
    """Of the weights, the configuration beside them, the versions, and the code that makes a graph of them."""
    digest = sha256(weights.read_bytes())
    digest.update(f"{json.dumps(asdict(config))} {__version__} {torch.__version__}".encode())
    root = Path(isp.__file__).parent
    for folder in (root / "nets", root / "stages" / "demosaic"):
        for path in sorted(folder.glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:24]
