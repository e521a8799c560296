"""The three ways to train, over one engine: against the truth, against a discriminator too, against a teacher too."""

from __future__ import annotations

from collections.abc import Callable

from isp.train.config import TrainConfig
from isp.train.engine import Engine


def stage1(engine: Engine) -> None:
    """The phase's losses between the model's output and the truth."""
    for step in engine.steps():
        for part in step.parts():
            step.backward(step.loss(engine.forward(part), part))
        step.update()


def loop_of(config: TrainConfig) -> Callable[[Engine], None]:
    """The loop that a recipe asks for."""
    return stage1
