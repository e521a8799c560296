"""The engine: an interrupted run ends as an uninterrupted one, two processes as one, and errors say where."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from disks import files_up_to
from forks import begin

from isp.nets.load import load_model
from isp.train.config import TrainConfig
from isp.train.engine import Engine, NotFiniteError, read_checkpoint
from isp.train.group import Group
from isp.train.loops import loop_of
from tools.train import main as train

ROOT = Path(__file__).parents[2]
ALONE = Group(0, 1, torch.device("cpu"))


def run(values: dict, folder: Path, stop_at: int | None = None) -> Engine:
    config = TrainConfig.from_dict(values)
    engine = Engine(config, folder, ALONE, progress=False)
    if stop_at is not None:
        steps = engine.steps

        def stopping():
            for step in steps():
                if engine.step == stop_at:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield step

        engine.steps = stopping
    loop_of(config)(engine)
    return engine


def states_equal(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(states_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(states_equal, a, b))
    return a == b


def same_end(a: Path, b: Path) -> bool:
    one, two = (read_checkpoint(folder / "checkpoint.pt") for folder in (a, b))
    return all(states_equal(one[key], two[key]) for key in ("step", "nets", "optimisers", "ema"))


def by_torchrun(recipe: Path, folder: Path) -> None:
    """The command in two processes, as the documents say."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, "-m", "tools.train", str(recipe), "-o", str(folder), "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def two_at_once(recipe: Path, folder: Path) -> None:
    """The same processes without torchrun: they need what it tells them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        told = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    both = [
        begin(train, recipe, "-o", folder, "--quiet", environment={**told, "RANK": rank, "LOCAL_RANK": rank})
        for rank in "01"
    ]
    for process in both:
        process.join(100)
    assert [process.exitcode for process in both] == [0, 0]


@pytest.fixture(autouse=True)
def one_thread():
    """As the commands' processes: another number of threads may round sums differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class TestInterruption:
    @pytest.mark.parametrize("stop_at", [0, 4, 6, 9])
    def test_sigterm_writes_a_checkpoint_and_the_run_goes_on_exactly(self, values, tmp_path, stop_at):
        values["checkpoint_minutes"] = 60
        run(values, tmp_path / "whole")
        stopped = run(values, tmp_path / "parts", stop_at)
        assert (stopped.stopped, stopped.step) == (signal.SIGTERM, stop_at + 1)
        run(values, tmp_path / "parts")
        assert same_end(tmp_path / "whole", tmp_path / "parts")

    def test_with_muon_too(self, values, tmp_path):
        values |= {"optimiser": {"name": "muon"}, "checkpoint_minutes": 60}
        run(values, tmp_path / "whole")
        run(values, tmp_path / "parts", stop_at=6)
        run(values, tmp_path / "parts")
        assert same_end(tmp_path / "whole", tmp_path / "parts")

    def test_killed_at_random_it_ends_with_the_same_weights(self, values, tmp_path):
        run(values, tmp_path / "whole")
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(values, sort_keys=False))
        chance, killed = random.Random(0), []
        for _ in range(8):
            process = begin(train, recipe, "-o", tmp_path / "parts", "--quiet")
            log = tmp_path / "parts" / "checkpoint.pt"
            began = log.stat().st_mtime_ns if log.exists() else 0
            while process.is_alive() and (not log.exists() or log.stat().st_mtime_ns == began):
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.1))  # a few steps more, anywhere in them
            if process.is_alive() and len(killed) < 2:
                process.kill()
                process.join()
                killed.append(read_checkpoint(log)["step"])
                continue
            process.join()
            assert process.exitcode == 0
            break
        assert killed
        assert same_end(tmp_path / "whole", tmp_path / "parts")

    def test_the_log_has_each_line_once(self, values, tmp_path):
        run(values, tmp_path)
        with open(tmp_path / "log.jsonl", "a") as file:
            file.write('{"step": 99}\n{"st')
        run(values, tmp_path)
        lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        assert [(line["step"], line["kind"]) for line in lines] == [
            (3, "training"), (6, "training"), (6, "validation"), (9, "training"), (12, "training"), (12, "validation"),
        ]  # fmt: skip

    def test_a_short_run_has_a_line_of_its_last_step(self, values, tmp_path):
        values |= {"log_every": 5, "checkpoint_minutes": 60}
        run(values, tmp_path / "whole")
        run(values, tmp_path / "parts", stop_at=5)
        run(values, tmp_path / "parts")
        for name in ("whole", "parts"):
            lines = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
            training = [line for line in lines if line["kind"] == "training"]
            assert [line["step"] for line in training] == [5, 10, 12]
            assert training[2]["seconds_per_step"] * 2 <= training[2]["seconds"] - training[1]["seconds"] + 0.1
            assert all(line["seconds_per_step"] * 5 <= line["seconds"] + 0.1 for line in training)

    def test_arguments_that_the_network_does_not_take(self, values, tmp_path):
        values["model"]["arguments"]["heads"] = 2
        with pytest.raises(ValueError, match=r"^recipe small: cannot build flat with .* unexpected .* 'heads'$"):
            run(values, tmp_path)

    def test_another_recipe_is_refused(self, values, tmp_path):
        run(values, tmp_path)
        values["seed"] = 1
        with pytest.raises(ValueError, match="belongs to another recipe; seed: 0 and 1"):
            run(values, tmp_path)

    def test_a_full_disk_names_the_checkpoint(self, values, tmp_path):
        with files_up_to(20000), pytest.raises(OSError, match=rf"File too large: '{tmp_path}/checkpoint\.pt'"):
            run(values, tmp_path)
        assert not list(tmp_path.glob(".*"))

    def test_a_damaged_checkpoint_is_named(self, values, tmp_path):
        (tmp_path / "checkpoint.pt").write_bytes(b"PK\x03\x04 half")
        with pytest.raises(ValueError, match=r"checkpoint\.pt is no checkpoint"):
            run(values, tmp_path)


