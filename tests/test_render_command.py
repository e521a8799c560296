"""python -m isp.render: what it writes, where, and what it says and returns when something is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
import tifffile
import yaml
from disks import files_up_to
from dng_factory import make_dng
from PIL import Image

import isp.raw
from isp import fast
from isp.options import RenderOptions
from isp.output import depth, save
from isp.pipeline import render
from isp.render import main

COMMAND = [sys.executable, "-m", "isp.render"]


def dng(path: Path, seed: int = 0, size: int = 32) -> Path:
    """A small raw file whose content depends on the seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mosaic = np.random.default_rng(seed).integers(600, 4000, (size, size + 4)).astype(np.uint16)
    return make_dng(path, mosaic, black_level=512, white_level=4095, iso=320, exposure_time=0.008)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=240)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_picture_appears_beside_the_raw_file(tmp_path: Path) -> None:
    source = dng(tmp_path / "a.dng")
    assert main([str(source)]) == 0
    assert files(tmp_path) == {"a.dng", "a.png"}
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (36, 32)
        assert picture.getexif().get_ifd(34665)[34855] == 320
        assert "icc_profile" in picture.info


@pytest.mark.parametrize(
    ("out", "arguments", "options", "saved"),
    [
        ("a.png", [], {}, {}),
        ("a.png", ["-b", "16", "--look", "neutral"], {"look": "neutral"}, {"bits": 16}),
        ("a.tif", ["--space", "prophoto", "--exposure=-0.5"], {"space": "prophoto", "exposure": -0.5}, {}),
        ("a.tiff", ["-b", "32"], {"linear": True}, {"bits": 32}),
        ("a.exr", ["--wb", "2,1,1.5", "-b", "16"], {"linear": True, "wb": "2,1,1.5"}, {"bits": 16}),
        ("a.jpg", ["--quality", "80", "--demosaic", "bilinear"], {"demosaic": "bilinear"}, {"quality": 80}),
        ("a.avif", ["--temperature", "3200", "--tint", "5"], {"temperature": 3200.0, "tint": 5.0}, {}),
        ("a.png", ["--space", "camera", "--highlights", "clip"], {"space": "camera", "highlights": "clip"}, {}),
        ("a.png", ["--fix-defects"], {"fix_defects": True}, {}),
        ("a.png", ["--demosaic", "libraw:AHD"], {"demosaic": "libraw:AHD"}, {}),
    ],
)
def test_command_and_library_write_the_same_bytes(
    tmp_path: Path, out: str, arguments: list[str], options: dict[str, object], saved: dict[str, int]
) -> None:
    source = dng(tmp_path / "a.dng")
    assert main([str(source), "-o", str(tmp_path / "command" / out), *arguments]) == 0
    raw = isp.raw.read(source)
    chosen = RenderOptions.from_dict(options)
    (tmp_path / "library").mkdir()
    bits = depth(out, saved.get("bits"))[0]
    compiled = fast.obstacle(raw, chosen, bits) is None
    save(
        tmp_path / "library" / out,
        fast.render_pixels(raw, chosen, bits) if compiled else render(raw, chosen),
        meta=raw.meta,
        space=chosen.space,
        linear=chosen.linear,
        **saved,
    )
    assert (tmp_path / "command" / out).read_bytes() == (tmp_path / "library" / out).read_bytes()


