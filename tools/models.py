"""Lists trained models and networks, and makes the tables of docs/networks.md.

    python -m tools.models               # what there is in models/ and in NETWORKS
    python -m tools.models --table       # writes the tables into docs/networks.md

MACs are per megapixel of picture, without what tiles overlap. The receptive field is the side, in pixels, of the square
that a pixel depends on; "all" is the whole tile. What a model was trained on, its quality and its speed are what its
card says between two lines of --- at the top ("trained on", "quality", "speed"), or else the header of its weights.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from isp.files import whole_file
from isp.locate import model_folders
from isp.nets import NETWORKS
from isp.nets.load import CARD, WEIGHTS, read_config, read_header
from isp.nets.published import ROWS, Row, count, measure

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "networks.md"
MEASURED = ROOT / "benchmarks" / "results" / "networks.json"
ARGUMENTS: dict[str, dict[str, Any]] = {"refined": {"network": "span"}}  # of networks that have no default ones
SIDE = 512  # of the input, samples, that MACs are counted for; a multiple of what any network takes


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.models", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", action="store_true", help=f"write docs/{DOCUMENT.name} and print nothing")
    arguments = parser.parse_args(argv)
    try:
        if arguments.table:
            text = written(DOCUMENT.read_text("utf-8"))
            with whole_file(DOCUMENT, overwrite=True) as part:
                part.write_text(text, encoding="utf-8")
        else:
            print(f"{models()}\n\n{networks()}")
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def models() -> str:
    """The trained models, as columns of text."""
    rows = []
    for name, folder in model_folders().items():
        try:
            rows.append([name, *described(folder)])
        except ValueError as error:
            rows.append([name, f"error: {error}"])
    if not rows:
        return "no trained models; python -m tools.train makes them"
    heads = ["model", "network", "parameters", "GMACs/MP", "field", "trained on", "quality", "speed"]
    return columns(heads, rows)


def described(folder: Path) -> list[str]:
    """Network, parameters, MACs, field, trained on, quality and speed of a model."""
    config, header, said = read_config(folder / WEIGHTS), read_header(folder / WEIGHTS), card(folder)
    steps = f"{header['steps']} steps" if "steps" in header else None
    trained = said.get("trained on") or ", ".join(filter(None, [header.get("recipe"), steps, header.get("noise")]))
    rest = [str(said.get(key) or header.get(key) or "-") for key in ("quality", "speed")]
    return [config.network, *size(config.network, config.arguments), str(trained or "-"), *rest]


def card(folder: Path) -> dict[str, Any]:
    """What a model's card says at its top, between two lines of ---; nothing where it has no such lines."""
    path = folder / CARD
    found = re.match(r"---\n(.*?)\n---\n", path.read_text("utf-8"), re.DOTALL) if path.is_file() else None
    if found is None:
        return {}
    try:
        values = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} begins with {type(values).__name__}; expected keys and values between its --- lines")
    return values


def networks() -> str:
    """The networks at the size of their papers, as columns of text."""
    rows = [[name, *size(name, ARGUMENTS.get(name, {})), title(name)] for name in NETWORKS]
    return columns(["network", "parameters", "GMACs/MP", "field", ""], rows)


def size(name: str, arguments: dict[str, Any]) -> list[str]:
    """Parameters, GMACs per megapixel and receptive field."""
    network, parameters, gmacs = counted(name, arguments)
    return [millions(parameters), f"{gmacs:.1f}", field(network)]


def counted(name: str, arguments: dict[str, Any]) -> tuple[Any, int, float]:
    """The network, without weights, its parameters, and its GMACs for a megapixel of picture."""
    import torch

    with torch.device("meta"):
        network = NETWORKS[name](**arguments)
    raw = network.kind == "raw"
    given = inspect.signature(NETWORKS[name]).parameters
    planes = arguments.get("planes", given["planes"].default) if raw else 3
    parameters, macs = count(name, arguments, (planes, SIDE, SIDE))
    return network, parameters, macs / (SIDE * SIDE * (4 if raw else 1)) * 1e6 / 1e9


def field(network: Any) -> str:
    if network.reach is None:
        return "all"
    return str((2 * network.reach + 1) * (2 if network.kind == "raw" else 1))


def title(name: str) -> str:
    """What a network's file says first, less its name."""
    return document(name)[0].split(": ", 1)[-1].rstrip(".")


def document(name: str) -> list[str]:
    """The paragraphs of the docstring of a network's file, each in one line."""
    text = import_module(NETWORKS[name].__module__).__doc__ or ""
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def columns(heads: list[str], rows: list[list[str]]) -> str:
    """Text in columns; a row that is shorter than the heads ends in a text of any length."""
    lines = [heads, *rows]
    widths = [max(len(row[i]) for row in lines if len(row) == len(heads)) for i in range(len(heads))]
    return "\n".join("  ".join(f"{x:{w}}" for x, w in zip(row, widths, strict=False)).rstrip() for row in lines)


