"""The sample DNG of this repository: a still life of our own, photographed by a simulated camera.

    python -m tools.make_sample -o data/samples/still_life.dng
    python -m tools.make_sample -o sample.dng --truth truth.npy       also the picture that a perfect render would give

The scene (tools/still_life.py) passes upwards through the library's own pipeline, from linear sRGB to counts; then come
the photons' and the sensor's noise, the borders that see no light, and 14 bits. The same file comes out every time.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from isp.primaries import D50, bradford, xy_to_xyz
from isp.raw import CFA, RawImage, RawMetadata, write_dng
from isp.raw.colour import temperature_tint_to_xy, xy_to_neutral
from isp.raw.opcodes import GainMap
from tools.still_life import render_scene

# Colour of a real camera: the ColorMatrix tags (XYZ to camera) of the Nikon Z 6, of a DNG profile in the public domain
# (its ProfileCopyright says so). The profile's ForwardMatrix tags count on its tables, without which they are 7
# CIEDE2000 away from its ColorMatrix tags; ours are derived from the latter, so that the two agree.
STANDARD_LIGHT_A, D65 = 17, 21  # EXIF LightSource
A_XY, D65_XY = (0.44757, 0.40745), (0.31271, 0.32902)
COLOR_MATRIX_A = np.array([[1.6682, -0.7782, -0.0031], [-0.8049, 1.8428, 0.3778], [-0.1669, 0.2537, 1.1091]])
COLOR_MATRIX_D65 = np.array([[0.8443, -0.1990, -0.0571], [-0.4748, 1.2164, 0.2867], [-0.1364, 0.2383, 0.8064]])
WHITE_BALANCE = (4300.0, 6.0)  # kelvin, tint: between the two calibration illuminants

BLACK, WHITE = 512, 16383  # DN, 14 bits
FULL_WELL, READ_NOISE = 15000, 3.2  # electrons at the white level, at ISO 400
SHOT, READ = 1 / FULL_WELL, (READ_NOISE / FULL_WELL) ** 2  # variance = SHOT x + READ, x from black 0 to white 1
BASELINE_EXPOSURE = 0.25  # stops of headroom that the camera keeps over diffuse white
SCENE_SCALE = 0.66  # of the scene's light: diffuse white in the sun

MASKED_TOP, MASKED_LEFT = 20, 48  # rows and columns that see no light
MARGIN = 8  # pixels of the active area around the default crop
FALL_OFF = {"R": 0.52, "G": 0.55, "B": 0.57}  # what is left of the light in the corners, by colour


def lens_shading(height: int, width: int) -> tuple[GainMap, ...]:
    """One gain map for each place of the 2x2 CFA, over an active area of this size: what undoes the lens's fall-off."""
    y, x = np.mgrid[-1:1:13j, -1:1:17j]
    radius2 = (x * x * width**2 + y * y * height**2) / (width**2 + height**2)  # 1 in the corners
    return tuple(
        GainMap(
            top=i // 2,
            left=i % 2,
            bottom=height,
            right=width,
            row_pitch=2,
            col_pitch=2,
            map_gains=((1 + (FALL_OFF[letter] ** -0.5 - 1) * radius2) ** 2)[..., None],  # cos^4 law
            map_spacing_v=1 / 12,
            map_spacing_h=1 / 16,
        )
        for i, letter in enumerate("RGGB")
    )


def forward_matrix(color_matrix: np.ndarray, white: tuple[float, float]) -> np.ndarray:
    """White-balanced camera RGB to XYZ D50, from the ColorMatrix of an illuminant: its inverse, with the illuminant's
    neutral taken out and its white adapted to D50 (DNG 1.7.1, chapter 6)."""
    neutral = color_matrix @ xy_to_xyz(white)
    return np.round(bradford(xy_to_xyz(white), xy_to_xyz(D50)) @ np.linalg.inv(color_matrix) @ np.diag(neutral), 6)


