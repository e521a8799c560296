"""The command, in processes that are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from forks import begin
from PIL import Image

from tools.make_pairs import main

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(3):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((200, 160), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def command(capsys):
    """The command in this process: (exit code, what it prints, what it complains)."""
    threads = torch.get_num_threads()

    def call(*arguments):
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as exit:
            code = exit.code
        out, err = capsys.readouterr()
        return code, out, err

    yield call
    torch.set_num_threads(threads)


def start(*arguments):
    """The command in a process of its own, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tools.make_pairs", *map(str, arguments)],
        cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("shard-*.h5"))}


def indices_of(folder):
    found = []
    for path in sorted(folder.glob("shard-*.h5")):
        with h5py.File(path) as file:
            found += file["index"][()].tolist()
    return found


def test_same_bytes_by_one_worker_and_two_and_after_a_restart(tmp_path, pictures, command):
    made = [pictures, "--recipe", "mialgo", "--iso", "1600-6400", "--size", 16, "--per-shard", 3, "-n", 10]
    two = start(*made, "-o", tmp_path / "two", "--workers", 2, "--verify")
    code, out, err = command(*made, "-o", tmp_path / "one")
    assert code == 0, err
    assert "10 pairs made" in out
    assert "pairs/s" in out
    assert command(*made[:-1], 7, "-o", tmp_path / "restarted")[0] == 0
    assert "4 pairs made" in command(*made, "-o", tmp_path / "restarted")[1]  # the last shard was short
    assert bytes_of(tmp_path / "restarted") == bytes_of(tmp_path / "one")
    out, err = two.communicate(timeout=120)
    assert two.returncode == 0, err
    assert "every pair once" in out
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")


def running(process):
    return process.is_alive() if isinstance(process, BaseProcess) else process.poll() is None


def killed(tmp_path, pictures, command, kills, pairs, seed, workers):
    """Kill the command so many times at random moments, then let it finish; how many shards each kill found. With one
    worker the command is that."""
    rng = np.random.default_rng(seed)
    folder = tmp_path / "store"
    arguments = [pictures, "--recipe", "mialgo", "--size", 48, "--per-shard", 2, "-n", pairs, "-o"]

    def done():
        return len(list(folder.glob("shard-*.h5")))

    progress = []
    for kill in range(kills):
        process = start(*arguments, folder, "--workers", workers) if workers > 1 else begin(main, *arguments, folder)
        wanted = done() + int(rng.integers(1, 3))
        deadline = time.monotonic() + 60
        while running(process) and done() < wanted and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(float(rng.uniform(0, 0.05)))  # somewhere in the middle of the next one
        if kill % 2 and workers > 1:
            os.killpg(process.pid, signal.SIGKILL)  # all of it at once
        else:
            process.kill()  # the parent alone: its workers end by themselves
        if workers > 1:
            process.communicate(timeout=60)  # until the last of them has closed its ends
        else:
            process.join()
        progress.append(done())
    code, out, err = command(*arguments, folder, "--verify")
    assert code == 0, err
    assert "every pair once" in out
    assert indices_of(folder) == list(range(pairs))
    assert not [path for path in folder.iterdir() if path.name.startswith(".s")]
    assert command(*arguments, tmp_path / "clean")[0] == 0
    assert bytes_of(folder) == bytes_of(tmp_path / "clean")
    return progress


def test_kill_9_loses_and_repeats_nothing(tmp_path, pictures, command):
    progress = killed(tmp_path, pictures, command, kills=2, pairs=48, seed=0, workers=2)
    assert 0 < progress[0] <= progress[1] < 24  # there was work left to do


@pytest.mark.slow
def test_kill_9_twenty_times(tmp_path, pictures, command):
    progress = killed(tmp_path, pictures, command, kills=20, pairs=200, seed=1, workers=1)
    assert progress == sorted(progress)
    assert 0 < progress[-1] < 100


