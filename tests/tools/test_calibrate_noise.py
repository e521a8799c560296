"""The calibration tool, on small DNGs of a simulated sensor."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from isp.noise import load_profile
from isp.raw import CFA, RawImage, RawMetadata, write_dng
from tools import calibrate_noise

BLACK, WHITE, SIZE = 64.0, 4095.0, 256


def write_frames(folder: Path, count: int, *, iso: float, gain: float, read: float, light: float = 1.0) -> list[str]:
    """DNGs of one scene in RGGB: Poisson electrons, normal read noise (std, DN), whole DN. light 0: dark frames."""
    rng = np.random.default_rng(int(iso + 10 * light))
    y, x = np.mgrid[0 : 1 : SIZE * 1j, 0 : 1 : SIZE * 1j]
    electrons = light * 500 * (0.5 + 0.5 * np.sin(8 * x) * np.cos(6 * y)) ** 3  # dark in a good part
    meta = RawMetadata(
        height=SIZE,
        width=SIZE,
        cfa=CFA("RGGB"),
        black_level=np.full((1, 1, 1), BLACK),
        white_level=np.array([WHITE]),
        color_matrix1=np.eye(3),
        calibration_illuminant1=21,
        as_shot_neutral=np.ones(3),
        make="Acme",
        model="Simulated",
        iso=iso,
        exposure_time=0.01,
    )
    paths = []
    folder.mkdir(exist_ok=True)
    for number in range(count):
        counts = gain * rng.poisson(electrons) + BLACK + read * rng.standard_normal(electrons.shape)
        path = folder / f"iso{iso:g}-{light:g}-{number}.dng"
        write_dng(path, RawImage(np.round(counts).clip(0, WHITE).astype(np.uint16), meta))
        paths.append(str(path))
    return paths


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    light = [path for iso in (200, 800) for path in write_frames(folder, 6, iso=iso, gain=iso / 400, read=iso / 100)]
    dark = write_frames(folder, 3, iso=800, gain=2.0, read=8.0, light=0)
    return light, dark


def test_two_isos_with_dark_frames(frames, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    light, dark = frames
    out = tmp_path / "acme"
    assert calibrate_noise.main([*light, "--dark", *dark, "-o", str(out), "--name", "acme"]) == 0
    text = capsys.readouterr().out
    assert "Acme Simulated, RGGB, 4031 DN between black and white" in text

    profile = load_profile(f"{out}.yaml")
    assert (profile.name, profile.scale, profile.bits, profile.iso_range) == ("acme", 4031, 12, (200, 800))
    for iso in (200, 800):
        shot, read = profile.at_iso(iso)
        assert shot[0] * 4031 == pytest.approx(iso / 400, rel=0.02)
        assert read[0] * 4031**2 == pytest.approx((iso / 100) ** 2 + 1 / 12, rel=0.03)

    report = json.loads(Path(f"{out}.json").read_text())
    high = report["isos"][1]
    assert high["iso"] == 800
    assert high["planes_agree"]
    assert np.array(high["dng_noise_profile"]) * [4031, 4031**2] == pytest.approx(np.full((3, 2), [2, 64.08]), rel=0.03)
    assert high["shared"]["gain"]["low"] < high["shared"]["gain"]["value"] < high["shared"]["gain"]["high"]
    assert high["dark"]["offset"]["value"] == pytest.approx(BLACK, abs=0.1)
    assert high["dark"]["variance_per_site"] == pytest.approx([64.08] * 4, rel=0.05)
    assert report["closed_form"]["gain_per_iso"] == pytest.approx(1 / 400, rel=0.02)
    assert report["closed_form"]["log_read_slope"] == pytest.approx(1, abs=0.03)
    assert Path(f"{out}.png").read_bytes()[:4] == b"\x89PNG"
    page = Path(f"{out}.html").read_text()
    assert "data:image/svg+xml" in page
    assert f'<td class="number">{high["shared"]["gain"]["value"]:#.4g}</td>' in page
    assert text.splitlines()[2].split()[0] in page

    assert calibrate_noise.main([*light, "-o", str(out)]) == 1
    assert "acme.yaml exists; -Y replaces it" in capsys.readouterr().err


def test_one_frame_is_a_rough_estimate(frames, tmp_path, capsys):
    light, _ = frames
    out = tmp_path / "one"
    assert calibrate_noise.main([light[-1], "-o", str(out)]) == 0
    assert "a rough estimate from one frame" in capsys.readouterr().out
    shot, read = load_profile(f"{out}.yaml").at_iso(800)
    assert shot[0] * 4031 == pytest.approx(2, rel=0.15)
    assert read[0] * 4031**2 == pytest.approx(64, rel=0.3)
    assert not Path(f"{out}.png").exists()
    assert "ISO 800, one frame" in Path(f"{out}.html").read_text()


def test_without_matplotlib_the_page_says_so(frames, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    light, _ = frames
    out = tmp_path / "plain"
    assert calibrate_noise.main([*light[:6], "-o", str(out)]) == 0
    assert "the figure needs matplotlib, pip install &#x27;isp[plots]&#x27;" in Path(f"{out}.html").read_text()
    assert sorted(path.suffix for path in tmp_path.glob("plain*")) == [".html", ".json", ".yaml"]


def test_refusals_are_one_line(frames, tmp_path, capsys):
    light, _ = frames
    for arguments, message in (
        ([str(tmp_path / "none.dng")], "none.dng"),
        ([light[0], str(Path(__file__))], "test_calibrate_noise.py"),
    ):
        assert calibrate_noise.main([*arguments, "-o", str(tmp_path / "x")]) == 1
        error = capsys.readouterr().err.strip()
        assert message in error
        assert error.startswith("calibrate_noise: ")
        assert "\n" not in error
    assert list(tmp_path.glob("x*")) == []


def test_help_is_quick_and_shows_examples():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tools.calibrate_noise", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert "python -m tools.calibrate_noise static/*.dng --dark dark/*.dng -o imx296" in done.stdout
    for heavy in ("torch", "numpy", "scipy", "matplotlib"):
        assert f" {heavy}\n" not in done.stderr


def test_the_real_burst(shared, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    folder = shared / "data" / "burst"
    light = [str(path) for path in sorted(folder.glob("static_*.dng"))]
    dark = [str(path) for path in sorted(folder.glob("dark_*.dng"))]
    assert calibrate_noise.main([*light, "--dark", *dark, "-o", str(tmp_path / "imx296"), "--name", "imx296"]) == 0
    measured, shipped = load_profile(tmp_path / "imx296.yaml"), load_profile("imx296")
    assert (measured.table, measured.scale) == (shipped.table, shipped.scale)
    shot, read = measured.at_iso(100)
    assert 0.090 <= shot[0] * 963 <= 0.092
    assert 0.24 <= read[0] * 963**2 <= 0.27
    assert "std of row means 0.082 DN, 0.036 if sites were independent" in capsys.readouterr().out
