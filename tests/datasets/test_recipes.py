"""Recipes: strict reading, the figures of the reports, and draws inside their ranges."""

import numpy as np
import pytest
import yaml

from isp.datasets.recipes import AmplifyNoise, Blur, ChannelScale, Defects, Isos, Recipe, load_recipe, recipe_names
from isp.datasets.synthesis import CameraChoice, draw_light, draw_pair

MINIMAL = {"name": "mine", "source": "me", "noise": ["imx686"], "steps": [{"sensor": {}}]}


def write(tmp_path, **changes):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**MINIMAL, **changes}))
    return path


def test_the_recipes_ship_and_survive_a_round_trip():
    assert recipe_names() == ["iid-ai", "mialgo", "njust-heavy", "njust-light", "upi", "wide"]
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.name == name
        assert Recipe.from_dict(yaml.safe_load(yaml.safe_dump(recipe.as_dict()))) == recipe


def test_figures_that_the_reports_state():
    heavy = load_recipe("njust-heavy")
    assert str(heavy.iso) == "3200-9600"
    steps = {type(step): step for step in heavy.steps}
    assert (steps[Blur].kernel, steps[Blur].sigma) == ((3, 7), (0.6, 1.2))
    assert steps[ChannelScale].factor == (0.8, 1.2)
    assert steps[AmplifyNoise].percent == (20, 30)
    assert str(load_recipe("iid-ai").iso) == "1600,3200,6400"
    mialgo = load_recipe("mialgo")
    assert [type(step).__name__ for step in mialgo.steps] == ["Blur", "RgbNoise", "Downsample", "Sensor", "Defects"]
    defects = mialgo.steps[-1]
    assert isinstance(defects, Defects)
    assert (defects.density, defects.pdaf_period, defects.pdaf_gain) == ((1e-5, 1e-3), (8, 16), (0.7, 1.0))
    assert load_recipe("upi").noise == ("upi",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"isoo": "800"}, "unknown key 'isoo' in a recipe; known keys: name, source"),
        ({"steps": [{"sensor": {"gain": 1}}]}, "unknown key 'gain' in step sensor; known keys: model, digital_gain"),
        ({"steps": [{"smear": {}}, "sensor"]}, "unknown step 'smear'; known steps: blur, edge-blur"),
        ({"steps": ["sensor", {"blur": {"kernel": [3, 7], "sigma": [1, 2]}}]}, "come before those on the mosaic"),
        ({"steps": [{"blur": {"kernel": [3, 7], "sigma": [2, 1]}}, "sensor"]}, "two rising numbers"),
        ({"steps": [{"blur": {"kernel": [3, 7]}}, "sensor"]}, "step blur: .*sigma"),
        ({"steps": []}, "exactly one `sensor`"),
        ({"steps": [{"sensor": {"model": "magic"}}]}, "gaussian, poisson, eld"),
        ({"steps": [{"defects": {"density": [0, 1]}}, "sensor"]}, "first step on the mosaic"),
        ({"tone": "curly"}, "gamma, filmic, smoothstep"),
        ({"iso": "800-"}, "a range"),
        ({"exposure_ev": "dark"}, "expected a list"),
        ({"exposure_ev": [0, "x"]}, "expected a number"),
        ({"noise": []}, "names no profile"),
    ],
)
def test_errors_name_the_file_and_what_was_expected(tmp_path, changes, message):
    path = write(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match="iid-ai, mialgo"):
        load_recipe("mialog")


def test_numbers_without_a_point_are_numbers(tmp_path):
    path = write(tmp_path, steps=["sensor", {"defects": {"density": ["1e-5", "1e-3"]}}])
    assert load_recipe(path).steps[1].density == (1e-5, 1e-3)


def test_isos():
    rng = np.random.default_rng(0)
    drawn = [Isos.parse("800-12800").draw(rng) for _ in range(4000)]
    assert min(drawn) >= 800
    assert max(drawn) <= 12800
    assert np.mean(np.array(drawn) < 3200) == pytest.approx(0.5, abs=0.03)  # log-uniform
    assert {Isos.parse("1600,3200").draw(rng) for _ in range(40)} == {1600, 3200}
    assert Isos.parse("6400").draw(rng) == 6400
    for bad in ("", "0", "3200-800", "-5", "many"):
        with pytest.raises(ValueError, match="ISO is"):
            Isos.parse(bad)


@pytest.mark.parametrize("name", ["mialgo", "njust-heavy", "njust-light", "iid-ai", "upi"])
def test_draws_stay_in_the_recipe_s_ranges_and_reach_their_ends(name):
    recipe, rng, choice = load_recipe(name), np.random.default_rng(1), CameraChoice("nikon-d500")
    light = draw_light(recipe, choice, rng)
    draws = [
        draw_pair(recipe, choice, light, rng, index=i, seed=i, source="x", window=(0, 0), factor=1) for i in range(300)
    ]
    exposures = [d.exposure_ev for d in draws]
    low, high = recipe.exposure_ev
    assert low <= min(exposures) <= max(exposures) <= high
    if recipe.noise != ("upi",):
        assert {d.profile for d in draws} == set(recipe.noise)
        assert all(min(recipe.iso.values) <= d.iso <= max(recipe.iso.values) for d in draws)
    for number, step in enumerate(recipe.steps):
        values = [d.steps[number] for d in draws if d.steps[number] is not None]
        probability = getattr(step, "probability", 1.0)
        if not isinstance(step, (Blur, ChannelScale, AmplifyNoise, Defects)):
            continue
        assert len(values) / 300 == pytest.approx(probability, abs=0.12)
        if isinstance(step, Blur):
            assert {v["kernel"] for v in values} == set(range(int(step.kernel[0]), int(step.kernel[1]) + 1, 2))
            spread(step.sigma, [v["sigma"] for v in values])
            spread(step.elongation, [v["elongation"] for v in values])
        elif isinstance(step, ChannelScale):
            spread(step.factor, [f for v in values for f in v["factors"]])
        elif isinstance(step, AmplifyNoise):
            spread((1.2, 1.3), [v["factor"] for v in values])
        else:
            spread(np.log(step.density), np.log([v["density"] for v in values]))
            periods = {v["pdaf_period"] for v in values} - {None}
            assert periods == {8, 10, 12, 14, 16}
            spread(step.pdaf_gain, [v["pdaf_gain"] for v in values if v["pdaf_period"]])


def spread(ends, values):
    """Inside the range, and over most of it."""
    low, high = ends
    assert low - 1e-9 <= min(values) <= low + 0.1 * (high - low) + 1e-9
    assert high - 0.1 * (high - low) - 1e-9 <= max(values) <= high + 1e-9
