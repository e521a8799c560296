"""Recipes: how a team makes its pairs, as data. YAML files under data/recipes, or a user's own; NumPy only.

A recipe is an ordered list of steps with fixed names; each step has its own strict set of keys (the dataclasses below).
Every range is drawn anew for each pair: uniformly, or log-uniformly where a comment says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from isp.locate import shipped_names, yaml_path

Range = tuple[float, float]
TONES = ("gamma", "filmic", "smoothstep")
MODELS = ("gaussian", "poisson", "eld")
RANDOM_CAMERAS = ("mixture", "upi")  # schemes of isp.cameras.random_camera


@dataclass(frozen=True)
class Blur:
    """The input blurred by a Gaussian, on camera RGB."""

    kernel: Range  # odd size, pixels
    sigma: Range  # pixels
    elongation: Range = (1.0, 1.0)  # longer over shorter axis, at a random angle: a point spread function of the lens
    probability: float = 1.0


@dataclass(frozen=True)
class EdgeBlur:
    """The input blurred by a bilateral filter at its edges only, on camera RGB."""

    sigma: Range  # pixels
    probability: float = 1.0


@dataclass(frozen=True)
class ChannelScale:
    """Input and target multiplied by a factor per channel: the scene under another light, shown without correction."""

    factor: Range
    probability: float = 1.0


@dataclass(frozen=True)
class RgbNoise:
    """White Gaussian noise on the input's camera RGB: what was left in the clean picture, or before downsampling."""

    sigma: Range  # linear
    probability: float = 1.0


@dataclass(frozen=True)
class Downsample:
    """Input and target brought down by a whole factor, on camera RGB."""

    factors: tuple[int, ...]
    probability: float = 1.0


@dataclass(frozen=True)
class Sensor:
    """The mosaic exposed at 1 / digital_gain of its light: noise at the ISO, whole counts, then the gain.

    The noise is that of the recipe's profiles; eld: drawn from their ELD laws instead, whatever the ISO.
    """

    model: str = "gaussian"
    digital_gain: Range = (1.0, 1.0)  # log-uniform

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"sensor model is {self.model!r}; expected one of {', '.join(MODELS)}")


@dataclass(frozen=True)
class AmplifyNoise:
    """The noise that is there already made stronger."""

    percent: Range
    probability: float = 1.0


@dataclass(frozen=True)
class Defects:
    """Broken sites, broken pieces of lines, and the lattice of phase-detection pixels."""

    density: Range  # share of broken sites, log-uniform
    lines: tuple[int, int] = (0, 0)  # broken pieces of rows or columns
    pdaf_probability: float = 0.0
    pdaf_period: tuple[int, int] = (8, 16)  # sites, even
    pdaf_gain: Range = (0.7, 1.0)
    probability: float = 1.0


@dataclass(frozen=True)
class Quantise:
    """Fewer bits than the sensor has."""

    bits: tuple[int, ...]
    probability: float = 1.0


Step = Blur | EdgeBlur | ChannelScale | RgbNoise | Downsample | Sensor | AmplifyNoise | Defects | Quantise
RGB_STEPS: dict[str, type] = {
    "blur": Blur,
    "edge-blur": EdgeBlur,
    "channel-scale": ChannelScale,
    "rgb-noise": RgbNoise,
    "downsample": Downsample,
}
MOSAIC_STEPS: dict[str, type] = {
    "sensor": Sensor,
    "amplify-noise": AmplifyNoise,
    "defects": Defects,
    "quantise": Quantise,
}


@dataclass(frozen=True)
class Isos:
    """ISOs to draw from: log-uniformly between two, or any of a list."""

    values: tuple[float, ...]
    between: bool = False

    @classmethod
    def parse(cls, text: str) -> Isos:
        """ "800-12800", "1600,3200,6400" or "6400"."""
        try:
            values = tuple(float(part) for part in text.split("-" if "-" in text else ","))
        except ValueError:
            values = ()
        if not values or min(values) <= 0 or ("-" in text and not (len(values) == 2 and values[0] < values[1])):
            raise ValueError(f"ISO is {text!r}; expected a range (800-12800), a list (1600,3200,6400) or one ISO")
        return cls(values, "-" in text)

    def draw(self, rng: np.random.Generator) -> float:
        """An ISO, rounded to a whole number."""
        if self.between:
            return float(round(np.exp(rng.uniform(np.log(self.values[0]), np.log(self.values[1])))))
        return self.values[int(rng.integers(len(self.values)))]

    def __str__(self) -> str:
        return ("-" if self.between else ",").join(f"{value:g}" for value in self.values)


