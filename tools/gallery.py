"""The gallery: docs/gallery.md and its pictures, all made here, of scenes that are our own.

    python -m tools.gallery                 # writes docs/gallery.md and docs/gallery/*.jpg
    python -m tools.gallery -o elsewhere/

The shipped sample in its looks, white balances and stages; dead leaves and pairs made of them; the shipped models
beside classical demosaics and LibRaw under rising noise, with the figures of these very frames.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from isp.datasets.dead_leaves import dead_leaves
from isp.datasets.preview import shown
from isp.datasets.recipes import load_recipe
from isp.datasets.sources import DeadLeaves
from isp.datasets.synthesis import CameraChoice, make_pair
from isp.files import whole_file
from isp.locate import data_path
from isp.options import RenderOptions
from isp.output import save
from isp.parameters import resolve
from isp.pipeline import render, run, sensor_stages
from isp.raw import RawImage, read
from isp.stages.encode import decode, encode
from tools.evaluate import (
    REFERENCE,
    Cell,
    Figures,
    Frame,
    contact_sheet,
    develop_all,
    developer,
    model_developer,
    simulate,
    tables,
)

ROOT = Path(__file__).parents[1]
QUALITY = 88
WHITES: dict[str, dict[str, Any]] = {
    "as shot": {},
    "2850 K": {"temperature": 2850.0},
    "7500 K": {"temperature": 7500.0},
    "grey-edge": {"wb": "grey-edge"},
}
STAGES = ("normalise", "white-balance", "demosaic", "colour", "encode")
TOP, LEFT, SIDE, TWICE = 472, 1216, 120, 2  # a window of the sample's active area, and how much it is enlarged
DEVELOPERS = ("malvar2004", "libraw-AHD+FBDD", "msg")
MODELS = ("flat", "pyramid")
RECIPES = ("wide", "mialgo", "upi")
PAIR = 192  # pixels, the side of a pair's picture


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.gallery", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs", metavar="DIR", help="default: docs")
    folder = parser.parse_args(argv).output / "gallery"
    folder.mkdir(parents=True, exist_ok=True)
    text = [HEAD, *(part(folder) for part in PARTS)]
    with whole_file(folder.parent / "gallery.md", overwrite=True) as page:
        page.write_text("\n".join(text), encoding="utf-8")
    print(f"{folder.parent / 'gallery.md'}: {sum(path.stat().st_size for path in folder.glob('*.jpg')) / 1e6:.2f} MB")
    return 0


HEAD = """# Gallery

Made by `python -m tools.gallery`: every picture here is of a scene of our own, and the command makes it again.
"""


def sample() -> RawImage:
    return read(data_path("samples") / "still_life.dng")


def looks(folder: Path) -> str:
    for look in ("standard", "neutral"):
        keep(folder, f"look-{look}", smaller(render(sample(), RenderOptions(look=look, demosaic="msg")), 3))
    return f"""## Two looks

The shipped sample. *Standard* is the file's own tone curve where it has one, and ours where it has not, with colours
beyond the output's drawn softly inside; *neutral* is the DNG specification's linear rendering.

{row({"standard": "look-standard", "neutral": "look-neutral"})}
"""


def white_balances(folder: Path) -> str:
    raw, names = sample(), {}
    for name, options in WHITES.items():
        names[name] = f"white-{name.replace(' ', '-').lower()}"
        keep(folder, names[name], smaller(render(raw, RenderOptions(demosaic="msg", **options)), 4))
    p = resolve(raw.meta, RenderOptions(wb="grey-edge"), run(sensor_stages(raw.meta), raw.tensor()))
    return f"""## White balance

As the camera says, 4300 K; two temperatures (`--temperature 2850`); and the estimate from the frame's edges, which says
{p.temperature:.0f} K here (`--wb grey-edge`).

{row(names)}
"""


def stages(folder: Path) -> str:
    seen: dict[str, Tensor] = {}
    raw = sample()
    cfa = raw.meta.cfa
    assert cfa is not None
    rows, cols = slice(TOP, TOP + SIDE), slice(LEFT, LEFT + SIDE)
    render(raw, RenderOptions(demosaic="msg"), watch=lambda name, x: seen.update({name: x[..., rows, cols]}))
    windows = []
    for name in STAGES:
        x = seen[name]
        if x.shape[1] == 1:  # each sample in its own colour; the window begins on even lines
            x = x * (torch.from_numpy(cfa.channel_map(SIDE, SIDE)) == torch.arange(3).view(3, 1, 1))
        windows.append(x if name == "encode" else encode(x, "srgb"))
    keep(folder, "stages", interpolate(torch.cat(windows, -1), scale_factor=TWICE, mode="nearest"))
    return f"""## Stages

