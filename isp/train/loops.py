"""The three ways to train, over one engine: against the truth, against a discriminator too, against a teacher too."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from isp.losses import FeatureDistillation, discriminator_loss, generator_loss, tap
from isp.nets.discriminator import UNetDiscriminator
from isp.nets.load import load_model
from isp.nets.model import Model
from isp.train.config import TrainConfig
from isp.train.domains import to_domain
from isp.train.engine import Engine


def stage1(engine: Engine) -> None:
    """The phase's losses between the model's output and the truth."""
    for step in engine.steps():
        for part in step.parts():
            step.backward(step.loss(engine.forward(part), part))
        step.update()


def gan(engine: Engine) -> None:
    """Stage 2: the phase's losses, and the discriminator's opinion; both networks take a step each time."""
    config = engine.config.gan
    assert config is not None
    net = UNetDiscriminator(config.width)
    if bad := [phase.patch for phase in engine.config.phases if 2 * phase.patch % net.multiple]:
        raise ValueError(f"patch is {bad[0]}; the discriminator needs multiples of {net.multiple // 2}")
    discriminator = engine.add("discriminator", net, config.betas)
    for step in engine.steps():
        for part in step.parts():
            output = engine.forward(part)
            if engine.step < engine.config.gan_from:
                step.backward(step.loss(output, part))
                continue
            shown = to_domain(output, part.cam_to_output, config.domain)
            truth = step.loss.shown(part.target, part, config.domain)
            net.requires_grad_(False)
            with engine.autocast():
                on_truth = net(truth) if config.kind == "relativistic" else truth
                on_shown = net(shown)
            adversarial = config.weight * generator_loss(config.kind, on_shown.float(), on_truth.float()).mean()
            step.backward({**step.loss(output, part), "gan.generator": adversarial})
            net.requires_grad_(True)
            with engine.autocast():
                on_shown, on_truth = discriminator(torch.cat([shown.detach(), truth])).float().chunk(2)
            step.backward({"gan.discriminator": discriminator_loss(config.kind, on_shown, on_truth).mean()})
        step.update()
        if engine.step >= engine.config.gan_from:
            step.update("discriminator", config.rate)


def distil(engine: Engine) -> None:
    """The phase's losses against the truth and against the teacher's output, and the distance of their features."""
    config = engine.config.teacher
    assert config is not None
    teacher = load_model(config.model).to(engine.group.device).requires_grad_(False)
    if bad := [phase.patch for phase in engine.config.phases if phase.patch % teacher.multiple]:
        raise ValueError(f"patch is {bad[0]}; the teacher needs multiples of {teacher.multiple}")
    theirs, ours = [a for a, _ in config.layers], [b for _, b in config.layers]
    with tap(teacher.network, theirs) as caught, tap(engine.model.network, ours) as ours_caught:
        compare = None
        if config.layers:
            channels = _channels(engine.model, ours), _channels(teacher, theirs)
            compare = engine.add("adapters", FeatureDistillation(*channels), engine.config.optimiser.betas)
        for step in engine.steps():
            for part in step.parts():
                taught = part.taught
                if taught is None:
                    with torch.no_grad():
                        taught = engine.forward(part, teacher)
                output = engine.forward(part)
                against = {"truth": (config.truth, None), "teacher": (config.weight, taught)}
                terms = {
                    f"{name}.{term}": weight * value
                    for name, (weight, truth) in against.items()
                    if weight
                    for term, value in step.loss(output, part, truth).items()
                }
                if compare is not None:
                    features = [ours_caught[name].float() for name in ours], [caught[name].float() for name in theirs]
                    terms["features"] = config.features * compare(*features).mean()
                step.backward(terms)
            step.update()
            if compare is not None:
                step.update("adapters")


def _channels(model: Model, layers: list[str]) -> list[int]:
    """Of the outputs of these layers of a model's network."""
    weight = next(model.parameters())
    side = -(-max(model.minimum, 1) // model.multiple) * model.multiple
    zeros: Tensor = weight.new_zeros(1, 4, side, side)
    with tap(model.network, layers) as caught, torch.no_grad():
        model(zeros, zeros)
    if bad := [layer for layer in layers if not isinstance(caught.get(layer), Tensor) or caught[layer].ndim != 4]:
        raise ValueError(f"layer {bad[0]!r} gives no features B C h w; name another in teacher.layers")
    return [caught[layer].shape[1] for layer in layers]


def loop_of(config: TrainConfig) -> Callable[[Engine], None]:
    """The loop that a recipe asks for."""
    return gan if config.gan is not None else distil if config.teacher is not None else stage1
