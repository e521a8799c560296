"""Trained models in files: a folder with card.md, config.yaml and model.safetensors, or its model.safetensors alone.

The header of the weights holds all that it takes to use them: the configuration as in config.yaml, the convention of
the mosaic, the noise that the model was trained on, what its output is, and the version of this library that wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from isp import __version__
from isp.files import whole_file
from isp.locate import CARD as CARD
from isp.locate import CONFIG as CONFIG
from isp.locate import WEIGHTS as WEIGHTS
from isp.locate import find_model as find_model
from isp.nets.checkpoints import fit, read_state
from isp.nets.model import Model, ModelConfig

MOSAIC = "RGGB, white-balanced, linear, black 0, white 1; planes R, G, G, B in reading order"
TARGET = "camera RGB, linear, white-balanced"


def load_model(source: str | Path) -> Model:
    """The model of a shipped name ("flat"), of a folder, or of a .safetensors file; in eval mode, float32, on the CPU.

    A name that ships wins over a folder of that name: "./flat" is the folder. Raises ValueError, one line that names
    the file, for what is no model.
    """
    weights = find_model(source)
    state = read_state(weights)
    model = build(read_config(weights), weights)
    state = {name: x.float() if x.is_floating_point() else x for name, x in state.items()}
    fit(model.network, state, str(weights))
    if bad := [name for name, x in model.network.state_dict().items() if not x.isfinite().all()]:
        raise ValueError(f"{weights}: {bad[0]} holds values that are not finite numbers; the weights are damaged")
    model.network.to(memory_format=torch.channels_last)  # twice as fast on a CPU
    return model.eval()


def open_model(source: str | Path, runtime: str = "torch", precision: str = "float32") -> Any:
    """The model, as load_model or isp.nets.runtime gives it; kept for the next call.

    Not for changing: other callers get the same one.
    """
    weights = find_model(source)
    stat = weights.stat()
    return _opened(weights.resolve(), (stat.st_mtime_ns, stat.st_size), runtime, precision)


@lru_cache(maxsize=2)
def _opened(weights: Path, version: tuple[int, int], runtime: str, precision: str) -> Any:
    if runtime == "torch":
        return load_model(weights)
    from isp.nets.runtime import load_runtime

    return load_runtime(weights, runtime, precision)


def read_header(weights: Path) -> dict[str, str]:
    """What the header of a .safetensors file says beside its tensors."""
    try:
        with safe_open(weights, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, UnicodeDecodeError) as error:
        raise ValueError(f"{weights} is no safetensors file: {' '.join(str(error).split())}") from error


def read_config(weights: Path) -> ModelConfig:
    """The configuration in the header of the weights, which the config.yaml beside them must not contradict."""
    header = read_header(weights)
    if (target := header.get("target", TARGET)) != TARGET:
        raise ValueError(f"{weights}: the model gives {target!r}; this version renders models that give {TARGET!r}")
    beside = weights.with_name(CONFIG if weights.name == WEIGHTS else weights.stem + ".yaml")
    found = []
    if "config" in header:
        found.append(_config(json.loads, header["config"], f"{weights}, config in its header"))
    if beside.is_file():
        found.append(_config(yaml.safe_load, beside.read_text("utf-8", "replace"), str(beside)))
    if not found:
        raise ValueError(f"{weights} says not which network it belongs to; put {beside.name} beside it")
    for name, value in asdict(found[0]).items():
        if value != (other := getattr(found[-1], name)):
            raise ValueError(f"{weights}: {name} is {value!r} in its header and {other!r} in {beside}")
    return found[0]


def build(config: ModelConfig, source: str | Path) -> Model:
    """A model with the weights that its network begins with; ValueError, which names the source, for arguments that
    the network does not take."""
    try:
        return Model(config)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"{source}: cannot build {config.network} with {config.arguments}: {text}") from error


def save_model(
    folder: str | Path,
    model: Model,
    *,
    metadata: Mapping[str, str],
    card: str | None = None,
    half: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write model.safetensors, config.yaml and, where a card is given, card.md into a folder; the weights' path.

    metadata: more for the header, texts; "noise" must be among them: the range of noise trained on, as ISO or as shot
    and read. half: weights stored as float16; they load as float32. Each file appears whole or not at all, the weights
    last. Raises FileExistsError where one exists and overwrite is False.
    """
    folder = Path(folder)
    if "noise" not in metadata:
        raise ValueError('metadata has no "noise"; expected the range trained on, as "shot 1e-4 to 1e-2, read ..."')
    if ours := sorted({"config", "mosaic", "target", "version"} & set(metadata)):
        raise ValueError(f"metadata holds {ours[0]!r}, which save_model writes itself")
    config = {**asdict(model.config), "inputs": list(model.config.inputs)}
    state = {name: x.detach().cpu().clone().contiguous() for name, x in model.network.state_dict().items()}
    if half:
        state = {name: x.half() if x.is_floating_point() else x for name, x in state.items()}
    if bad := [name for name, x in state.items() if not x.isfinite().all()]:
        raise ValueError(f"weights {bad[0]} are not finite numbers{' as float16' if half else ''}")
    header = {"config": json.dumps(config), "mosaic": MOSAIC, "target": TARGET, "version": __version__, **metadata}
    folder.mkdir(parents=True, exist_ok=True)
    texts = {CONFIG: yaml.safe_dump(config, sort_keys=False), CARD: card}
    for name in (*texts, WEIGHTS):
        if (folder / name).exists() and not overwrite and texts.get(name, "") is not None:
            raise FileExistsError(f"{folder / name} exists; pass overwrite=True to replace it")
    for name, text in texts.items():
        if text is not None:
            with whole_file(folder / name, overwrite) as part:
                part.write_text(text, encoding="utf-8")
    with whole_file(folder / WEIGHTS, overwrite) as part:
        part.write_bytes(save(state, header))  # save_file makes files that only their owner may read
    return folder / WEIGHTS


def _config(parse: Callable[[str], Any], text: str, source: str) -> ModelConfig:
    try:
        values = parse(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{source} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{source} holds {type(values).__name__}; expected keys and values")
    return ModelConfig.from_dict(values, source)
