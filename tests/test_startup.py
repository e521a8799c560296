"""A process of our own starts quicker, and is no other process for it."""

import subprocess
import sys

import pytest

BEGIN = "from isp import startup; startup.begin(); "


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_is_put_off_is_not_loaded() -> None:
    code = BEGIN + "import argparse, dataclasses, pathlib, shutil; startup.finish(); import sys; "
    code += "import isp.options, isp.jobs, isp.batch, isp.raw.dng, isp.fast, isp.output.writers; "
    code += "print(sorted(set(startup._PUT_OFF) & set(sys.modules)))"
    assert run(code) == "[]", "slower, not wrong: a new version looks something up in these while it is imported"


@pytest.mark.parametrize(
    "use",
    [
        "import inspect, ast, pickle, platform, textwrap, gettext, bz2, lzma; assert inspect.signature(run), inspect",
        "import inspect; assert str(inspect.signature(np.mean)).startswith('(a, axis=None')",
        "assert pickle.loads(pickle.dumps(np.eye(2))).sum() == 2; assert len(np.eye(2).dumps()) > 10",
        "import numpy.typing; assert numpy.typing.NDArray[np.float32].__origin__ is np.ndarray",
        "assert np.linalg.eig(np.eye(2)).eigenvalues.sum() == 2; assert np.dtype('2f4, (2,)i2').itemsize == 12",
        "assert (np.matrix('1 2; 3 4') == [[1, 2], [3, 4]]).all(); np.show_runtime",
        "import numpy.ma, numpy.random, numpy.fft; assert np.ma.empty_like(np.eye(2)).shape == (2, 2)",
        "import io; np.savez(file := io.BytesIO(), a=np.eye(2)); file.seek(0); assert np.load(file)['a'].sum() == 2",
        "import dataclasses; T = dataclasses.make_dataclass('T', ['x']); assert T.__doc__.startswith('T(x'), T.__doc__",
        "import shutil; assert 'bztar' in dict(shutil.get_archive_formats())",
        "import urllib.parse; assert urllib.parse.urlsplit('http://[::1]/a').hostname == '::1'",
        "assert pathlib.Path('/a b').as_uri() == 'file:///a%20b'; import urllib.parse; assert urllib.parse.quote('ü')",
        "import scipy.ndimage, scipy.stats, scipy.optimize; scipy.ndimage.gaussian_filter(np.eye(3), 1)",
        "import torch; assert torch.from_numpy(np.eye(2)).sum() == 2; torch.compile",
        "import rawpy, tifffile, imagecodecs, PIL.Image, OpenImageIO, openvino, yaml, h5py, colour",  # all required
    ],
)
def test_everything_works_as_ever_afterwards(use: str) -> None:
    code = "import sys, shutil, argparse, dataclasses, pathlib, pickle; startup.finish(); import numpy as np\n"
    code += f"def run(x: int) -> int: ...\n{use}\n"
    code += "assert not any(type(module).__name__ == '_StandIn' for module in sys.modules.values())"
    run(BEGIN + code)


def test_a_module_that_is_needed_early_is_loaded_early() -> None:
    code = BEGIN + "import inspect; assert inspect.Signature.empty is not None; from ast import literal_eval; "
    code += "from gettext import translation; from numpy._typing import ArrayLike; startup.finish(); "
    code += "import sys; print(sorted(set(startup._PUT_OFF) & set(sys.modules)))"
    assert run(code) == "['ast', 'gettext', 'inspect', 'numpy._typing']"


def test_a_path_is_quoted_early_too() -> None:
    assert run(BEGIN + "import pathlib; print(pathlib.Path('/a b').as_uri()); startup.finish()") == "file:///a%20b"


def test_garbage_is_collected_again() -> None:
    assert run(BEGIN + "import gc; off = gc.isenabled(); startup.finish(); print(off, gc.isenabled())") == "False True"
