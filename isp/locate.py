"""Where the files that ship with the library are: profiles, samples and recipes under data/, networks under models/."""

from __future__ import annotations

import os
import sys
from pathlib import Path

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.yaml", "card.md"  # in a model's folder


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
        for weights in sorted((place / "models").glob(f"*/{WEIGHTS}")):
            found.setdefault(weights.parent.name, weights.parent)
    return found


def find_model(source: str | Path) -> Path:
    """The weights' file of a model: of a shipped name, of a folder, or itself."""
    path = Path(source)
    shipped = model_folders()
    if str(source) in shipped:
        return shipped[str(source)] / WEIGHTS
    if path.suffix == ".safetensors" and path.is_file():
        return path
    if path.is_dir() and str(source):
        if not (path / WEIGHTS).is_file():
            raise ValueError(f"{path} holds no {WEIGHTS}; a model's folder holds {CARD}, {CONFIG} and {WEIGHTS}")
        return path / WEIGHTS
    if path.is_file():
        raise ValueError(
            f"{path} is no model; expected a .safetensors file, or the folder with its {WEIGHTS} "
            "(docs/networks.md says how a released .pth becomes one)"
        )
    names = ", ".join(shipped) or "none"
    raise ValueError(f"no model {str(source)!r}; shipped are: {names}; or give a folder or a .safetensors file")


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
