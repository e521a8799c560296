"""Weights from files: safetensors, and the .pth files that PyTorch projects release.

Nothing in a file is ever run: a .pth is a pickle, of which torch.load(weights_only=True) takes tensors and plain
containers and refuses the rest. Names of modules here are those of the released weights, so that a file of Restormer,
NAFNet or X-Restormer needs unwrapping and no table of names.
"""

from __future__ import annotations

import inspect
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

WRAPPERS = ("params_ema", "params", "state_dict")  # BasicSR's averaged and plain weights; Lightning. The first found
NEXT = "expected weights as .safetensors or .pth"


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .pth file by name, on the CPU.

    What wraps them ("params_ema", "params") and the "module." of parallel training is taken off.
    ValueError, in one line, for anything that is not a checkpoint; FileNotFoundError.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; {NEXT}")
    safe = is_safetensors(path)
    if path.suffix == ".safetensors" and not safe:
        raise ValueError(f"{path}: a PyTorch file under the name of safetensors; rename it to .pth")
    values = read_safetensors(path) if safe else read_pytorch(path)
    for wrapper in WRAPPERS:
        if isinstance(values, Mapping) and isinstance(values.get(wrapper), Mapping):
            values = values[wrapper]
            break
    if not isinstance(values, Mapping) or not values:
        raise ValueError(f"{path}: holds {type(values).__name__} with no weights in it; {NEXT}")
    state = {str(name): value for name, value in values.items()}
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta:
            kind = "a tensor without values" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{path}: {name!r} is {kind}; expected nothing but dense tensors by name")
    while all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state


def is_safetensors(path: Path) -> bool:
    """By the first bytes: safetensors (True) or a PyTorch file (False); ValueError, which says what it is, else."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(64)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head:
        what = "an empty file;"
    elif head[8:9] == b"{" and int.from_bytes(head[:8], "little") + 8 <= size:  # after the header's length, 8 bytes
        return True
    elif head.startswith(b"PK\x03\x04") or head[0] == 0x80:  # a zip archive; a pickle
        return False
    elif head[8:9] == b"{":
        what = "cut short; download it again;"
    elif text.startswith(b"<"):
        what = "a web page; download the file itself, not the page that shows it;"
    elif text.startswith(b"version https://git-lfs"):
        what = "a Git LFS pointer; fetch the file it stands for with git lfs pull;"
    else:
        what = "not a checkpoint;"
    raise ValueError(f"{path}: {what} {NEXT}")


def read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: cut short or damaged ({error}); download it again") from error


def read_pytorch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that torch.save does not write; the error below says it
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own text runs over many lines and shows how to load the file all the same
        found = re.search(r"GLOBAL:? ([\w.]+)", str(error))
        name = f" ({found[1]})" if found else ""
        raise ValueError(f"{path}: it holds Python objects{name}, which are never loaded; {NEXT}") from None
    except Exception as error:  # a damaged pickle or archive can raise anything
        if "TorchScript" in str(error):
            raise ValueError(f"{path}: a TorchScript program, which is never loaded; {NEXT}") from None
        raise ValueError(f"{path}: cut short or damaged; download it again") from None


def fit(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load a state into a network, every name and shape of it; ValueError, in one line that names the source."""
    check(network, state, source)
    network.load_state_dict(state)


def load_official(path: str | Path, network: nn.Module) -> dict[str, Tensor]:
    """The state of a released checkpoint of Restormer, NAFNet or X-Restormer, checked to fit this network.

    Errors are those of read_state and fit.
    """
    state = read_state(path)
    check(network, state, str(path))
    return state


