"""Noise profiles: shipped files, interpolation, DNG and darktable."""

import json
import warnings

import numpy as np
import pytest

from isp.locate import data_path
from isp.noise import (
    NoiseProfile,
    from_dng_noise_profile,
    load_profile,
    per_site,
    profile_names,
    read_darktable,
    to_dng_noise_profile,
)
from isp.raw import CFA

HEAD = {"name": "n", "sensor": "s", "source": "o", "licence": "l", "scale": 1000, "bits": 10, "iso_range": [100, 400]}
TABLE = [{"iso": 100, "shot": 1e-4, "read": 1e-6}, {"iso": 400, "shot": 4e-4, "read": 9e-6}]

# published figures: (shot, read) at ISO
PUBLISHED = [
    ("imx686", 800, 1.140e-3, 4.93e-6),
    ("imx686", 1600, 2.279e-3, 1.61e-5),
    ("imx686", 3200, 4.558e-3, 5.23e-5),
    ("imx686", 6400, 9.116e-3, 1.70e-4),
    ("imx586", 800, 5.09e-4, 1.19e-6),
    ("imx586", 1600, 1.009e-3, 3.24e-6),
    ("imx586", 3200, 2.010e-3, 1.03e-5),
    ("imx586", 6400, 4.010e-3, 3.64e-5),
    ("imx586", 9600, 6.011e-3, 7.83e-5),
    ("imx385", 12800, 6.90e-3, 3.26e-5),
    ("sony-a7s2", 1600, 9.64e-5, 1.58e-7),
    ("sony-a7s2", 25600, 1.54e-3, 2.65e-6),
]


@pytest.mark.parametrize(("name", "iso", "shot", "read"), PUBLISHED)
def test_published_figures(name, iso, shot, read):
    a, b = load_profile(name).at_iso(iso)
    assert a == pytest.approx(np.full(4, shot), rel=2e-3)
    assert b == pytest.approx(np.full(4, read), rel=5e-3)


def test_every_shipped_profile_loads_and_names_itself():
    names = profile_names()
    assert {"imx296", "imx385", "imx586", "imx686", "nikon-d850", "sony-a7m4", "sony-a7s2"} <= set(names)
    for name in names:
        profile = load_profile(name)
        assert profile.name == name
        assert profile.source
        assert profile.licence
        assert profile.sensor


def test_eld_cameras_agree_with_the_gain_per_iso_of_the_same_sensor():
    """K of the ELD release at ISO 100 and the slope of the table of shot noise over ISO, both of the Sony A7S II."""
    profile = load_profile("sony-a7s2")
    shot, _ = profile.at_iso(3200)
    assert shot[0] * profile.scale / 3200 == pytest.approx(profile.eld.gain_range[0] / 100, rel=0.003)
    assert profile.eld.gain_range[1] / profile.eld.gain_range[0] == pytest.approx(64, rel=1e-5)


def test_table_runs_straight_in_logarithms():
    profile = NoiseProfile(**HEAD, table=TABLE)
    shot, read = profile.at_iso(200)  # the middle of ln 100 and ln 400
    assert shot == pytest.approx(np.full(4, 2e-4))
    assert read == pytest.approx(np.full(4, 3e-6))


