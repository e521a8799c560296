"""From what the file says and what the user asks to every number that the stages need, each with its origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from isp.options import DEFAULT_MODEL, RenderOptions, default_method
from isp.primaries import XYZ_D50_TO_PROPHOTO, prophoto_to
from isp.raw.colour import (
    DAYLIGHT_XY,
    camera_to_xyz_d50,
    has_colour,
    interpolate_hue_sat_map,
    neutral_to_xy,
    temperature_tint_to_xy,
    xy_to_neutral,
    xy_to_temperature_tint,
)
from isp.raw.errors import UnsupportedRawError
from isp.raw.metadata import RawMetadata

if TYPE_CHECKING:
    from torch import Tensor

    from isp.fast.models import Choice


@dataclass(frozen=True, eq=False)
class RenderParameters:
    """The resolved numbers of one render. Arrays are float64; `origins` names the source of each: a tag, an
    option, an estimate or a default."""

    neutral: np.ndarray  # 3: camera RGB of a neutral, largest 1
    white_xy: tuple[float, float]
    temperature: float  # kelvin, of white_xy
    tint: float
    cam_to_prophoto: np.ndarray  # 3x3, white-balanced camera RGB to linear ProPhoto RGB (D50)
    prophoto_to_output: np.ndarray  # 3x3, to the linear output primaries
    exposure_ev: float  # stops: BaselineExposure and the user's
    hue_sat_map: np.ndarray | None
    hue_sat_map_encoding: int
    look: str
    look_table: np.ndarray | None
    look_table_encoding: int
    tone_curve: np.ndarray | None  # the profile's own; None: ours for the standard look, none for the neutral one
    demosaic: str
    highlights: str
    space: str
    fix_defects: bool
    linear: bool
    noise_profile: np.ndarray | None  # planes 2: (shot, read) on the normalised scale, as the tag NoiseProfile
    model: str | None  # in the place of the demosaic
    model_sha256: str | None  # of its weights
    strength: float
    runtime: str  # that runs the model; "auto" without one
    precision: str
    origins: Mapping[str, str]

    @property
    def gains(self) -> np.ndarray:
        """3: white-balance gains, smallest 1."""
        return 1.0 / self.neutral

    @property
    def noise(self) -> tuple[float, float] | None:
        """(shot, read), means over the planes; None: unknown."""
        profile = self.noise_profile
        return None if profile is None else (float(profile[:, 0].mean()), float(profile[:, 1].mean()))

    def as_record(self) -> dict[str, Any]:
        """name: {value, origin}, for the JSON record; large tables by their shape."""

        def plain(value: Any) -> Any:
            if isinstance(value, np.ndarray):
                return value.tolist() if value.size <= 9 else f"table of shape {value.shape}"
            return value

        return {
            f.name: {"value": plain(getattr(self, f.name)), "origin": self.origins.get(f.name, "default")}
            for f in fields(self)
            if f.name != "origins"
        }


def settled(meta: RawMetadata, options: RenderOptions) -> RenderOptions:
    """The options with model "auto" decided: the default model for Bayer frames whose noise is known from the file or
    from a profile of the camera, unless a demosaic is asked for, and where a runtime is installed that is faster than
    PyTorch or one is asked for; else no model."""
    if options.model != "auto":
        return options
    from isp.fast.models import choose
    from isp.noise.frame import frame_noise

    suits = (
        options.demosaic == "auto"
        and meta.kind == "bayer"
        and frame_noise(meta, None)[0] is not None
        and (options.runtime != "auto" or choose(DEFAULT_MODEL).path is not None)
    )
    return replace(options, model=DEFAULT_MODEL if suits else None)


def resolve(meta: RawMetadata, options: RenderOptions, linear: Tensor | None = None) -> RenderParameters:
    """The parameters of a render of a file with this metadata.

    linear: B 1 H W or B 3 H W, the frame after the sensor stages; needed by the white balances that look at it.
    Raises ValueError where a white balance must look at the frame and none was given.
    """
    options = settled(meta, options)
    origins: dict[str, str] = {}
    neutral, white_xy, origins["neutral"] = _white(meta, options, linear)
    origins["white_xy"] = origins["temperature"] = origins["tint"] = f"from neutral ({origins['neutral']})"
    temperature, tint = xy_to_temperature_tint(white_xy)

    if meta.kind == "monochrome":
        cam_to_prophoto, origins["cam_to_prophoto"] = np.eye(3), "monochrome sensor"
    elif has_colour(meta):
        cam_to_prophoto = XYZ_D50_TO_PROPHOTO @ camera_to_xyz_d50(meta, white_xy, neutral) @ np.diag(neutral)
        used = "forward_matrix1" if meta.forward_matrix1 is not None else "color_matrix1"
        origins["cam_to_prophoto"] = f"{used} and its companions ({meta.origins.get(used, 'given')})"
    else:
        cam_to_prophoto = np.linalg.inv(prophoto_to("srgb"))
        origins["cam_to_prophoto"] = "no ColorMatrix: white-balanced camera RGB taken as linear sRGB"

    hue_sat_map = interpolate_hue_sat_map(meta, white_xy)
    standard = options.look == "standard" and not options.linear
    origins["hue_sat_map"] = meta.origins.get("profile_hue_sat_map1", "default")
    origins["look_table"] = meta.origins.get("profile_look_table", "default") if standard else "off: neutral or linear"
    origins["tone_curve"] = meta.origins.get("profile_tone_curve", "default") if standard else "off: neutral or linear"
    origins["exposure_ev"] = f"baseline_exposure ({meta.origins.get('baseline_exposure', 'default')})" + (
        f" + options.exposure {options.exposure:+g}" if options.exposure else ""
    )
    highlights, origins["highlights"] = options.highlights, "options.highlights"
    if highlights == "auto":
        highlights = "none" if options.linear else "reconstruct" if options.look == "standard" else "clip"
        origins["highlights"] = "auto, for the look"
    for name in ("look", "space", "fix_defects", "linear"):
        origins[name] = f"options.{name}"
    origins["prophoto_to_output"] = "options.space"
    noise_profile, origins["noise_profile"] = meta.noise_profile, meta.origins.get("noise_profile", "default")
    digest, runtime, precision = None, options.runtime, options.precision
    if options.model is not None:
        choice, takes_noise = _for_model(meta, options, linear)
        digest, runtime, precision = choice.sha256, choice.runtime, choice.precision
        if takes_noise:
            from isp.noise.frame import frame_noise

            noise_profile, origins["noise_profile"] = frame_noise(meta, linear)
        for name in ("model", "strength"):
            origins[name] = f"options.{name}"
        origins["runtime"] = choice.reason
        origins["precision"] = "auto" if options.precision == "auto" else "options.precision"
        origins["model_sha256"] = "the weights' file"
    demosaic, origins["demosaic"] = options.demosaic, "options.demosaic"
    if demosaic == "auto":
        demosaic, origins["demosaic"] = default_method(meta.kind), "auto, for the sensor"
    if options.model is not None:
        origins["demosaic"] = "of what is saturated; the model does the rest"
    return RenderParameters(
        neutral=neutral,
        white_xy=white_xy,
        temperature=temperature,
        tint=tint,
        cam_to_prophoto=cam_to_prophoto,
        prophoto_to_output=prophoto_to(options.space),
        exposure_ev=meta.baseline_exposure + options.exposure,
        hue_sat_map=hue_sat_map,
        hue_sat_map_encoding=meta.profile_hue_sat_map_encoding,
        look=options.look,
        look_table=meta.profile_look_table if standard else None,
        look_table_encoding=meta.profile_look_table_encoding,
        tone_curve=meta.profile_tone_curve if standard else None,
        demosaic=demosaic,
        highlights=highlights,
        space=options.space,
        fix_defects=options.fix_defects,
        linear=options.linear,
        noise_profile=noise_profile,
        model=options.model,
        model_sha256=digest,
        strength=options.strength,
        runtime=runtime,
        precision=precision,
        origins=origins,
    )


def _for_model(meta: RawMetadata, options: RenderOptions, linear: Tensor | None) -> tuple[Choice, bool]:
    """How the model runs, and whether it is told the noise."""
    from isp.fast.models import choose

    assert options.model is not None
    if meta.kind != "bayer":
        demosaicked = meta.kind in ("monochrome", "linear")
        reason = "there is nothing to demosaic" if demosaicked else "models are trained on Bayer mosaics"
        raise UnsupportedRawError(
            f"model {options.model!r} cannot take a {meta.kind} frame: {reason}; render it without a model"
        )
    runtime = options.runtime
    if runtime == "auto" and linear is not None and (linear.requires_grad or linear.device.type != "cpu"):
        runtime = "torch"
    choice = choose(options.model, runtime, options.precision)
    if choice.path is not None:
        inputs = choice.export().config["inputs"]
    else:
        from isp.nets.load import open_model

        try:
            inputs = open_model(options.model, choice.runtime, choice.precision).config.inputs
        except ValueError:
            if options.runtime != "auto" or choice.runtime == "torch":
                raise
            choice = choose(options.model, "torch")  # of a network that cannot be exported
            inputs = open_model(options.model).config.inputs
    if "sigma" not in inputs and options.strength != 1:
        raise ValueError(f"strength is {options.strength:g}, but model {options.model!r} takes no noise map; leave it")
    return choice, "sigma" in inputs


def _white(
    meta: RawMetadata, options: RenderOptions, linear: Tensor | None
) -> tuple[np.ndarray, tuple[float, float], str]:
    """Camera neutral (largest 1), its xy, and where it came from."""

    def from_neutral(neutral: np.ndarray, origin: str) -> tuple[np.ndarray, tuple[float, float], str]:
        neutral = neutral / neutral.max()
        return neutral, neutral_to_xy(meta, neutral) if has_colour(meta) else DAYLIGHT_XY, origin

    def from_xy(xy: tuple[float, float], origin: str) -> tuple[np.ndarray, tuple[float, float], str]:
        if has_colour(meta):
            return xy_to_neutral(meta, xy), xy, origin
        if origin.startswith("options"):
            light = origin.split(".")[-1].removeprefix("wb: ")
            raise ValueError(
                f"white balance by {light} needs a ColorMatrix, which the file has not; give gains or a method"
            )
        return np.ones(3), xy, "default: none, the file has neither AsShotNeutral nor ColorMatrix"

    if meta.kind == "monochrome":
        return np.ones(3), DAYLIGHT_XY, "monochrome sensor"
    if options.temperature is not None:
        return from_xy(temperature_tint_to_xy(options.temperature, options.tint), "options.temperature and tint")
    if options.wb == "as-shot":
        if meta.as_shot_neutral is not None:
            return from_neutral(meta.as_shot_neutral, meta.origins.get("as_shot_neutral", "given"))
        if meta.as_shot_white_xy is not None:
            return from_xy(meta.as_shot_white_xy, meta.origins.get("as_shot_white_xy", "given"))
        return from_xy(DAYLIGHT_XY, "default: daylight, the file has no as-shot white balance")
    if options.wb == "daylight":
        return from_xy(DAYLIGHT_XY, "options.wb: daylight")
    if "," in options.wb:
        return from_neutral(1.0 / np.array(options.gains()), "options.wb: gains")
    if linear is None:
        raise ValueError(f"white balance {options.wb!r} is estimated from the frame, and none was given")
    from isp.stages.illuminant import estimate_neutral

    return from_neutral(estimate_neutral(linear, meta.cfa, options.wb), f"estimated: {options.wb}")