def test_float_formats_are_scene_linear(tmp_path: Path) -> None:
    source = dng(tmp_path / "a.dng")
    for name, arguments in (("a.exr", []), ("a.tif", ["-b", "32"])):
        assert main([str(source), "-o", str(tmp_path / name), *arguments]) == 0
    expected = render(isp.raw.read(source), RenderOptions(linear=True))[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(oiio.ImageInput.open(str(tmp_path / "a.exr")).read_image("float"), expected)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), expected)


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        (".jpg", {"in/a.jpg", "in/b.jpg"}),
        ("new/folder", {"new/folder/a.png", "new/folder/b.png"}),
        ("dotted.v2/", {"dotted.v2/a.png", "dotted.v2/b.png"}),
        ("out/x-*.tif", {"out/x-a.tif", "out/x-b.tif"}),
    ],
)
def test_where_pictures_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, expected: set[str]) -> None:
    monkeypatch.chdir(tmp_path)
    sources = {dng(tmp_path / "in" / f"{name}.dng").relative_to(tmp_path).as_posix() for name in "ab"}
    dng(tmp_path / "in" / "sub" / "c.dng")
    (tmp_path / "in" / "notes.txt").write_text("no raw file")
    before = files(tmp_path)
    assert main(["in", "-o", out]) == 0, "of a folder, the raw files directly in it"
    assert files(tmp_path) - before == expected
    before = files(tmp_path)
    assert main([*sorted(sources), "in/../in/a.dng", "in/*.dng", "-o", out, "-Y"]) == 0, "each file once"
    assert files(tmp_path) == before


def test_links_are_files_of_their_own(tmp_path: Path) -> None:
    source = dng(tmp_path / "in" / "a.dng")
    (tmp_path / "in" / "b.dng").symlink_to("a.dng")
    (tmp_path / "same").symlink_to("in")
    assert main([f"{tmp_path}/in", f"{tmp_path}/same", str(source), "-o", f"{tmp_path}/out/"]) == 0
    assert files(tmp_path / "out") == {"a.png", "b.png"}
    assert (tmp_path / "out" / "a.png").read_bytes() == (tmp_path / "out" / "b.png").read_bytes()


def test_patterns_reach_into_subfolders(tmp_path: Path) -> None:
    dng(tmp_path / "in" / "a.dng")
    dng(tmp_path / "in" / "deep" / "er" / "b.DNG")
    assert main([f"{tmp_path}/in/**/*", "-o", f"{tmp_path}/out/"]) == 0
    assert files(tmp_path / "out") == {"a.png", "b.png"}


def test_headerless_mosaics_in_a_folder_need_their_yaml(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("described", "alone"):
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 1000, (16, 16)).astype(np.uint16))
    (tmp_path / "described.yaml").write_text("cfa: RGGB\nwhite_level: 1023\n")
    assert main([str(tmp_path), "-o", f"{tmp_path}/out/"]) == 0
    assert files(tmp_path / "out") == {"described.png"}


def test_existing_pictures_are_kept_unless_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = dng(tmp_path / "a.dng")
    (tmp_path / "a.png").write_bytes(b"old")
    assert main([str(source)]) == 1
    assert capsys.readouterr().err == f"{source}: error: {tmp_path}/a.png exists; -Y overwrites it\n"
    assert (tmp_path / "a.png").read_bytes() == b"old"
    assert main([str(source), "-Y"]) == 0
    assert Image.open(tmp_path / "a.png").size == (36, 32)


