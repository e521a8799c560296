"""The JSON record of a render: what was asked, what it became, from which file and with which versions."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isp import __version__
from isp.files import record_path, whole_file

if TYPE_CHECKING:
    from isp.options import RenderOptions
    from isp.parameters import RenderParameters

LIBRARIES = (
    "torch", "numpy", "scipy", "rawpy", "tifffile", "imagecodecs", "pillow", "openimageio", "safetensors", "openvino",
    "onnxruntime",
)  # fmt: skip


def write_record(
    target: Path,
    source: Path,
    options: RenderOptions,
    origins: dict[str, str],
    parameters: RenderParameters,
    *,
    device: str,
    threads: int,
    renderer: str,
    seconds: float,
    overwrite: bool = False,
) -> None:
    """Write the record of the picture `target`, rendered from `source` in so many seconds.

    threads: of the processor; with others a network in int8 or bfloat16 may give other codes (docs/networks.md).
    renderer: what made the picture, and why where it could have been another.
    origins: of the options, by name; those without are defaults. Raises OSError and FileExistsError as `isp.save`.
    """
    record: dict[str, Any] = {
        "source": {"path": str(source), "sha256": _sha256(source)},
        "picture": {"path": str(target), "sha256": _sha256(target)},
        "options": {
            name: {"value": value, "origin": origins.get(name, "default")} for name, value in asdict(options).items()
        },
        "parameters": parameters.as_record(),
        "device": device,
        "threads": threads,
        "renderer": renderer,
        "seconds": round(seconds, 3),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {"isp": __version__, "python": platform.python_version(), **_versions()},
    }
    with whole_file(record_path(target), overwrite) as temporary:
        temporary.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
