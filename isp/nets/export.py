"""Models as ONNX files that need nothing beside them: curve, demosaic and network in one graph.

What goes in and comes out is what a Model takes and gives (isp.nets.model): `packed` and `sigma`, batch 4 h w, to
`rgb`, batch 3 2h 2w, all float32, for any batch and any h and w of which the metadata says that they fit. Writing needs
the packages onnx and onnxscript.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from isp import __version__
from isp.datasets.dead_leaves import dead_leaves
from isp.fast.engine import open_network
from isp.fast.exports import Export, stamp
from isp.files import whole_file
from isp.nets.inference import activation_bytes
from isp.nets.load import MOSAIC, TARGET
from isp.nets.model import INPUTS as PLANES
from isp.nets.model import PATTERN, Model
from isp.nets.span import SPAN
from isp.noise.gaussian import gaussian_noise, noise_std
from isp.stages.demosaic import METHODS, mosaic

INPUTS, OUTPUT = ("packed", "sigma"), "rgb"
OPSET = 18  # of ONNX 1.13, December 2022
TOLERANCE = 1e-4  # between PyTorch and what runs the file, times the largest value where that is above 1
SEAM = 1e-3  # of white under the model's curve: a quarter of a code, that a pixel may change where two tiles meet
SEAM_NOISE = 3e-2, 1.5e-3  # S, O of the noise at which it is measured, the most that shipped models are trained on
BLOCK = 96  # packed samples, the side of what is compared
TOLERANCE_HALF = 2e-2  # float16 has eleven bits, and a deep network adds up what they lack


class Half(nn.Module):
    """A network in float16, between float32."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.kind: str = network.kind
        self.network = network.half()

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.half()).to(x.dtype)


def export_onnx(model: Model, path: str | Path, *, half: bool = False, overwrite: bool = False) -> None:
    """Write a model as an ONNX file, whole or not at all.

    half: weights and arithmetic of the network are float16; curve, demosaic, inputs and output stay float32.
    ValueError for a network that cannot be exported, and where a package is missing; FileExistsError.
    """
    multiple, minimum = model.multiple, least(model)
    with whole_file(path, overwrite) as part:
        _export(
            deployed(model, half),
            part,
            [4, 4],
            (INPUTS, OUTPUT),
            (multiple, minimum),
            {
                "config": json.dumps(asdict(model.config)),
                "mosaic": MOSAIC,
                "sigma": "standard deviation of the noise of each sample, in the units of the mosaic",
                "target": TARGET,
                "sizes": json.dumps({"multiple": multiple, "minimum": minimum, "reach": model.reach}),
                "arithmetic": "float16 in the network, float32 around it" if half else "float32",
                "version": __version__,
            },
        )