def test_damaged_files_fail_in_one_line_and_the_others_come_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [dng(tmp_path / f"good{i}.dng", i) for i in range(2)]
    data = good[0].read_bytes()
    bad = {f"cut{length}.dng": data[:length] for length in (0, 7, 100, len(data) // 2)}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "text.dng").write_text("not a raw file at all\n" * 20)
    bad_names = {*bad, "text.dng", "missing.dng"}
    inputs = [str(tmp_path), str(tmp_path / "missing.dng")]

    def check(code: int, error: str, out: Path) -> None:
        assert code == 1
        assert files(out) == {"good0.png", "good1.png"}
        *lines, last = error.splitlines()
        assert last == "6 of 8 files failed"
        assert {line.split(": error: ")[0] for line in lines} == {str(tmp_path / name) for name in bad_names}
        assert len(lines) == len(bad_names), "one line each"
        for line in lines:
            assert line.count(line.split(": error: ")[0]) == 1, "the file is named once"

    check(main([*inputs, "-o", f"{tmp_path}/one/"]), capsys.readouterr().err, tmp_path / "one")
    many = run(*inputs, "-o", tmp_path / "many", "--workers", "2")
    assert many.stdout == ""
    check(many.returncode, many.stderr, tmp_path / "many")
    for name in files(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.dng").write_bytes(b"")
    assert main([str(tmp_path / "a.dng"), "--debug"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_an_error_is_one_line_whatever_the_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (source := tmp_path / "a  b\nc.dng").write_bytes(b"II*\0" + bytes(60))
    assert main([str(source)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"{tmp_path}/a  b c.dng: error: ")
    assert error.count("\n") == error.count("c.dng") == 1


def test_warnings_are_one_line_with_the_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unknown = (1).to_bytes(4, "big") + (99).to_bytes(4, "big") + b"\1\3\0\0" + (1).to_bytes(4, "big") + bytes(4)
    mosaic = np.full((8, 8), 1000, np.uint16)
    source = make_dng(tmp_path / "a.dng", mosaic, white_level=4095, opcode_list2=unknown)  # optional: flag 1
    assert main([str(source)]) == 0
    error = capsys.readouterr().err
    assert error.startswith(f"{source}: warning: ")
    assert "99" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.dng", "--look", "vivid"], "argument --look: invalid choice: 'vivid' (choose from "),
        (["a.dng", "--space", "adobe"], "'srgb'"),
        (["a.dng", "--wb", "auto"], "wb is 'auto'; expected one of as-shot, daylight, grey-world"),
        (["a.dng", "--wb", "nan,1,1"], "wb is 'nan,1,1'"),
        (["a.dng", "--wb", "as-shot", "--temperature", "5000"], "not allowed with argument"),
        (["a.dng", "--demosaic", "ahd"], "demosaic is 'ahd'; expected one of auto, bilinear, malvar2004"),
        (["a.dng", "--demosaic", "libraw:BEST"], "libraw:AHD, "),
        (["a.dng", "--exposure", "99"], "exposure is 99.0; expected stops between -20 and 20"),
        (["a.dng", "--temperature", "10"], "temperature is 10.0; expected 1500 to 50000 kelvin"),
        (["a.dng", "--temperature", "5000", "--tint", "nan"], "tint is nan; expected -300 to 300"),
        (["a.dng", "--wb", "1e300,1,1"], "expected gains within a factor of 1000 of each other"),
        (["a.dng", "x" * 5000], "File name too long: xxx"),
        (["a.dng", "-o", "x" * 5000 + ".png"], "File name too long: xxx"),
        (["a.dng", "-b", "12"], "(choose from "),
        (["a.dng", "-b", "32"], "a.png: .png holds 8 or 16 bits per sample, not 32"),
        (["a.dng", "-o", "a.gif"], "'.gif' is no output format; known: .png"),
        (["a.dng", "--quality", "0"], "'0' is not a whole number from 1 to 100"),
        (["a.dng", "--workers", "x"], "'x' is not a whole number from 1 to"),
        (["a.dng", "--device", "tpu"], "device 'tpu' is not there; expected cpu, or cuda"),
        (["a.dng", "b.dng", "-o", "c.png"], "a.dng and b.dng would both be written to c.png; give them a folder"),
        (["a.dng", "x/a.dng", "-o", "out/"], "would both be written to out/a.png; give them another folder"),
        (["a.dng", "a.nef"], "a.dng and a.nef would both be written to a.png"),
        (["a.tif", "-o", "a.tif", "-Y"], "a.tif is an input; choose another output"),
        (["a.dng", "x/a.dng", "--dump-stages", "d"], "would be dumped under the same names"),
        (["empty"], "empty: no raw files; looked for"),
        (["*.cr2"], "*.cr2: no raw files"),
        ([""], "an input's name is empty; . is the current folder"),
        (["a.dng", "-o", ""], "the output's name is empty; . is the current folder"),
        (["a.dng", "-o", "file"], "file is no folder; expected one, or the name of a file with a suffix"),
    ],
)
def test_wrong_usage_is_told_before_the_work_starts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.dng", "b.dng", "x/a.dng", "a.nef", "a.tif"):
        dng(tmp_path / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("of something else")
    before = files(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1]
    assert len(error) == 2, "usage, and what is wrong"
    assert files(tmp_path) == before


def test_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "circle.dng").symlink_to("circle.dng")
    done = run(tmp_path / "circle.dng", "-o", tmp_path / "a.png")
    assert done.returncode in (1, 2)
    said = done.stderr.splitlines()[-1]
    assert "Symlink loop" in said or "Too many levels of symbolic links" in said
    assert "Traceback" not in done.stderr
    assert files(tmp_path) == set()


def test_sidecar_completes_the_command_line_which_wins(tmp_path: Path) -> None:
    source = dng(tmp_path / "a.dng")
    (tmp_path / "a.dng.isp.yaml").write_text("look: neutral\nexposure: 1\ntemperature: 4000\nfix_defects: true\n")
    assert main([str(source), "--record", "--exposure", "0.5", "--no-fix-defects"]) == 0
    record = json.loads((tmp_path / "a.png.json").read_text())
    options = record["options"]
    assert options["look"] == {"value": "neutral", "origin": "sidecar a.dng.isp.yaml"}
    assert options["exposure"] == {"value": 0.5, "origin": "user"}
    assert options["fix_defects"] == {"value": False, "origin": "user"}
    assert options["temperature"] == {"value": 4000, "origin": "sidecar a.dng.isp.yaml"}
    assert options["space"] == {"value": "srgb", "origin": "default"}
    assert record["parameters"]["temperature"]["value"] == pytest.approx(4000, rel=0.01)
    assert main([str(source), "--record", "--wb", "as-shot", "-Y"]) == 0
    options = json.loads((tmp_path / "a.png.json").read_text())["options"]
    assert options["temperature"]["value"] is None, "a white balance of the command line wins over a temperature"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("looks: neutral", "a.dng.isp.yaml: unknown key 'looks'; known keys: look, demosaic, wb"),
        ("look: vivid", "a.dng.isp.yaml: look is 'vivid'; expected one of neutral, standard"),
        ("exposure: bright", "a.dng.isp.yaml: exposure is 'bright'; expected a number"),
        ("exposure: true", "a.dng.isp.yaml: exposure is True; expected a number"),
        ("fix_defects: 1", "a.dng.isp.yaml: fix_defects is 1; expected true or false"),
        ("wb: [2, 1, 1]", "a.dng.isp.yaml: wb is [2, 1, 1]; expected a text"),
        ("tint: 5", "a.dng.isp.yaml: tint is 5, but it goes with a temperature, and there is none"),
        ("linear: true", "a.dng.isp.yaml: linear follows from the output"),
        ("- look", "a.dng.isp.yaml holds list; expected `option: value` lines"),
        ("look: [", "a.dng.isp.yaml is not valid YAML: while parsing"),
    ],
)
def test_wrong_sidecar_fails_its_file_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    sources = [dng(tmp_path / "a.dng"), dng(tmp_path / "b.dng")]
    (tmp_path / "a.dng.isp.yaml").write_text(text)
    assert main([*map(str, sources), "-o", f"{tmp_path}/out/"]) == 1
    assert files(tmp_path / "out") == {"b.png"}
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith(f"{sources[0]}: error: {message}")


def test_a_sidecar_that_cannot_be_read_fails_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = dng(tmp_path / "a.dng")
    (tmp_path / "a.dng.isp.yaml").mkdir()
    assert main([str(source)]) == 1
    assert capsys.readouterr().err == f"{source}: error: a.dng.isp.yaml: Is a directory\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_config_that_cannot_be_printed(tmp_path: Path) -> None:
    source = dng(tmp_path / "a.dng")
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, source, "--dump-config"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "standard output: error: No space left on device\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_pictures_are_written_where_there_is_no_terminal(tmp_path: Path, closed: str) -> None:
    """A standard stream may be closed, as for a job of cron; what is told there is lost, and only that."""
    sources = [dng(tmp_path / "a.dng"), dng(tmp_path / "b.dng", size=40), tmp_path / "no.dng"]
    sources[2].write_bytes(b"no picture")
    command = shlex.join([*COMMAND, *map(str, sources), "-o", f"{tmp_path}/out/"])
    assert subprocess.run(["sh", "-c", f"exec {command} {closed}"], capture_output=True).returncode == 1
    assert files(tmp_path / "out") == {"a.png", "b.png"}
    for name in ("a", "b"):
        assert main([str(tmp_path / f"{name}.dng")]) == 0
        assert (tmp_path / f"{name}.png").read_bytes() == (tmp_path / "out" / f"{name}.png").read_bytes()


def test_dumped_config_is_a_sidecar_that_renders_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = dng(tmp_path / "a.dng")
    arguments = ["--look", "neutral", "--temperature", "4500", "--exposure", "1.5"]
    assert main([str(source), *arguments, "-o", f"{tmp_path}/1.png"]) == 0
    assert main([str(source), *arguments, "--dump-config"]) == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["exposure"] == 1.5
    assert files(tmp_path) == {"a.dng", "1.png"}, "nothing is rendered"
    (tmp_path / "a.dng.isp.yaml").write_text(printed)
    assert main([str(source), "-o", f"{tmp_path}/2.png"]) == 0
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


def test_record_says_what_was_done(tmp_path: Path) -> None:
    source = dng(tmp_path / "a.dng")
    assert main([str(source), "-o", f"{tmp_path}/out/a.exr", "--record"]) == 0
    record = json.loads((tmp_path / "out" / "a.exr.json").read_text())
    assert record["source"] == {"path": str(source), "sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
    assert record["picture"]["sha256"] == hashlib.sha256((tmp_path / "out/a.exr").read_bytes()).hexdigest()
    assert record["options"]["linear"] == {"value": True, "origin": "what .exr holds"}
    assert record["parameters"]["neutral"]["value"] == pytest.approx([1, 1, 1])
    assert "50728" in record["parameters"]["neutral"]["origin"]
    assert {"isp", "python", "torch", "numpy"} <= record["versions"].keys()
    assert record["seconds"] > 0
    assert record["threads"] >= 1
    assert main([str(source), "-o", f"{tmp_path}/out/b.tif", "--threads", "3", "--record"]) == 0
    assert json.loads((tmp_path / "out" / "b.tif.json").read_text())["threads"] == 3
    assert main([str(source), "-o", f"{tmp_path}/out/a.exr", "--record"]) == 1
    (tmp_path / "out" / "a.exr").unlink()
    assert main([str(source), "-o", f"{tmp_path}/out/a.exr", "--record"]) == 1, "a record is not overwritten either"
    assert files(tmp_path / "out") == {"a.exr.json", "b.tif", "b.tif.json"}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("a.png", []),
        ("a.exr", []),
        ("a.tif", []),
        ("pages/a.html", ["--report", "pages/"]),
        ("stages/a.01-linearise.exr", ["--dump-stages", "stages"]),
    ],
)
def test_a_full_disk_is_told_of_the_file_that_was_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    dng(Path("a.dng"), size=80)
    small = name == "pages/a.html"  # the picture fits
    with files_up_to(50000 if small else 10000):
        assert main(["a.dng", "-o", "a.png" if "/" in name else name, *arguments]) == 1
    assert capsys.readouterr().err == f"a.dng: error: File too large: {name}\n"
    assert files(tmp_path) == {"a.dng", *({"a.png"} if small else set())}


def test_stages_are_dumped_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = dng(tmp_path / "a.dng")
    arguments = [str(source), "--look", "neutral", "--dump-stages", str(tmp_path / "stages")]
    assert main(arguments) == 0
    names = sorted(files(tmp_path / "stages"))
    assert [int(name.split(".")[1][:2]) for name in names] == list(range(1, len(names) + 1))
    stages = {name.split(".")[1][3:]: tmp_path / "stages" / name for name in names}
    raw = isp.raw.read(source)
    seen: dict[str, np.ndarray] = {}
    render(raw, RenderOptions(look="neutral"), watch=lambda name, x: seen.update({name: x.numpy()}))
    assert list(stages) == list(seen)
    for name, x in seen.items():
        stored = oiio.ImageInput.open(str(stages[name])).read_image("float")
        assert stored.shape[2] == x.shape[1], "one channel for a mosaic, three for RGB"
        np.testing.assert_array_equal(stored.transpose(2, 0, 1), x[0])
    np.testing.assert_allclose(seen["normalise"][0, 0], (raw.mosaic.astype(np.float64) - 512) / (4095 - 512), atol=1e-6)
    (tmp_path / "a.png").unlink()
    assert main(arguments) == 1
    assert "exists; -Y overwrites it" in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()
    assert main([str(source), "--look", "standard", *arguments[3:], "-Y"]) == 0
    assert len(files(tmp_path / "stages")) > len(names)
    assert main([*arguments, "-Y"]) == 0
    assert sorted(files(tmp_path / "stages")) == names, "no stage of the other look is left"


@pytest.mark.parametrize("arguments", [[], pytest.param(["--workers", "2"], marks=pytest.mark.slow)])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_ends_cleanly(tmp_path: Path, arguments: list[str], number: signal.Signals, code: int) -> None:
    first = dng(tmp_path / "in" / "00.dng", size=1000 if arguments else 700)
    for i in range(1, 60):
        (tmp_path / "in" / f"{i:02}.dng").write_bytes(first.read_bytes())
    slow = ["--demosaic", "dlmmse"]  # not in the compiled kernel, which would be done before the signal comes
    command = [*COMMAND, str(tmp_path / "in"), "-o", str(tmp_path / "out"), *slow, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in a shell's background ignores it
    ) as process:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "out").glob("[!.]*.png")):
            assert time.monotonic() < deadline, "no picture came"
            time.sleep(0.05)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # a terminal's Ctrl-C reaches the workers too
        else:
            process.send_signal(number)
        start = time.monotonic()
        _, error = process.communicate(timeout=60)
        assert not arguments or time.monotonic() - start < 2, "workers die at once: 0.3 s on a busy machine"
    assert process.returncode == code
    assert "Traceback" not in error, error
    made = list((tmp_path / "out").iterdir())
    assert 0 < len(made) < 60
    for path in made:
        assert path.suffix == ".png"
        assert not path.name.startswith(".")
        Image.open(path).load()


