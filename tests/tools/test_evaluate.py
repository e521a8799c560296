"""The benchmark from end to end: simulation and metrics against NumPy, memory against files, and the command."""

import importlib.util
import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from isp.metrics.lpips import loaded as lpips_weights
from isp.nets.load import save_model
from isp.nets.model import Model, ModelConfig
from isp.options import RenderOptions
from isp.pipeline import render
from isp.raw import CFA, read
from isp.stages.demosaic import METHODS
from tools import evaluate_demosaic
from tools.evaluate import (
    REFERENCE,
    Cell,
    Figures,
    Frame,
    by_isp,
    develop_all,
    developer,
    main,
    measure,
    model_as_developer,
    noise_of,
    read_line,
    read_truth,
    simulate,
    strip,
    tables,
)

PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")
CAMERA = "nikon-d850"
# ColorMatrix2 of data/cameras/nikon-d850.yaml; XYZ (D65) of linear sRGB, IEC 61966-2-1
XYZ_TO_CAMERA = np.array([[0.9366, -0.2761, -0.1179], [-0.6076, 1.3955, 0.2370], [-0.1839, 0.2809, 0.7750]])
SRGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def small_picture(height=48, width=64, seed=0):
    """1 3 H W, sRGB in [0, 1], of 8 bits: soft colours, edges, and black and white."""
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8))
    pixels = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))
    pixels[4:10, 4:10], pixels[20:30, 30:40] = 0, 255
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]


@pytest.fixture
def untrained():
    """The flat network, whose last layer starts at 0, over Malvar under the curve: nothing but its base."""
    torch.manual_seed(0)
    config = ModelConfig("flat", {"planes": 8, "width": 8, "blocks": 1}, base="malvar2004", residual=True, toe=1e-3)
    return Model(config).eval()


