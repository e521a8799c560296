"""Where the files that ship with the library are: profiles, samples and recipes under data/, networks under models/."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def places() -> list[Path]:
    """Where data/ and models/ are looked for, in this order: $ISP_HOME, the checkout that this package is imported
    from, and sys.prefix/share/isp, where a wheel puts them."""
    found = []
    if home := os.environ.get("ISP_HOME"):
        found.append(Path(home))
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "setup.cfg").is_file():  # else: site-packages, whose "data" is somebody else's
        found.append(checkout)
    found.append(Path(sys.prefix) / "share" / "isp")
    return found


def data_path(name: str) -> Path:
    """The folder or file `data/NAME` of this installation, for example data_path("noise"): the first there is.

    Raises FileNotFoundError naming the places where there is none.
    """
    for place in places():
        path = place / "data" / name
        if path.exists():
            return path
    searched = ", ".join(str(place / "data") for place in places())
    raise FileNotFoundError(f"no {name!r} among the library's data; looked in {searched}; set ISP_HOME to the checkout")


def model_folders() -> dict[str, Path]:
    """The folders models/NAME that hold trained weights, by name; the first of each name."""
    found: dict[str, Path] = {}
    for place in places():
        for weights in sorted((place / "models").glob("*/model.safetensors")):
            found.setdefault(weights.parent.name, weights.parent)
    return found


def shipped_names(folder: str) -> list[str]:
    """The names of the YAML files that ship in data/`folder`."""
    return sorted(path.stem for path in data_path(folder).glob("*.yaml"))


def yaml_path(name: str | Path, folder: str, what: str) -> Path:
    """The file of a shipped thing by its name, or of a user's own by its path. ValueError lists the shipped ones."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    known = shipped_names(folder)
    if str(name) not in known:
        raise ValueError(f"no {what} {str(name)!r}; shipped are {', '.join(known)}; or give a path to a .yaml")
    return data_path(folder) / f"{name}.yaml"
