"""What a training run is, whole: one frozen dataclass, read from a strict YAML and changed by key.sub=value.

    config = TrainConfig.load("models/flat/recipe.yaml", ["phases.0.batch=8", "seed=1"])

An unknown key is an error that lists the known ones. The run's folder keeps the result, every default written out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from isp.losses.gan import GENERATOR
from isp.nets.model import ModelConfig
from isp.train.domains import DOMAINS


@dataclass(frozen=True)
class Data:
    """Where pairs come from: synthesised on the fly from pictures, or read from a store.

    sources: folders, HDF5 files, "dead-leaves" (as tools.make_pairs). recipes: names or YAML files of isp.datasets,
    each with an equal share. camera, noise, isos: as tools.make_pairs. pool, renew: see PairStream; a pool as large as
    the sources holds them all. dead_leaves: side of those pictures.
    store: a pair store's folder, in the place of all that.
    held_out: share of the pictures, by the hash of their file names, that is never trained on.
    """

    sources: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ("wide",)
    camera: str = "random"
    noise: str | None = None
    isos: str | None = None
    pool: int = 256
    renew: int = 4
    dead_leaves: int = 512
    store: str | None = None
    held_out: float = 0.05

    def __post_init__(self) -> None:
        if bool(self.sources) == (self.store is not None):
            raise ValueError("data needs either sources (folders, HDF5 files, dead-leaves) or a store")
        if min(self.pool, self.renew, self.dead_leaves) < 1:
            raise ValueError(
                f"data needs pool, renew and dead_leaves from 1 on; got {self.pool, self.renew, self.dead_leaves}"
            )
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out is {self.held_out}; expected a share from 0 to below 1")


@dataclass(frozen=True)
class Validation:
    """A fixed set: windows of held-out pictures, each under every noise level.

    every: steps. pictures, size: how many windows, and their packed side. noise: (shot, read) per level, before white
    balance. sources: in the place of the held-out pictures. samples: how many pictures are written as PNG.
    """

    every: int = 1000
    pictures: int = 8
    size: int = 96
    noise: tuple[tuple[float, float], ...] = ((0.0, 0.0), (8e-4, 2e-6), (3.2e-3, 2.5e-5), (1.3e-2, 3.5e-4))
    sources: tuple[str, ...] = ()
    samples: int = 4

    def __post_init__(self) -> None:
        if not self.noise or min(self.every, self.pictures, self.size) < 1:
            raise ValueError("validation needs a noise level, and every, pictures and size from 1 on")


@dataclass(frozen=True)
class Phase:
    """Steps with one batch, patch and loss.

    batch: pairs of a step, of all processes and accumulated parts together. patch: side of the packed window.
    losses: domain (isp.train.domains) to loss to weight. usm: (amount, sigma in pixels): the target is sharpened by an
    unsharp mask, amount * (x - Gaussian of x), in the domain of the loss.
    """

    steps: int
    batch: int
    patch: int
    losses: dict[str, dict[str, float]]
    usm: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.patch) < 1:
            raise ValueError(
                f"a phase needs steps, batch and patch from 1 on; got {self.steps, self.batch, self.patch}"
            )
        if unknown := sorted(set(self.losses) - set(DOMAINS)):
            raise ValueError(f"losses name the domain {unknown[0]!r}; expected some of {', '.join(DOMAINS)}")
        if not self.losses:
            raise ValueError("a phase needs losses; expected `losses: {display: {l1: 1}}` or another domain")


@dataclass(frozen=True)
class Rate:
    """A piece of the learning rate: constant at `rate` or, with `to`, half a cosine from `rate` to `to`.

    Several pieces are a piecewise schedule; several cosines are restarts. warm_up: steps of the piece that rise from 0.
    """

    steps: int
    rate: float
    to: float | None = None
    warm_up: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or min(self.warm_up, self.rate, self.to or 0) < 0:
            raise ValueError(f"a rate needs steps from 1 on and no negative number; got {self}")

    def at(self, step: int) -> float:
        """The rate at a step of this piece, counted from 0."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        if self.to is None:
            return self.rate
        done = (step - self.warm_up) / max(self.steps - self.warm_up, 1)
        return self.to + (self.rate - self.to) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class Optimiser:
    """name: adamw, adam, or muon (isp.train.muon). clip: largest norm of the gradient; null: none."""

    name: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    clip: float | None = 1.0

    def __post_init__(self) -> None:
        if self.name not in ("adamw", "adam", "muon"):
            raise ValueError(f"optimiser is {self.name!r}; expected adamw, adam or muon")