def export_network(model: Model, path: str | Path, weights_sha256: str, *, overwrite: bool = False) -> Export:
    """Write the network of a model alone as an ONNX file, for isp.fast.exports: whole or not at all.

    Its input is what the network sees, batch planes h w, and its output what it gives, batch 3 2h 2w, or batch 12 h w
    before the shuffle that most of them end in. Around it stand curve, demosaic and residual, which a compiled kernel
    does ten times as fast as an ONNX runtime, and that shuffle in passing. Errors as export_onnx.
    """
    model = deployed(model)
    network = model.network
    planes = sum(PLANES[name] for name in model.config.inputs) if network.kind == "raw" else 3
    x = torch.rand(1, planes, *2 * [-(-max(64, network.minimum) // network.multiple) * network.multiple])
    export = Export(
        Path(path),
        {**asdict(model.config), "inputs": list(model.config.inputs)},
        network.kind,
        network.multiple,
        network.minimum,
        network.reach,
        overlap_of(model),
        round(activation_bytes(network, x), 1),
    )
    with whole_file(path, overwrite) as part:
        _export(network, part, [planes], (("x",), "y"), (network.multiple, network.minimum), {}, shuffled=False)
        stamp(part, weights_sha256, export)
    return export


def overlap_of(model: Model) -> int | None:
    """How many samples around it a site of the network's output needs to be what it is in the whole frame, within SEAM:
    fewer than its reach, whose far end has next to no weight. None for networks without a reach.

    Measured on four pictures of dead leaves under much noise, at the borders of blocks cut from them.
    """
    network: Any = model.network
    if network.reach is None or network.kind != "raw":
        return network.reach
    step: int = network.multiple
    far = -(-network.reach // step) * step
    side = 2 * far + -(-BLOCK // step) * step
    leaves = np.stack([dead_leaves(2 * side, 2 * side, np.random.default_rng(i)) for i in range(4)])
    clean = pixel_unshuffle(mosaic(torch.from_numpy(leaves).permute(0, 3, 1, 2) ** 2.2, PATTERN), 2)  # 4 4 side side
    noisy = gaussian_noise(clean, *SEAM_NOISE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        seen = model.seen(noisy, noise_std(noisy, *SEAM_NOISE))[0]
        whole = network(seen)[..., 2 * far : -2 * far, 2 * far : -2 * far]
        for overlap in range(far - step, -1, -step):
            cut = far - overlap
            part = network(seen[..., cut : side - cut, cut : side - cut])
            inside = slice(2 * overlap, part.shape[-1] - 2 * overlap)
            if (part[..., inside, inside] - whole).abs().max() > SEAM:
                return min(overlap + step, network.reach)
    return 0


def _export(
    module: nn.Module,
    path: Path,
    planes: list[int],
    names: tuple[tuple[str, ...], str],
    sizes: tuple[int, int],
    metadata: dict[str, str],
    shuffled: bool = True,
) -> None:
    """Write a module of inputs with these planes, batch planes h w. sizes: h and w are multiples of the first, at
    least the second. shuffled: with the pixel_shuffle that it may end in."""
    require("onnx", "onnxscript", extra="export")
    multiple, minimum = sizes
    units = -(-minimum // multiple)
    rows, columns = (multiple * torch.export.Dim(name, min=units) for name in ("rows", "columns"))
    free = {0: torch.export.Dim("batch"), 2: rows, 3: columns}
    given = [torch.rand(2, n, (units + 1) * multiple, (units + 2) * multiple) for n in planes]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells that torchvision is absent
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                tuple(given),
                input_names=names[0],
                output_names=[names[1]],
                dynamic_shapes=[free] * len(planes),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # of many kinds, and over many lines
        text = " ".join(str(error.__cause__ or error).split())
        name = type(module.network if isinstance(module, Model) else module).__name__
        raise ValueError(f"{name} cannot be exported: {text[:300]}") from error
    assert program is not None
    graph = program.model.graph
    if not shuffled and (last := graph.outputs[0].producer()) is not None and last.op_type == "DepthToSpace":
        assert last.attributes["blocksize"].as_int() == 2, "networks end at twice the size"
        before = last.inputs[0]
        assert before is not None
        before.name = names[1]
        graph.outputs[0] = before
        graph.remove(last)
    for node in graph:
        if node.op_type == "DepthToSpace":
            _sort_channels(node)
    for node in graph.all_nodes():
        node.metadata_props.clear()  # the source lines it comes from, with the paths of this machine
    program.model.metadata_props.update(metadata)
    program.save(str(path), external_data=False)


def _sort_channels(shuffle: Any) -> None:
    """Let a pixel_shuffle take its channels in the order in which it gives them, where a convolution can be had to
    write them so: what runs it with the channels of a pixel side by side then moves them in one piece, in half the
    time."""
    import onnx_ir as ir

    convolution = shuffle.inputs[0].producer()
    if convolution is None or convolution.op_type != "Conv" or len(shuffle.inputs[0].uses()) > 1:
        return
    parameters = [x for x in convolution.inputs[1:] if x is not None]
    if any(x.const_value is None or len(x.uses()) > 1 for x in parameters):
        return
    blocks = shuffle.attributes["blocksize"].as_int() ** 2
    for x in parameters:
        array = x.const_value.numpy()
        order = np.arange(len(array)).reshape(-1, blocks).T.ravel()
        x.const_value = ir.tensor(np.ascontiguousarray(array[order]), name=x.name)
    shuffle.attributes["mode"] = ir.AttrString("mode", "DCR")


def deployed(model: Model, half: bool = False) -> Model:
    """A copy in the form that is exported: in eval mode, on the CPU, convolutions fused that training has apart."""
    model = deepcopy(model).cpu().float().eval().requires_grad_(False)
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, SPAN) and not child.conv_1.merged:
                setattr(parent, name, child.deployed().eval().requires_grad_(False))
    if half:
        model.network = Half(model.network)
    return model


def least(model: Model) -> int:
    """The smallest height and width, packed samples, that an exported model takes: those of its network, and so many
    that the frame of the base demosaic is one reflection."""
    halo = 0 if model.config.base is None else METHODS[model.config.base].halo or 0
    minimum = max(model.minimum, halo // 2 + 1)
    return -(-minimum // model.multiple) * model.multiple


def sample(batch: int, h: int, w: int) -> tuple[Tensor, Tensor]:
    """A mosaic with values below 0 and above 1, batch 4 h w, and its sigma."""
    generator = torch.Generator().manual_seed(h * w)
    packed = 1.2 * torch.rand((batch, 4, h, w), generator=generator) - 0.1
    return packed, 0.01 + 0.1 * packed.abs()


def difference(model: Model, run: Callable[[Tensor, Tensor], Tensor]) -> float:
    """The largest difference between a model and what runs its file, at three sizes other than the exported one, over
    the largest value where that is above 1. ValueError where shapes differ, or a value is not a number."""
    multiple, minimum = model.multiple, least(model)
    found = 0.0
    for batch, down, right in ((1, 0, 3), (3, 2, 0), (2, 5, 4)):
        packed, sigma = sample(batch, minimum + down * multiple, minimum + right * multiple)
        with torch.inference_mode():
            expected = model(packed, sigma)
        got = run(packed, sigma)
        if got.shape != expected.shape:
            raise ValueError(f"gives {tuple(got.shape)} for {tuple(packed.shape)}; expected {tuple(expected.shape)}")
        error = float((got - expected).abs().max() / expected.abs().max().clamp(min=1))
        if not error < float("inf"):
            raise ValueError(f"gives values that are no numbers for {tuple(packed.shape)}")
        found = max(found, error)
    return found


class Whole:
    """A whole model in an ONNX file, as a call of packed and sigma, B 4 h w, to RGB, B 3 2h 2w."""

    def __init__(self, path: str | Path, runtime: str) -> None:
        self.run = open_network(Path(path), runtime, torch.get_num_threads())

    def __call__(self, packed: Tensor, sigma: Tensor) -> Tensor:
        return torch.tensor(self.run(packed.contiguous().numpy(), sigma.contiguous().numpy()))


def require(*packages: str, extra: str) -> None:
    """ValueError, in one line, where one of the packages is not installed."""
    if missing := [name for name in packages if find_spec(name) is None]:
        names = " ".join(missing)
        raise ValueError(f"{' and '.join(missing)} not installed; pip install {names}, or pip install 'isp[{extra}]'")
