"""report.html of a run: what its log, its samples and its recipe say, as a page that is written anew at each
validation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isp.output.page import Html, code, fold, paragraph, picture, skeleton, table, write_page
from isp.output.plots import curves

REPORT = "report.html"
SHEETS = 6  # sample pictures in the page, evenly over the validations: some 200 kB each


def write_report(folder: Path) -> None:
    """Write report.html into the folder of a run, from what else is in it."""
    lines = list(read_lines(folder / "log.jsonl"))
    recipe = (folder / "config.yaml").read_text(encoding="utf-8")
    about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    training, validation = ([line for line in lines if line["kind"] == kind] for kind in ("training", "validation"))
    sections = {
        "Validation": _validation(validation),
        "Training": _training(training),
        "Samples": _samples(sorted((folder / "samples").glob("[!.]*.png"))),  # not what a killed process left half
        "Run": [
            table((name, "–" if value is None else value) for name, value in about.items()),
            fold("recipe", code(recipe)),
        ],
    }
    last = lines[-1] if lines else {"step": 0, "seconds": 0.0}
    subtitle = f"step {last['step']}, {last['seconds'] / 60:.0f} minutes"
    write_page(folder / REPORT, skeleton(f"Training of {folder.name}", sections, subtitle=subtitle), overwrite=True)


def read_lines(log: Path) -> Iterator[dict[str, Any]]:
    """The records of a log.jsonl; a half line of a process that was killed is left out."""
    for text in log.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(text)
        except ValueError:
            continue


def _validation(lines: Sequence[dict[str, Any]]) -> list[Html]:
    if not lines:
        return [paragraph("None yet.")]
    names = [name for name in lines[0] if name.startswith("psnr")]
    shown = {name: "all levels" if name == "psnr" else f"shot {name.removeprefix('psnr.')}" for name in names}
    series = {shown[name]: ([x["step"] for x in lines], [x[name] for x in lines]) for name in names}
    best = {name: max(lines, key=lambda line: line[name]) for name in names}
    rows = [
        (shown[name], f"{lines[-1][name]:.2f}", f"{best[name][name]:.2f}", f"{best[name]['step']}") for name in names
    ]
    return [
        curves(series, "step", "PSNR, dB", "Of 8-bit sRGB, averaged weights, held-out windows, by level of noise"),
        table(rows, ("PSNR, dB", "last", "best", "at step")),
    ]


def _training(lines: Sequence[dict[str, Any]]) -> list[Html]:
    if not lines:
        return [paragraph("No line yet; log_every says how many steps make one.")]
    steps = [line["step"] for line in lines]
    apart = ("step", "kind", "seconds", "rate", "seconds_per_step", "waited")
    names = list(dict.fromkeys(name for line in lines for name in line if name not in apart))
    norms, idle = ([n for n in names if n.startswith(kind)] for kind in ("norm.", "idle."))
    terms = [n for n in names if n not in (*norms, *idle)]
    parts = []
    for chosen, label, caption in (
        (terms, "loss", "Weighted terms of the loss"),
        (norms, "norm", "Norms of the gradients, before clipping"),
        (idle, "share", "Share of the biases that a step gave no gradient: units that were 0 for all of its pictures"),
    ):
        if not chosen:
            continue
        series = {n: ([x["step"] for x in lines if n in x], [x[n] for x in lines if n in x]) for n in chosen}
        positive = all(min(y) > 0 for _, y in series.values())
        parts.append(curves(series, "step", label, caption, log_y=positive))
    speed, waited = lines[-1]["seconds_per_step"], lines[-1]["waited"]
    said = f"{speed:.3g} s a step, {waited:.1%} of it waiting for data, at step {steps[-1]}."
    return [*parts, paragraph(said)]


def _samples(paths: Sequence[Path]) -> list[Html]:
    from PIL import Image

    if not paths:
        return [paragraph("None; validation.samples says how many pictures are written.")]
    places = np.unique(np.linspace(0, len(paths) - 1, min(SHEETS, len(paths))).round().astype(int))
    sheets = [paragraph("A row for each window: the truth, then the output under each level of noise, rising.")]
    for place in places[::-1]:
        with Image.open(paths[place]) as sheet:
            pixels = np.asarray(sheet.convert("RGB"))
        sheets.append(picture(pixels, f"step {int(paths[place].stem)}", kind="jpeg", quality=90))
    return sheets