def check(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    missing = [name for name in wanted if name not in state]
    extra = [name for name in state if name not in wanted]
    shapes = [
        f"{name} is {tuple(value.shape)} for {wanted[name]}"
        for name, value in state.items()
        if name in wanted and tuple(value.shape) != wanted[name]
    ]
    faults = [
        f"{len(names)} {fault} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for fault, names in (("missing", missing), ("too many", extra), ("of another shape", shapes))
        if names
    ]
    if faults:
        told = describe(state)
        advice = f"; it fits {told}" if told else ""
        raise ValueError(f"{source}: does not fit {type(network).__name__}: {', '.join(faults)}{advice}")


def describe(state: Mapping[str, Tensor]) -> str | None:
    """The network and the arguments that a state of Restormer, NAFNet or X-Restormer fits exactly, if there are any."""
    from isp.nets import NETWORKS

    for family, arguments_of in FAMILIES.items():
        try:
            arguments, planes, out = arguments_of(state)
            name = family if out == 12 else f"{family}-rgb"
            build = NETWORKS[name]
            if out == 12:
                arguments["planes"] = planes
            with torch.device("meta"):
                wanted = build(**arguments).state_dict()
        except (KeyError, IndexError, ValueError, RuntimeError, ZeroDivisionError):  # of another family, or of none
            continue
        if {k: v.shape for k, v in wanted.items()} == {k: v.shape for k, v in state.items()}:
            usual = inspect.signature(build).parameters
            told = {k: v for k, v in arguments.items() if v != usual[k].default}
            return f"network {name} with {', '.join(f'{k} = {v}' for k, v in told.items()) or 'its default arguments'}"
    return None


def counted(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many modules are listed under a prefix: the numbers that follow it."""
    return len({name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)})


def nafnet(state: Mapping[str, Tensor]) -> tuple[dict[str, Any], int, int]:
    """Arguments, planes in and planes out; KeyError where it is another network's state."""

    def levels(prefix: str) -> tuple[int, ...]:
        return tuple(counted(state, f"{prefix}.{i}.") for i in range(counted(state, f"{prefix}.")))

    halved = state["middle_blks.0.conv3.weight"].shape[1] < state["middle_blks.0.conv1.weight"].shape[0]
    width, planes = state["intro.weight"].shape[:2]
    arguments = {
        "width": width,
        "encoder": levels("encoders"),
        "middle": counted(state, "middle_blks."),
        "decoder": levels("decoders"),
        "gate": "simple" if halved else "cross",
    }
    return arguments, planes, state["ending.weight"].shape[0]


LEVELS = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")


def transformer(state: Mapping[str, Tensor], ffn: str) -> tuple[dict[str, Any], int, int]:
    """What Restormer and X-Restormer share; ffn: the name of a feed-forward network in the first block."""
    dim, planes = state["patch_embed.proj.weight"].shape[:2]
    hidden = state[f"encoder_level1.0.{ffn}.project_out.weight"].shape[1]
    arguments = {
        "dim": dim,
        "num_blocks": tuple(counted(state, f"{level}.") for level in LEVELS),
        "num_refinement_blocks": counted(state, "refinement."),
        # the papers' factor wherever it fits: what a width was rounded from does not show
        "ffn_expansion_factor": 2.66 if int(dim * 2.66) == hidden else hidden / dim,
        "bias_free": "encoder_level1.0.norm1.body.bias" not in state,
    }
    return arguments, planes, state["output.weight"].shape[0]


def heads(state: Mapping[str, Tensor], attention: str) -> tuple[int, ...]:
    return tuple(state[f"{level}.0.{attention}.temperature"].shape[0] for level in LEVELS)


def restormer(state: Mapping[str, Tensor]) -> tuple[dict[str, Any], int, int]:
    arguments, planes, out = transformer(state, "ffn")
    return {**arguments, "heads": heads(state, "attn")}, planes, out


def xrestormer(state: Mapping[str, Tensor]) -> tuple[dict[str, Any], int, int]:
    arguments, planes, out = transformer(state, "channel_ffn")
    steps, dim_head = state["encoder_level1.0.spatial_attn.rel_pos_emb.rel_height"].shape
    arguments |= {
        "channel_heads": heads(state, "channel_attn"),
        "spatial_heads": tuple(
            state[f"{level}.0.spatial_attn.qkv.weight"].shape[0] // (3 * dim_head) for level in LEVELS
        ),
        "spatial_dim_head": dim_head,
        "window_size": (steps + 1) // 3,  # 2 x 1.5 windows - 1 steps, at the paper's overlap of a half
    }
    return arguments, planes, out


FAMILIES = {"nafnet": nafnet, "restormer": restormer, "xrestormer": xrestormer}