def written(text: str) -> str:
    """docs/networks.md with its tables made anew: what stands between <!-- NAME --> and <!-- end -->."""
    for name, make in PARTS.items():
        part = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        if len(part.findall(text)) != 1:
            raise ValueError(
                f"{DOCUMENT.name} has no lines <!-- {name} --> and <!-- end -->, between which a table goes"
            )
        text = part.sub(rf"\1{make().replace(chr(92), chr(92) * 2)}\2", text)
    return text


def published_table() -> str:
    """Published figure, ours and the difference, for each row of isp.nets.published."""
    heads = [
        "system",
        "network",
        "input",
        "parameters",
        "published",
        "difference",
        "GMACs",
        "published",
        "difference",
        "source and convention",
    ]
    return markdown(heads, [published_row(row) for row in ROWS])


def published_row(row: Row) -> list[str]:
    parameters, macs = measure(row)
    given = ", ".join(f"{key} {value}" for key, value in row.arguments.items())
    network = f"{row.copies} x `{row.network}`" if row.copies > 1 else f"`{row.network}`"
    return [
        row.system,
        f"{network}, {given}" if given else network,
        "x".join(map(str, row.shape)),
        f"{parameters:,}",
        "" if row.published_parameters is None else millions(row.published_parameters),
        apart(parameters, row.published_parameters),
        f"{macs / 1e9:.2f}",
        "" if row.published_macs is None else f"{row.published_macs / 1e9:.5g}",
        apart(macs, row.published_macs),
        row.source,
    ]


def size_table() -> str:
    """Every network at the size of its default arguments, and what benchmarks/networks.py measured of it."""
    found = json.loads(MEASURED.read_text("utf-8"))["networks"] if MEASURED.is_file() else {}
    heads = [
        "network",
        "from",
        "parameters",
        "GMACs/MP",
        "receptive field",
        "multiple of",
        "s/MP",
        "of peak",
        "peak MB",
    ]
    rows = []
    for name in NETWORKS:
        network, parameters, gmacs = counted(name, ARGUMENTS.get(name, {}))
        at = found.get(name)
        speed = [f"{at['seconds_per_mp']:.2f}", f"{at['of_peak']:.0%}", f"{at['peak_mb']:.0f}"] if at else [""] * 3
        start = "packed raw" if network.kind == "raw" else "RGB"
        rows.append(
            [f"`{name}`", start, millions(parameters), f"{gmacs:.1f}", field(network), str(network.multiple), *speed]
        )
    return markdown(heads, rows)


def descriptions() -> str:
    """One item for each file of isp/nets: which networks are in it, what they are, and what differs from the paper."""
    files: dict[str, list[str]] = {}
    for name in NETWORKS:
        module = import_module(NETWORKS[name].__module__)
        files.setdefault(module.__name__.rsplit(".", 1)[-1], []).append(name)
    items = []
    for file, names in files.items():
        first, second, *_ = document(names[0])
        differs = re.search(r"(Differs from|Reconstructed:|Ours, ).*", second)
        listed = ", ".join(f"`{name}`" for name in names)
        items.append(
            f"- {listed} ([{file}.py](../isp/nets/{file}.py)). {first} {differs[0] if differs else ''}".rstrip()
        )
    return "\n".join(items)


def seam_table() -> str:
    """What tiles change where the receptive field has no bound, as measured by benchmarks/networks.py."""
    found = json.loads(MEASURED.read_text("utf-8")).get("seams", {}) if MEASURED.is_file() else {}
    if not found:
        return "Not measured yet: `python -m benchmarks.networks` does."
    heads = ["network", "largest", "mean", "mean in overlaps", "mean elsewhere", "step in overlaps", "step elsewhere"]
    keys = ("largest", "mean", "mean_overlap", "mean_inside", "step_overlap", "step_inside")
    return markdown(heads, [[f"`{name}`", *(f"{values[key]:.2g}" for key in keys)] for name, values in found.items()])


PARTS = {"networks": descriptions, "published": published_table, "sizes": size_table, "seams": seam_table}


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *rows])


def millions(n: float) -> str:
    """Parameters, with three digits at least."""
    return f"{n / 1e6:.2f} M" if n >= 10e6 else f"{n / 1e6:.3f} M"


def apart(ours: float, published: float | None) -> str:
    return "" if published is None else f"{round(100 * (ours / published - 1), 2) + 0.0:+.2f} %"


if __name__ == "__main__":
    sys.exit(main())
