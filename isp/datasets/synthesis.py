"""Synthesis of training pairs: clean pictures, unprocessed to what a camera would have seen of them, and degraded.

    recipe, camera = load_recipe("mialgo"), CameraChoice("random")
    pair = make_pair(source, recipe, camera, seed=1, index=7, size=512)      # the seventh pair, always the same bytes
    for batch in PairStream(source, recipe, camera, batch=16, size=64): ...  # on the fly, on the training's device

A pair's noisy side is a packed RGGB mosaic in sensor-linear units (black 0, white level 1, before white balance): whole
counts of its sensor. Its clean side is camera RGB in the same units, before noise and the input's own degradations,
not clipped: where it exceeds 1 the sensor saturates. Both are white-balanced by Pairs.balanced().
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property, lru_cache
from itertools import count
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from isp import __version__
from isp.cameras import BLACK, WHITE, Camera, list_cameras, load_camera, random_camera
from isp.datasets.degradations import (
    add_defects,
    amplify_noise,
    blur,
    downsample,
    edge_blur,
    effective_noise,
    expose_short,
    gaussian_kernels,
    pdaf_lattice,
    quantise,
    scale_channels,
)
from isp.datasets.recipes import (
    MOSAIC_STEPS,
    RGB_STEPS,
    AmplifyNoise,
    Blur,
    ChannelScale,
    Defects,
    Downsample,
    EdgeBlur,
    Isos,
    Quantise,
    Recipe,
    RgbNoise,
    Sensor,
)
from isp.datasets.sources import Sample, Source, full
from isp.fast import pairs as compiled
from isp.noise.eld import EldParameters, eld_noise, sample_eld
from isp.noise.gaussian import amplify, noise_std
from isp.noise.poisson import poisson_noise
from isp.noise.profile import NoiseProfile, TableRow, load_profile
from isp.noise.spread import like
from isp.noise.upi import LAWS, sample_upi
from isp.options import RenderOptions
from isp.parameters import RenderParameters, resolve
from isp.pipeline import Stage, display_stages, run, undo
from isp.primaries import prophoto_to
from isp.raw.cfa import CFA
from isp.raw.metadata import RawMetadata
from isp.stages.demosaic import mosaic
from isp.stages.encode import decode
from isp.stages.highlights import NEAR_WHITE, saturate_whites
from isp.stages.white_balance import undo_white_balance
from isp.tiling import tiled

PATTERN = CFA("RGGB")  # of every pair, whatever the camera's: the clean side has all three channels
PLANES = (0, 1, 1, 2)  # channel of each plane of a packed mosaic
LIGHTS = 64  # cameras that a PairStream keeps ready ...
KEPT = 4  # ... and batches until one of them is drawn anew: that takes as long as several small pairs
LINEAR = {"colour", "exposure", "output-primaries"}  # stages that are a matrix
TILE = 264  # side of the tiles that are unprocessed at once: their temporaries stay in the cache


@dataclass(frozen=True, eq=False)
class Pairs:
    """B pairs of packed size h w, as tensors on one device."""

    noisy: Tensor  # B 4 h w, sensor-linear
    clean: Tensor  # B 3 2h 2w, sensor-linear
    shot: Tensor  # B 4, per plane: the noise of `noisy` has the variance shot * x + read
    read: Tensor  # B 4
    gains: Tensor  # B 3, white balance, smallest 1
    cam_to_output: Tensor  # B 3 3, white-balanced camera RGB to linear sRGB
    exposure_ev: Tensor  # B, stops from camera RGB to the display
    scale: Tensor  # B, DN between black and white
    black: Tensor  # B, DN
    records: tuple[dict[str, Any], ...]  # everything that was drawn

    def __len__(self) -> int:
        return len(self.noisy)

    def counts(self) -> Tensor:
        """The noisy side as the whole counts it is, black included: B 4 h w, int32."""
        scale, black = self.scale.view(-1, 1, 1, 1), self.black.view(-1, 1, 1, 1)
        return (self.noisy * scale + black).round().int()

    @staticmethod
    def joined(parts: Sequence[Pairs]) -> Pairs:
        """Pairs of one size as one batch."""
        tensors = {f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Pairs)[:-1]}
        return Pairs(**tensors, records=tuple(record for part in parts for record in part.records))

    def balanced(self) -> tuple[Tensor, Tensor, Tensor]:
        """What a network takes and gives: packed B 4 h w, its noise's standard deviation B 4 h w, and the clean camera
        RGB B 3 2h 2w, all white-balanced and linear."""
        gains = self.gains[:, list(PLANES)]  # B 4
        packed = self.noisy * gains[..., None, None]
        shot, read = amplify(self.shot, self.read, gains)
        return packed, noise_std(packed, shot, read), self.clean * self.gains[..., None, None]


def to_display(balanced: Tensor, cam_to_output: Tensor, exposure_ev: float, tone: str) -> Tensor:
    """The picture that white-balanced linear camera RGB 1 3 H W shows: sRGB-encoded, not clipped, same shape.

    The forward way of the recipe's `tone`; on a pair's clean side it gives the source's picture back.
    """
    frame = RawMetadata(
        height=balanced.shape[2],
        width=balanced.shape[3],
        samples=3,
        black_level=np.zeros((1, 1, 3)),
        white_level=np.ones(3),
    )
    cam_to_prophoto = np.linalg.inv(prophoto_to("srgb")) @ cam_to_output.double().cpu().numpy()
    parameters = resolve(frame, OPTIONS[tone])
    x = run(
        display_stages(frame, replace(parameters, cam_to_prophoto=cam_to_prophoto, exposure_ev=exposure_ev)), balanced
    )
    return smoothstep(x) if tone == "smoothstep" else x


def smoothstep(x: Tensor) -> Tensor:
    """3 x^2 - 2 x^3 on [0, 1], the tone curve of the UPI paper (section 3.1), on encoded values."""
    t = x.clamp(0, 1)
    return t * t * (3 - 2 * t)


def undo_smoothstep(y: Tensor) -> Tensor:
    """The inverse of smoothstep."""
    return 0.5 - torch.sin(torch.asin(1 - 2 * y.clamp(0, 1)) / 3)


class CameraChoice:
    """Which camera a pair is unprocessed with: a shipped one by name, a YAML or raw file, or "random".

    noise: a noise profile by name or path, or a law of isp.noise.upi, in place of the camera's own and of the recipe's.
    """

    def __init__(self, camera: str, noise: str | None = None) -> None:
        self.name, self.noise = camera, noise
        self._pool = [load_camera(name) for name in (list_cameras() if camera == "random" else [camera])]
        for one in self._pool:
            if one.frame.kind == "monochrome":
                raise ValueError(f"camera {one.name!r} is monochrome; pairs need a colour mosaic")
        if noise is not None:
            _profile_or_law(noise)

    def draw(self, recipe: Recipe, rng: np.random.Generator) -> Camera:
        if self.name != "random":
            return self._pool[0]
        return random_camera(rng, recipe.random_camera, self._pool)

    def profile(self, camera: Camera | None, recipe: Recipe, rng: np.random.Generator) -> NoiseProfile | str:
        """The noise profile of a pair: the one asked for, the camera's own, or one of the recipe's; or the name of a
        law of isp.noise.upi. camera None: a clean raw, whose own noise is what it is rid of."""
        needs_eld = recipe.sensor.model == "eld"
        if self.noise is not None:
            return _profile_or_law(self.noise)
        if camera is not None:
            own = _profile(camera.noise) if camera.noise else None
            if own and (own.eld if needs_eld else own.iso_range):
                return own
            tag, iso = camera.frame.noise_profile, camera.frame.iso
            if tag is not None and iso is not None and not needs_eld:
                return _from_tag(camera, tag, iso)
        return _profile_or_law(recipe.noise[int(rng.integers(len(recipe.noise)))])


@lru_cache(maxsize=64)
def _profile(name: str) -> NoiseProfile:
    return load_profile(name)


def _profile_or_law(name: str) -> NoiseProfile | str:
    return name if name in LAWS else _profile(name)


def _from_tag(camera: Camera, tag: np.ndarray, iso: float) -> NoiseProfile:
    """A DNG's NoiseProfile as a profile over ISO: from its own ISO on, as if everything were amplified."""
    planes = tag[[0] * 4] if len(tag) == 1 else tag[list(PLANES)]
    row = TableRow(iso, tuple(planes[:, 0]), tuple(planes[:, 1]))
    scale, _ = _levels_of(camera)
    return NoiseProfile(camera.name, camera.name, "NoiseProfile tag", "", scale, 0, (iso, iso), table=(row,))


