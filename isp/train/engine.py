"""The engine under the three loops: steps, processes, averaged weights, checkpoints, validation, logs.

    with processes(config.device) as group:  # isp.train.group
        engine = Engine(config, folder, group)
        stage1(engine)                       # isp.train.loops

All that is random about step n follows from the seed and n, so a checkpoint needs no generator's state: weights,
optimisers, averaged weights and the step's number are all that goes on.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from copy import deepcopy
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import yaml
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from isp import __version__
from isp.datasets.recipes import Isos, load_recipe
from isp.files import demand_room, whole_file
from isp.nets.load import build, load_model, save_model
from isp.nets.model import Model
from isp.nets.widen import widen
from isp.noise.upi import LAWS
from isp.train.config import TrainConfig, differences
from isp.train.data import Batch, open_batches, renoised, validation_set
from isp.train.domains import to_domain
from isp.train.group import Group
from isp.train.losses import PhaseLoss
from isp.train.muon import Muon, groups_of
from isp.train.report import write_report

CHECKPOINT, CONFIG, LOG, RECORD = "checkpoint.pt", "config.yaml", "log.jsonl", "run.json"
FORMAT = 1
BORDER = 8  # pixels of a validation window that are not measured: the network knows less of them
# What may differ when a run goes on.
FREE = ("name", "note", "device", "validation", "checkpoint_minutes", "log_every", "blend")


class NotFiniteError(ArithmeticError):
    """A loss or a gradient that is not a finite number; says where."""


class Step:
    """One step: its parts, their terms, and the weights' update."""

    def __init__(self, engine: Engine, batch: Batch, loss: PhaseLoss) -> None:
        self.engine, self.loss = engine, loss
        self._parts = batch.parts(engine.config.accumulate)
        self.terms: dict[str, Tensor] = {}  # means over the parts, weighted

    def parts(self) -> Iterator[Batch]:
        """The parts in turn; gradients of several processes meet in the last."""
        for number, part in enumerate(self._parts):
            with ExitStack() as stack:
                for net in self.engine.wrapped.values():
                    if isinstance(net, DistributedDataParallel) and number < len(self._parts) - 1:
                        stack.enter_context(net.no_sync())
                yield part

    def backward(self, terms: Mapping[str, Tensor]) -> None:
        """Add the gradients of a part's terms, scalars that are summed."""
        parts = len(self._parts)
        total = torch.stack(list(terms.values())).sum()
        for name, value in terms.items():
            self.terms[name] = self.terms.get(name, torch.zeros_like(value)) + value.detach() / parts
        (total / parts).backward()

    def update(self, name: str = "model", scale: float = 1.0) -> None:
        """One step of a network's optimiser. scale: of the recipe's rate. Raises NotFiniteError before any weight is
        touched."""
        engine, optimiser = self.engine, self.engine.optimisers[name]
        clip = engine.config.optimiser.clip
        weights = [w for group in optimiser.param_groups for w in group["params"]]
        limit = float("inf") if clip is None else clip
        try:
            norm = nn.utils.clip_grad_norm_(weights, limit, error_if_nonfinite=True)
        except RuntimeError as error:  # before anything is scaled
            raise NotFiniteError(engine.where_not_finite(name, self._parts, self.terms)) from error
        self.terms[f"norm.{name}"] = norm.detach()
        if vectors := [w.grad for w in weights if w.ndim == 1 and w.grad is not None]:  # biases, scales of norms
            self.terms[f"idle.{name}"] = (torch.cat(vectors) == 0).float().mean()
        for group in optimiser.param_groups:
            group["lr"] = scale * engine.config.rate_at(engine.step)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if name == "model":
            engine.ema.update_parameters(engine.nets["model"])


