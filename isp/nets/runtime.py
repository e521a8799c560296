"""Models whose network is run by onnxruntime, OpenVINO or the compiled kernel in the place of PyTorch, on the CPU.

The network is exported to ONNX when it is first asked for, and kept (isp.fast.exports says where); curve, demosaic and
residual around it stay as isp.nets.model has them. Renders that need nothing else of PyTorch do without it altogether:
isp.fast.network.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from isp.fast.engine import PACKAGES, Network, installed, open_network
from isp.fast.exports import cached, digest_of, read_export
from isp.fast.integers import obstacle
from isp.fast.models import choose
from isp.nets.export import export_network
from isp.nets.load import build, load_model
from isp.nets.model import Model, ModelConfig


class Exported(nn.Module):
    """What stands for a network in a Model."""

    def __init__(self, network: nn.Module, run: Network) -> None:
        super().__init__()
        self.kind, self.multiple, self.minimum, self.reach = (
            getattr(network, name) for name in ("kind", "multiple", "minimum", "reach")
        )
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        parts = [torch.tensor(self.run(part[None].contiguous().numpy())) for part in x.detach().cpu()]
        y = torch.cat(parts).to(x.device)
        return pixel_shuffle(y, 2) if y.shape[1] == 12 else y  # as isp.nets.export leaves it


class Runtime:
    """What stands for an isp.nets.model.Model in isp.nets.inference: packed RGGB B 4 h w and its noise's standard
    deviation B 4 h w to camera RGB B 3 2h 2w; h and w multiples of `multiple`, at least `minimum`. No gradients."""

    def __init__(self, model: Model, run: Network) -> None:
        """model: of which everything but the network counts."""
        self.config: ModelConfig = model.config
        self.multiple, self.minimum, self.reach = model.multiple, model.minimum, model.reach
        self.model = model
        self.model.network = Exported(model.network, run)

    def __call__(self, packed: Tensor, sigma: Tensor) -> Tensor:
        if torch.is_grad_enabled() and (packed.requires_grad or sigma.requires_grad):
            raise ValueError("gradients go through runtime torch alone; load the model with isp.load_model")
        with torch.no_grad():
            return self.model(packed, sigma)


def load_runtime(source: str | Path, runtime: str, precision: str = "float32") -> Runtime:
    """The model of a shipped name, a folder or a .safetensors file, as load_model takes it; runtime: one of PACKAGES,
    or kernel; precision: float32, bfloat16 (OpenVINO, on processors that have it), or int8 where such a file lies
    beside the weights.

    ValueError, in one line, for what is no model and where a package is missing.
    """
    if runtime not in (*PACKAGES, "kernel"):
        raise ValueError(f"runtime is {runtime!r}; expected one of {', '.join((*PACKAGES, 'kernel'))}")
    choice = choose(source, runtime, precision)
    path = choice.path
    if path is None:
        path = cached(choice.weights)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        export_network(load_model(choice.weights), path, choice.sha256, overwrite=True)
    return open_export(path, choice.sha256, runtime, choice.precision)


def open_export(path: Path, weights_sha256: str, runtime: str, precision: str = "float32") -> Runtime:
    """The model that an exported network belongs to, with as many threads as PyTorch has; see open_network."""
    config = ModelConfig.from_dict(read_export(path, weights_sha256).config, str(path))
    with torch.device("meta"):
        model = build(config, path)
    return Runtime(model, open_network(path, runtime, torch.get_num_threads(), precision))


def open_beside(path: Path) -> Runtime:
    """The model of a network's file that lies beside its weights, in the fastest runtime there is. ValueError."""
    weights = path.with_name(path.stem.removesuffix("-int8") + ".safetensors")
    if not (path.is_file() and weights.is_file()):
        raise ValueError(f"expected {path} and, beside it, its weights {weights.name}")
    integers = path.stem.endswith("-int8")
    runtime = "kernel" if integers and obstacle(path) is None else installed()
    if runtime is None:
        raise ValueError(f"{path} needs openvino or onnxruntime; pip install 'isp[fast]'")
    return open_export(path, digest_of(weights), runtime, "int8" if integers else "float32")
