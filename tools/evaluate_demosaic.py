"""Demosaicing on the Kodak pictures, as Markdown tables.

    python -m tools.evaluate_demosaic FOLDER            # of the 24 PNG files kodim01.png ... kodim24.png
    python -m tools.evaluate_demosaic FOLDER --images 4 --methods msg,menon2007

First table: CPSNR (dB) on the central 500x500, 8-bit, border of 10 left out, mosaic RGGB of the encoded sRGB values,
with Gaussian noise of sigma 0, 5, 10 and 15 of 255: what papers report; below it, the same of X-Trans and Quad-Bayer
mosaics of the whole pictures. Second table: PSNR (dB) from end to end on
whole pictures: sRGB, linear, camera RGB of a real camera, mosaic with the noise of a profile, 14 bits, white balance,
demosaic, and back to 8-bit sRGB; each method on the linear mosaic and as `demosaic` runs it, under its curve. Third
table: PSNR (dB) of whole pictures, border included, through a DNG file: isp.unprocess, write_dng, then either isp.read
and the neutral render, or LibRaw's own postprocess of the same file.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import rawpy
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from isp.cameras import load_camera
from isp.options import RenderOptions
from isp.pipeline import render, unprocess
from isp.primaries import D65
from isp.raw import RawImage, read, write_dng
from isp.raw.cfa import CANONICAL, CFA
from isp.stages.colour import apply_matrix
from isp.stages.demosaic import LIBRAW, METHODS, default_method, demosaic, mosaic
from isp.stages.encode import decode, encode
from isp.stages.normalise import denormalise
from isp.stages.white_balance import undo_white_balance, white_balance

SIGMAS = (0, 5, 10, 15)  # of 255
NOISE = ((0.0, 0.0), (8e-4, 2e-6), (3.2e-3, 2.5e-5), (1.3e-2, 3.5e-4))  # (shot, read), black 0 and white 1
RGGB = CFA("RGGB")
OTHER_KINDS = ("x-trans", "quad-bayer")
# Nikon D850 ColorMatrix2 (D65), from a profile in the public domain; XYZ (D65) of linear sRGB, IEC 61966-2-1
XYZ_TO_CAMERA = np.array([[0.9366, -0.2761, -0.1179], [-0.6076, 1.3955, 0.2370], [-0.1839, 0.2809, 0.7750]])
SRGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
LINEAR_TO_CAMERA = XYZ_TO_CAMERA @ SRGB_TO_XYZ

Demosaic = Callable[[Tensor, tuple[float, float]], Tensor]  # mosaic B 1 H W and its (shot, read) to B 3 H W


def pictures(folder: Path, count: int = 24) -> Iterable[Tensor]:
    """The Kodak pictures, each 1 3 H W, sRGB in [0, 1]."""
    for number in range(1, count + 1):
        with Image.open(folder / f"kodim{number:02d}.png") as image:
            yield torch.from_numpy(np.array(image.convert("RGB"), np.float32) / 255).permute(2, 0, 1)[None]


def cpsnr(picture: Tensor, truth: Tensor, border: int = 10) -> float:
    """dB over the three channels together, both sRGB in [0, 1]; the picture is rounded to 8 bits."""
    error = (picture.clamp(0, 1) * 255).round() - truth * 255
    return float(10 * torch.log10(255**2 / error[..., border:-border, border:-border].square().mean()))


def published_protocol(picture: Tensor, method: Demosaic, sigma: float = 0, seed: int = 0) -> float:
    """CPSNR of the central 500x500 from a mosaic of the encoded values with Gaussian noise of sigma / 255."""
    top, left = ((n - 500) // 2 for n in picture.shape[-2:])
    truth = picture[..., top : top + 500, left : left + 500]
    x = mosaic(truth, RGGB)
    x = x + sigma / 255 * torch.from_numpy(np.random.default_rng(seed).standard_normal(x.shape, np.float32))
    return cpsnr(method(x, (0.0, 0.0)), truth)


def end_to_end(picture: Tensor, method: Demosaic, noise: tuple[float, float] = (0.0, 0.0), seed: int = 0) -> float:
    """PSNR of the picture seen by a camera of 14 bits with this noise and developed again."""
    neutral = LINEAR_TO_CAMERA.sum(1) / LINEAR_TO_CAMERA.sum(1).max()
    to_camera = LINEAR_TO_CAMERA / LINEAR_TO_CAMERA.sum(1, keepdims=True)  # white-balanced
    gains = 1 / neutral
    x = undo_white_balance(mosaic(apply_matrix(decode(picture, "srgb"), to_camera), RGGB), gains, RGGB)
    deviation = (noise[0] * x.clamp(min=0) + noise[1]).sqrt()
    x = x + deviation * torch.from_numpy(np.random.default_rng(seed).standard_normal(x.shape, np.float32))
    x = (x * 16383).round().clamp(max=16383) / 16383
    y = method(white_balance(x, gains, RGGB), noise).clamp(max=1)
    return cpsnr(encode(apply_matrix(y, np.linalg.inv(to_camera)), "srgb"), picture)


def write_frame(picture: Tensor, path: Path, noise: tuple[float, float] = (0.0, 0.0), seed: int = 0) -> None:
    """A DNG of a simulated Nikon D850 at D65 that saw this picture (1 3 H W, sRGB): 14 bit, RGGB, with NoiseProfile.

    Without its ForwardMatrix, which LibRaw ignores: so that both developers mean the same colours.
    """
    profile = load_camera("nikon-d850").metadata(*picture.shape[-2:], white_xy=D65)
    camera = replace(profile, forward_matrix1=None, forward_matrix2=None, noise_profile=np.array([noise]))
    seen = unprocess(picture, camera, RenderOptions(look="neutral"), to="normalise")
    deviation = (noise[0] * seen.clamp(min=0) + noise[1]).sqrt()
    seen = seen + deviation * torch.from_numpy(np.random.default_rng(seed).standard_normal(seen.shape, np.float32))
    counts = denormalise(seen, camera).round().clamp(0, float(camera.white_level[0]))
    write_dng(path, RawImage(counts[0, 0].numpy().astype(np.uint16), camera), overwrite=True)


def psnr_through_file(path: Path, picture: Tensor, method: str) -> float:
    """PSNR of the 8-bit sRGB picture that `method` makes of the file: a name in METHODS, "auto", or "LibRaw DHT"."""
    if method.startswith("LibRaw "):
        with rawpy.imread(str(path)) as raw:
            pixels = raw.postprocess(
                demosaic_algorithm=rawpy.DemosaicAlgorithm[method.removeprefix("LibRaw ")],
                use_camera_wb=True,
                no_auto_bright=True,
                adjust_maximum_thr=0.0,
                gamma=(2.4, 12.92),
            )
        developed = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    else:
        developed = (render(read(path), RenderOptions(look="neutral", demosaic=method)).clamp(0, 1) * 255).round()
    return float(10 * torch.log10(255**2 / (developed - picture * 255).square().mean()))


def other_array(picture: Tensor, kind: str) -> float:
    """CPSNR of the whole picture from an X-Trans or Quad-Bayer mosaic of the encoded values, without noise."""
    cfa = CFA(*CANONICAL[kind])
    return cpsnr(METHODS[default_method(kind)].function(mosaic(picture, cfa), cfa), picture)


def as_is(name: str) -> Demosaic:
    """The method itself, on the values as they are."""
    function = (METHODS | LIBRAW)[name].function
    return lambda x, noise: function(x, RGGB)


def under_curve(name: str) -> Demosaic:
    """The method as `demosaic` runs it."""
    return lambda x, noise: demosaic(x, RGGB, name, noise)


def table(title: str, columns: list[str], rows: dict[str, list[float]]) -> str:
    lines = [f"| {title} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    return "\n".join(
        lines + [f"| {name} | " + " | ".join(f"{v:.2f}" for v in row) + " |" for name, row in rows.items()]
    )


def main() -> None:
    bayer = [name for name, method in METHODS.items() if "bayer" in method.kinds]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of kodim01.png ... kodim24.png")
    parser.add_argument("--images", type=int, default=24, help="how many of them (default: 24)")
    parser.add_argument(
        "--methods", default=",".join([*bayer, "libraw:AHD", "libraw:DHT"]), help="default: %(default)s"
    )
    arguments = parser.parse_args()
    names = arguments.methods.split(",")
    images = list(pictures(arguments.folder, arguments.images))

    def mean(protocol: Callable[..., float], method: Demosaic, setting: object) -> float:
        shown = tqdm(images, desc=f"{protocol.__name__}, {setting}", leave=False)
        return float(np.mean([protocol(image, method, setting, seed) for seed, image in enumerate(shown)]))

    with torch.inference_mode():
        published = {name: [mean(published_protocol, as_is(name), sigma) for sigma in SIGMAS] for name in names}
        print(table("CPSNR, dB", [f"sigma {sigma}" for sigma in SIGMAS], published), "\n")
        others = {kind: [float(np.mean([other_array(image, kind) for image in images]))] for kind in OTHER_KINDS}
        print(table("CPSNR, dB", ["sigma 0, whole pictures"], others), "\n")
        complete = {}
        for name in names:
            complete[f"{name}, linear"] = [mean(end_to_end, as_is(name), noise) for noise in NOISE]
            if name in METHODS:
                complete[f"{name}, under the curve"] = [mean(end_to_end, under_curve(name), noise) for noise in NOISE]
        columns = [f"S {shot:g}, O {read:g}" for shot, read in NOISE]
        print(table("end to end, dB", columns, complete), "\n")
        developers = ["auto", "malvar2004", "menon2007", "LibRaw AHD", "LibRaw AAHD", "LibRaw DHT"]
        through: dict[str, list[float]] = {name: [] for name in developers}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "frame.dng")
            for noise in NOISE:
                figures: dict[str, list[float]] = {name: [] for name in developers}
                for seed, image in enumerate(tqdm(images, desc=f"through files, S {noise[0]:g}", leave=False)):
                    write_frame(image, path, noise, seed)
                    for name in developers:
                        figures[name].append(psnr_through_file(path, image, name))
                for name in developers:
                    through[name].append(float(np.mean(figures[name])))
        print(table("through a DNG file, dB", columns, through))


if __name__ == "__main__":
    main()
