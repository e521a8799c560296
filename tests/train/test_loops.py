"""The loops beyond stage 1: what each network learns from, and that interrupted runs of theirs end alike too."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch.nn.functional import pixel_shuffle

from isp.datasets.recipes import load_recipe
from isp.datasets.store import PairStore, Plan, prepare, write_shard
from isp.locate import model_folders
from isp.nets.inference import develop_mosaic
from isp.nets.load import WEIGHTS, load_model, read_config, save_model
from isp.nets.model import Model, ModelConfig
from isp.raw.cfa import CFA
from isp.train.config import TrainConfig
from isp.train.engine import begin, read_checkpoint
from isp.train.teaching import Lessons
from tests.train.test_engine import one_thread, run, same_end, states_equal  # noqa: F401 - the fixture
from tools.distill import main as distill
from tools.train import main as train


@pytest.fixture
def teacher(tmp_path) -> Path:
    torch.manual_seed(5)
    model = Model(ModelConfig("flat", {"planes": 8, "width": 6, "blocks": 2}))
    torch.nn.init.normal_(model.network.tail.weight, std=0.1)
    save_model(tmp_path / "teacher", model, metadata={"noise": "none"})
    return tmp_path / "teacher"


@pytest.fixture
def store(photos, tmp_path) -> Path:
    plan = Plan(load_recipe("upi"), "random", (str(photos),), size=16, per_shard=6)
    folder = tmp_path / "pairs"
    folder.mkdir()
    prepare(folder, plan, 6)
    write_shard(str(folder), plan.as_dict(), 0, 0, 6)
    return folder


class TestGan:
    @pytest.fixture
    def gan_values(self, values, teacher):
        values["model"] = {"network": "flat", "arguments": {"planes": 8, "width": 6, "blocks": 2}}
        values["phases"] = [{"steps": 4, "batch": 2, "patch": 8, "losses": {"display": {"l2": 1}}}]
        values["rates"] = [{"steps": 4, "rate": 1e-3}]
        return {**values, "gan": {"kind": "relativistic", "width": 2}, "start": str(teacher), "accumulate": 2}

    def test_both_networks_learn_and_the_generator_begins_with_stage_1(self, gan_values, teacher, tmp_path):
        gan_values["rates"][0]["rate"] = 0.0
        engine = run(gan_values, tmp_path / "still")
        for a, b in zip(engine.model.parameters(), load_model(teacher).parameters(), strict=True):
            assert torch.equal(a, b)
        gan_values["rates"][0]["rate"] = 1e-3
        moved = run(gan_values, tmp_path / "moved")
        for name in ("model", "discriminator"):
            pairs = zip(moved.nets[name].parameters(), engine.nets[name].parameters(), strict=True)
            assert all(not torch.equal(a, b) for a, b in pairs)
        line = yaml.safe_load((tmp_path / "moved" / "log.jsonl").read_text().splitlines()[0])
        assert {"display.l2", "gan.generator", "gan.discriminator", "norm.model", "norm.discriminator"} <= line.keys()

    def test_interrupted_it_goes_on_exactly(self, gan_values, tmp_path):
        run(gan_values, tmp_path / "whole")
        run(gan_values, tmp_path / "parts", stop_at=1)
        run(gan_values, tmp_path / "parts")
        assert same_end(tmp_path / "whole", tmp_path / "parts")

    def test_the_discriminator_comes_in_when_the_recipe_says(self, gan_values, tmp_path):
        gan_values["gan"]["from_step"], gan_values["log_every"] = 2, 1
        run(gan_values, tmp_path)
        lines = [yaml.safe_load(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        assert ["gan.discriminator" in line for line in lines if line["kind"] == "training"] == [
            False,
            False,
            True,
            True,
        ]

    def test_the_end_is_blended_with_the_start(self, gan_values, teacher, tmp_path):
        engine = run({**gan_values, "blend": 0.25}, tmp_path / "run")
        start, end = load_model(teacher).state_dict(), engine.ema.module.state_dict()
        written = load_model(engine.finish()).state_dict()
        assert not states_equal(start, end)
        for name, x in written.items():
            torch.testing.assert_close(x, 0.75 * start[name] + 0.25 * end[name], rtol=0, atol=1e-7)
        gan_values["model"]["arguments"]["width"] = 8
        with pytest.raises(ValueError, match=r"blend needs a start of the model's shape, and .*teacher is narrower"):
            run({**gan_values, "blend": 0.25}, tmp_path / "wide")

    def test_a_wider_network_begins_with_stage_1_and_no_other_does(self, gan_values, tmp_path, teacher):
        gan_values["model"]["arguments"]["width"] = 8
        gan_values["rates"] = [{"steps": 4, "rate": 1e-9}]
        model = run(gan_values, tmp_path / "wide").model
        given = torch.rand(1, 4, 8, 8), torch.full((1, 4, 8, 8), 0.1)
        torch.testing.assert_close(model(*given), load_model(teacher)(*given), rtol=0, atol=1e-6)
        gan_values["model"]["arguments"]["width"] = 4
        with pytest.raises(ValueError, match=r"start: .*teacher does not fit into .*: weight network\.head"):
            run(gan_values, tmp_path / "narrow")
        gan_values["model"] |= {"inputs": ["packed"], "arguments": {**gan_values["model"]["arguments"], "planes": 4}}
        with pytest.raises(ValueError, match=r"^start: inputs of .* is \('packed', 'sigma'\), of .* \('packed',\)$"):
            run(gan_values, tmp_path / "other")
        gan_values["model"] = {"network": "tiny-unet", "arguments": {"planes": 8}}
        with pytest.raises(ValueError, match=r"^start: network of .* is 'flat', of the recipe's model 'tiny-unet'$"):
            run(gan_values, tmp_path / "other")
        arguments = {"planes": 8, "widths": [4, 4], "blocks": [1, 1]}
        leaky = Model(ModelConfig("pyramid", arguments | {"slope": 0.1}))
        save_model(tmp_path / "leaky", leaky, metadata={"noise": "none"})
        gan_values["model"] = {"network": "pyramid", "arguments": arguments, "inputs": ["packed", "sigma"]}
        gan_values["start"] = str(tmp_path / "leaky")
        with pytest.raises(ValueError, match=r"^start: slope of .* is 0\.1, of the recipe's model 0$"):
            run(gan_values, tmp_path / "other")


class TestDistillation:
    def test_without_the_truth_the_student_follows_its_teacher(self, values, teacher, tmp_path):
        values["model"] = {"network": "flat", "arguments": {"planes": 8, "width": 6, "blocks": 2}}
        values["phases"] = [{"steps": 96, "batch": 4, "patch": 8, "losses": {"camera": {"l1": 1}}}]
        values["rates"] = [{"steps": 96, "rate": 0.02, "to": 1e-3}]
        values["teacher"] = {"model": str(teacher), "truth": 0}
        values |= {"checkpoint_minutes": 60, "log_every": 16}
        run(values, tmp_path / "run")
        lines = [yaml.safe_load(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
        losses = [line["teacher.camera.l1"] for line in lines if line["kind"] == "training"]
        assert losses[-1] < 0.6 * losses[0]

    def test_features_are_compared_through_adapters_that_learn(self, values, teacher, tmp_path):
        values["teacher"] = {"model": str(teacher), "features": 0.1, "layers": [["body.1", "body.0"]]}
        engine = run(values, tmp_path / "run")
        adapter = engine.nets["adapters"].adapters[0]
        assert adapter.weight.shape == (6, 4, 1, 1)
        first = run(values, tmp_path / "other", stop_at=0).nets["adapters"].adapters[0]
        assert not torch.equal(adapter.weight, first.weight)
        values["teacher"]["layers"] = [["tail2", "body.0"]]
        with pytest.raises(ValueError, match="no layer 'tail2'"):
            run(values, tmp_path / "wrong")

    def test_cached_outputs_are_the_teacher_s(self, values, teacher, store, tmp_path, capsys):
        values["data"] = {"store": str(store), "held_out": 0.0}
        values["phases"][1]["patch"] = 8
        recipe, cache = tmp_path / "recipe.yaml", tmp_path / "lessons.h5"
        recipe.write_text(yaml.safe_dump(values))
        command = [str(teacher), str(recipe), "--cache", str(cache), "-o", str(tmp_path / "run"), "--quiet"]
        assert distill(command) == 0
        packed, sigma, _ = PairStore(store).pair(3)[0].balanced()
        whole = develop_mosaic(load_model(teacher), pixel_shuffle(packed, 2), pixel_shuffle(sigma, 2), CFA("RGGB"))
        expected = whole[0, :, 4:20, 10:26]
        torch.testing.assert_close(Lessons(cache)(3, 2, 5, 8), expected, rtol=1e-3, atol=1e-3)
        assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_a_store_is_trained_on_each_pair_in_turn_and_resumed_exactly(values, store, tmp_path):
    values["data"] = {"store": str(store), "held_out": 0.3}
    run(values, tmp_path / "whole")
    run(values, tmp_path / "parts", stop_at=5)
    engine = run(values, tmp_path / "parts")
    assert same_end(tmp_path / "whole", tmp_path / "parts")
    assert engine.validation
    held = {pairs.records[0]["source"] for pairs in engine.validation}
    names = PairStore(store).sources()
    assert held.isdisjoint({names[i] for i in engine.data.kept})
    assert held | {names[i] for i in engine.data.kept} == set(names)


def test_commands(values, tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values))
    assert train([str(recipe), "shorten=4", "-o", str(tmp_path / "run")]) == 0
    assert read_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"] == 3
    assert "small training 3/3 (0 min left): display.l1" in capsys.readouterr().out
    assert train([str(recipe), "sead=1"]) == 2
    assert "error: " in capsys.readouterr().err
    assert distill(["nothing", str(recipe), "-o", str(tmp_path / "other")]) == 2
    assert "no model 'nothing'" in capsys.readouterr().err


RECIPES = sorted(Path(__file__).parents[2].glob("models/*/*.yaml"))


PRUNED = ("inner", "widths", "blocks", "joined")  # arguments of a pyramid that tools.prune changes


@pytest.mark.parametrize(
    "path", [p for p in RECIPES if p.name != "config.yaml"], ids=lambda p: f"{p.parent.name}-{p.stem}"
)
def test_shipped_recipes_are_valid(path):
    config = TrainConfig.load(path)
    with torch.device("meta"):
        model = Model(config.model)
    assert all(phase.patch % model.multiple == 0 for phase in config.phases)
    assert all(load_recipe(name) for name in config.data.recipes)
    weights = path.with_name(WEIGHTS)
    if path.name == "recipe.yaml" and weights.is_file():
        ships = read_config(weights)
        own, of_recipe = ({k: v for k, v in c.arguments.items() if k not in PRUNED} for c in (ships, config.model))
        assert own == of_recipe, "but for what is pruned"
        assert replace(ships, arguments={}) == replace(config.model, arguments={})
        with torch.device("meta"):
            counts = [sum(x.numel() for x in Model(c).parameters()) for c in (ships, config.model)]
        assert counts[0] <= counts[1], "what is pruned is smaller"
    if config.start in model_folders() and (model_folders()[config.start] / WEIGHTS).is_file():
        begin(Model(config.model), config)