class Engine:
    """One run: its networks, its data and its folder.

    folder: takes config.yaml, run.json, log.jsonl, checkpoint.pt, samples/, tensorboard/, report.html (at each
    validation) and, at the end, model/.
    A checkpoint that is there is gone on from; ValueError where it belongs to another recipe.
    progress: a bar with the time left, or lines where the output is no terminal.
    """

    def __init__(self, config: TrainConfig, folder: Path, group: Group, *, progress: bool = True) -> None:
        self.config, self.folder, self.group, self.progress = config, folder, group, progress and group.rank == 0
        self.step, self.seconds, self.stopped = 0, 0.0, 0
        precision = {"auto": "bf16" if group.device.type == "cuda" else "fp32"}.get(config.precision, config.precision)
        self.dtype = torch.bfloat16 if precision == "bf16" else None
        self.nets: dict[str, nn.Module] = {}
        self.wrapped: dict[str, nn.Module] = {}
        self.optimisers: dict[str, Optimizer] = {}
        torch.manual_seed(config.seed)
        model = build(config.model, f"recipe {config.name}")
        self.start: Model | None = None
        if config.start is not None:
            self.start = begin(model, config)
        self.add("model", model, config.optimiser.betas)
        self.model = model
        self.ema = AveragedModel(model, multi_avg_fn=_averaging(config.ema))
        if bad := [phase.patch for phase in config.phases if phase.patch % model.multiple]:
            raise ValueError(f"patch is {bad[0]}; {config.model.network} needs multiples of {model.multiple}")
        self.data = open_batches(config, group.device, (group.rank, group.of))
        self.validation = validation_set(config.data, config.validation, config.seed) if group.rank == 0 else []
        size = config.validation.size // model.multiple * model.multiple
        if size < max(model.minimum, BORDER + 1):
            raise ValueError(f"validation.size is {config.validation.size}; {config.model.network} needs more")
        self._log = Log(folder, config) if group.rank == 0 else None

    def add(self, name: str, net: nn.Module, betas: tuple[float, float]) -> nn.Module:
        """Register a network that is trained, with an optimiser of the recipe's kind; what to call it through."""
        o = self.config.optimiser
        net.to(self.group.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "muon": Muon}[o.name]
        weights = groups_of(net) if o.name == "muon" else net.parameters()
        self.optimisers[name] = kind(weights, lr=0.0, betas=betas, weight_decay=o.weight_decay)
        self.nets[name] = self.wrapped[name] = net
        if self.group.of > 1:
            device_ids = [self.group.device.index] if self.group.device.type == "cuda" else None
            self.wrapped[name] = DistributedDataParallel(
                net, device_ids=device_ids, broadcast_buffers=False, gradient_as_bucket_view=True
            )
        return self.wrapped[name]

    def forward(self, batch: Batch, net: nn.Module | None = None) -> Tensor:
        """Camera RGB of a batch by the model that is trained, or by another."""
        packed = batch.packed.contiguous(memory_format=torch.channels_last)
        output: Tensor = (net or self.wrapped["model"])(packed, batch.sigma, self.dtype)
        return output

    def autocast(self) -> AbstractContextManager[Any]:
        """The recipe's precision, for other networks than the model."""
        return nullcontext() if self.dtype is None else torch.autocast(self.group.device.type, self.dtype)

    def steps(self) -> Iterator[Step]:
        """The steps that are left, each to be computed and updated by the loop's body; between them checkpoints,
        validation and logs. Ends early, after a checkpoint, at SIGTERM or SIGINT: `stopped` is its number."""
        self._resume()
        saved = time.monotonic()
        with self._signals(), self._bar() as bar:
            while self.step < self.config.steps and not self.stopped:
                phase, end = self.config.phase_at(self.step)
                loss = PhaseLoss(phase).to(self.group.device).requires_grad_(False)
                batches = self.data.batches(self.step, batch=phase.batch, size=phase.patch)
                waited, before = time.perf_counter(), time.perf_counter()
                for batch in islice(batches, end - self.step):
                    waited = time.perf_counter() - before
                    torch.manual_seed(self._step_seed())
                    step = Step(self, batch, loss)
                    yield step
                    self.step += 1
                    self.seconds += time.perf_counter() - before
                    before = time.perf_counter()
                    if self._log is not None:
                        line = self._log.add(self, step.terms, waited)
                        bar(line)
                    if self.step % self.config.validation.every == 0 or self.step == self.config.steps:
                        self.validate()
                    late = time.monotonic() - saved > 60 * self.config.checkpoint_minutes
                    stop, late = self._agree(self.stopped, late)
                    if stop or late or self.step == self.config.steps:
                        self.save()
                        saved = time.monotonic()
                    if stop:
                        self.stopped = stop
                        break
                batches.close()  # type: ignore[attr-defined]  # its threads end here

    def _step_seed(self) -> int:
        key = np.random.SeedSequence([self.config.seed, 3, self.step, self.group.rank])
        return int(key.generate_state(1, np.uint64)[0] >> np.uint64(1))

    def _agree(self, stop: int, late: bool) -> tuple[int, bool]:
        """The same for all processes: the largest signal any of them got, and whether the first one's time is up."""
        if self.group.of == 1:
            return stop, late
        said = torch.tensor([stop, late if self.group.rank == 0 else 0], device=self.group.device)
        dist.all_reduce(said, dist.ReduceOp.MAX)
        return int(said[0]), bool(said[1])

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the run after the step that they meet; a second one at once."""

        def note(number: int, frame: FrameType | None) -> None:
            if self.stopped:
                raise KeyboardInterrupt
            self.stopped = number

        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def _bar(self) -> Iterator[Any]:
        """A function to call after each step with a line to show, or with None."""
        if not self.progress:
            yield lambda line: None
            return
        from tqdm import tqdm

        if not sys.stderr.isatty():
            yield lambda line: line and print(line, flush=True)
            return
        with tqdm(total=self.config.steps, initial=self.step, unit="step", smoothing=0.02) as bar:

            def show(line: str | None) -> None:
                bar.update(1)
                if line:
                    bar.set_postfix_str(line)

            yield show

    # Checkpoints

    def save(self) -> None:
        """Write checkpoint.pt, whole or not at all."""
        if self.group.rank:
            return
        content = {
            "format": FORMAT,
            "version": __version__,
            "config": self.config.as_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "nets": {name: net.state_dict() for name, net in self.nets.items()},
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "ema": self.ema.state_dict(),
        }
        with whole_file(self.folder / CHECKPOINT, overwrite=True) as part:
            try:
                torch.save(content, part)
            except RuntimeError:  # PyTorch's word for a full disk
                demand_room(part)
                raise

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        if path.exists():
            content = read_checkpoint(path)
            theirs = TrainConfig.from_dict(content["config"], str(path))
            if lines := differences(theirs, self.config, FREE):
                raise ValueError(
                    f"{path} belongs to another recipe; {lines[0]}; change it back, or take another folder"
                )
            try:
                for name, net in self.nets.items():
                    net.load_state_dict(content["nets"][name])
                    self.optimisers[name].load_state_dict(content["optimisers"][name])
                self.ema.load_state_dict(content["ema"])
            except (KeyError, RuntimeError, ValueError) as error:
                raise ValueError(f"{path} does not fit the networks: {' '.join(str(error).split())}") from error
            self.step, self.seconds = content["step"], content["seconds"]
        if self._log is not None:
            self._log.begin(self.step, self.seconds)

    def finish(self) -> Path:
        """Write model/: the averaged weights, blended with the start's where the recipe says so, as a model that
        isp.load_model reads; the weights' path."""
        metadata = {"noise": noise_range(self.config), "recipe": self.config.name, "steps": str(self.step)}
        model = self.ema.module
        assert isinstance(model, Model)
        if self.config.blend < 1:
            assert self.start is not None
            model = blended(self.start, model, self.config.blend)
            metadata["blend"] = f"{self.config.blend:g}"
        return save_model(self.folder / "model", model, metadata=metadata, overwrite=True)

    # Validation

    def validate(self) -> dict[str, float]:
        """PSNR in dB of 8-bit sRGB by noise level and over all, of the averaged weights on the fixed set; logged."""
        if not self.validation or self._log is None:
            return {}
        net = self.ema.module
        v, device = self.config.validation, self.group.device
        net.eval()
        figures: dict[str, list[float]] = {}
        pictures: list[list[Tensor]] = []
        with torch.no_grad():
            for number, pairs in enumerate(self.validation):
                row: list[Tensor] = []
                for shot, read in v.noise:
                    batch = _even(renoised(pairs, shot, read, number), self.model.multiple)
                    batch = batch.to(device)
                    output = net(batch.packed, batch.sigma)
                    shown, truth = (
                        to_domain(x, batch.cam_to_output, "display-clipped") for x in (output, batch.target)
                    )
                    error = ((shown * 255).round() - (truth * 255).round())[..., BORDER:-BORDER, BORDER:-BORDER]
                    level = f"psnr.{shot:g}"
                    figures.setdefault(level, []).append(float(10 * torch.log10(255**2 / error.square().mean())))
                    row += [shown] if row else [truth, shown]
                if number < v.samples:
                    pictures.append(row)
        net.train()
        means = {name: float(np.mean(values)) for name, values in figures.items()}
        means["psnr"] = float(np.mean(list(means.values())))
        line = self._log.write(self, "validation", means)
        if pictures:
            self._log.pictures(self.step, pictures)
        write_report(self.folder)
        if self.progress:
            from tqdm import tqdm

            tqdm.write(line)
        return means

    # Not finite

    def where_not_finite(self, name: str, parts: Sequence[Batch], terms: Mapping[str, Tensor]) -> str:
        """One line: the step, the terms, and the first layer in which numbers that were finite cease to be."""
        bad = [f"{term} is {float(value)}" for term, value in terms.items() if not value.isfinite()]
        checkpoint = self.folder / CHECKPOINT
        return (
            f"step {self.step}: {', '.join(bad) or f'the losses are finite, the gradient of {name} is not'}; "
            f"{self._first_layer(name, parts)}; no weight was changed by this step"
            + (f"; {checkpoint} is from before it" if checkpoint.exists() else "")
            + "; lower the rate, or clip the gradient, and look at the data of this step"
        )

    def _first_layer(self, name: str, parts: Sequence[Batch]) -> str:
        net = self.nets[name]
        for weight, value in net.named_parameters():
            if not value.isfinite().all():
                return f"weight {weight} was not finite before it"
        for number, part in enumerate(parts):
            for what, x in part._asdict().items():
                if x is not None and not x.isfinite().all():
                    return f"{what} of part {number} of the batch is not finite"
        found: list[str] = []
        hooks = [
            layer.register_forward_hook(
                lambda _, given, output, path=path: (
                    found.append(path)
                    if isinstance(output, Tensor)
                    and not output.isfinite().all()
                    and all(x.isfinite().all() for x in given if isinstance(x, Tensor))
                    else None
                )
            )
            for path, layer in self.model.named_modules()
        ]
        with torch.no_grad():
            for part in parts:
                self.forward(part, self.model)
        for hook in hooks:
            hook.remove()
        if found:  # hooks of inner layers are called first
            return f"layer {found[0] or 'model'} gives it from finite input"
        gradients = [n for n, w in net.named_parameters() if w.grad is not None and not w.grad.isfinite().all()]
        if gradients:  # backward goes from the last layer to the first
            return f"all layers give finite numbers; first gradient that is not: {gradients[-1]}"
        return "all layers give finite numbers here"