@pytest.mark.parametrize(
    "more",
    [
        {},
        pytest.param({"gan": {"width": 2}}, marks=pytest.mark.slow, id="gan"),
        pytest.param({"optimiser": {"name": "muon"}}, marks=pytest.mark.slow, id="muon"),
    ],
)
def test_two_processes_equal_one_with_the_doubled_batch(values, tmp_path, more):
    values |= more
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values, sort_keys=False))
    (two_at_once if more else by_torchrun)(recipe, tmp_path / "two")
    run(values, tmp_path / "one")
    muon = "optimiser" in more
    one, two = (read_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("one", "two"))
    for kind in ("nets", "ema"):
        for name, value in (one[kind]["model"] if kind == "nets" else one[kind]).items():
            other = (two[kind]["model"] if kind == "nets" else two[kind])[name]
            torch.testing.assert_close(other, value, rtol=1e-4, atol=1e-5 if muon else 1e-6)  # it widens rounding


def test_accumulated_parts_equal_the_whole_batch(values, tmp_path):
    whole = run(values, tmp_path / "whole")
    parts = run({**values, "accumulate": 2}, tmp_path / "parts")
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-6)


def test_bfloat16_runs_the_network_and_nothing_else(values, tmp_path):
    exact = run(values, tmp_path / "exact")
    engine = run({**values, "precision": "bf16"}, tmp_path / "rounded")
    for a, b in zip(exact.model.parameters(), engine.model.parameters(), strict=True):
        assert b.dtype == torch.float32
        assert (b - a).abs().mean() < 5e-4  # steps are of 1e-2; a single weight may go the other way for a few
        assert not torch.equal(a, b)


def test_what_is_shipped_is_the_averaged_model(values, tmp_path):
    engine = run(values, tmp_path)
    model = load_model(engine.finish())
    for a, b in zip(model.parameters(), engine.ema.module.parameters(), strict=True):
        assert torch.equal(a, b)
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), engine.model.parameters(), strict=True))
    assert (tmp_path / "samples" / "0000012.png").is_file()
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["phases"][0]["batch"] == 4


def test_averaging_is_the_exponential_mean(values, tmp_path):
    engine = Engine(TrainConfig.from_dict(values), tmp_path, ALONE, progress=False)
    weight, mean = engine.model.network.head.weight, None
    for n, value in enumerate((1.0, 3.0, -2.0, 5.0)):
        with torch.no_grad():
            weight.fill_(value)
        engine.ema.update_parameters(engine.model)
        decay = min(0.9, (1 + n) / (10 + n))
        mean = value if mean is None else decay * mean + (1 - decay) * value
    torch.testing.assert_close(engine.ema.module.network.head.weight.flatten()[0], torch.tensor(mean))


def test_units_that_are_never_above_0_are_counted(values, tmp_path):
    engine = Engine(TrainConfig.from_dict(values), tmp_path, ALONE, progress=False)
    with torch.no_grad():
        engine.model.network.body[0].first.bias[:3] = -1e3
    loop_of(engine.config)(engine)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    idle = [line["idle.model"] for line in lines if line["kind"] == "training"]
    of = 4 + 4 + 4 + 12  # biases; in the first step the last layer is 0 and nothing before it has a gradient
    assert idle[0] > 5 / of
    assert all(3 / of <= share < 4 / of for share in idle[1:])  # the fourth may rest for a step


class TestNotFinite:
    def test_it_says_which_layer(self, values, tmp_path):
        engine = Engine(TrainConfig.from_dict(values), tmp_path, ALONE, progress=False)
        body = engine.model.network.body[0].second
        body.register_forward_hook(lambda module, given, output: output * (float("nan") if engine.step == 3 else 1))
        with pytest.raises(
            NotFiniteError, match=r"step 3: display\.l1 is nan; layer network\.body\.0\.second gives it"
        ):
            loop_of(engine.config)(engine)
        assert read_checkpoint(tmp_path / "checkpoint.pt")["step"] == 3
        assert all(weight.isfinite().all() for weight in engine.model.parameters())

    def test_it_says_which_gradient(self, values, tmp_path):
        engine = Engine(TrainConfig.from_dict(values), tmp_path, ALONE, progress=False)
        engine.model.network.head.weight.register_hook(lambda gradient: gradient * float("inf"))
        with pytest.raises(NotFiniteError, match=r"the gradient of model is not.*network\.head\.weight"):
            loop_of(engine.config)(engine)