def _levels_of(camera: Camera) -> tuple[float, float]:
    """DN between black and white, and black, of a camera; one for all planes."""
    if camera.frame.kind == "linear":  # a clean raw, which has no counts of its own any more
        return WHITE - BLACK, BLACK
    black = round(float(camera.frame.black_level.mean()))
    return float(camera.frame.white_level.mean()) - black, black


def pair_seed(seed: int, index: int) -> int:
    """The 63-bit seed of one pair, from the master seed and its index."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> np.uint64(1))


# The render whose inverse a tone stands for; smoothstep is undone before it.
OPTIONS = {
    "gamma": RenderOptions(look="neutral"),
    "smoothstep": RenderOptions(look="neutral"),
    "filmic": RenderOptions(look="standard"),
}


@dataclass(frozen=True, eq=False)
class Light:
    """A camera under a light, and what renders its frames: what unprocessing needs."""

    camera: Camera
    meta: RawMetadata
    parameters: RenderParameters
    tone: str
    is_camera_rgb: bool = False  # the camera is that of a clean raw

    @cached_property
    def stages(self) -> list[Stage]:
        """From balanced camera RGB to the picture, but for those that cut or turn."""
        return [stage for stage in display_stages(self.meta, self.parameters) if stage.halo is not None]

    @cached_property
    def by_bytes(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Display-linear value of each byte of a picture, and the matrix 3x3 from there to balanced camera RGB; None
        where there is more to undo than a curve, matrices and an exposure."""
        *linear, last = self.stages
        if last.name != "encode" or not {stage.name for stage in linear} <= LINEAR:
            return None
        matrix = undo(linear, torch.eye(3, dtype=torch.float64).view(1, 3, 1, 3))
        return _light_of_bytes(self.tone, self.parameters.space), matrix.numpy().reshape(3, 3)