def blended(start: Model, end: Model, share: float) -> Model:
    """A model between two of one shape: weights start + share (end - start)."""
    model, one = deepcopy(end).cpu(), start.state_dict()
    model.load_state_dict({name: torch.lerp(one[name], x, share) for name, x in model.state_dict().items()})
    return model


def begin(model: Model, config: TrainConfig) -> Model:
    """Give a recipe's new model the function of the one that it starts from, in place; returns that one. ValueError
    where they do not go together."""
    assert config.start is not None
    start = load_model(config.start)
    for name in ("network", "inputs", "base", "residual", "toe"):
        theirs, ours = getattr(start.config, name), getattr(config.model, name)
        if theirs != ours:
            raise ValueError(f"start: {name} of {config.start} is {theirs!r}, of the recipe's model {ours!r}")
    slopes = [c.arguments.get("slope", 0) for c in (start.config, config.model)]
    if slopes[0] != slopes[1]:
        raise ValueError(f"start: slope of {config.start} is {slopes[0]}, of the recipe's model {slopes[1]}")
    try:
        widen(model, start.state_dict())
    except ValueError as error:
        raise ValueError(f"start: {config.start} does not fit into the recipe's model: {error}") from error
    if config.blend < 1 and _shapes(start) != _shapes(model):
        raise ValueError(f"blend needs a start of the model's shape, and {config.start} is narrower; leave it")
    return start


