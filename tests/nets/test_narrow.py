"""Planes that do nothing of their own are left out, and the others are those that matter."""

from typing import Any

import pytest
import torch

from isp.nets.model import Model, ModelConfig
from isp.nets.narrow import mixtures, narrow

SHAPE: dict[str, Any] = {"planes": 8, "widths": [6, 9, 12], "blocks": [1, 2, 1], "encoders": [2, 1], "slope": 0.1}


def pyramid(**arguments: Any) -> Model:
    torch.manual_seed(0)
    model = Model(ModelConfig("pyramid", SHAPE | arguments))
    last: Any = model.network.decoders[-1][-1].shortcut if arguments.get("joined") else model.network.tail
    torch.nn.init.normal_(last.weight, std=0.1)
    return model.eval()


def batches(seed: int, count: int = 3) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.rand(2, 4, 24, 24, generator=generator), torch.full((2, 4, 24, 24), 0.05)) for _ in range(count)]


def spread(weight: torch.Tensor, to: torch.Tensor, parts: int = 1) -> torch.Tensor:
    """What makes planes makes mixtures of them, by hand: a loop over outputs."""
    out = torch.zeros(len(to) * parts, *weight.shape[1:])
    for row in range(len(to)):
        for column in range(to.shape[1]):
            for part in range(parts):
                out[row * parts + part] += to[row, column] * weight[column * parts + part]
    return out


@pytest.mark.parametrize("joined", [False, True])
def test_mixed_planes_are_found_again(joined: bool) -> None:
    """A pyramid of few planes, written out with more of them, all mixed: as many as before are enough to compute the
    same, on inputs that were not shown."""
    small = pyramid(widths=[4, 5, 7], inner=[6] * 7, joined=joined)
    wide = pyramid(widths=[6, 9, 12], inner=[6] * 7, joined=joined)
    state = small.network.state_dict()
    made = {
        0: ["head", "encoders.0.0.second", "encoders.0.1.second", "decoders.1.0.second", "ups.1"],
        1: ["downs.0", "encoders.1.0.second", "decoders.0.0.second", "decoders.0.1.second", "ups.0"],
        2: ["downs.1", "bottom.0.second"],
    }
    read = {
        0: ["encoders.0.0.first", "encoders.0.1.first", "downs.0", "decoders.1.0.first", "tail"],
        1: ["encoders.1.0.first", "downs.1", "decoders.0.0.first", "decoders.0.1.first", "ups.1"],
        2: ["bottom.0.first", "ups.0"],
    }
    if joined:
        made[0] = ["encoders.0.0.shortcut", "encoders.0.0.second", "encoders.0.1.second", "ups.1"]
        read[0] = ["encoders.0.1.first", "downs.0", "decoders.1.0.first", "decoders.1.0.shortcut"]
    for level, (few, many) in enumerate(zip((4, 5, 7), (6, 9, 12), strict=True)):
        to = torch.linalg.qr(torch.randn(many, few))[0]
        for name in made[level]:
            for kind in ("weight", "bias"):
                state[f"{name}.{kind}"] = spread(state[f"{name}.{kind}"], to, 4 if name.startswith("ups") else 1)
        for name in read[level]:
            state[f"{name}.weight"] = spread(state[f"{name}.weight"].transpose(0, 1), to).transpose(0, 1)
    wide.network.load_state_dict(state)
    for given in batches(1):
        torch.testing.assert_close(wide(*given), small(*given), rtol=0, atol=1e-5)
    again = narrow(wide, batches(0), [4, 5, 7])
    assert again.config == small.config
    for given in batches(1):
        torch.testing.assert_close(again(*given), small(*given), rtol=0, atol=1e-5)


def test_what_readers_see_counts() -> None:
    """Of four planes of which the largest is seen by nobody, and the others less and less, two are left: what is lost
    is what readers see of the fourth, 1 of 9 + 4 + 1."""
    generator = torch.Generator().manual_seed(0)
    moment = torch.diag(torch.tensor([100.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    weight = torch.zeros(3, 4, 1, 1)
    weight[0, 1], weight[1, 2], weight[2, 3] = 3.0, 2.0, 1.0
    to, back = mixtures(moment, [weight], 2)
    x = torch.randn(4, 10_000, generator=generator, dtype=torch.float64) * moment.diagonal().sqrt()[:, None]
    w = weight[..., 0, 0].double()
    lost = (w @ (x - back @ (to @ x))).square().mean() / (w @ x).square().mean()
    assert float(lost) == pytest.approx(1 / 14, rel=0.05)


def test_fewer_planes_lose_less_than_the_first_ones() -> None:
    model, few = pyramid(), [4, 6, 8]
    mixed = narrow(model, batches(0), few)
    first = Model(mixed.config).eval()
    first.network.load_state_dict(
        {
            name: model.network.state_dict()[name][tuple(map(slice, weight.shape))]
            for name, weight in first.network.state_dict().items()
        }
    )

    def error(other: Model) -> float:
        return sum(float((other(*given) - model(*given)).square().mean()) for given in batches(1))

    with torch.inference_mode():
        assert error(mixed) < 0.5 * error(first)


def test_all_planes_stay_as_they_are() -> None:
    model = pyramid()
    same = narrow(model, batches(0), SHAPE["widths"])
    for name, weight in model.network.state_dict().items():
        assert torch.equal(same.network.state_dict()[name], weight), name


def test_others_are_refused() -> None:
    with pytest.raises(ValueError, match="only a pyramid can be narrowed, got flat"):
        narrow(Model(ModelConfig("flat", {"planes": 8})), [], [4])
    with pytest.raises(ValueError, match="no batches"):
        narrow(pyramid(), [], [4, 6, 8])
    for widths in ([6, 9], [6, 9, 13], [0, 9, 12]):
        with pytest.raises(ValueError, match="expected one for each level, of 1 to 6, 9, 12"):
            narrow(pyramid(), batches(0), widths)
