"""The way out of a training run, alone and under torchrun."""

import os

import pytest

from tools.train import leave


def test_alone_it_ends_as_any_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(SystemExit) as left:
        leave(2)
    assert left.value.code == 2


def test_under_torchrun_it_waits_for_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []

    def exit_now(code: int) -> None:
        codes.append(code)
        raise KeyboardInterrupt  # in the place of the end of this process

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(os, "_exit", exit_now)
    with pytest.raises(KeyboardInterrupt):
        leave(130)
    assert codes == [130]