def _shapes(model: Model) -> dict[str, torch.Size]:
    return {name: x.shape for name, x in model.state_dict().items()}


def _averaging(decay: float) -> Any:
    """Of weights, exponential; young averages forget faster, so that the first steps do not linger."""

    def average(mean: list[Tensor], now: list[Tensor], count: Tensor | int) -> None:
        n = int(count)
        torch._foreach_lerp_(mean, now, 1 - min(decay, (1 + n) / (10 + n)))

    return torch.no_grad()(average)


def _even(batch: Batch, multiple: int) -> Batch:
    """A window cut to a multiple in packed sites."""
    size = batch.packed.shape[-1] // multiple * multiple
    crop = {"packed": size, "sigma": size, "target": 2 * size}
    return batch._replace(**{name: getattr(batch, name)[..., :side, :side] for name, side in crop.items()})


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What save() wrote; tensors and plain values alone. ValueError names a file that is none."""
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != FORMAT:
            raise ValueError(f"has format {content['format']}; this version reads format {FORMAT}")
    except Exception as error:  # whatever a damaged file does to the reader
        raise ValueError(f"{path} is no checkpoint: {' '.join(str(error).split())[:200]}") from error
    return content


def noise_range(config: TrainConfig) -> str:
    """The noise trained on, for the header of the weights."""
    data = config.data
    if data.store is not None:
        return f"as in the pair store {Path(data.store).name}"
    names = [data.noise] if data.noise else sorted({n for name in data.recipes for n in load_recipe(name).noise})
    texts = [f"{n}: shot {LAWS[n][0]:g} to {LAWS[n][1]:g}" for n in names if n in LAWS]
    if profiles := [n for n in names if n not in LAWS]:
        isos = Isos.parse(data.isos) if data.isos else None
        texts.append(f"{', '.join(profiles)}: ISO {isos or '; '.join(str(load_recipe(n).iso) for n in data.recipes)}")
    return "; ".join(texts)


class Log:
    """log.jsonl, TensorBoard where it is installed, sample pictures, and the run's record."""

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        self.folder, self.config = folder, config
        self._sums: dict[str, Tensor] = {}
        self._count, self._waited, self._since = 0, 0.0, 0.0
        self._board: Any = None

    def begin(self, step: int, seconds: float) -> None:
        """Open the folder for a run that goes on from a step, after so many seconds: later lines of an interrupted run
        are dropped."""
        self._since = seconds
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / LOG
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        with whole_file(path, overwrite=True) as part:
            part.write_text("".join(line + "\n" for line in lines if _step_of(line) <= step), encoding="utf-8")
        with whole_file(self.folder / CONFIG, overwrite=True) as part:
            part.write_text(yaml.safe_dump(self.config.as_dict(), sort_keys=False), encoding="utf-8")
        record = {
            "version": __version__,
            "commit": _commit(),
            "seed": self.config.seed,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "processes": int(os.environ.get("WORLD_SIZE", "1")),
        }
        with whole_file(self.folder / RECORD, overwrite=True) as part:
            part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:  # optional: pip install tensorboard
            return
        self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step)

    def add(self, engine: Engine, terms: Mapping[str, Tensor], waited: float) -> str | None:
        """Count a step; every log_every steps and after the last one, a line of their means."""
        for name, value in terms.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
        self._count, self._waited = self._count + 1, self._waited + waited
        if engine.step % self.config.log_every and engine.step < self.config.steps:
            return None
        means = {name: float(value) / self._count for name, value in self._sums.items()}
        passed = engine.seconds - self._since
        means |= {
            "rate": self.config.rate_at(engine.step - 1),
            "seconds_per_step": passed / self._count,
            "waited": self._waited / max(passed, 1e-9),  # share of the time, for data
        }
        self._sums, self._count, self._waited, self._since = {}, 0, 0.0, engine.seconds
        return self.write(engine, "training", means)

    def write(self, engine: Engine, kind: str, values: Mapping[str, float]) -> str:
        """One record; the line that a person reads."""
        record = {"step": engine.step, "kind": kind, "seconds": round(engine.seconds, 1), **values}
        path = self.folder / LOG
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:  # a full disk names no file
            raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from error
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{kind}/{name}", value, engine.step)
        left = engine.seconds / max(engine.step, 1) * (self.config.steps - engine.step)
        text = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        return f"{self.config.name} {kind} {engine.step}/{self.config.steps} ({left / 60:.0f} min left): {text}"

    def pictures(self, step: int, rows: Sequence[Sequence[Tensor]]) -> None:
        """samples/STEP.png: a row for each window: the truth, then the output under each noise level."""
        from PIL import Image

        sheet = torch.cat([torch.cat([x[0] for x in row], dim=2) for row in rows], dim=1)  # 3 H W
        pixels = (sheet.clamp(0, 1) * 255 + 0.5).byte().permute(1, 2, 0).cpu().numpy()
        folder = self.folder / "samples"
        folder.mkdir(exist_ok=True)
        with whole_file(folder / f"{step:07d}.png", overwrite=True) as part:
            Image.fromarray(np.ascontiguousarray(pixels)).save(part, format="PNG")


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # the half line of a killed process
        return float("inf")


def _commit() -> str | None:
    """The checkout's commit, "-dirty" where files differ from it; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