@dataclass(frozen=True)
class Gan:
    """Stage 2. kind, weight: the adversarial loss (isp.losses.gan) and its weight, in the domain `domain`.

    rate: the discriminator's, as a multiple of the generator's. width: its channels. from_step: until then the phase's
    losses alone are trained.
    """

    kind: str = "vanilla"
    weight: float = 0.1
    domain: str = "display"
    rate: float = 1.0
    width: int = 64
    betas: tuple[float, float] = (0.9, 0.99)
    from_step: int = 0

    def __post_init__(self) -> None:
        if self.kind not in GENERATOR:
            raise ValueError(f"gan.kind is {self.kind!r}; expected one of {', '.join(GENERATOR)}")
        if self.domain not in DOMAINS:
            raise ValueError(f"gan.domain is {self.domain!r}; expected one of {', '.join(DOMAINS)}")


@dataclass(frozen=True)
class Teacher:
    """Distillation. model: a trained model by name, folder or file. weight: of the loss between the two outputs, which
    is the phase's own; truth: of the loss against the truth. features: weight of the feature term; 0: none.
    layers: (teacher's module, student's module) whose outputs are compared, by their names in the networks.
    cache: a file that takes the teacher's outputs for all pairs of data.store, once; null: computed for each batch.
    """

    model: str
    weight: float = 1.0
    truth: float = 1.0
    features: float = 0.0
    layers: tuple[tuple[str, str], ...] = ()
    cache: str | None = None

    def __post_init__(self) -> None:
        if bool(self.layers) != (self.features > 0):
            raise ValueError("teacher.features and teacher.layers belong together: a weight above 0 and pairs of names")
        if self.cache is not None and self.features:
            raise ValueError("teacher.cache holds outputs alone; with teacher.features the teacher runs on each batch")
        if not self.weight > 0 or self.truth < 0:
            raise ValueError(
                f"teacher.weight is {self.weight}, truth {self.truth}; expected one above 0, one from 0 on"
            )


@dataclass(frozen=True)
class TrainConfig:
    """A recipe.

    name: of the run's folder and of the model. note: where the numbers come from. start: a trained model whose weights
    the run begins with; it may be narrower (isp.nets.widen). blend: share of what was learned in the model that is
    written at the end, the rest being the start's weights (network interpolation: X. Wang et al., "ESRGAN", ECCVW 2018,
    Sec. 3.4). phases, rates: each in turn; both last the same number of steps. shorten: divides every number of steps,
    for a look or a machine that is not a cluster. accumulate: parts that a process's share of a batch is computed in.
    ema: decay of the averaged weights, which are validated and, blended or not, written at the end.
    precision: bf16, fp32, or auto (bf16 on CUDA). seed: of data and initial weights.
    """

    name: str
    model: ModelConfig
    data: Data
    phases: tuple[Phase, ...]
    rates: tuple[Rate, ...]
    note: str = ""
    validation: Validation = field(default_factory=Validation)
    optimiser: Optimiser = field(default_factory=Optimiser)
    gan: Gan | None = None
    teacher: Teacher | None = None
    start: str | None = None
    blend: float = 1.0
    shorten: float = 1.0
    accumulate: int = 1
    ema: float = 0.999
    precision: str = "auto"
    device: str = "auto"
    seed: int = 0
    checkpoint_minutes: float = 10.0
    log_every: int = 100

    def __post_init__(self) -> None:
        if self.precision not in ("auto", "bf16", "fp32"):
            raise ValueError(f"precision is {self.precision!r}; expected auto, bf16 or fp32")
        if self.gan is not None and self.teacher is not None:
            raise ValueError("gan and teacher are two loops; a recipe has one of them at most")
        if self.teacher is not None and self.teacher.cache is not None and self.data.store is None:
            raise ValueError("teacher.cache needs data.store: pairs made on the fly never come again")
        if not 0 < self.blend <= 1 or (self.blend < 1 and self.start is None):
            raise ValueError(f"blend is {self.blend}; expected a share above 0, up to 1, and below 1 only with a start")
        phases, rates = (sum(piece.steps for piece in pieces) for pieces in (self.phases, self.rates))
        if phases != rates or not phases:
            raise ValueError(f"phases last {phases} steps and rates {rates}; expected the same number, above 0")
        if min(self.accumulate, self.log_every) < 1 or self.checkpoint_minutes < 0:
            given = self.accumulate, self.log_every, self.checkpoint_minutes
            raise ValueError(
                f"accumulate, log_every and checkpoint_minutes are {given}; expected numbers from 1, 1 and 0 on"
            )
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}; expected a decay from 0 to below 1")
        if self.shorten < 1:
            raise ValueError(f"shorten is {self.shorten}; expected a number from 1 on")

    @property
    def steps(self) -> int:
        """Of the whole run, shortened."""
        return self._at(sum(phase.steps for phase in self.phases))

    def phase_at(self, step: int) -> tuple[Phase, int]:
        """The phase of a step, and the step at which it ends."""
        end = 0
        for phase in self.phases:
            end += phase.steps
            if step < self._at(end):
                return phase, self._at(end)
        raise IndexError(f"step {step} of {self.steps}")

    def rate_at(self, step: int) -> float:
        """The learning rate of a step. Shortened runs take the rates of the whole run, warm-ups too, at their share."""
        whole, start = step * self.shorten, 0
        for rate in self.rates:
            if whole < start + rate.steps or rate is self.rates[-1]:
                return rate.at(int(whole) - start)
            start += rate.steps
        raise AssertionError

    @property
    def gan_from(self) -> int:
        """The first step that has a discriminator, shortened."""
        return 0 if self.gan is None else round(self.gan.from_step / self.shorten)

    def _at(self, steps: int) -> int:
        return max(round(steps / self.shorten), 1)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, texts, lists and mappings: what the YAML said, defaults included."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain

    @classmethod
    def from_dict(cls, values: object, source: str = "recipe") -> TrainConfig:
        """From the keys of a YAML; ValueError, which names the source, for an unknown or a bad one."""
        try:
            config: TrainConfig = _build(cls, values, "a recipe")
            return config
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
        """The recipe in a YAML file, with key.sub=value overrides: values are YAML, a list's items go by their number
        (`phases.0.batch=8`). ValueError names the file and what was expected."""
        import yaml

        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
            for text in overrides:
                _override(values, text)
            return cls.from_dict(values, str(path))
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}; expected a recipe, as models/flat/recipe.yaml") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: {' '.join(str(error).split())}") from error


