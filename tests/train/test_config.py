"""Recipes: strict keys, overrides, and schedules checked against their formulas."""

import math
from pathlib import Path

import pytest
import yaml

from isp.train.config import Rate, TrainConfig


@pytest.fixture
def recipe(values, tmp_path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_what_it_says_comes_back(values):
    config = TrainConfig.from_dict(values)
    assert TrainConfig.from_dict(config.as_dict()) == config
    assert yaml.safe_load(yaml.safe_dump(config.as_dict())) == config.as_dict()


def test_a_missing_recipe_is_told_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=rf"^{tmp_path}/no\.yaml: No such file or directory; expected a recipe"):
        TrainConfig.load(tmp_path / "no.yaml")


def test_overrides(recipe):
    config = TrainConfig.load(
        recipe,
        ["phases.1.batch=6", "optimiser.betas=[0.8, 0.9]", "gan.kind=hinge", "model.arguments.width=8", "ema=1e-1"],
    )
    assert config.phases[1].batch == 6
    assert config.optimiser.betas == (0.8, 0.9)
    assert config.gan is not None
    assert config.gan.kind == "hinge"
    assert config.model.arguments["width"] == 8
    assert config.ema == 0.1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sead=1", "unknown key 'sead' in a recipe; known keys: name, model"),
        ("phases.0.bach=1", "unknown key 'bach' in phases.0; known keys: steps, batch"),
        ("model.network=none", "network is 'none'; expected one of b2fnet"),
        ("phases.5.batch=1", "'5' is no item of a list of 2"),
        ("seed", "expected key.sub=value"),
        ("seed=1.5", "seed is 1.5; expected a whole number"),
        ("seed=true", "seed is True; expected a whole number"),
        ("seed.a=1", "seed is 0 and has no keys"),
        ("phases.0.steps=8", "phases last 13 steps and rates 12"),
        ("phases.0.losses={srgb: {l1: 1}}", "the domain 'srgb'; expected some of camera, root, display"),
        ("data.store=pairs", "either sources .* or a store"),
        ("gan.kind=soft", "gan.kind is 'soft'; expected one of vanilla, lsgan"),
        ("optimiser.betas=[0.9]", "betas is \\[0.9\\]; expected 2 values"),
        ("teacher.weight=1", "missing 1 required positional argument: 'model'"),
        ("teacher={model: flat, cache: a.h5}", "teacher.cache needs data.store"),
        ("teacher={model: flat, features: 1}", "belong together"),
        ("accumulate=0", "accumulate, log_every and checkpoint_minutes are .0, "),
        ("log_every=0", "expected numbers from 1, 1 and 0 on"),
        ("ema=1", "ema is 1.0; expected a decay from 0 to below 1"),
        ("rates.0.steps=0", "a rate needs steps from 1 on"),
        ("blend=0", "blend is 0.*; expected a share above 0, up to 1"),
        ("blend=0.5", "and below 1 only with a start"),
    ],
)
def test_errors_say_what_was_expected(recipe, override, message):
    if override == "seed.a=1":
        values = yaml.safe_load(recipe.read_text())
        recipe.write_text(yaml.safe_dump({**values, "seed": 0}))
    with pytest.raises(ValueError, match=message):
        TrainConfig.load(recipe, [override])


class TestRates:
    def test_a_cosine_with_warm_up(self):
        rate = Rate(steps=110, rate=2.0, to=1.0, warm_up=10)
        assert [rate.at(step) for step in (0, 4, 9)] == [0.2, 1.0, 2.0]
        assert rate.at(10) == 2.0
        assert rate.at(60) == pytest.approx(1.5)
        assert rate.at(35) == pytest.approx(1 + (1 + math.cos(math.pi / 4)) / 2)
        assert rate.at(109) == pytest.approx(1.0, abs=3e-4)

    def test_pieces_follow_each_other_and_cosines_restart(self, values):
        values["rates"] = [
            {"steps": 4, "rate": 1},
            {"steps": 4, "rate": 0.5, "to": 0},
            {"steps": 4, "rate": 0.3, "to": 0},
        ]
        config = TrainConfig.from_dict(values)
        rates = [config.rate_at(step) for step in range(12)]
        assert rates[:5] == [1, 1, 1, 1, 0.5]
        assert rates[6] == pytest.approx(0.25)
        assert rates[8] == 0.3

    def test_phases_end_where_they_say(self, values):
        config = TrainConfig.from_dict(values)
        assert [config.phase_at(step)[0].patch for step in (0, 6, 7, 11)] == [8, 8, 12, 12]
        assert [config.phase_at(step)[1] for step in (0, 7)] == [7, 12]
        assert config.steps == 12

    def test_a_shortened_run_has_the_same_shape(self, values):
        values["phases"][0]["steps"], values["phases"][1]["steps"] = 7000, 5000
        values["rates"] = [{"steps": 4000, "rate": 0.01}, {"steps": 8000, "rate": 0.01, "to": 1e-5}]
        whole, short = TrainConfig.from_dict(values), TrainConfig.from_dict({**values, "shorten": 100})
        assert short.steps == 120
        assert [short.phase_at(step)[0].patch for step in (0, 69, 70, 119)] == [8, 8, 12, 12]
        for step in (0, 39, 40, 80, 119):
            assert short.rate_at(step) == whole.rate_at(100 * step)


def test_a_pool_that_is_never_renewed_is_refused():
    values = {"name": "small", "model": {"network": "flat", "arguments": {"planes": 4}}, "phases": [],
              "data": {"sources": ["dead-leaves"], "renew": 0}, "rates": []}  # fmt: skip
    with pytest.raises(ValueError, match=r"from 1 on; got \(256, 0, 512\)"):
        TrainConfig.from_dict(values)
