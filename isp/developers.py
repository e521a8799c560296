"""Other raw developers, for comparison: a raw file to the picture that they make of it, display-encoded sRGB."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


def by_libraw(path: Path, algorithm: str = "AHD", fbdd: bool = False) -> np.ndarray:
    """H W 3, float32, 0 to 1 (8 bits): LibRaw's own postprocess with the camera's white balance, without automatic
    brightness. algorithm: one of isp.stages.demosaic.libraw.NAMES; fbdd: with its noise reduction, full."""
    import rawpy

    reduction = rawpy.FBDDNoiseReductionMode.Full if fbdd else rawpy.FBDDNoiseReductionMode.Off
    with rawpy.imread(str(path)) as raw:
        pixels = raw.postprocess(
            demosaic_algorithm=rawpy.DemosaicAlgorithm[algorithm],
            fbdd_noise_reduction=reduction,
            use_camera_wb=True,
            no_auto_bright=True,
            adjust_maximum_thr=0.0,
            gamma=(2.4, 12.92),  # sRGB's
        )
    return np.divide(pixels, 255, dtype=np.float32)


def by_darktable(path: Path, folder: Path) -> np.ndarray:
    """H W 3, float64, 0 to 1: darktable's, without its workflow's tone curve; folder: for its files."""
    out = folder / "darktable.png"
    command = ["darktable-cli", path, out, "--apply-custom-presets", "false", "--core"]
    command += ["--configdir", folder / "config", "--library", ":memory:"]
    command += ["--conf", "plugins/darkroom/workflow=none", "--conf", "plugins/imageio/format/png/bpp=16"]
    return _rendered(command, out)


def by_rawtherapee(path: Path, folder: Path) -> np.ndarray:
    """H W 3, float64, 0 to 1: RawTherapee's neutral profile, which cuts a border of 4 pixels; folder: for its files."""
    out = folder / "rawtherapee.png"
    return _rendered(["rawtherapee-cli", "-o", out, "-n", "-b16", "-Y", "-c", path], out)


def _rendered(command: list[Any], out: Path) -> np.ndarray:
    import imagecodecs

    out.unlink(missing_ok=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if not out.exists():
        said = (done.stdout + done.stderr).strip().splitlines()
        raise RuntimeError(said[-1] if said else f"exit code {done.returncode}")
    picture = np.asarray(imagecodecs.png_decode(out.read_bytes()), np.float64)
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, -1)
    return picture[..., :3] / 65535.0


class Program(NamedTuple):
    """A developer with a command line. develop raises RuntimeError or subprocess.TimeoutExpired where it fails."""

    command: str
    develop: Callable[[Path, Path], np.ndarray]
    asked: str  # the argument that makes it say its version

    def version(self) -> str | None:
        """None where it is not installed."""
        if shutil.which(self.command) is None:
            return None
        said = subprocess.run([self.command, self.asked], capture_output=True, text=True, check=False).stdout.split()
        return next((word.strip(",") for word in said if word[:1].isdigit()), "of unknown version")


PROGRAMS = {
    "rawtherapee": Program("rawtherapee-cli", by_rawtherapee, "-v"),
    "darktable": Program("darktable-cli", by_darktable, "--version"),
}