@dataclass(frozen=True)
class Recipe:
    """How pairs are made of clean pictures.

    tone: what a display picture went through before its sRGB encoding, to be undone: gamma (nothing), filmic (our
        standard look), smoothstep (the UPI paper's curve).
    noise: noise profiles, by name or path, one drawn per pair; "upi" for the law of the UPI paper. A camera that has
        a calibrated noise profile of its own is used with that one.
    """

    name: str
    source: str
    steps: tuple[Step, ...]
    noise: tuple[str, ...]
    iso: Isos = Isos((1600.0,))
    tone: str = "gamma"
    exposure_ev: Range = (0.0, 0.0)  # stops, of the scene against the picture
    white_balance: float = 0.0  # gains of red and blue vary by up to this share around the camera's own
    random_camera: str = "mixture"  # the scheme that --camera random means

    def __post_init__(self) -> None:
        if self.tone not in TONES:
            raise ValueError(f"tone is {self.tone!r}; expected one of {', '.join(TONES)}")
        if self.random_camera not in RANDOM_CAMERAS:
            raise ValueError(f"random_camera is {self.random_camera!r}; expected one of {', '.join(RANDOM_CAMERAS)}")
        if not self.noise:
            raise ValueError("noise names no profile; expected at least one, or upi")
        if not 0 <= self.white_balance < 1:
            raise ValueError(f"white_balance is {self.white_balance!r}; expected a share from 0 to below 1")
        mosaic = [isinstance(step, tuple(MOSAIC_STEPS.values())) for step in self.steps]
        if mosaic != sorted(mosaic):
            raise ValueError(f"steps on camera RGB ({', '.join(RGB_STEPS)}) come before those on the mosaic")
        if sum(isinstance(step, Sensor) for step in self.steps) != 1:
            raise ValueError("steps need exactly one `sensor`: it makes the counts")
        if not isinstance(self.steps[mosaic.index(True)], Sensor):
            raise ValueError("`sensor` is the first step on the mosaic")

    @property
    def sensor(self) -> Sensor:
        """The step that makes the counts."""
        return next(step for step in self.steps if isinstance(step, Sensor))

    @property
    def largest_factor(self) -> int:
        """The most that a pair is downsampled by."""
        return max((max(step.factors) for step in self.steps if isinstance(step, Downsample)), default=1)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe that a YAML file, or as_dict, says. Raises ValueError for anything else."""
        recipe: Recipe = _build(cls, values, "a recipe")
        return recipe

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """The recipe in a YAML file. Raises ValueError that names the file and what was expected."""
        import yaml

        path = Path(path)
        try:
            return cls.from_dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError, UnicodeDecodeError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: {' '.join(str(error).split())}") from error

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists: what the YAML said, defaults included."""
        names = {kind: name for name, kind in (RGB_STEPS | MOSAIC_STEPS).items()}

        def plain(value: Any) -> Any:
            if isinstance(value, Isos):
                return str(value)
            if isinstance(value, tuple):
                return [plain(item) for item in value]
            if type(value) in names:
                return {names[type(value)]: {f.name: plain(getattr(value, f.name)) for f in fields(value)}}
            return value

        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the library."""
    return shipped_names("recipes")


def load_recipe(name: str | Path) -> Recipe:
    """A shipped recipe by its name ("mialgo"), or a user's own by the path of its YAML file."""
    return Recipe.load(yaml_path(name, "recipes", "recipe"))


def _build(cls: type, values: object, where: str) -> Any:
    """An instance of one of the dataclasses above from a mapping with none but its keys."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} should be a mapping of keys to values; got {type(values).__name__}")
    known = [f.name for f in fields(cls)]
    if unknown := sorted(str(key) for key in values if key not in known):
        raise ValueError(f"unknown key {unknown[0]!r} in {where}; known keys: {', '.join(known)}")
    hints = get_type_hints(cls)
    return cls(**{key: _value(hints[key], value, f"{key} of {where}") for key, value in values.items()})


def _value(kind: Any, value: object, where: str) -> Any:
    """A YAML value as a field of this type."""
    if kind is Isos:
        return Isos.parse(str(value))
    if kind == tuple[Step, ...]:
        return tuple(_step(item) for item in _list(value, where))
    if get_origin(kind) is tuple:
        items = [_value(get_args(kind)[0], item, where) for item in _list(value, where)]
        if get_args(kind)[-1] is not Ellipsis and (len(items) != 2 or items[0] > items[1]):
            raise ValueError(f"{where} is {value!r}; expected a range, two rising numbers")
        return tuple(items)
    if kind is str:
        if not isinstance(value, str):
            raise ValueError(f"{where} is {value!r}; expected text")
        return value
    try:
        number = kind(float(value))  # type: ignore[arg-type]  # YAML 1.1 reads 1e-3, without a point, as a string
        whole = kind is not int or number == float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number, whole = np.nan, False
    if isinstance(value, bool) or not whole or not np.isfinite(number):
        raise ValueError(f"{where} is {value!r}; expected {'a whole number' if kind is int else 'a number'}")
    return number


def _list(value: object, where: str) -> Sequence[object]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"{where} is {value!r}; expected a list")
    return value


def _step(item: object) -> Step:
    """One entry of `steps`: `name: {keys}`, or `name` alone for all defaults."""
    entry = {item: {}} if isinstance(item, str) else item
    known = RGB_STEPS | MOSAIC_STEPS
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise ValueError(f"a step is {item!r}; expected `name: {{keys}}` with one of {', '.join(known)}")
    name, values = next(iter(entry.items()))
    if name not in known:
        raise ValueError(f"unknown step {name!r}; known steps: {', '.join(known)}")
    try:
        return _build(known[name], values or {}, f"step {name}")
    except TypeError as error:  # a key without a default is missing
        raise ValueError(f"step {name}: {error}") from error
