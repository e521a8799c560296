"""Units that rest are left out, and nothing else changes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from isp.datasets.dead_leaves import dead_leaves
from isp.nets.flat import Block
from isp.nets.load import load_model, read_header, save_model
from isp.nets.model import Model, ModelConfig
from isp.nets.prune import prune
from tools.prune import main

SHAPE = {"planes": 8, "widths": [6, 10], "blocks": [1, 2], "encoders": [2]}


def resting(*units: tuple[int, ...], joined: bool = False) -> Model:
    """A pyramid of which these units of its blocks, in their order, are 0 for inputs of ordinary size."""
    torch.manual_seed(0)
    model = Model(ModelConfig("pyramid", SHAPE | ({"joined": True} if joined else {})))
    last: Any = model.network.decoders[-1][-1].shortcut if joined else model.network.tail
    torch.nn.init.normal_(last.weight, std=0.1)
    blocks: list[Any] = [block for block in model.network.modules() if isinstance(block, Block)]
    with torch.no_grad():
        for block, which in zip(blocks, units, strict=True):
            block.first.bias.uniform_(0, 0.1)
            block.first.bias[list(which)] = -100
    return model


def batches(seed: int, count: int = 3) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.rand(2, 4, 16, 16, generator=generator), torch.full((2, 4, 16, 16), 0.05)) for _ in range(count)]


@pytest.mark.parametrize("joined", [False, True])
def test_the_function_stays_and_the_units_go(joined: bool) -> None:
    model = resting((1, 4), (), (0, 3, 9), tuple(range(10)), (5,), joined=joined)
    smaller = prune(model, batches(0))
    assert smaller.config.arguments["inner"] == [4, 6, 7, 1, 5], "one is left of the block that rests as a whole"
    for given in batches(1):
        torch.testing.assert_close(smaller(*given), model(*given), rtol=0, atol=1e-6)
    assert prune(smaller, batches(0)).config == smaller.config, "nothing is left to be done"


@pytest.mark.parametrize("units", [[0, 6, 10, 10, 6], [6, 6, 10, 10, 0]])
def test_ends_of_a_joined_pyramid_stay(units: list[int]) -> None:
    with pytest.raises(ValueError, match="first and last block: neither can be left out"):
        prune(resting((), (), (), (), (), joined=True), batches(0), units)
    assert prune(resting((), (), (), (), (), joined=True), batches(0), [6, 0, 10, 0, 6]).network.joined


def test_what_is_on_once_stays() -> None:
    model = resting((), (), (2,), (), ())
    seen: Any = next(block for block in list(model.network.bottom) if isinstance(block, Block))
    with torch.no_grad():
        seen.first.bias[2] = -0.5 * float(seen.first.weight[2].abs().sum())
    quiet = [(torch.zeros(1, 4, 16, 16), torch.zeros(1, 4, 16, 16))]
    found = [
        prune(model, quiet + given).config.arguments["inner"][2] for given in ([], [(50 * x, s) for x, s in batches(2)])
    ]
    assert found[0] < found[1]


def test_those_that_add_most_are_left() -> None:
    """Of each block as many as are asked for; those that weights ten times as large read, and not the one of them that
    rests."""
    model = resting((1, 4), (), (0, 3, 9), (), (5,))
    blocks: list[Any] = [block for block in model.network.modules() if isinstance(block, Block)]
    with torch.no_grad():
        blocks[1].second.weight[:, [0, 3]] *= 10
        blocks[2].second.weight[:, [1, 3, 6]] *= 10
    smaller = prune(model, batches(0), units=[4, 2, 2, 1, 3])
    assert smaller.config.arguments["inner"] == [4, 2, 2, 1, 3]
    left: list[Any] = [block for block in smaller.network.modules() if isinstance(block, Block)]
    for number, which in ((1, [0, 3]), (2, [1, 6])):
        assert torch.equal(left[number].first.weight, blocks[number].first.weight[which])
        assert torch.equal(left[number].first.bias, blocks[number].first.bias[which])
        assert torch.equal(left[number].second.weight, blocks[number].second.weight[:, which])
        assert torch.equal(left[number].second.bias, blocks[number].second.bias)
    for wrong in ([4, 2, 7, 1], [4, 2, 7, 1, -1]):
        with pytest.raises(ValueError, match="expected a number for each of the pyramid's 5 blocks"):
            prune(model, batches(0), units=wrong)


def test_blocks_of_no_units_are_left_out() -> None:
    """What they added was nothing, so that the others compute what they did."""
    model = resting((), (), (), (), ())
    blocks: list[Any] = [block for block in model.network.modules() if isinstance(block, Block)]
    for block in (blocks[0], blocks[2]):  # the first on the way down, and the first at the bottom
        torch.nn.init.zeros_(block.second.weight)
        torch.nn.init.zeros_(block.second.bias)
    smaller = prune(model, batches(0), units=[0, 6, 0, 10, 6])
    assert smaller.config.arguments == {"planes": 8, "widths": [6, 10], "blocks": [1, 1], "inner": [6, 10, 6]}
    for given in batches(1):
        torch.testing.assert_close(smaller(*given), model(*given), rtol=0, atol=1e-6)
    none = prune(model, batches(0), units=[0, 6, 0, 0, 6]).config.arguments
    assert (none["blocks"], none["inner"]) == ([1, 0], [6, 6])


def test_others_are_refused() -> None:
    for config, message in (
        (("flat", {"planes": 8}), "only a pyramid can be pruned, got flat"),
        (
            ("pyramid", {**SHAPE, "slope": 0.1}),
            r"only plain ReLUs rest, and those of this pyramid have a slope of 0\.1",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            prune(Model(ModelConfig(*config)), batches(0))


def test_numbers_that_do_not_fit_are_refused() -> None:
    for arguments, message in (
        ({"inner": [3, 3]}, "pyramid has 5 blocks and 2 numbers of planes in them; expected as many"),
        ({"encoders": [1, 1]}, "pyramid has 2 widths and 2 encoders; expected one fewer"),
    ):
        with pytest.raises(ValueError, match=message):
            Model(ModelConfig("pyramid", SHAPE | arguments))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the file says stays, and half precision."""
    monkeypatch.setattr("tools.prune.SIDE", 24)
    leaves = dead_leaves(96, 96, np.random.default_rng(0))
    Image.fromarray((leaves * 255).round().astype(np.uint8)).save(tmp_path / "leaves.png")
    model = resting((1,), (), (), (), (3, 4))
    save_model(tmp_path / "one", model, metadata={"noise": "none", "steps": "7"}, half=True)
    given = [str(tmp_path / "one"), "--data", str(tmp_path), "--batches", "1", "-o", str(tmp_path / "two")]
    assert main(given) == 0
    assert "M parameters, were" in capsys.readouterr().out
    smaller = load_model(tmp_path / "two")
    inner = smaller.config.arguments["inner"]
    assert inner[0] <= 5
    assert inner[4] <= 4
    header = read_header(tmp_path / "two" / "model.safetensors")
    assert (header["noise"], header["steps"]) == ("none", "7")
    assert (tmp_path / "two" / "model.safetensors").stat().st_size < (
        tmp_path / "one" / "model.safetensors"
    ).stat().st_size
    assert main(given) == 2
    assert "model.safetensors exists; -Y overwrites it" in capsys.readouterr().err
    (tmp_path / "two" / "model-int8.onnx").touch()
    assert main([*given, "-Y"]) == 0
    assert "two/model-int8.onnx belongs to the weights that were there; make it anew" in capsys.readouterr().out
    assert main([*given, "-Y", "--widths", "5", "7"]) == 0
    narrow = load_model(tmp_path / "two").config.arguments
    assert (narrow["widths"], narrow["inner"]) == ([5, 7], [6, 6, 10, 10, 6]), "all units stay"
    assert main([*given, "-Y", "--widths", "5", "7", "--units", "3", "0", "4", "4", "2"]) == 0
    both = load_model(tmp_path / "two").config.arguments
    assert (both["widths"], both["blocks"], both["inner"]) == ([5, 7], [1, 2], [3, 4, 4, 2])
    assert "encoders" not in both, "one is left, as many as on the way up"
    assert main([*given, "-Y", "--join", "--widths", "5", "7"]) == 0
    joined = load_model(tmp_path / "two").config.arguments
    assert (joined["joined"], joined["widths"], joined["inner"]) == (True, [5, 7], [6, 6, 10, 10, 6])
    capsys.readouterr()
    assert main([*given, "-Y", "--batches", "0"]) == 2
    assert capsys.readouterr().err == "error: batches is 0; expected at least 1\n"
    assert main(["nosuch", *given[1:]]) == 2