@cache
def _light_of_bytes(tone: str, space: str) -> np.ndarray:
    """256: the display-linear value of each byte of a picture."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    return decode(undo_smoothstep(levels) if tone == "smoothstep" else levels, space).numpy()


def draw_light(recipe: Recipe, choice: CameraChoice, rng: np.random.Generator) -> Light:
    """A camera, and a white balance around its own."""
    options = OPTIONS[recipe.tone]
    camera = choice.draw(recipe, rng)
    jitter = 1 + recipe.white_balance * rng.uniform(-1, 1, 2)
    meta = camera.metadata(2, 2, cfa=PATTERN)
    if recipe.white_balance:
        own = resolve(meta, options).neutral if meta.as_shot_neutral is None else meta.as_shot_neutral
        meta = camera.metadata(2, 2, cfa=PATTERN, neutral=own / np.array([jitter[0], 1.0, jitter[1]]))
    return Light(camera, meta, resolve(meta, options), recipe.tone)


def own_light(recipe: Recipe, sample: Sample) -> Light:
    """The camera and the light that a clean raw was taken with."""
    assert sample.meta is not None
    parameters = resolve(sample.meta, OPTIONS[recipe.tone])
    return Light(Camera(sample.name, sample.meta), sample.meta, parameters, recipe.tone, True)


@dataclass(frozen=True, eq=False)
class Draw:
    """All that is random about one pair but the noise itself."""

    index: int
    seed: int
    source: str
    window: tuple[int, int]  # top and left in the source's picture
    light: Light
    exposure_ev: float
    iso: float | None
    profile: str
    shot: np.ndarray  # 4, of the sensor at its ISO, before the digital gain; what the steps of its counts add included
    read: np.ndarray  # 4
    scale: float
    black: float
    steps: tuple[dict[str, Any] | None, ...]  # what each step of the recipe drew; None: not applied
    eld: EldParameters | None

    @property
    def parameters(self) -> RenderParameters:
        return self.light.parameters

    @cached_property
    def cam_to_output(self) -> np.ndarray:
        """3x3, white-balanced camera RGB to linear sRGB."""
        return self.parameters.prophoto_to_output @ self.parameters.cam_to_prophoto


def draw_pair(
    recipe: Recipe,
    choice: CameraChoice,
    light: Light,
    rng: np.random.Generator,
    *,
    index: int,
    seed: int,
    source: str,
    window: tuple[int, int],
    factor: int,
    isos: Isos | None = None,
) -> Draw:
    """Everything else that is random about a pair, from the generator's next numbers.

    factor: of Downsample. isos: in place of the recipe's.
    """
    camera = light.camera
    exposure_ev = float(rng.uniform(*recipe.exposure_ev))
    profile = choice.profile(None if light.is_camera_rgb else camera, recipe, rng)
    iso = None if isinstance(profile, str) else (isos or recipe.iso).draw(rng)
    scale, black = _levels_of(camera)
    if not isinstance(profile, str) and profile.bits and 2**profile.bits - 1 >= profile.scale > 1:
        scale, black = profile.scale, 2**profile.bits - 1 - profile.scale
    eld = None
    if recipe.sensor.model == "eld":
        if isinstance(profile, str):
            raise ValueError(f"recipe {recipe.name!r} asks for ELD noise from the law {profile!r}, which has none")
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        eld = replace(sample_eld(profile, 1, generator=generator), step=0.0)  # its counts are made whole later
        iso = None
        shot, read = (value.double().numpy().repeat(4) for value in eld.shot_read)
        read = read + 1 / (12 * scale**2)
    elif isinstance(profile, str):
        law = sample_upi(1, law=profile, generator=torch.Generator().manual_seed(int(rng.integers(2**62))))
        shot, read = (np.full(4, float(value)) for value in law)
    else:
        assert iso is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # extrapolation is told once, by check_isos
            shot, read = profile.at_iso(iso)
        shot, read = (v[list(PLANES)] if v.size == 3 else v for v in (shot, read))
    read = np.maximum(read, 1 / (12 * scale**2))
    return Draw(
        index=index,
        seed=seed,
        source=source,
        window=window,
        light=light,
        exposure_ev=exposure_ev,
        iso=iso,
        profile=profile if isinstance(profile, str) else profile.name,
        shot=shot,
        read=read,
        scale=scale,
        black=black,
        steps=tuple(_draw_step(step, rng, factor) for step in recipe.steps),
        eld=eld,
    )


def check_isos(choice: CameraChoice, recipe: Recipe, isos: Isos | None) -> list[str]:
    """A line for each noise profile whose calibration the ISOs go beyond."""
    wanted = (isos or recipe.iso).values
    names = [choice.noise] if choice.noise else recipe.noise
    lines = []
    for profile in (_profile(name) for name in names if name not in LAWS):
        low, high = profile.iso_range or (min(wanted), max(wanted))
        if min(wanted) < low or max(wanted) > high:
            lines.append(
                f"noise profile {profile.name!r} is calibrated for ISO {low:g} to {high:g}; beyond, it is extrapolated"
            )
    return lines


def _draw_step(step: object, rng: np.random.Generator, factor: int) -> dict[str, Any] | None:
    """What one step draws; None where its probability says no. A step always takes as many random numbers."""
    u = rng.random(8)
    if isinstance(step, Downsample):  # drawn before, by choose_factor: the window's size depends on it
        return {"factor": factor} if factor > 1 else None
    if u[0] >= getattr(step, "probability", 1.0):
        return None

    def within(low: float, high: float, at: float) -> float:
        return float(low + (high - low) * at)

    def log_within(low: float, high: float, at: float) -> float:
        return float(low * (high / low) ** at) if low > 0 else within(low, high, at)

    def odd(low: float, high: float, at: float) -> int:
        sizes = range(int(low) | 1, int(high) + 1, 2)
        return sizes[int(at * len(sizes))]

    if isinstance(step, Blur):
        return {
            "kernel": odd(*step.kernel, u[1]),
            "sigma": within(*step.sigma, u[2]),
            "elongation": within(*step.elongation, u[3]),
            "angle": within(0, math.pi, u[4]),
        }
    if isinstance(step, EdgeBlur):
        return {"sigma": within(*step.sigma, u[1])}
    if isinstance(step, ChannelScale):
        return {"factors": [within(*step.factor, at) for at in u[1:4]]}
    if isinstance(step, RgbNoise):
        return {"sigma": within(*step.sigma, u[1])}
    if isinstance(step, Sensor):
        return {"digital_gain": log_within(*step.digital_gain, u[1])}
    if isinstance(step, AmplifyNoise):
        return {"factor": 1 + within(*step.percent, u[1]) / 100}
    if isinstance(step, Defects):
        pdaf = u[4] < step.pdaf_probability
        periods = range(step.pdaf_period[0], step.pdaf_period[1] + 1, 2)
        return {
            "density": log_within(*step.density, u[1]),
            "lines": int(within(step.lines[0], step.lines[1] + 1, u[2])),
            "pdaf_period": periods[int(u[5] * len(periods))] if pdaf else None,
            "pdaf_gain": within(*step.pdaf_gain, u[6]) if pdaf else None,
        }
    assert isinstance(step, Quantise)
    return {"bits": step.bits[int(u[1] * len(step.bits))]}


def choose_factor(recipe: Recipe, room: int, rng: np.random.Generator) -> int:
    """The downsampling factor of a pair, among those of the recipe that the source has room for; 1 where none fits."""
    factor = 1
    for step in recipe.steps:
        if isinstance(step, Downsample):
            fitting = [f for f in step.factors if f <= room] or [1]
            applied = rng.random() < step.probability
            factor = fitting[int(rng.integers(len(fitting)))] if applied else 1
    return factor


def choose_window(height: int, width: int, side: int, rng: np.random.Generator) -> tuple[int, int]:
    """Top and left of a square window at a random place, 0 where the picture is smaller than it."""
    return int(rng.integers(max(height - side, 0) + 1)), int(rng.integers(max(width - side, 0) + 1))


def cut(picture: Tensor, window: tuple[int, int], side: int) -> Tensor:
    """3 side side of a picture 3 H W; beyond its edges it goes on as in a mirror."""
    picture = picture.permute(1, 2, 0)  # as readers leave it in memory: whole rows are copied
    for axis, start in enumerate(window):
        size = picture.shape[axis]
        if start + side <= size:
            picture = picture.narrow(axis, start, side)
        else:
            at = torch.arange(start, start + side, device=picture.device) % (2 * size)
            picture = picture.index_select(axis, torch.minimum(at, 2 * size - 1 - at))
    return picture.permute(2, 0, 1)


def unprocess_clean(picture: Tensor, draw: Draw) -> Tensor:
    """Sensor-linear camera RGB 1 3 H W, exposed as drawn, of a Sample's picture 3 H W."""
    light, p = draw.light, draw.parameters
    back = 2.0**draw.exposure_ev / p.gains
    white = 2.0**-p.exposure_ev  # camera RGB of the picture's white
    if light.is_camera_rgb:
        return undo_white_balance(full(picture)[None], 1 / back)
    if picture.dtype == torch.uint8 and light.by_bytes is not None:
        clean = compiled.unprocess(picture, *light.by_bytes, p.gains / white, back, white, NEAR_WHITE)
        if clean is not None:
            return clean[None]

    def through(part: Tensor) -> Tensor:
        part = undo(light.stages, undo_smoothstep(part) if light.tone == "smoothstep" else part)
        return undo_white_balance(saturate_whites(part, p.gains, white), 1 / back)

    return tiled(through, full(picture)[None], 0, TILE)