def describe(height: int, width: int) -> RawMetadata:
    """The camera and the exposure, for a default crop of height x width."""
    active = (height + 2 * MARGIN, width + 2 * MARGIN)
    meta = RawMetadata(
        height=active[0] + MASKED_TOP,
        width=active[1] + MASKED_LEFT,
        cfa=CFA("RGGB"),
        active_area=(MASKED_TOP, MASKED_LEFT, active[0] + MASKED_TOP, active[1] + MASKED_LEFT),
        default_crop_origin=(MARGIN, MARGIN),
        default_crop_size=(width, height),
        black_level=np.full((2, 2, 1), float(BLACK)),
        white_level=[WHITE],
        opcode_list2=lens_shading(*active),
        calibration_illuminant1=STANDARD_LIGHT_A,
        calibration_illuminant2=D65,
        color_matrix1=COLOR_MATRIX_A,
        color_matrix2=COLOR_MATRIX_D65,
        forward_matrix1=forward_matrix(COLOR_MATRIX_A, A_XY),
        forward_matrix2=forward_matrix(COLOR_MATRIX_D65, D65_XY),
        baseline_exposure=BASELINE_EXPOSURE,
        noise_profile=[[SHOT, READ]] * 3,
        make="isp",
        model="Still life",
        unique_camera_model="isp Still life",
        lens_model="Simulated 50 mm",
        software="isp tools/make_sample.py",
        copyright="Rendered by the isp library; free to use without conditions (CC0 1.0)",
        profile_name="isp Still life",
        date_time="2025:06:21 17:30:00",
        iso=400,
        exposure_time=1 / 500,
        f_number=5.6,
        focal_length=50,
    )
    neutral = xy_to_neutral(meta, temperature_tint_to_xy(*WHITE_BALANCE))
    return replace(meta, as_shot_neutral=np.round(neutral, 6))


def photograph(scene: np.ndarray, meta: RawMetadata, seed: int = 1) -> RawImage:
    """The camera's frame of a scene: active height, active width, 3; linear sRGB, 1 is the white of the render."""
    import torch

    from isp.options import RenderOptions
    from isp.pipeline import unprocess

    whole = replace(meta, default_crop_origin=(0.0, 0.0), default_crop_size=None)
    options = RenderOptions(look="neutral", linear=True, highlights="none")
    picture = torch.from_numpy(scene.astype(np.float64)).permute(2, 0, 1)[None]  # 1 3 H W
    x = (unprocess(picture, whole, options)[0, 0].numpy() - BLACK) / (WHITE - BLACK)  # H W, black 0, white 1
    top, left, bottom, right = meta.area
    light = np.zeros_like(x)
    light[top:bottom, left:right] = np.maximum(x, 0)[top:bottom, left:right]
    rng = np.random.default_rng(seed)
    noisy = rng.poisson(light * FULL_WELL) / FULL_WELL + rng.normal(0, READ**0.5, x.shape)
    counts = np.clip(np.round(BLACK + (WHITE - BLACK) * noisy), 0, WHITE)
    return RawImage(counts.astype(np.uint16), meta)


def make_sample(height: int = 1184, samples: int = 2, workers: int = 1) -> tuple[RawImage, np.ndarray]:
    """The frame, and the picture that a perfect neutral render of it would give: height width 3, linear sRGB, not
    clipped. The width is 1.5 times the height, which must be even."""
    width = 3 * height // 2
    meta = describe(height, width)
    scene = SCENE_SCALE * render_scene(height + 2 * MARGIN, width + 2 * MARGIN, samples, workers)
    return photograph(scene, meta), scene[MARGIN:-MARGIN, MARGIN:-MARGIN]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.make_sample", description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.dng")
    parser.add_argument("--truth", type=Path, metavar="OUT.npy", help="also save the perfect render, linear sRGB")
    parser.add_argument(
        "--height", type=int, default=1184, help="of the picture, a multiple of 4 (default: %(default)s)"
    )
    parser.add_argument("--samples", type=int, default=2, help="rays across a pixel (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default: all cores)")
    parser.add_argument("-Y", "--overwrite", action="store_true", help="replace an existing OUT.dng")
    given = parser.parse_args(arguments)
    if given.height < 32 or given.height % 4:
        parser.error(f"--height is {given.height}; expected a multiple of 4 from 32 on")
    if given.output.exists() and not given.overwrite:  # before minutes of work, not after
        parser.error(f"{given.output} exists; pass --overwrite to replace it")
    raw, truth = make_sample(given.height, given.samples, given.workers)
    write_dng(given.output, raw, compression="lossless-jpeg", overwrite=given.overwrite)
    if given.truth:
        np.save(given.truth, truth)


if __name__ == "__main__":
    main()
