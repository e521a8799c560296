"""Head and tail go into the blocks beside them: what can be kept is kept, and the rest is near."""

from typing import Any

import pytest
import torch
from torch.nn.functional import conv2d

from isp.nets.join import join
from isp.nets.model import Model, ModelConfig

SHAPE: dict[str, Any] = {"planes": 8, "widths": [6, 9], "blocks": [2, 1], "encoders": [1], "slope": 0.1}


def pyramid(**arguments: Any) -> Model:
    torch.manual_seed(0)
    model = Model(ModelConfig("pyramid", SHAPE | arguments))
    torch.nn.init.normal_(model.network.tail.weight, std=0.1)
    return model.eval()


def batches(seed: int, count: int = 4) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.rand(2, 4, 32, 32, generator=generator), torch.full((2, 4, 32, 32), 0.05)) for _ in range(count)]


def error(one: Model, other: Model) -> float:
    with torch.inference_mode():
        return max(float((one(*given) - other(*given)).square().mean().sqrt()) for given in batches(1))


@pytest.mark.parametrize("inner", [None, [3, 5, 4, 7]])
def test_ends_that_look_at_one_site_are_kept(inner: list[int] | None) -> None:
    """A convolution 3x3 of one tap followed by another is a convolution 3x3: the same picture, of inputs not shown."""
    model = pyramid(inner=inner)
    with torch.no_grad():
        model.network.head.bias.zero_()  # which ends at the border, where a convolution sees zeros
        for end in (model.network.head, model.network.tail):
            centre = end.weight[:, :, 1, 1].clone()
            end.weight.zero_()
            end.weight[:, :, 1, 1] = centre
    joined = join(model, batches(0))
    assert joined.config.arguments["joined"]
    assert joined.network.reach == model.network.reach - 2
    assert error(joined, model) < 1e-4 < 1e-2 < error(joined, Model(joined.config))


def test_of_others_it_makes_nearly_the_same() -> None:
    """Nearer than the taps in the middle of what the two convolutions make together, which a convolution 3x3 has room
    for too."""
    model = pyramid()
    joined, cut = join(model, batches(0)), join(model, batches(0))
    old: Any = model.network
    new: Any = cut.network
    with torch.no_grad():
        for (before, behind), one in (
            ((old.head, old.encoders[0][0].first), new.encoders[0][0].first),
            ((old.decoders[-1][-1].second, old.tail), new.decoders[-1][-1].second),
        ):
            both = conv2d(before.weight.transpose(0, 1), behind.weight.flip(2, 3), padding=2).transpose(0, 1)
            one.weight.copy_(both[..., 1:4, 1:4])
        new.encoders[0][0].shortcut.weight.copy_(old.head.weight[:, :, 1:2, 1:2])
        new.decoders[-1][-1].shortcut.weight.copy_(old.tail.weight[:, :, 1:2, 1:2])
    assert error(joined, model) < 0.8 * error(cut, model)


def test_it_is_the_same_each_time() -> None:
    one, other = (join(pyramid(), batches(0)).network.state_dict() for _ in range(2))
    assert all(torch.equal(x, other[name]) for name, x in one.items())


def test_others_are_refused() -> None:
    with pytest.raises(ValueError, match="only a pyramid can be joined, got flat"):
        join(Model(ModelConfig("flat", {"planes": 8})), [])
    with pytest.raises(ValueError, match="no batches"):
        join(pyramid(), [])
    with pytest.raises(ValueError, match="joined already"):
        join(join(pyramid(), batches(0)), batches(0))
    for arguments in ({"widths": [6], "blocks": [2], "encoders": []}, {"blocks": [0, 1]}, {"encoders": [0]}):
        with pytest.raises(ValueError, match="without blocks at both ends"):
            join(pyramid(**arguments), batches(0))
        with pytest.raises(ValueError, match="needs blocks at both ends"):
            Model(ModelConfig("pyramid", SHAPE | arguments | {"joined": True}))