def test_a_damaged_shard_is_named_rebuilt_and_verified(tmp_path, pictures, command):
    made = [pictures, "--recipe", "upi", "--size", 8, "--per-shard", 2, "-n", 6, "-o", tmp_path]
    assert command(*made)[0] == 0
    before = bytes_of(tmp_path)
    truncated, flipped = (tmp_path / f"shard-0000{n}.h5" for n in (0, 2))
    truncated.write_bytes(before[truncated.name][:5000])
    with h5py.File(flipped, "r+") as file:
        file["noisy"][1, 0, 0, 0] ^= 1
    code, _, err = command("--verify", "-o", tmp_path)
    assert code == 1
    assert f"error: {truncated}: cannot be read" in err
    assert f"error: {flipped}: pair 5 does not match its checksum" in err
    code, _, err = command(*made, "--verify")
    assert code == 0, err
    assert f"warning: {truncated}: cannot be read" in err
    assert f"warning: {flipped}: pair 5" in err
    assert bytes_of(tmp_path) == before


def test_preview_and_dead_leaves(tmp_path, command):
    sheet = tmp_path / "sheet.png"
    code, _, err = command("dead-leaves", "--recipe", "mialgo", "--size", 24, "--preview", sheet, "--preview-pairs", 2)
    assert code == 0, err
    picture = np.asarray(Image.open(sheet))
    assert picture.shape[1] >= 4 * 48
    assert picture.std() > 20


def test_preview_as_a_page(tmp_path, command):
    page = tmp_path / "look.html"
    code, _, err = command("dead-leaves", "--recipe", "wide", "--size", 24, "--preview", page, "--preview-pairs", 2)
    assert code == 0, err
    text = page.read_text()
    assert text.count("data:image/jpeg") == 2
    assert "2 pairs of wide" in text
    assert "&quot;recipe&quot;: &quot;wide&quot;" in text
    code, _, err = command("dead-leaves", "--recipe", "wide", "--size", 24, "--preview", tmp_path / "look.pdf")
    assert code == 2
    assert "expected a name that ends in .html or .png" in err


def test_usage_errors_are_one_line(tmp_path, pictures, command):
    base = [pictures, "--recipe", "upi", "-n", 2, "--size", 8]
    for arguments, message in (
        ([*base], "expected -o DIR and -n N"),
        ([pictures, "-n", 2, "-o", tmp_path / "x"], "expected --recipe"),
        ([tmp_path / "none", *base[1:], "-o", tmp_path / "x"], "expected a folder"),
        ([*base, "-o", tmp_path / "x", "--camera", "leica m3"], "no camera"),
        ([*base, "-o", tmp_path / "x", "--iso", "much"], "ISO is 'much'"),
        ([*base, "-o", tmp_path / "x", "--compression", "zip"], "none, gzip"),
        ([pictures, "--recipe", "nope", "-n", 2, "-o", tmp_path / "x"], "no recipe 'nope'"),
        ([*base, "-o", tmp_path / "x", "--size", "0"], "not a whole number from 4"),
        ([], "expected at least one SOURCE"),
    ):
        code, _, err = command(*arguments)
        assert code == 2
        assert message in err.strip().splitlines()[-1]
    assert not (tmp_path / "x").exists()


def test_dask_is_optional(tmp_path, pictures, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    code, _, err = command(pictures, "--recipe", "upi", "-n", 2, "--size", 8, "-o", tmp_path, "--dask", "tcp://x:1")
    assert code == 2
    assert "pip install 'dask[distributed]'" in err


def test_an_unreadable_picture_fails_its_shard_and_no_other(tmp_path, pictures, command):
    folder = tmp_path / "mixed"
    folder.mkdir()
    for path in pictures.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "3.png").write_bytes(b"not a picture")
    code, _, err = command(folder, "--recipe", "upi", "-n", 8, "--size", 8, "--per-shard", 2, "-o", tmp_path / "store")
    assert code == 1
    assert "shard-00001.h5" in err
    assert "3.png" in err
    assert indices_of(tmp_path / "store") == [0, 1, 4, 5]


def test_help_is_quick_and_has_examples():
    begun = time.perf_counter()
    process = start("--help")
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "examples:" in shown
    assert "exit code" in shown
    assert time.perf_counter() - begun < 5


def test_records_say_where_a_pair_comes_from(tmp_path, pictures, command):
    assert command(pictures, "--recipe", "njust-heavy", "-n", 1, "--size", 8, "-o", tmp_path / "s")[0] == 0
    with h5py.File(tmp_path / "s" / "shard-00000.h5") as file:
        record = json.loads(file["record"].asstr()[0])
    assert record["source"] == "0.png"
    assert record["recipe"] == "njust-heavy"
    assert 3200 <= record["iso"] <= 9600
    assert record["steps"][0]["channel-scale"]["factors"]