def test_extrapolation_warns_and_goes_on_straight():
    profile = NoiseProfile(**HEAD, table=TABLE)
    with pytest.warns(UserWarning, match="'n' is calibrated for ISO 100 to 400; ISO 800 is extrapolated"):
        shot, read = profile.at_iso(800)
    assert shot == pytest.approx(np.full(4, 8e-4))
    assert read == pytest.approx(np.full(4, 9e-6 * 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        profile.at_iso(100)
        profile.at_iso(400)


def test_two_conversion_gains_are_not_mixed():
    profile = load_profile("sony-a7s2")
    _, below = profile.at_iso(1900)  # the lone row of the low gain, amplified
    _, above = profile.at_iso(2000)
    assert below[0] == pytest.approx(1.58e-7 * (1900 / 1600) ** 2)
    assert above[0] == pytest.approx(6.10e-8 * (2000 / 3200) ** (np.log(2.01e-7 / 6.10e-8) / np.log(2)))


def test_figures_that_are_not_positive_are_interpolated_linearly():
    table = [{"iso": 100, "shot": 1e-4, "read": 0.0}, {"iso": 400, "shot": 4e-4, "read": 3e-6}]
    _, read = NoiseProfile(**HEAD, table=table).at_iso(200)
    assert read == pytest.approx(np.full(4, 1e-6))


def test_planes_of_their_own():
    table = [{"iso": 100, "shot": [1e-4, 2e-4, 3e-4], "read": [1e-6, 1e-6, 2e-6]}]
    shot, read = NoiseProfile(**(HEAD | {"iso_range": [100, 100]}), table=table).at_iso(100)
    assert shot.tolist() == [1e-4, 2e-4, 3e-4]
    assert per_site(read, CFA("BGGR")).tolist() == [2e-6, 1e-6, 1e-6, 1e-6]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"table": TABLE, "shoot": 1}, "unknown key 'shoot' in a noise profile; known keys: name, sensor"),
        ({"table": [{"iso": 100, "shot": 1, "raed": 1}]}, "unknown key 'raed' in table; known keys: iso, shot"),
        ({"eld": {"gain": [1, 2]}}, "unknown key 'gain' in eld"),
        ({}, "holds no law"),
        ({"table": TABLE, "gain": [1, 0], "log_read": [1, 0]}, "needs one law over ISO"),
        ({"gain": [1, 0]}, "needs one law over ISO"),
        ({"table": TABLE, "scale": 0}, "scale is 0"),
        ({"table": [{"iso": 100, "shot": "much", "read": 1}]}, "shot holds 'much'; expected a number"),
        ({"gain": [1, 2, 3], "log_read": [1, 0]}, "gain holds 3 numbers; expected 2"),
        ({"table": TABLE, "iso_range": None}, "needs iso_range"),
        ({"table": 5}, "table should be a list"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path, values, message):
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(HEAD | values))  # JSON is YAML
    with pytest.raises(ValueError, match=message) as caught:
        NoiseProfile.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_saved_profiles_come_back(tmp_path):
    for name in profile_names():
        profile = load_profile(name)
        path = tmp_path / f"{name}.yaml"
        profile.save(path)
        assert load_profile(path) == profile
    with pytest.raises(FileExistsError):
        profile.save(path)


def test_numbers_without_a_point_are_numbers(tmp_path):
    path = tmp_path / "p.yaml"
    text = "name: n\nsensor: s\nsource: o\nlicence: l\nscale: 1e3\nbits: 10\niso_range: [1e2, 4e2]\n"
    path.write_text(text + "table: [{iso: 1e2, shot: 1e-4, read: 1e-6}]\n")  # YAML 1.1 takes these for strings
    assert load_profile(path).at_iso(100)[0][0] == 1e-4


def test_unknown_names_and_isos():
    with pytest.raises(ValueError, match=r"no noise profile 'imx999'; shipped are canon-5d4, .*imx686"):
        load_profile("imx999")
    with pytest.raises(ValueError, match="states no law over ISO; sample it"):
        load_profile("sony-a7m4").at_iso(800)
    with pytest.raises(ValueError, match="expected a positive number"):
        load_profile("imx686").at_iso(0)


