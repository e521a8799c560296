"""python -m benchmarks.run in a size that takes seconds, its table and its plots, and the table in README.md."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import measure, plots, run
from benchmarks.measure import as_said
from isp.raw import read

TINY = run.Plan(
    rounds=1, commands=(0.02,), kinds=("uncompressed",), cases=("isp, malvar2004", run.BASE), stages=0.02,
    demosaic=0.02, megapixels=(0.02, 0.04), workers=1, pairs=2, size=16, steps=1, crops=4, models=("tiny",),
)  # fmt: skip
SECTIONS = [name for name in (*run.SECTIONS, *run.OF_PHOTOS) if name not in ("start", "render", "runtimes")]


def test_all_sections_in_one_run(tmp_path, capsys, monkeypatch):
    """Every section but those whose processes import PyTorch, and runtimes, which compiles networks."""
    monkeypatch.setattr("benchmarks.networks.convolution_peak", lambda: 1.0)
    monkeypatch.setattr(run, "copy_bandwidth", lambda: 1.0)
    monkeypatch.setattr(run, "pictures", small_pictures)
    output, threads = tmp_path / "run.json", torch.get_num_threads()
    try:
        assert run.main(["--only", ",".join(SECTIONS), "-o", str(output)], TINY) == 0
    finally:
        torch.set_num_threads(threads)
    results = json.loads(output.read_text())
    assert set(SECTIONS) | {"made", "machine", "versions"} == set(results)
    assert {made["rounds"] for made in results["made"].values()} == {1}
    assert [row["case"] for row in results["commands"]] == list(TINY.cases)
    assert all(0 < row["peak_mb"]["median"] < 4000 for row in results["commands"])
    assert all(
        row["seconds"]["low"] <= row["seconds"]["median"] <= row["seconds"]["high"] for row in results["commands"]
    )
    assert {row["case"] for row in results["synthesis"]} == {"NumPy and gzip", "floor", "mialgo", "wide"}
    assert results["megapixels"]["lines"]["isp, malvar2004"]["peak_mb_at_most"] > 1
    assert (tmp_path / "commands.svg").stat().st_size > 1000
    assert (tmp_path / "megapixels.svg").stat().st_size > 1000
    assert run.table(results) in capsys.readouterr().out


def test_results_name_no_place_of_the_machine():
    given = ["--photos", "/home/me/photos", "-o=/tmp/run.json", "--only", "limits,start", "-o", "out/quick.json"]
    said = as_said("benchmarks.run", given)
    assert said == "python -m benchmarks.run --photos photos -o=run.json --only limits,start -o out/quick.json"


def small_pictures(folder: Path, count: int, side: int) -> Path:
    from PIL import Image

    folder.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (side, side + 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
    return folder


def test_a_section_alone_keeps_the_others(tmp_path):
    output = tmp_path / "run.json"
    output.write_text(json.dumps({"decode": "as it was", "made": {"decode": {"rounds": 9}}}))
    assert run.main(["--only", "stages", "-o", str(output)], TINY) == 0
    results = json.loads(output.read_text())
    assert results["decode"] == "as it was"
    assert [results["made"][name]["rounds"] for name in ("decode", "stages")] == [9, 1]
    assert {"normalise", "demosaic", "encode"} <= {row["case"] for row in results["stages"]}


def test_wrong_names_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run.main(["--only", "speed"])
    assert "no section 'speed'; known: limits, " in capsys.readouterr().err
    assert run.main(["--table", "-o", str(tmp_path / "none.json")]) == 1
    assert "none.json" in capsys.readouterr().err
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(ValueError, match="put them where the table shall be"):
        run.write_tables(tmp_path / "README.md", stub(), {"run.json": across()})


@pytest.mark.parametrize("megapixels", [0.03, 0.5])
def test_frames_have_their_size(tmp_path, monkeypatch, megapixels):
    monkeypatch.setattr(run, "LARGEST", 100_000)
    path = tmp_path / "frame.dng"
    made = run.frame(path, megapixels, "none")
    assert made == pytest.approx(megapixels, rel=0.1)
    assert read(path).mosaic.size / 1e6 == made


def stub():
    def row(case, kind, seconds, peak):
        return {"case": case, "file": kind, "megapixels": 12.0, "seconds": spread(seconds), "peak_mb": spread(peak)}

    def spread(value):
        return {"median": value, "low": 0.9 * value, "high": 1.1 * value}

    return {
        "made": {
            "limits": {"command": "python -m benchmarks.run", "date": "2026-01-02", "rounds": 5},
            "commands": {"command": "python -m benchmarks.run", "date": "2026-01-02", "rounds": 5},
            "crops": {"command": "python -m benchmarks.run --quick", "date": "2026-01-03", "rounds": 2},
        },
        "machine": {"processor": "some", "cores": 2},
        "commands": [
            row("isp, msg", "uncompressed", 0.5, 100), row(run.BASE, "uncompressed", 2.0, 200),
            row("isp, msg", "lossless JPEG", 0.8, 110), row(run.BASE, "lossless JPEG", 2.0, 200),
        ],
    }  # fmt: skip


def test_the_table_by_hand(tmp_path):
    expected = """\
