"""Pairs: their noise against what they say of it, their clean side against the source, and their bytes."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from isp.datasets.recipes import Isos, Recipe, load_recipe, recipe_names
from isp.datasets.sources import Sample
from isp.datasets.synthesis import (
    PATTERN,
    CameraChoice,
    PairStream,
    check_isos,
    cut,
    make_pair,
    smoothstep,
    to_display,
    undo_smoothstep,
)
from isp.noise import load_profile
from isp.raw.metadata import RawMetadata
from isp.stages.demosaic import mosaic

PLAIN = {"name": "plain", "source": "test", "noise": ["imx686"], "iso": "3200", "steps": ["sensor"]}


def plain(**changes):
    return Recipe.from_dict({**PLAIN, **changes})


class Flat:
    """Pictures of one grey, 3 size size, with a smooth ramp if asked."""

    def __init__(self, level=0.5, size=512, ramp=0.0, count=3, meta=None):
        self.level, self.size, self.ramp, self.count, self.meta = level, size, ramp, count, meta

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        y = torch.linspace(-0.5, 0.5, self.size)[:, None] * self.ramp + self.level
        return Sample(y.expand(3, self.size, self.size).clone(), f"flat-{i}", self.meta)


class Photographs:
    """Coloured noise at several scales: every value and hue."""

    def __init__(self, height=300, width=400, count=4):
        self.shape, self.count = (height, width), count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        generator = torch.Generator().manual_seed(i)
        coarse = torch.rand(1, 3, 8, 8, generator=generator)
        x = F.interpolate(coarse, self.shape, mode="bicubic").clamp(0.02, 0.85)[0]
        return Sample(x, f"photo-{i}")


def noise_of(pair):
    """The noise of the packed planes, and their clean signal."""
    signal = F.pixel_unshuffle(mosaic(pair.clean, PATTERN), 2)
    return pair.noisy - signal, signal


STEPS = {
    "ISO": ["sensor"],
    "poisson": [{"sensor": {"model": "poisson"}}],
    "digital gain": [{"sensor": {"digital_gain": [5.3, 5.3]}}],
    "amplified": ["sensor", {"amplify-noise": {"percent": [25, 25]}}],
    "fewer bits": ["sensor", {"quantise": {"bits": [7]}}],
    "noise before downsampling": [{"rgb-noise": {"sigma": [0.03, 0.03]}}, {"downsample": {"factors": [2]}}, "sensor"],
    "noise before blur": [
        {"rgb-noise": {"sigma": [0.03, 0.03]}},
        {"blur": {"kernel": [3, 3], "sigma": [0.8, 0.8]}},
        "sensor",
    ],
}


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("level", [0.4, 0.7])
def test_noise_has_the_variance_that_the_pair_states(steps, level):
    """1 048 576 samples, 262 144 per plane: the variance's standard error is 0.14 % (0.28 % per plane). Counts of 10
    bits rounded to 7 lie on halves at times, which all go one way: up to 1 % less than the two steps alone would add.
    """
    source = Flat(level, 2048 if steps == "noise before downsampling" else 1024)
    pair = make_pair(
        source, plain(steps=STEPS[steps], iso="1600"), CameraChoice("nikon-d500"), seed=1, index=0, size=512
    )
    noise, signal = noise_of(pair)
    stated = pair.shot * signal.mean((2, 3)) + pair.read
    measured = noise.var((2, 3))
    torch.testing.assert_close(measured, stated, rtol=0.02 if steps == "fewer bits" else 0.01, atol=0)
    assert abs(float(noise.mean())) < 4 * float((stated.mean() / noise.numel()) ** 0.5) + 2e-4


def test_shot_and_read_follow_the_profile_and_the_gain():
    profile = load_profile("imx686")
    a, b = profile.at_iso(3200)
    for gain in (1.0, 4.0):
        pair = make_pair(
            Flat(),
            plain(steps=[{"sensor": {"digital_gain": [gain, gain]}}]),
            CameraChoice("nikon-d500"),
            seed=0,
            index=0,
            size=8,
        )
        torch.testing.assert_close(pair.shot[0].double(), torch.tensor(a) * gain, rtol=1e-6, atol=0)
        torch.testing.assert_close(pair.read[0].double(), torch.tensor(b) * gain**2, rtol=1e-6, atol=0)
    assert (float(pair.scale), float(pair.black)) == (959, 64)


def test_eld_noise_states_its_variance():
    recipe = plain(noise=["sony-a7s2"], steps=[{"sensor": {"model": "eld"}}])
    for index in range(3):
        pair = make_pair(Flat(0.7, 1024), recipe, CameraChoice("nikon-d500"), seed=5, index=index, size=512)
        noise, signal = noise_of(pair)
        noise = noise - noise.mean((2, 3), keepdim=True)  # the colour bias
        stated = pair.shot * signal.mean((2, 3)) + pair.read
        torch.testing.assert_close(noise.var((2, 3)), stated, rtol=0.03, atol=0)


def test_counts_are_whole_and_in_range():
    pair = make_pair(Flat(0.9), load_recipe("mialgo"), CameraChoice("random"), seed=2, index=1, size=64)
    exact = pair.noisy * pair.scale + pair.black
    torch.testing.assert_close(exact, exact.round(), atol=2e-3, rtol=0)
    counts = pair.counts()
    assert counts.min() >= 0
    assert counts.max() <= 1023


@pytest.mark.parametrize("tone", ["gamma", "filmic", "smoothstep"])
@pytest.mark.parametrize("camera", ["nikon-d850", "fujifilm-x-t3", "random"])
def test_the_clean_side_renders_back_to_the_picture(tone, camera):
    source, recipe = Photographs(), plain(tone=tone, white_balance=0.1, exposure_ev=[-1, 0.5])
    pair = make_pair(source, recipe, CameraChoice(camera), seed=3, index=2, size=64)
    _, _, clean = pair.balanced()
    picture = to_display(clean, pair.cam_to_output[0], float(pair.exposure_ev), tone)[0]
    window = pair.records[0]["window"]
    expected = cut(source[2].rgb, tuple(window), 128)
    assert (picture - expected).abs().max() < 1.5 / 255


def test_whites_saturate_the_sensor():
    pair = make_pair(Flat(1.0), plain(), CameraChoice("nikon-d500"), seed=0, index=0, size=16)
    assert (pair.clean >= 0.999).all()


def test_a_clean_raw_keeps_its_own_camera():
    meta = RawMetadata(
        height=64,
        width=64,
        samples=3,
        black_level=np.zeros((1, 1, 3)),
        white_level=np.ones(3),
        color_matrix1=[[0.6797, -0.0419, -0.0807], [-0.4694, 1.1883, 0.3081], [-0.1217, 0.2478, 0.5641]],
        calibration_illuminant1=21,
        as_shot_neutral=[0.5, 1.0, 0.65],
        noise_profile=[[1e-9, 1e-9]],
        iso=100.0,
    )
    pair = make_pair(Flat(0.3, 64, meta=meta), plain(), CameraChoice("random"), seed=0, index=0, size=32)
    torch.testing.assert_close(pair.gains[0], torch.tensor([2.0, 1.0, 1 / 0.65]))
    torch.testing.assert_close(pair.balanced()[2], torch.full((1, 3, 64, 64), 0.3))
    assert pair.records[0]["noise"] == "imx686"  # not its own, which it was rid of


def test_a_camera_s_own_noise_goes_before_the_recipe_s_and_the_user_s_before_both():
    own = make_pair(Flat(), plain(iso="800"), CameraChoice("sony-ilce-7m4"), seed=0, index=0, size=8).records[0][
        "noise"
    ]
    assert own in ("imx686", "sony-a7m4")  # a profile of ELD figures alone tells no ISO
    forced = make_pair(Flat(), plain(), CameraChoice("random", noise="imx586"), seed=0, index=0, size=8)
    assert forced.records[0]["noise"] == "imx586"


@pytest.mark.parametrize("name", recipe_names())
def test_same_seed_same_bytes_whatever_the_threads(name):
    recipe, choice, source = load_recipe(name), CameraChoice("random"), Photographs()
    threads = torch.get_num_threads()
    try:
        pairs = []
        for count in (1, 2, 1):
            torch.set_num_threads(count)
            torch.rand(7)  # whatever else draws numbers
            pairs.append(make_pair(source, recipe, choice, seed=11, index=5, size=48))
    finally:
        torch.set_num_threads(threads)
    first = pairs[0]
    for other in pairs[1:]:
        for field in ("noisy", "clean", "shot", "read", "gains", "cam_to_output"):
            assert torch.equal(getattr(first, field), getattr(other, field))
        assert json.dumps(first.records) == json.dumps(other.records)
    different = make_pair(source, recipe, choice, seed=12, index=5, size=48)
    assert not torch.equal(first.noisy, different.noisy)


def test_small_pictures_go_on_as_mirror_images():
    x = torch.arange(6.0).view(1, 2, 3).expand(3, 2, 3)
    y = cut(x, (0, 1), 5)
    assert y.shape == (3, 5, 5)
    np.testing.assert_array_equal(y[0, 0], [1, 2, 2, 1, 0])
    np.testing.assert_array_equal(y[0, :, 0], [1, 4, 4, 1, 1])


def test_downsampling_needs_room():
    recipe = plain(steps=[{"downsample": {"factors": [2, 3]}}, "sensor"])
    small = make_pair(Flat(0.5, 100), recipe, CameraChoice("nikon-d500"), seed=0, index=0, size=32)
    assert small.records[0]["steps"][0]["downsample"] is None
    seen = {
        make_pair(Flat(0.5, 200), recipe, CameraChoice("nikon-d500"), seed=0, index=i, size=32).records[0]["steps"][0][
            "downsample"
        ]["factor"]
        for i in range(12)
    }
    assert seen == {2, 3}
    sometimes = plain(steps=[{"downsample": {"factors": [2], "probability": 0.5}}, "sensor"])
    for i in range(8):
        pair = make_pair(Flat(0.5, 200), sometimes, CameraChoice("nikon-d500"), seed=0, index=i, size=32)
        assert pair.noisy.shape == (1, 4, 32, 32)


def test_smoothstep_is_undone():
    x = torch.linspace(0, 1, 1001, dtype=torch.float64)
    torch.testing.assert_close(undo_smoothstep(smoothstep(x)), x, atol=1e-6, rtol=0)


def test_extrapolated_isos_are_told_and_errors_are_clear():
    lines = check_isos(CameraChoice("random"), load_recipe("mialgo"), None)
    assert any("imx686" in line and "800 to 6400" in line for line in lines)
    assert not check_isos(CameraChoice("random"), plain(), Isos.parse("1600"))
    with pytest.raises(ValueError, match="no camera"):
        CameraChoice("kodak brownie")
    with pytest.raises(ValueError, match="no noise profile"):
        CameraChoice("random", noise="none")


class TestStream:
    def stream(self, **more):
        settings = {"batch": 4, "size": 16, "seed": 7, "pool": 3, "renew": 2, **more}
        return PairStream(Photographs(), load_recipe("mialgo"), CameraChoice("random"), **settings)

    def test_batches_are_what_a_network_takes(self):
        pairs = next(iter(self.stream()))
        packed, sigma, target = pairs.balanced()
        assert (packed.shape, sigma.shape, target.shape) == ((4, 4, 16, 16), (4, 4, 16, 16), (4, 3, 32, 32))
        assert len(pairs.records) == len(pairs) == 4
        assert len({record["iso"] for record in pairs.records}) > 1
        assert (sigma > 0).all()

    def test_the_same_seed_gives_the_same_batches_ahead_or_not(self):
        ahead, at_once = iter(self.stream()), iter(self.stream(prefetch=0))
        for _ in range(6):
            a, b = next(ahead), next(at_once)
            assert torch.equal(a.noisy, b.noisy)
            assert torch.equal(a.clean, b.clean)

    @pytest.mark.parametrize("pool", [2, 9])
    def test_any_batch_can_be_asked_for_by_its_number(self, pool):
        whole = iter(self.stream(pool=pool, prefetch=0))
        expected = [next(whole) for _ in range(9)]
        again = self.stream(pool=pool)
        for start in (7, 2):  # forwards and backwards, on one stream
            for n, pairs in zip((start, start + 1), again.batches(start), strict=False):
                assert torch.equal(pairs.noisy, expected[n].noisy)
                assert pairs.records == expected[n].records

    def test_shares_make_up_the_batch(self):
        whole = next(self.stream(prefetch=0).batches(3))
        parts = [next(self.stream(share=(rank, 2)).batches(3)) for rank in range(2)]
        assert torch.equal(torch.cat([part.noisy for part in parts]), whole.noisy)
        with pytest.raises(ValueError, match="a batch of 4 cannot be shared by 3"):
            next(iter(self.stream(share=(0, 3), prefetch=0)))

    def test_batches_of_another_size(self):
        pairs = next(self.stream().batches(5, batch=2, size=24))
        assert pairs.noisy.shape == (2, 4, 24, 24)

    def test_every_recipe_has_its_share(self):
        recipes = [load_recipe("upi"), load_recipe("wide")]
        stream = PairStream(Photographs(), recipes, CameraChoice("random"), batch=40, size=8, pool=2, prefetch=0)
        names = [record["recipe"] for record in next(iter(stream)).records]
        assert 8 <= names.count("upi") <= 32

    @pytest.mark.parametrize("prefetch", [0, 2])
    def test_the_caller_s_gradients_stay_on(self, prefetch):
        for _, pairs in zip(range(2), self.stream(prefetch=prefetch), strict=False):
            assert torch.is_grad_enabled()
            assert not pairs.clean.requires_grad

    def test_every_picture_gets_its_turn(self):
        stream, seen = iter(self.stream(prefetch=0)), set()
        for _ in range(30):
            seen |= {record["source"] for record in next(stream).records}
        assert seen == {f"photo-{i}" for i in range(4)}

    def test_noise_is_what_it_states_in_a_batch_of_different_isos(self):
        recipe = plain(iso="800-6400", steps=[{"sensor": {"digital_gain": [1, 4]}}])
        stream = PairStream(Flat(0.6, 512), recipe, CameraChoice("random"), batch=6, size=128, seed=1)
        pairs = next(iter(stream))
        noise, signal = noise_of(pairs)
        stated = pairs.shot * signal.mean((2, 3)) + pairs.read
        torch.testing.assert_close(noise.var((2, 3)), stated, rtol=0.06, atol=0)  # 16384 samples: 1.1 %

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_on_a_gpu(self):
        pairs = next(iter(self.stream(device="cuda")))
        assert pairs.noisy.is_cuda
        noise, _ = noise_of(pairs)
        assert torch.isfinite(noise).all()