def test_dng_noise_profile_there_and_back():
    for pattern in ("RGGB", "BGGR", "GRBG", "GBRG"):
        cfa = CFA(pattern)
        tag = np.array([[1e-4, 1e-6], [2e-4, 2e-6], [3e-4, 3e-6]])  # red, green, blue
        shot, read = from_dng_noise_profile(tag, cfa)
        assert shot.tolist() == [{"R": 1e-4, "G": 2e-4, "B": 3e-4}[letter] for letter in pattern]
        assert np.array_equal(to_dng_noise_profile(shot, read, cfa), tag)
    shot, read = from_dng_noise_profile(tag[:1], CFA("RGGB"))
    assert shot.tolist() == [1e-4] * 4
    assert read.tolist() == [1e-6] * 4
    assert np.array_equal(to_dng_noise_profile([1e-4], [1e-6]), tag[:1])
    greens = to_dng_noise_profile([1.0, 2.0, 4.0, 5.0], [0.0] * 4, CFA("RGGB"))
    assert greens[:, 0].tolist() == [1.0, 3.0, 5.0]
    quad = CFA("RRGGRRGGGGBBGGBB", 4, 4)
    assert np.allclose(to_dng_noise_profile(*from_dng_noise_profile(tag, quad), quad), tag, rtol=1e-14, atol=0)
    with pytest.raises(ValueError, match="2 noise figures do not fit CFA RGGB; expected 1, 3"):
        from_dng_noise_profile(tag[:2], CFA("RGGB"))
    with pytest.raises(ValueError, match="planes x 2"):
        from_dng_noise_profile(np.ones(6), CFA("RGGB"))


def darktable_file(tmp_path, **camera):
    rows = [
        {"name": "x iso 100", "iso": 100, "a": [1e-6, 2e-6, 3e-6], "b": [1e-8, -2e-8, 3e-8]},
        {"name": "x iso 400", "iso": 400, "a": [4e-6, 8e-6, 12e-6], "b": [4e-8, 8e-8, 12e-8]},
        {"name": "x iso 800", "iso": 800, "skip": True, "a": [1, 1, 1], "b": [1, 1, 1]},
    ]
    models = [{"comment": "by N. N.", "model": "X1", "profiles": rows} | camera]
    path = tmp_path / "noiseprofiles.json"
    path.write_text(json.dumps({"version": 0, "noiseprofiles": [{"maker": "Acme", "models": models}]}))
    return path


def test_darktable_file(tmp_path):
    profile = read_darktable(darktable_file(tmp_path), "x1", "ACME")
    assert (profile.name, profile.iso_range) == ("Acme X1", (100.0, 400.0))
    shot, read = profile.at_iso(200)
    assert shot == pytest.approx([2e-6, 4e-6, 6e-6])
    assert read == pytest.approx([2e-8, 8e-8 / 3, 6e-8])  # the negative one counts as 0


def test_darktable_errors(tmp_path):
    path = darktable_file(tmp_path)
    with pytest.raises(ValueError, match="no camera model 'X'; near it: X1"):
        read_darktable(path, "X")
    with pytest.raises(ValueError, match="no camera model 'X1'"):
        read_darktable(path, "X1", "Other")
    with pytest.raises(ValueError, match="do not hold iso, a and b"):
        read_darktable(darktable_file(tmp_path, profiles=[{"iso": 100}]), "X1")
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"is not a noiseprofiles\.json"):
        read_darktable(path, "X1")


def test_real_darktable_file(shared):
    path = shared / "data" / "noise" / "darktable_noiseprofiles_2016.json"
    shot, read = read_darktable(path, "EOS M3", "Canon").at_iso(100)
    assert shot == pytest.approx([5.3497e-06, 3.3505e-06, 9.9453e-06], rel=1e-4)
    assert read == pytest.approx([2.9183e-08, 2.3619e-08, 3.5772e-08], rel=1e-4)
    entries = json.loads(path.read_text())["noiseprofiles"]
    cameras = [(entry["maker"], camera["model"]) for entry in entries for camera in entry["models"]]
    for maker, model in cameras[::15]:
        profile = read_darktable(path, model, maker)
        assert all(len(values) == 3 for row in profile.table for values in (row.shot, row.read))
    assert len(cameras) > 100


def test_data_is_found_where_isp_home_points(tmp_path, monkeypatch):
    (tmp_path / "data" / "noise").mkdir(parents=True)
    assert data_path("noise") != tmp_path / "data" / "noise"
    monkeypatch.setenv("ISP_HOME", str(tmp_path))
    assert data_path("noise") == tmp_path / "data" / "noise"
    with pytest.raises(FileNotFoundError, match=r"no 'nothing' among the library's data; looked in .*set ISP_HOME"):
        data_path("nothing")