| 12.0 MP, process start to TIFF | uncompressed, s | x rawpy AHD | lossless JPEG, s | x rawpy AHD | peak MB |
|---|---|---|---|---|---|
| isp, msg | 0.50 | 0.25 | 0.80 | 0.40 | 121 |
| rawpy AHD | 2.00 | 1.00 | 2.00 | 1.00 | 220 |

Medians, some, 2 cores: limits, commands of 5 rounds, 2026-01-02, `python -m benchmarks.run`; crops of 2 rounds, \
2026-01-03, `python -m benchmarks.run --quick`."""
    assert run.table(stub()) == expected
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{run.BEGIN}\nold\n{run.END}\nafter\n")
    run.write_tables(readme, stub(), {"run.json": across()})
    assert readme.read_text() == f"before\n{run.BEGIN}\n{expected}\n\n{MACHINES}\n{run.END}\nafter\n"


MACHINES = """\
| times as fast as rawpy AHD: uncompressed / lossless JPEG | isp, malvar2004 | isp, msg | isp, pyramid, int8 \
| isp, no options | darktable | RawTherapee | measured |
|---|---|---|---|---|---|---|---|
| Some Chip with AVX2 | 0.5 / 0.5 | 1.5 / 1.5 | 2.5 / 2.5 | 3.5 / 3.5 | 4.5 / 4.5 | – / – \
| [2026-01-02](benchmarks/results/run.json) |"""


def across():
    """Of two sizes, of which the smaller one counts, where there is no RawTherapee."""
    rows = [
        {"case": case, "file": kind, "megapixels": size, "times_faster": 0.5 + number + 1000 * (size > 12)}
        for number, case in enumerate(run.ACROSS[:-1]) for kind in run.KINDS for size in (24.0, 12.0)
    ]  # fmt: skip
    return {
        "made": {"commands": {"date": "2026-01-02"}},
        "machine": {"processor": "Some Chip, x86_64", "instructions": "AVX2"},
        "commands": rows,
    }


def test_the_readme_has_the_tables_of_the_results():
    text = (run.ROOT / "README.md").read_text(encoding="utf-8")
    if not run.RESULT.exists():
        pytest.skip("no benchmarks/results/run.json; python -m benchmarks.run writes it")
    block = text.split(run.BEGIN)[1].split(run.END)[0]
    expected = f"{run.table(json.loads(run.RESULT.read_text()))}\n\n{run.processors(run.kept_runs())}"
    assert block.strip() == expected, "python -m benchmarks.run --table"


def test_figures_of_two_machines_do_not_mix(tmp_path, capsys):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"machine": {"processor": "Some Chip, x86_64", "cores": 2}, "start": []}))
    before = path.read_bytes()
    with pytest.raises(SystemExit) as stopped:
        run.main(["--only", "start", "-o", str(path)])
    assert stopped.value.code == 2
    assert "holds figures of Some Chip, x86_64, 2 cores, and this is" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_quality_is_read_from_tables_and_cards():
    known = plots.quality()
    assert known["msg"] == [40.60, 33.28, 27.41, 20.65]
    assert known["LibRaw AHD"][0] == 30.90
    assert len(known["flat"]) == len(plots.LEVELS)


def test_a_command_s_time_and_memory_are_its_own(tmp_path):
    ballast = bytearray(300 << 20)
    figures = measure.command([sys.executable, "-S", "-c", "x = bytearray(60 << 20)"], tmp_path / "log")
    assert 60 < figures["peak_mb"] < 120
    assert 0 < figures["cpu_seconds"] < 5
    assert len(ballast) == 300 << 20
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        measure.command([sys.executable, "-c", "1 / 0"], tmp_path / "log")


def test_turns_and_lines():
    order = []
    calls = {name: lambda name=name: {"n": float(order.append(name) is None)} for name in "abc"}
    assert measure.interleaved(calls, 20, warm_up=True) == {name: {"n": [1.0] * 20} for name in "abc"}
    rounds = {"".join(order[i : i + 3]) for i in range(0, 63, 3)}
    assert len(order) == 63
    assert rounds == {"abc", "acb", "bac", "bca", "cab", "cba"}, "whole rounds, in every order"
    assert measure.line([1, 2, 4], [5, 7, 11]) == pytest.approx({"slope": 2, "intercept": 3, "r_squared": 1})
    assert measure.summary([3.0, 1.0, 2.0]) == {"median": 2.0, "low": 1.0, "high": 3.0}