def test_help_is_quick_and_has_examples() -> None:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        done = run("--help")
        times.append(time.perf_counter() - start)
        assert done.returncode == 0
        assert "examples:" in done.stdout
        assert "exit code: 0 all done, 1 some files failed" in done.stdout
    assert min(times) < 0.6, "0.06 s on an idle machine"
    code = "import sys, isp.render\ntry: isp.render.main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'numpy', 'torch', 'yaml', 'tqdm'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n"), "nothing heavy before the work starts"


@pytest.mark.parametrize("first", ["isp.render(raw)", "import isp.render"])
def test_function_and_module_of_one_name_live_together(tmp_path: Path, first: str) -> None:
    source = dng(tmp_path / "a.dng")
    code = f"""
import isp
raw = isp.read({str(source)!r})
{first}
one = isp.render(raw, isp.RenderOptions(look="neutral"))
import isp.render
two = isp.render(raw, isp.RenderOptions(look="neutral"))
from isp import render
three = render(raw, options=isp.RenderOptions(look="neutral"), device="cpu")
assert one.shape == (1, 3, 32, 36)
assert one.equal(two) and one.equal(three)
assert isp.render.main
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_every_shared_raw_renders(tmp_path: Path, shared: Path) -> None:
    done = run(shared / "data" / "raw", "-o", f"{tmp_path}/*.jpg")
    assert done.returncode == 0, done.stderr
    assert len(files(tmp_path)) == len(list((shared / "data" / "raw").glob("*.dng")))
