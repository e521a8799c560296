"""OpenVINO's compiled networks are kept, and whatever becomes of them the network is the same."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest

from isp.fast import engine
from isp.locate import find_model

pytest.importorskip("openvino")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ISP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Small, and with an export: a copy, to be changed."""
    path = tmp_path / "model.onnx"
    path.write_bytes(find_model("pyramid").with_name("model.onnx").read_bytes())
    return path


def opened(path: Path, side: int = 32) -> tuple[Any, bool]:
    """The network's output on a random input, and whether it was there already."""
    compiled = engine._openvino(path, 1, 1, (1, 16, side, side), "float32")
    x = np.random.default_rng(0).random((1, 16, side, side), np.float32)
    return compiled.create_infer_request().infer([x])[0].copy(), compiled.get_property("LOADED_FROM_CACHE")


def test_compiled_once(network: Path, cache: Path) -> None:
    one, found = opened(network)
    assert not found
    two, found = opened(network)
    assert found
    assert np.array_equal(one, two)
    assert (cache.stat().st_mode | next(cache.iterdir()).stat().st_mode) & 0o077 == 0


def test_other_weights_are_another_network(network: Path) -> None:
    """Of the same name, size and shapes."""
    one, _ = opened(network)
    data = bytearray(network.read_bytes())
    data[8000:12000] = bytes(4000)  # of the first weights
    network.write_bytes(data)
    two, found = opened(network)
    assert not found
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("left", [0, 1000, -10])
def test_a_file_that_was_cut_is_made_anew(network: Path, cache: Path, left: int) -> None:
    one, _ = opened(network)
    (blob,) = cache.glob("*/*.blob")
    data = blob.read_bytes()
    blob.chmod(0o600)
    blob.write_bytes(data[:left])
    two, found = opened(network)
    assert not found
    assert np.array_equal(one, two)
    assert opened(network)[1]


def test_as_many_as_are_used(network: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "COMPILED", 2)
    for side in (16, 24, 32):
        opened(network, side)
    assert len(list(cache.glob("*/*.blob"))) == 2
    assert opened(network, 32)[1]
    assert not opened(network, 16)[1], "the oldest is gone"


def test_without_a_place_to_keep_it(network: Path, cache: Path) -> None:
    """A file in the folder's place, and a folder that others may write to."""
    one, _ = opened(network)
    for path in sorted(cache.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    cache.chmod(0o777)
    for _ in range(2):
        two, found = opened(network)
        assert not found
        assert np.array_equal(one, two)
    cache.rmdir()
    cache.touch()
    assert not opened(network)[1]


@pytest.mark.parametrize("runtime", sorted(engine.PACKAGES))
def test_threads_at_once(network: Path, runtime: str) -> None:
    """Each gets its own output, whoever runs meanwhile."""
    run = engine.open_network(network, runtime, 2)
    inputs = np.random.default_rng(0).random((4, 1, 16, 64, 64), np.float32)
    expected = [run(x).copy() for x in inputs]
    together = Barrier(len(inputs))

    def call(number: int) -> bool:
        together.wait()
        return all(np.allclose(run(inputs[number]), expected[number], atol=1e-6) for _ in range(20))

    with ThreadPoolExecutor(len(inputs)) as pool:
        assert all(pool.map(call, range(len(inputs))))