def degrade(clean: Tensor, draws: Sequence[Draw], recipe: Recipe, generator: torch.Generator) -> Pairs:
    """Pairs from sensor-linear camera RGB B 3 H W by the recipe's steps in their order."""
    target, x = clean, clean
    variance = clean.new_zeros(len(draws), 3)  # of the noise in x, per channel, alike everywhere
    shot = read = noiseless = clean.new_zeros(0)
    scale = _column([d.scale for d in draws], clean)  # B 1
    black = _column([d.black for d in draws], clean)
    places = _cpu_generator(draws)
    for number, step in enumerate(recipe.steps):
        drawn = [d.steps[number] for d in draws]
        if all(values is None for values in drawn):
            continue
        if isinstance(step, Blur):
            kernels = _kernels(drawn, clean)
            x = blur(x, kernels)
            variance = variance * (kernels**2).sum((1, 2))[:, None]
        elif isinstance(step, EdgeBlur):
            x = torch.cat(
                [edge_blur(one, sigma_space=v["sigma"]) if v else one for one, v in zip(x.split(1), drawn, strict=True)]
            )
        elif isinstance(step, ChannelScale):
            factors = clean.new_tensor([v["factors"] if v else [1.0] * 3 for v in drawn])
            target, x = scale_channels(target, factors), scale_channels(x, factors)
            variance = variance * factors**2
        elif isinstance(step, RgbNoise):
            added = _column([v["sigma"] ** 2 if v else 0.0 for v in drawn], clean)
            last = not any(d.steps[n] for d in draws for n in range(number + 1, recipe.steps.index(recipe.sensor)))
            seen = compiled.add_noise(x, float(added), generator) if last and len(draws) == 1 else None
            if seen is None:
                x = _mosaic(x) if last else x  # what the sensor does not see needs no noise
                seen = torch.addcmul(x, like(x, generator), added.sqrt()[..., None, None])
            x, variance = seen, variance + added
        elif isinstance(step, Downsample):
            factor = next(v for v in drawn if v)["factor"]  # one for the batch
            target, x = downsample(target, factor), downsample(x, factor)
            variance = variance / factor**2
        elif isinstance(step, Sensor):
            gain = _column([v["digital_gain"] for v in drawn if v], clean)
            noiseless = x
            x = _expose(step, x, gain, draws, scale, black, generator)
            shot, read = (clean.new_tensor(np.array([getattr(d, name) for d in draws])) for name in ("shot", "read"))
            shot, read = effective_noise(shot, read - 1 / (12 * scale**2), gain, scale)
            read = read + variance[:, list(PLANES)]
        elif isinstance(step, AmplifyNoise):
            factor_b = _column([v["factor"] if v else 1.0 for v in drawn], clean)
            x = amplify_noise(x, _mosaic(noiseless), factor_b)
            shot, read = shot * factor_b**2, read * factor_b**2
        elif isinstance(step, Defects):
            for i, values in enumerate(drawn):
                if values and values["pdaf_period"]:
                    lattice = pdaf_lattice(
                        x[i : i + 1], values["pdaf_period"], values["pdaf_gain"], PATTERN, generator=places
                    )
                    x = lattice if len(x) == 1 else torch.cat([x[:i], lattice, x[i + 1 :]])
            density = [v["density"] if v else 0.0 for v in drawn]
            x = add_defects(x, density, [v["lines"] if v else 0 for v in drawn], generator=places)
        elif isinstance(step, Quantise):
            steps = _column([2.0 ** v["bits"] - 1 if v else 2.0**24 for v in drawn], clean)
            x = quantise(x, steps, black * steps / scale)
            read = read + 1 / (12 * steps**2)
    packed = compiled.pack(x, float(scale), float(black)) if len(draws) == 1 else None
    return Pairs(
        noisy=F.pixel_unshuffle(quantise(x, scale, black), 2) if packed is None else packed,  # what the file holds
        clean=target,
        shot=shot,
        read=read,
        gains=clean.new_tensor(np.array([d.parameters.gains for d in draws])),
        cam_to_output=clean.new_tensor(np.array([d.cam_to_output for d in draws])),
        exposure_ev=clean.new_tensor([d.parameters.exposure_ev - d.exposure_ev for d in draws]),
        scale=scale[:, 0],
        black=black[:, 0],
        records=tuple(_record(d, recipe) for d in draws),
    )