def _override(values: Any, text: str) -> None:
    import yaml

    key, equals, value = text.partition("=")
    *parents, last = key.split(".")
    if not equals or not all((*parents, last)):
        raise ValueError(f"override {text!r}; expected key.sub=value")
    for part in parents:
        if isinstance(values, list):
            values = values[_item(values, part, text)]
        elif isinstance(values, dict):
            if values.get(part) is None:
                values[part] = {}
            values = values[part]
    if isinstance(values, list):
        values[_item(values, last, text)] = yaml.safe_load(value)
    elif isinstance(values, dict):
        values[last] = yaml.safe_load(value)
    else:
        raise ValueError(f"override {text!r}: {'.'.join(parents)} is {values!r} and has no keys")


def _item(values: list[Any], part: str, text: str) -> int:
    if not part.isdecimal() or int(part) >= len(values):
        raise ValueError(f"override {text!r}: {part!r} is no item of a list of {len(values)}, counted from 0")
    return int(part)


def _build(cls: type, values: object, where: str) -> Any:
    """An instance of one of the dataclasses above from a mapping with none but its keys."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} should be a mapping of keys to values; got {values!r}")
    hints = get_type_hints(cls)
    if unknown := sorted(str(key) for key in values if key not in hints):
        raise ValueError(f"unknown key {unknown[0]!r} in {where}; known keys: {', '.join(hints)}")
    if cls is ModelConfig:
        return ModelConfig.from_dict(dict(values), "model")
    try:
        return cls(**{key: _value(hints[key], value, key) for key, value in values.items()})
    except TypeError as error:  # a key without a default is missing
        raise ValueError(f"{where}: {str(error).split('() ')[-1]}") from error


def _value(kind: Any, value: object, where: str) -> Any:
    """A YAML value as a field of this type."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if value is None else _value(next(k for k in inner if k is not NoneType), value, where)
    if is_dataclass(kind):
        return _build(kind, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ValueError(f"{where} is {value!r}; expected a list")
        if inner[-1] is not Ellipsis and len(value) != len(inner):
            raise ValueError(f"{where} is {value!r}; expected {len(inner)} values")
        return tuple(_value(inner[0], item, f"{where}.{i}") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} is {value!r}; expected a mapping")
        return {str(key): _value(inner[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is str:
        if not isinstance(value, str):
            raise ValueError(f"{where} is {value!r}; expected text")
        return value
    try:
        number = float(value)  # type: ignore[arg-type]  # YAML 1.1 reads 1e-3, without a point, as a string
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number) or (kind is int and number != int(number)):
        raise ValueError(f"{where} is {value!r}; expected {'a whole number' if kind is int else 'a number'}")
    return kind(number)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def differences(a: TrainConfig, b: TrainConfig, besides: Sequence[str]) -> list[str]:
    """A line for each top-level key in which two recipes differ, besides those named."""
    names = [f.name for f in fields(TrainConfig) if f.name not in besides]
    return [f"{n}: {getattr(a, n)!r} and {getattr(b, n)!r}" for n in names if getattr(a, n) != getattr(b, n)]
