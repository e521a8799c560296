"""The guides in docs/guides, run as they are written: their commands, their Python and what they say comes out.

`python` blocks of a guide run in turn and share their names; `sh` blocks hold `python -m` commands, which run in this
process; a `yaml` block whose first line is a comment with a file's name is that file. A `text` block is what the block
above it prints: whole numbers and words as they stand, numbers with a point to 2 %, and `...` for anything.
"""

import contextlib
import glob
import io
import math
import re
import runpy
import shlex
import sys
import warnings
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from isp.nets import NETWORKS

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NUMBER = r"([-+]?\d*\.\d+(?:e[-+]?\d+)?)"


def run_guide(path: Path) -> dict:
    """Every block of a guide in turn, in the working directory; the names that its Python ended with."""
    text, names, printed = path.read_text("utf-8"), {"__name__": "guide"}, ""
    np.set_printoptions(legacy=False)  # colour-science, where another test imported it, asks for NumPy 1.13's spaces
    for block in BLOCK.finditer(text):
        kind, body, line = block[1], block[2], text[: block.start()].count("\n") + 1
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            if kind == "python":
                exec(compile("\n" * line + body, str(path), "exec"), names)
            elif kind == "sh":
                for command in body.replace("\\\n", " ").splitlines():
                    run_command(command, f"{path.name}:{line}")
            elif kind == "yaml":
                Path(body.splitlines()[0].removeprefix("# ").split(",")[0]).write_text(body)
            elif kind == "text":
                check(body, printed, f"{path.name}:{line}")
            else:
                raise AssertionError(f"{path.name}:{line}: a block of {kind}; expected python, sh, yaml or text")
        printed = out.getvalue()
    return names


def run_command(command: str, where: str) -> None:
    """One `python -m MODULE ARGUMENT...` line, with its patterns of file names replaced by the files."""
    words = shlex.split(command, comments=True)
    if not words:
        return
    assert words[:2] == ["python", "-m"], f"{where}: {command!r}; guides run `python -m` alone"
    arguments = [name for word in words[3:] for name in (sorted(glob.glob(word)) or [word])]
    code = 0
    with patch.object(sys, "argv", [words[2], *arguments]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*found in sys.modules", category=RuntimeWarning)
        try:
            runpy.run_module(words[2], run_name="__main__")
        except SystemExit as end:
            code = end.code
    assert not code, f"{where}: {command!r} ended with exit code {code}"


def check(expected: str, printed: str, where: str) -> None:
    """What was printed against what the guide says."""
    lines, pattern, said = expected.splitlines(), "", []
    for line in lines:
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
            continue
        for part in re.split(rf"(\.\.\.|\s+|{NUMBER[1:-1]})", line.rstrip()):
            if part == "...":
                pattern += ".*"
            elif not part.strip():
                pattern += r"\s+" if part else ""
            elif re.fullmatch(NUMBER, part):
                pattern += NUMBER
                said.append(part)
            else:
                pattern += re.escape(part)
        pattern += r"[ ]*\n"
    match = re.fullmatch(pattern, printed)
    assert match, f"{where} says\n{expected}\nbut what comes is\n{printed}"
    for text, number in zip(said, match.groups(), strict=True):
        last = 10.0 ** -len(text.split("e")[0].split(".")[1]) * (10.0 ** int(text.split("e")[1]) if "e" in text else 1)
        assert math.isclose(float(text), float(number), rel_tol=0.02, abs_tol=last), (
            f"{where} says {text}, but {number} comes, in\n{printed}"
        )


@pytest.fixture(scope="module")
def guides(tmp_path_factory):
    """A function that runs a guide once, in a folder with the repository's data and models, and gives its names."""
    done = {}

    def run(name: str) -> dict:
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            for shared in ("data", "models"):
                (folder / shared).symlink_to(ROOT / shared)
            threads = torch.get_num_threads()
            with pytest.MonkeyPatch.context() as moved, patch.dict(NETWORKS):  # a guide adds a network of its own
                moved.chdir(folder)
                done[name] = run_guide(ROOT / "docs" / "guides" / f"{name}.md")
            torch.set_num_threads(threads)
        return done[name]

    return run


@pytest.mark.parametrize("name", [path.stem for path in GUIDES])
def test_guide(guides, name):
    guides(name)


def test_the_fit_recovers_the_camera_from_both_starts(guides):
    """Each of its numbers within 1 %, the exposure as a factor of light; what is 0 or fixed exactly."""
    names = guides("fit-to-a-jpeg")
    truth = list(names["TRUTH"].values())
    assert len(names["fits"]) == 2
    for free in names["fits"]:
        for found, true in zip(names["parameters"](free), truth, strict=True):
            if true.ndim == 0:
                found, true = found.exp2(), true.exp2()
            assert ((found - true).abs() <= 0.01 * true.abs()).all(), (found, true)
        _, matrix, _, _ = names["parameters"](free)
        torch.testing.assert_close(matrix.sum(1), torch.ones(3))


def test_the_runner_says_where_a_guide_is_wrong():
    check("3 pairs, 0.50 dB ...\n", "3 pairs, 0.505 dB in 12 s\n", "here")
    check("a  1.0\n...\nz\n", "a 1.01\nb\nc\nz\n", "here")
    for wrong in ("4 pairs, 0.50 dB\n", "3 pairs, 0.50 dB\nmore\n", "3 pairs, 0.62 dB\n"):
        with pytest.raises(AssertionError, match="here says"):
            check("3 pairs, 0.50 dB\n", wrong, "here")
    with pytest.raises(AssertionError, match="run `python -m` alone"):
        run_command("rm -r pairs", "here")