def _mosaic(x: Tensor) -> Tensor:
    """B 1 H W of RGB, or of what is a mosaic already."""
    return x if x.shape[1] == 1 else mosaic(x, PATTERN)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype).to(like.device)[:, None]


def _cpu_generator(draws: Sequence[Draw]) -> torch.Generator:
    """For the places of defects: drawn on the processor wherever the frames are."""
    return torch.Generator().manual_seed(draws[0].seed)


def _kernels(drawn: Sequence[Mapping[str, Any] | None], like: Tensor) -> Tensor:
    """B k k; a single 1 where the blur is not applied."""
    none = {"kernel": 1, "sigma": 1.0, "elongation": 1.0, "angle": 0.0}
    size, sigma, elongation, angle = (
        torch.tensor([(v or none)[name] for v in drawn]) for name in ("kernel", "sigma", "elongation", "angle")
    )
    return gaussian_kernels(size, sigma.to(like.dtype), elongation=elongation, angle=angle).to(like)


def _expose(
    step: Sensor,
    x: Tensor,
    gain: Tensor,
    draws: Sequence[Draw],
    scale: Tensor,
    black: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """What the sensor counts of RGB or of a mosaic, B 3 H W or B 1 H W to B 1 H W: its noise without what the steps of
    the counts add, and the counts. gain, scale, black: B 1."""
    shot = torch.tensor(np.array([d.shot for d in draws]), dtype=scale.dtype)
    read = torch.tensor(np.array([d.read for d in draws]), dtype=scale.dtype)
    if bool((shot == shot[:, :1]).all() and (read == read[:, :1]).all()):
        shot, read = shot[:, :1], read[:, :1]  # all planes alike: no maps over the sites are needed
    shot, read = shot.to(scale.device), (read.to(scale.device) - 1 / (12 * scale**2)).clamp(min=0)
    if step.model == "gaussian" and len(draws) == 1:
        counted = compiled.expose(x, generator, shot, read, float(gain), float(scale), float(black))
        if counted is not None:
            return counted
    x = _mosaic(x)
    if step.model == "eld":
        laws = [d.eld for d in draws if d.eld is not None]

        def add(light: Tensor) -> Tensor:
            return torch.cat(
                [
                    eld_noise(one, _moved(law, light), generator=generator)
                    for one, law in zip(light.split(1), laws, strict=True)
                ]
            )

    elif step.model == "poisson":

        def add(light: Tensor) -> Tensor:
            return poisson_noise(light, shot, read.sqrt(), scale=1.0, step=0.0, generator=generator)

    else:
        z = like(x, generator)

        def add(light: Tensor) -> Tensor:
            return light + noise_std(light, shot, read) * z

    return expose_short(x, gain, add, scale=scale, black=black)


def _moved(law: EldParameters, x: Tensor) -> EldParameters:
    """The parameters on the device of x."""
    return EldParameters(
        law.gain.to(x), law.tukey_lambda.to(x), law.read_scale.to(x), law.row_std.to(x), law.colour_bias.to(x),
        law.step, law.scale,
    )  # fmt: skip


def _record(draw: Draw, recipe: Recipe) -> dict[str, Any]:
    """A pair's parameters, as plain numbers and text."""
    names = [name for step in recipe.steps for name, kind in (RGB_STEPS | MOSAIC_STEPS).items() if type(step) is kind]
    p = draw.parameters
    return {
        "index": draw.index,
        "seed": draw.seed,
        "source": draw.source,
        "window": list(draw.window),
        "recipe": recipe.name,
        "tone": recipe.tone,
        "camera": draw.light.camera.name,
        "camera_licence": draw.light.camera.licence,
        "neutral": p.neutral.tolist(),
        "white_xy": [float(value) for value in p.white_xy],
        "cam_to_output": draw.cam_to_output.tolist(),
        "exposure_ev": draw.exposure_ev,
        "display_exposure_ev": p.exposure_ev - draw.exposure_ev,
        "iso": draw.iso,
        "noise": draw.profile,
        "sensor_shot": draw.shot.tolist(),
        "sensor_read": draw.read.tolist(),
        "eld": draw.eld
        and {name: value.tolist() if isinstance(value, Tensor) else value for name, value in vars(draw.eld).items()},
        "scale": draw.scale,
        "black": draw.black,
        "steps": [{name: values} for name, values in zip(names, draw.steps, strict=True)],
        "cfa": str(PATTERN),
        "version": __version__,
    }


def make_pair(
    source: Source,
    recipe: Recipe,
    choice: CameraChoice,
    *,
    seed: int,
    index: int,
    size: int = 512,
    isos: Isos | None = None,
) -> Pairs:
    """One pair, B = 1, on the processor: noisy 4 size size, clean 3 2 size 2 size.

    The same arguments give the same bytes, whatever else was made before or elsewhere. A picture that is smaller than
    the window is continued by mirror images; Downsample takes the factors that its size allows.
    """
    own_seed = pair_seed(seed, index)
    rng = np.random.default_rng(own_seed)
    sample = source[index % len(source)]
    height, width = sample.rgb.shape[-2:]
    factor = choose_factor(recipe, min(height, width) // (2 * size), rng)
    side = 2 * size * factor
    window = choose_window(height, width, side, rng)
    light = draw_light(recipe, choice, rng) if sample.meta is None else own_light(recipe, sample)
    draw = draw_pair(
        recipe, choice, light, rng,
        index=index, seed=own_seed, source=sample.name, window=window, factor=factor, isos=isos,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    with torch.no_grad():
        return degrade(unprocess_clean(cut(sample.rgb, window, side), draw), [draw], recipe, generator)


class PairStream:
    """Batches of pairs without an end, made on the device that trains; batch n depends on the arguments and n alone.

    A pool of pictures lies on the device, one of which is replaced every `renew` batches, read meanwhile in a thread:
    no step waits for files. So do LIGHTS cameras under their lights, each for a recipe, one of which is drawn anew
    every KEPT batches. Windows are cut from random pictures of the pool, flipped and transposed at random (before they
    are mosaicked, so that the phase stays).
    recipe: one, or several of which each has an equal share.
    share: (rank, of): of each batch only this part is made, batch / of pairs; together the parts are the batch.
    prefetch: batches made ahead in a thread of their own; 0: in the caller's, which a GPU prefers.
    """

    def __init__(
        self,
        source: Source,
        recipe: Recipe | Sequence[Recipe],
        choice: CameraChoice,
        *,
        batch: int,
        size: int,
        seed: int = 0,
        isos: Isos | None = None,
        device: str | torch.device = "cpu",
        pool: int = 32,
        renew: int = 4,
        share: tuple[int, int] = (0, 1),
        prefetch: int | None = None,
    ) -> None:
        self.source, self.choice, self.isos = source, choice, isos
        self.recipes = [recipe] if isinstance(recipe, Recipe) else list(recipe)
        self.batch, self.size, self.seed, self.device = batch, size, seed, torch.device(device)
        self.pool, self.renew, self.share = min(pool, len(source)), renew, share
        self.prefetch = (0 if self.device.type == "cuda" else 2) if prefetch is None else prefetch
        self._order = np.random.default_rng([seed, len(source)]).permutation(len(source))
        self._pictures: dict[int, Sample] = {}  # of the pool, by their number in the endless series of _order
        self._lights: dict[int, tuple[Recipe, Light]] = {}  # by their number in an endless series

    def __iter__(self) -> Iterator[Pairs]:
        return self.batches()

    def batches(self, start: int = 0, *, batch: int | None = None, size: int | None = None) -> Iterator[Pairs]:
        """The batches from number `start` on. batch, size: in place of the stream's own."""
        made = self._batches(start, batch or self.batch, size or self.size)
        if not self.prefetch:
            yield from made
            return
        with ThreadPoolExecutor(1) as thread:
            ahead: deque[Future[Pairs]] = deque(thread.submit(next, made) for _ in range(self.prefetch))
            try:
                while True:
                    pairs = ahead.popleft().result()
                    ahead.append(thread.submit(next, made))
                    yield pairs
            finally:
                for future in ahead:
                    future.cancel()

    def _batches(self, start: int, batch: int, size: int) -> Iterator[Pairs]:
        rank, of = self.share
        if batch % of:
            raise ValueError(f"a batch of {batch} cannot be shared by {of} processes; expected a multiple of {of}")
        mine = range(rank * (batch // of), (rank + 1) * (batch // of))
        with ThreadPoolExecutor(1) as reader:
            coming: dict[int, Future[Sample]] = {}
            for number in count(start):
                newest = self.pool + (number + 1) // self.renew if self.pool < len(self.source) else self.pool
                wanted = range(newest - self.pool, newest)  # the pool of this batch
                for n in (*wanted, *([newest] if newest > self.pool else [])):
                    if n not in self._pictures and n not in coming:
                        coming[n] = reader.submit(self._read, n)
                for n in [n for n in coming if n in wanted]:
                    self._pictures[n] = coming.pop(n).result()
                for n in [n for n in self._pictures if n not in wanted]:
                    del self._pictures[n]
                pool = [self._pictures[n] for n in wanted]
                lights = self._lights_of(number)
                with torch.no_grad():  # closed before the yield: it would hold for the caller too
                    pairs = Pairs.joined([self._pair(pool, lights, number, i, batch, size) for i in mine])
                yield pairs

    def _read(self, number: int) -> Sample:
        sample = self.source[int(self._order[number % len(self._order)])]
        return sample._replace(rgb=_small(sample.rgb).to(self.device))

    def _lights_of(self, number: int) -> list[tuple[Recipe, Light]]:
        """Those of batch `number`: the same for KEPT batches, and all but one for the next KEPT."""
        wanted = range(number // KEPT, number // KEPT + LIGHTS)
        for n in [n for n in self._lights if n not in wanted]:
            del self._lights[n]
        for n in wanted:
            if n not in self._lights:
                rng = np.random.default_rng([self.seed, 1, n])
                recipe = self.recipes[int(rng.integers(len(self.recipes)))]
                self._lights[n] = (recipe, draw_light(recipe, self.choice, rng))
        return [self._lights[n] for n in wanted]

    def _pair(
        self, pool: Sequence[Sample], lights: Sequence[tuple[Recipe, Light]], number: int, i: int, batch: int, size: int
    ) -> Pairs:
        """Pair i of batch `number`."""
        index = number * batch + i
        seed = int(np.random.SeedSequence([self.seed, 2, number, i]).generate_state(1, np.uint64)[0] >> np.uint64(1))
        rng = np.random.default_rng(seed)
        sample = pool[int(rng.integers(len(pool)))]
        recipe, light = lights[int(rng.integers(len(lights)))]
        if sample.meta is not None:
            light = own_light(recipe, sample)
        factor = choose_factor(recipe, min(sample.rgb.shape[-2:]) // (2 * size), rng)
        side = 2 * size * factor
        window = choose_window(sample.rgb.shape[1], sample.rgb.shape[2], side, rng)
        draw = draw_pair(
            recipe, self.choice, light, rng,
            index=index, seed=seed, source=sample.name, window=window, factor=factor, isos=self.isos,
        )  # fmt: skip
        picture = cut(sample.rgb, window, side)
        across, down, swap = rng.integers(2, size=3)
        picture = picture.flip([axis for axis, turn in ((1, down), (2, across)) if turn])
        picture = picture.transpose(1, 2) if swap else picture
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        return degrade(unprocess_clean(picture, draw), [draw], recipe, generator)


def _small(rgb: Tensor) -> Tensor:
    """A picture to keep: uint8 where that holds it exactly, else half (1/16 of an 8-bit step)."""
    if rgb.dtype == torch.uint8:
        return rgb
    bytes_ = (rgb * 255).round()
    return bytes_.to(torch.uint8) if torch.equal(bytes_ / 255, rgb) and bytes_.min() >= 0 else rgb.half()
