"""From what the file says and what the user asks to every number that the stages need, each with its origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isp.dataclass import dataclass
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
    model_file: str | None  # that runs: its weights, or a network exported from them
    model_sha256: str | None  # of that file
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


def settled(meta: RawMetadata, options: RenderOptions) -> tuple[RenderOptions, str | None]:
    """The options with model "auto" decided, and why; None where it was not open.

    The default model for Bayer frames whose noise is known from the file or from a profile of the camera, unless a
    demosaic is asked for, and where a runtime is installed that is faster than PyTorch or one is asked for; else none.
    Raises ValueError where there is no model for what goes with one.
    """
    if options.model != "auto":
        return options, None
    from isp.fast.models import choose
    from isp.noise.frame import frame_noise

    noise_profile, origin = frame_noise(meta, None)
    obstacle = None
    if options.demosaic != "auto":
        obstacle = f"demosaic {options.demosaic} is asked for"
    elif meta.kind != "bayer":
        obstacle = f"the frame is {meta.kind}, not bayer"
    elif noise_profile is None:
        obstacle = "the noise of the frame is not known (no NoiseProfile, and no profile of the camera)"
    elif options.runtime == "auto" and choose(DEFAULT_MODEL).path is None:
        obstacle = "neither the kernel nor openvino nor onnxruntime can run it here"
    if obstacle is None:
        return replace(options, model=DEFAULT_MODEL), f"{DEFAULT_MODEL}, as the noise is known ({origin})"
    try:
        return replace(options, model=None), f"none, as {obstacle}"
    except ValueError as error:
        way = "; name one: --model NAME" if meta.kind == "bayer" else ""
        raise ValueError(f"{error}: {obstacle}{way}") from None


def resolve(meta: RawMetadata, options: RenderOptions, linear: Tensor | None = None) -> RenderParameters:
    """The parameters of a render of a file with this metadata.

    linear: B 1 H W or B 3 H W, the frame after the sensor stages; needed by the white balances that look at it.
    Raises ValueError where a white balance must look at the frame and none was given.
    """
    origins: dict[str, str] = {}
    options, reason = settled(meta, options)
    origins["model"] = "options.model" if reason is None else f"auto: {reason}"
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
    file, digest, runtime, precision = None, None, options.runtime, options.precision
    if options.model is not None:
        choice, takes_noise = _for_model(meta, options, linear)
        runtime, precision = choice.runtime, choice.precision
        file, digest = _ran(choice)
        if takes_noise:
            from isp.noise.frame import frame_noise

            noise_profile, origins["noise_profile"] = frame_noise(meta, linear)
        origins["strength"] = "options.strength"
        origins["runtime"] = choice.reason
        origins["precision"] = _why(choice) if options.precision == "auto" else "options.precision"
        origins["model_file"] = "of the model, for runtime and precision"
        origins["model_sha256"] = "model_file"
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
        model_file=file,
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


def _why(choice: Choice) -> str:
    """What decided a precision that was left open."""
    if choice.precision == "int8":
        return "auto: the model has it"
    if choice.runtime != "openvino":
        return f"auto: of runtime {choice.runtime}"
    if choice.precision == "bfloat16":
        return "auto: the processor has it"
    return "auto: the model has no int8, and the processor no bfloat16"


def _ran(choice: Choice) -> tuple[str, str]:
    """The file that runs, and its SHA-256."""
    from isp.fast.exports import cached

    file = choice.weights if choice.runtime == "torch" else choice.path or cached(choice.weights)
    stat = file.stat()
    return str(file), _sha256(file, (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=8)
def _sha256(file: Path, version: tuple[int, int]) -> str:
    from isp.fast.exports import digest_of

    return digest_of(file)


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