@pytest.fixture
def folder(tmp_path):
    """Five pictures."""
    (tmp_path / "pictures").mkdir()
    for i in range(5):
        pixels = (small_picture(seed=i)[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{i}.png")
    return tmp_path / "pictures"


@pytest.fixture
def command(capsys):
    """The command in this process: (exit code, what it prints, what it complains)."""
    threads = torch.get_num_threads()

    def call(*arguments):
        try:
            with warnings.catch_warnings():
                code = main([str(a) for a in arguments])
        except SystemExit as exit:
            code = exit.code
        out, err = capsys.readouterr()
        return code, out, err

    yield call
    torch.set_num_threads(threads)


# --- the camera ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES)
def test_the_frame_against_numpy(phase):
    """Matrices, white balance, mosaic, noise and counts once more in float64."""
    shot, dark, seed = 3.2e-3, 2.5e-5, 5
    picture = small_picture()
    encoded = picture[0].numpy().astype(np.float64)
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    to_camera = XYZ_TO_CAMERA @ SRGB_TO_XYZ
    camera = np.einsum("dc,chw->dhw", to_camera, linear) / to_camera.sum(1).max()  # white: largest channel 1
    sites = CFA(phase).channel_map(*encoded.shape[1:])
    x = np.take_along_axis(camera, sites[None], 0)[0]
    normal = np.random.default_rng(seed).standard_normal((1, 1, *x.shape), np.float32)[0, 0]
    noisy = x + np.sqrt(shot * np.maximum(x, 0) + dark) * normal
    expected = np.clip(np.round(512 + (16383 - 512) * noisy), 0, 16383)

    raw = simulate(picture, Cell(CAMERA, phase, f"{shot}:{dark}"), seed)
    assert raw.mosaic.dtype == np.uint16
    np.testing.assert_allclose(raw.mosaic.astype(np.float64), expected, atol=16)  # matrices of 4 digits: 1e-3
    assert np.abs(raw.mosaic - expected).mean() < 2
    np.testing.assert_array_equal(raw.meta.noise_profile, [[shot, dark]])
    assert str(raw.meta.cfa) == phase


def test_noise_has_the_variance_of_its_level():
    picture = torch.full((1, 3, 400, 400), 0.5)
    clean, noisy = (
        simulate(picture, Cell(CAMERA, "RGGB", level), 1).mosaic / (16383 - 512) for level in ("0:0", "1.3e-2:3.5e-4")
    )
    x = clean - 512 / (16383 - 512)
    for row, column in ((0, 0), (0, 1), (1, 1)):
        error = (noisy - clean)[row::2, column::2]
        assert error.var() == pytest.approx(1.3e-2 * x[row::2, column::2].mean() + 3.5e-4, rel=0.02)


def test_iso_levels_are_the_profiles_and_per_plane():
    from isp.noise import load_profile, to_dng_noise_profile

    expected = to_dng_noise_profile(*load_profile("nikon-d850").at_iso(1600), CFA("RGGB"))
    np.testing.assert_allclose(noise_of(Cell(CAMERA, "RGGB", "iso1600")), expected)
    other = noise_of(Cell("canon-eos-r5", "RGGB", "iso1600", "imx586"))
    np.testing.assert_allclose(other, to_dng_noise_profile(*load_profile("imx586").at_iso(1600), CFA("RGGB")))
    raw = simulate(small_picture(), Cell("canon-eos-r5", "x-trans", "iso1600", "imx586"))
    assert raw.meta.cfa.kind == "x-trans"


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("level", ["0:0", "1.3e-2:3.5e-4"])
def test_the_file_gives_what_memory_gives(tmp_path, untrained, phase, level):
    """The DNG holds counts, levels and noise to the bit and the rest to 1e-9: pictures of 8 bits are the same."""
    picture = small_picture()
    frame = Frame(simulate(picture, Cell(CAMERA, phase, level)), tmp_path)
    through = Frame(read(frame.path), tmp_path)
    np.testing.assert_array_equal(through.raw.mosaic, frame.raw.mosaic)
    assert (through.raw.meta.noise_profile == frame.raw.meta.noise_profile).all()  # 3 planes and 1
    for one in (developer("auto"), developer("menon2007"), model_as_developer("model", untrained)):
        with torch.inference_mode():
            a, b = one.develop(frame), one.develop(through)
        assert (a - b).abs().max() < 2e-6
        assert measure(a, picture, ["psnr"])["psnr"] == pytest.approx(measure(b, picture, ["psnr"])["psnr"], abs=2e-3)


# --- developers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES)
def test_a_model_that_adds_nothing_is_its_base(tmp_path, untrained, phase):
    dim = 0.9 * small_picture()  # nothing is saturated, which the render leaves to the demosaic
    frame = Frame(simulate(dim, Cell(CAMERA, phase, "0:0")), tmp_path)
    with torch.inference_mode():
        difference = model_as_developer("model", untrained).develop(frame) - by_isp(frame, "malvar2004")
    assert difference.abs().max() < 2e-6


def test_a_model_at_hand_is_what_render_makes_of_its_file(tmp_path, untrained):
    """With weights that count, so that the noise it is told does."""
    torch.nn.init.normal_(untrained.network.tail.weight, std=0.05)
    weights = save_model(tmp_path / "model", untrained, metadata={"noise": "none"})
    frame = Frame(simulate(small_picture(), Cell(CAMERA, "GRBG", "iso6400")), tmp_path)
    with torch.inference_mode():
        options = RenderOptions(look="neutral", model=str(weights), precision="float32")
        expected = render(frame.raw, options).clamp(0, 1)
        got = model_as_developer("model", untrained).develop(frame)
    assert (expected - by_isp(frame, "malvar2004")).abs().mean() > 0.01
    assert (got - expected).abs().max() < 1e-5


def test_developers_near_the_truth(tmp_path):
    """All of them mean the same colours: a smooth picture without noise comes back."""
    y, x = np.mgrid[:256, :384] / 128
    smooth = np.stack([0.5 + 0.3 * np.sin(x + y + phase) for phase in range(3)]).astype(np.float32)
    truth = (torch.from_numpy(smooth)[None] * 255).round() / 255
    frame = Frame(simulate(truth, Cell(CAMERA, "RGGB", "0:0")), tmp_path)
    names = ["auto", "msg-linear", "libraw:AHD", "libraw-DHT", "libraw-AHD+FBDD"]
    names += [name for name in ("rawtherapee", "darktable") if shutil.which(f"{name}-cli")]
    figures = develop_all(frame, truth, [developer(name) for name in names], ["psnr"]).figures
    for name in names:
        assert figures[name]["psnr"] > (34 if name == "darktable" else 38), name


def test_fbdd_takes_noise_away(tmp_path):
    truth = torch.full((1, 3, 64, 64), 0.5)
    frame = Frame(simulate(truth, Cell(CAMERA, "RGGB", "3.2e-3:2.5e-5")), tmp_path)
    plain, reduced = (developer(f"libraw-AHD{more}").develop(frame) for more in ("", "+FBDD"))
    assert measure(reduced, truth, ["psnr"])["psnr"] > measure(plain, truth, ["psnr"])["psnr"] + 1


def test_who_does_not_treat_an_array_has_no_figure(tmp_path):
    truth = small_picture()
    frame = Frame(simulate(truth, Cell(CAMERA, "quad-bayer", "0:0")), tmp_path)
    result = develop_all(frame, truth, [developer("auto"), developer("msg")], ["psnr"], crops=True)
    assert set(result.figures) == {"auto"}
    assert not result.strip[:, -result.strip.shape[0] :].any()  # black in its place


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_psnr_against_numpy():
    """Of 8 bits, over all channels, of what a developer left of the picture."""
    truth = small_picture()
    rng = np.random.default_rng(1)
    got = (truth + 0.05 * torch.from_numpy(rng.standard_normal(truth.shape, np.float32)))[..., 4:-4, 4:-4]
    a = np.round(np.clip(got[0].numpy().astype(np.float64), 0, 1) * 255)
    b = truth[0, :, 4:-4, 4:-4].numpy().astype(np.float64) * 255
    expected = 10 * np.log10(255**2 / np.mean((a - b) ** 2))
    assert measure(got, truth, ["psnr"])["psnr"] == pytest.approx(expected, abs=1e-4)
    with pytest.raises(ValueError, match="made 63 x 48 of 64 x 48"):
        measure(truth[..., :-1], truth, ["psnr"])


def test_ssim_against_numpy():
    """Wang et al. 2004, eq. 13, in windows of 11x11 that fit."""
    from scipy.ndimage import correlate1d

    truth = small_picture()
    got = (truth * 0.8 + 0.1).mul(255).round() / 255
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()

    def blur(x):
        return correlate1d(correlate1d(x, taps, -1), taps, -2)[..., 5:-5, 5:-5]

    a, b = (v[0].numpy().astype(np.float64) for v in (got, truth))
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b, cov = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2, blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    map_ = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    assert measure(got, truth, ["ssim"])["ssim"] == pytest.approx(map_.mean(), abs=1e-5)


def test_scores_and_weights_that_are_not_here(shared, tmp_path, folder, command, monkeypatch):
    """RAIM 2026 from its parts by hand; what needs weights is left out where there are none, and said so."""
    monkeypatch.setenv("ISP_WEIGHTS", str(shared / "weights"))
    truth = small_picture()
    values = measure((truth * 0.8 + 0.1), truth, ["raim-2026", "psnr", "ssim", "lpips"])
    expected = 30 * values["psnr"] / 50 + 22.5 * (values["ssim"] - 0.5) / 0.5 + 30 * (0.4 - values["lpips"]) / 0.4
    assert values["raim-2026"] == pytest.approx(expected, abs=1e-4)
    lpips_weights.cache_clear()
    monkeypatch.setenv("ISP_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    given = [folder, "--every", 5, "--levels", "0:0", "--developers", "bilinear"]
    code, printed, err = command(*given, "--metrics", "psnr,raim-2026,ciede2000")
    assert code == 0
    assert "warning: raim-2026 is left out: no squeezenet1_1" in err
    assert "RAIM" not in printed
    assert "CIEDE2000" in printed
    code, _, err = command(*given, "--metrics", "lpips")
    assert code == 2
    assert "nothing to evaluate" in err.strip().splitlines()[-1]


def test_lines():
    """Acceptance and excellence by hand: two cells, two classical developers, two models."""
    cells = [Cell(CAMERA, "RGGB", level) for level in ("a", "b")]
    psnr = {"x": (30, 25), "y": (29, 26), "m": (31, 25.5), "n": (32, 27)}
    of = {
        (picture, cell): {name: {"psnr": values[i] + shift} for name, values in psnr.items()}
        for i, cell in enumerate(cells)
        for picture, shift in (("p", -1), ("q", 1))
    }
    text = "\n".join(part.markdown() for part in tables(Figures(of), cells, ["x", "y"], ["m", "n"], ["psnr"]))
    assert "| x | 30.00 | 25.00 |" in text
    assert "| m | 1 of 2 | -0.50 | 0 of 2 | -1.50 |" in text
    assert "| n | 2 of 2 | +1.00 | 2 of 2 | +0.00 |" in text
    given = {cells[0]: 31.0}
    text = "\n".join(part.markdown() for part in tables(Figures(of), cells, ["x", "y"], ["m", "n"], ["psnr"], given))
    assert "| m | 1 of 2 | -0.50 | 1 of 1 | +0.00 |" in text


def test_crops_show_the_same_window():
    truth = torch.zeros(1, 3, 400, 400)
    truth[..., 210:330, 210:330] = torch.rand(1, 3, 120, 120, generator=torch.Generator().manual_seed(0))
    both = strip([truth, truth[..., 4:-4, 4:-4]])
    assert both.shape == (160, 320, 3)
    np.testing.assert_array_equal(both[:, :160], both[:, 160:])
    assert both.any(-1).sum() > 100 * 160


# --- the papers' protocol --------------------------------------------------------------------------------------------


def test_a_model_in_the_papers_protocol_sees_linear_light():
    """Bilinear over linear light, and encoded again; sigma by the slope of the curve."""
    model = Model(ModelConfig("flat", {"planes": 8, "width": 8, "blocks": 1}, base="bilinear", residual=True)).eval()
    seen = []
    model.register_forward_pre_hook(lambda module, given: None if given[1].is_meta else seen.append(given[1]))
    x = 0.25 + 0.5 * torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        got = evaluate_demosaic.on_linear_light(model)(x, 1e-3)
        linear = ((x + 0.055) / 1.055) ** 2.4
        expected = 1.055 * METHODS["bilinear"].function(linear, CFA("RGGB")) ** (1 / 2.4) - 0.055
    assert (got - expected).abs()[..., 1:-1, 1:-1].max() < 1e-5
    slopes = 2.4 / 1.055 * ((x + 0.055) / 1.055) ** 1.4 * 1e-3
    assert seen[0].min() == pytest.approx(float(slopes.min()), rel=1e-2)
    assert seen[0].max() == pytest.approx(float(slopes.max()), rel=1e-2)


def test_the_papers_protocol_as_a_command(tmp_path, capsys):
    pixels = small_picture(512, 528)[0].permute(1, 2, 0).numpy() * 255
    Image.fromarray(pixels.round().astype(np.uint8)).save(tmp_path / "kodim01.png")
    given = [str(tmp_path), "--images", "1", "--methods"]
    assert evaluate_demosaic.main([*given, "bilinear"]) == 0
    out, _ = capsys.readouterr()
    assert [line.split(" | ")[0] for line in out.splitlines() if line[2:3].islower()] == [
        "| bilinear", "| x-trans", "| quad-bayer",
    ]  # fmt: skip
    assert evaluate_demosaic.main([*given, "xtrans"]) == 2
    assert "error: method 'xtrans' is unknown; known: bilinear" in capsys.readouterr().err


# --- the command -----------------------------------------------------------------------------------------------------


def test_report(tmp_path, folder, command):
    out = tmp_path / "report"
    code, printed, err = command(
        folder, "--every", 2, "--levels", "0:0,iso3200", "--phases", "RGGB,BGGR", "--developers", "msg,libraw-PPG",
        "--metrics", "psnr,ssim", "--seed", 3, "-o", out, "--crops",
    )  # fmt: skip
    assert code == 0, err
    assert (out / "report.md").read_text().strip() == printed.strip()
    assert "3 pictures" in printed
    assert "| nikon-d850, BGGR, iso3200 |" in printed
    record = json.loads((out / "report.json").read_text())
    assert {"command", "date", "machine", "versions", "protocol", "cells", "figures"} <= set(record)
    assert len(record["figures"]) == 3 * 4 * 2
    row = next(r for r in record["figures"] if (r["picture"], r["phase"], r["level"]) == ("2.png", "BGGR", "iso3200"))
    truth = read_truth(folder, "2.png", None)
    frame = Frame(simulate(truth, Cell(CAMERA, "BGGR", "iso3200"), 3_000_002), tmp_path)
    assert row["psnr"] == pytest.approx(measure(by_isp(frame, "msg"), truth, ["psnr"])["psnr"], abs=1e-4)
    assert {path.name for path in out.glob("*.png")} == {"0.png", "2.png", "4.png"}
    assert np.asarray(Image.open(out / "0.png")).shape[1] == 3 * 48 + 2 * 2
    line = read_line(out / "report.json", "psnr")  # what --excellence does
    page = (out / "report.html").read_text()
    assert f'<td class="number">{line[Cell(CAMERA, "BGGR", "iso3200")]:.2f}</td>' in page
    assert page.count("data:image/jpeg") == 3
    assert page.count("data:image/svg+xml") == (2 if importlib.util.find_spec("matplotlib") else 0)

    assert len(line) == 4
    assert f"{line[Cell(CAMERA, 'BGGR', 'iso3200')]:.2f} |" in printed

    code, again, err = command(
        folder, "--every", 2, "--levels", "0:0,iso3200", "--phases", "RGGB,BGGR", "--developers", "msg,libraw-PPG",
        "--metrics", "psnr,ssim", "--seed", 3, "--jobs", 2,
    )  # fmt: skip
    assert code == 0, err
    assert again.splitlines()[2:] == printed.splitlines()[2:]  # all but the command


def test_usage_errors_are_one_line(tmp_path, folder, command):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.json").write_text("[]")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"no picture")
    for arguments, message in (
        ([tmp_path / "none"], "expected a folder"),
        ([tmp_path / "empty"], "holds no file"),
        ([tmp_path / "bad"], "x.png"),
        ([folder, "--model", tmp_path / "bad"], "holds no model.safetensors"),
        ([folder, "--model", "nobody"], "no model 'nobody'"),
        ([folder, "--developers", "lightroom"], "developer 'lightroom' is unknown; known: auto"),
        ([folder, "--developers", "libraw-XYZ"], "is unknown"),
        ([folder, "--cameras", "leica m3"], "no camera"),
        ([folder, "--phases", "RGBG"], "not supported"),
        ([folder, "--levels", "loud"], "expected reference, S:O as 8e-4:2e-6, or iso1600"),
        ([folder, "--levels", "isomany"], "expected iso and a number"),
        ([folder, "--levels=-1:0"], "variances per white level"),
        ([folder, "--levels", "iso100", "--cameras", "canon-eos-r5"], "give --noise PROFILE"),
        ([folder, "--metrics", "beauty"], "metric 'beauty' is unknown"),
        ([folder, "--excellence", tmp_path / "other.json"], "expected the report.json"),
        ([folder, "--crops"], "--crops needs -o DIR"),
        ([folder, "--every", 0], "not a whole number from 1"),
        ([folder, "--developers", "none"], "nothing to evaluate"),
    ):
        code, _, err = command(*arguments)
        assert code == 2, arguments
        assert message in err.strip().splitlines()[-1], arguments


@pytest.mark.slow
def test_the_reference_table(shared, command, tmp_path):
    """The 24 Kodak pictures, as README has them."""
    code, printed, err = command(
        shared / "data" / "kodak", "--developers", "msg,libraw-DHT", "--metrics", "psnr", "--levels", REFERENCE
    )
    assert code == 0, err
    assert "| msg | 40.60 | 33.28 | 27.41 | 20.65 |" in printed
    assert "| libraw-DHT | 33.30 | 29.72 | 25.30 | 19.32 |" in printed