A window of the sample, twice enlarged, after five stages; linear values are shown through sRGB's curve. The mosaic,
each sample in the colour of its filter; white-balanced; demosaiced, in the camera's colours; in the working primaries;
and the picture. `--report` shows all of them, with the numbers ([render-and-inspect](guides/render-and-inspect.md)).

{picture("stages", ", ".join(STAGES))}
"""


def pairs(folder: Path) -> str:
    source = DeadLeaves(512, seed=3)
    windows: list[Tensor] = []
    for number, name in enumerate(RECIPES):
        pair = make_pair(source, load_recipe(name), CameraChoice("random"), seed=5, index=number, size=PAIR // 2)
        windows += shown(pair, PAIR)
    keep(folder, "pairs", torch.cat(windows, -1))
    recipes = ", ".join(f"`{name}`" for name in RECIPES)
    return f"""## Training pairs

Dead leaves, and what three recipes make of them, noisy left and clean right: {recipes}.
Cameras, light and noise are drawn anew for each pair ([pairs](pairs.md)).

{picture("pairs", "noisy and clean sides of three pairs")}
"""


def noise(folder: Path) -> str:
    scenes = {
        "still-life": smaller(render(sample(), RenderOptions(look="neutral", demosaic="msg")), 2),
        "dead-leaves": torch.from_numpy(dead_leaves(448, 448, np.random.default_rng(13)))
        .float()
        .permute(2, 0, 1)[None],
    }
    cells = [Cell("nikon-d850", "RGGB", level) for level in REFERENCE.split(",")]
    developers = [*map(developer, DEVELOPERS), *(model_developer(name, "cpu") for name in MODELS)]
    names, parts = [one.name for one in developers], []
    for scene, picture_of in scenes.items():
        truth = (picture_of.clamp(0, 1) * 255).round() / 255
        figures, strips = {}, {}
        for cell in cells:
            with torch.inference_mode(), tempfile.TemporaryDirectory() as temporary:
                frame = Frame(simulate(truth, cell), Path(temporary))
                result = develop_all(frame, truth, developers, ["psnr"], crops=True)
            figures[scene, cell], strips[cell] = result.figures, result.strip
        sheet = contact_sheet({cell: strip for cell, strip in strips.items() if strip is not None}, names)
        keep(folder, f"noise-{scene}", torch.from_numpy(sheet / np.float32(255)).permute(2, 0, 1)[None])
        found = tables(Figures(figures), cells, DEVELOPERS, MODELS, ["psnr"])[0]
        parts.append(f"{picture(f'noise-{scene}', f'{scene} under rising noise')}\n\n{found.markdown()}\n")
    cards = ", ".join(f"[{name}](../models/{name}/card.md)" for name in MODELS)
    return f"""## Noise

A simulated Nikon D850 at D65 under four levels of noise (S:O, variance S x + O), down; across, the truth, Malvar's
demosaic, LibRaw's AHD with its noise reduction, our demosaic, and the networks that ship. Crops at 1:1; figures, in dB
of encoded sRGB, of the whole frames. Two scenes say nothing about the average: for that, the models' cards have the 24
Kodak pictures ({cards}).

{chr(10).join(parts)}"""


PARTS: tuple[Callable[[Path], str], ...] = (looks, white_balances, stages, pairs, noise)


def smaller(x: Tensor, factor: int) -> Tensor:
    """Encoded sRGB, shrunk by means of light."""
    return encode(avg_pool2d(decode(x.clamp(0, 1), "srgb"), factor), "srgb")


def keep(folder: Path, name: str, x: Tensor) -> None:
    save(folder / f"{name}.jpg", x, quality=QUALITY, overwrite=True)


def picture(name: str, said: str) -> str:
    return f"![{said}](gallery/{name}.jpg)"


def row(names: dict[str, str]) -> str:
    """A table of pictures with a caption each."""
    heads, pictures = (" | ".join(cells) for cells in (names, (picture(name, said) for said, name in names.items())))
    return f"| {heads} |\n{'|---' * len(names)}|\n| {pictures} |"


if __name__ == "__main__":
    sys.exit(main())
