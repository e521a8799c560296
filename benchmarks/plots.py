"""Pictures of what benchmarks.run measured: commands, cost against size, and quality against speed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS
from isp.output.plots import MARKERS

ROOT = Path(__file__).parents[1]
SPEED = ROOT / "docs" / "speed.svg"
LEVELS = ("noise-free", "S 8e-4", "S 3.2e-3", "S 1.3e-2")  # columns of the end-to-end bench on Kodak's pictures
SHOWN = (0, 2)
CARD = re.compile(r"^quality: Kodak end to end ([\d. /]+) dB", re.MULTILINE)
OURS, THEIRS, MODELS = "tab:blue", "tab:gray", "tab:red"


def draw(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """The plots for which there are figures, as SVG: commands and megapixels into the folder, speed into docs."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "isp", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3})
    drawn = []
    if results.get("commands"):
        drawn.append(_commands(results["commands"], folder / "commands.svg"))
    if results.get("megapixels", {}).get("points"):
        drawn.append(_megapixels(results["megapixels"], folder / "megapixels.svg"))
    if results.get("demosaic") and folder == RESULTS:
        drawn.append(_speed(results, SPEED))
    return drawn


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    return path


def _commands(rows: list[dict[str, Any]], path: Path) -> Path:
    """Seconds of whole commands as bars, from the lowest to the highest as lines."""
    from matplotlib.figure import Figure

    sizes, kinds = sorted({row["megapixels"] for row in rows}), list({row["file"]: None for row in rows})
    cases = list({row["case"]: None for row in rows})[::-1]
    figure = Figure(figsize=(4.2 * len(sizes), 0.3 * len(cases) * len(kinds) + 1))
    for place, size in enumerate(sizes):
        axes = figure.add_subplot(1, len(sizes), place + 1)
        for number, kind in enumerate(kinds):
            own = {row["case"]: row["seconds"] for row in rows if row["megapixels"] == size and row["file"] == kind}
            here = [i for i, case in enumerate(cases) if case in own]
            found = [own[cases[i]] for i in here]
            medians = [f["median"] for f in found]
            reach = [[f["median"] - f["low"] for f in found], [f["high"] - f["median"] for f in found]]
            at = [i + 0.8 * (0.5 - (number + 0.5) / len(kinds)) for i in here]
            axes.barh(at, medians, 0.8 / len(kinds), xerr=reach, label=kind, error_kw={"lw": 0.8})
        axes.set_yticks(range(len(cases)), cases if place == 0 else [""] * len(cases))
        axes.set_xlabel("seconds, process start to TIFF")
        axes.set_title(f"{size:.1f} megapixels")
    figure.axes[0].legend(fontsize=8)
    return _save(figure, path)


def _megapixels(found: Mapping[str, Any], path: Path) -> Path:
    """Seconds and peak memory against the frame's size, with the straight lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.2))
    time, memory = figure.subplots(1, 2)
    for case, fitted in found["lines"].items():
        own = [point for point in found["points"] if point["case"] == case]
        x = [point["megapixels"] for point in own]
        dots = time.plot(x, [point["seconds"]["median"] for point in own], "o", label=case)
        ends = [0, max(x)]
        straight = [fitted["seconds_to_start"] + 1e-3 * fitted["ms_per_mp"] * end for end in ends]
        time.plot(ends, straight, "-", lw=0.8, color=dots[0].get_color())
        memory.plot(x, [point["peak_mb"]["high"] for point in own], "o-", lw=0.8, label=case)
    for axes, text in ((time, "seconds, process start to TIFF"), (memory, "peak memory, MB")):
        axes.set(xlabel="megapixels", ylabel=text)
        axes.set_ylim(bottom=0)
    time.legend(fontsize=8)
    return _save(figure, path)


def quality() -> dict[str, list[float]]:
    """PSNR in dB at LEVELS of the end-to-end bench: classical methods and LibRaw from the results' table, models from
    their cards."""
    found = {}
    text = (RESULTS / "demosaic-quality.md").read_text(encoding="utf-8")
    for line in text[text.index("| PSNR, dB |") :].splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 1 + len(LEVELS):
            break
        found[cells[0].replace("libraw-", "LibRaw ")] = [float(cell) for cell in cells[1:]]
    for card in sorted((ROOT / "models").glob("*/card.md")):
        said = CARD.search(card.read_text(encoding="utf-8"))
        if said and (card.parent / "config.yaml").exists():
            found[card.parent.name] = [float(value) for value in said[1].split("/")]
    return found


def speeds(results: Mapping[str, Any]) -> dict[str, tuple[str, float]]:
    """label: name in quality, and milliseconds per megapixel; models by the fastest that runs them."""
    found = {row["case"]: (row["case"], row["ms_per_mp"]["median"]) for row in results["demosaic"]}
    rows = [row for row in results.get("runtimes", {}).get("rows", ()) if "unlimited" not in row["case"]]
    for row in sorted(rows, key=lambda row: -row["ms_per_mp"]["median"]):
        found = {label: value for label, value in found.items() if value[0] != row["model"]}
        found[f"{row['model']} ({row['case']})"] = (row["model"], row["ms_per_mp"]["median"])
    return found


def _speed(results: Mapping[str, Any], path: Path) -> Path:
    """PSNR against milliseconds per megapixel."""
    from matplotlib.figure import Figure

    known, figure = quality(), Figure(figsize=(9, 3.8))
    models = {folder.name for folder in (ROOT / "models").iterdir()}
    for place, level in enumerate(SHOWN):
        axes = figure.add_subplot(1, len(SHOWN), place + 1)
        for label, (name, cost) in speeds(results).items():
            if name not in known:
                continue
            if name in models:  # these lie too close together for names beside them
                marker = MARKERS[sorted(models & known.keys()).index(name) % len(MARKERS)]
                axes.plot(cost, known[name][level], marker, color=MODELS, linestyle="", label=label, alpha=0.8)
                continue
            axes.plot(cost, known[name][level], "o", color=THEIRS if label.startswith("LibRaw") else OURS)
            axes.annotate(label, (cost, known[name][level]), (4, 3), textcoords="offset points", fontsize=7)
        axes.set_xscale("log")
        axes.set_xlim(10, 2000)
        axes.set(xlabel="ms per megapixel, 2 cores", ylabel="PSNR, dB", title=f"Kodak, end to end, {LEVELS[level]}")
    figure.axes[0].legend(fontsize=7, loc="center right")
    return _save(figure, path)
