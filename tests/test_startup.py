"""A process of our own starts quicker, and is no other process for it."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

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
        "import numpy.typing; assert numpy.typing.NDArray[np.float32].__args__",
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
    code += "import sys; print(set('ast gettext inspect numpy._typing'.split()) - set(sys.modules))"
    assert run(code) == "set()"


def test_a_path_is_quoted_early_too() -> None:
    assert run(BEGIN + "import pathlib; print(pathlib.Path('/a b').as_uri()); startup.finish()") == "file:///a%20b"


def test_no_garbage_is_looked_for_on_the_way() -> None:
    code = """
import gc, runpy, sys
class Finder:
    def find_spec(self, name, *_):
        if name == "isp.startup":
            print(gc.isenabled())
sys.meta_path.insert(0, Finder())
sys.argv = ["render", "--version"]
runpy.run_module("isp.render", run_name="__main__", alter_sys=True)"""
    assert run(code).splitlines()[0] == "False"


def test_garbage_is_collected_again() -> None:
    assert run("import gc; gc.disable(); " + BEGIN + "startup.finish(); print(gc.isenabled())") == "True"


def test_an_interrupt_before_there_is_anything_to_tell() -> None:
    code = BEGIN + "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=heed)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
    code = BEGIN + "startup.finish(); import signal; print(signal.getsignal(signal.SIGINT) is "
    done = subprocess.run(
        [sys.executable, "-c", code + "signal.default_int_handler)"], capture_output=True, text=True, preexec_fn=heed
    )
    assert done.stdout == "True\n"


def heed() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a job in a shell's background ignores it


@pytest.mark.skipif(os.name == "nt", reason="file descriptors of POSIX")
def test_closed_streams_lead_nowhere() -> None:
    """And their places are taken, also in the processes that this one starts."""
    code = BEGIN + (
        "import subprocess, sys; print('out'); print('err', file=sys.stderr); here = open(sys.argv[1], 'w'); "
        "child = 'import os, sys; print(sys.stdout is not None and sys.stderr is not None, file=open(3, \\'w\\'))'; "
        "subprocess.run([sys.executable, '-c', child], pass_fds=[3]); startup.finish()"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/here"
        shell = f"exec {shlex.quote(sys.executable)} -c {shlex.quote(code)} {path} 3>{path} >&- 2>&-"
        assert subprocess.run(["sh", "-c", shell]).returncode == 0
        assert Path(path).read_text() == "True\n"


NAMED = """
import typing
from isp.raw.segments import Layout
from isp.raw.tiff import Tag
from isp.primaries import Curve
from numpy.linalg._linalg import SlogdetResult, SVDResult
for kind in Layout, Tag, Curve, SlogdetResult, SVDResult:
    print(kind.__name__, kind.__qualname__, kind.__module__, kind._fields, kind._field_defaults, kind.__mro__)
    print(typing.get_type_hints(kind) if kind.__module__.startswith("isp") else sorted(kind.__annotations__))
    print(sorted({*vars(kind)} - {"__orig_bases__"}), kind.__match_args__)
print(Curve(1, 2, 3, offset=5, exponent=4)._replace(knee=0), Tag.__doc__)
"""


def test_named_tuples_are_those_of_typing() -> None:
    assert run(BEGIN + "startup.finish()" + NAMED) == run(NAMED)


def test_typing_is_put_off_for_us_alone() -> None:
    code = BEGIN + "import sys, dataclasses; startup.finish(); import isp.options, isp.raw.dng, isp.fast; "
    assert run(code + "print(type(sys.modules['typing']).__name__, '_typing' in sys.modules)") == "_Typing False"
    others = "names = {'__name__': 'other'}; exec('from typing import Any, NamedTuple, Protocol, TypeVar', names); "
    others += "import isp.output.writers, typing; assert names['Any'] is typing.Any is isp.output.writers.Any; "
    others += "names['T'] = names['TypeVar']('T'); exec('class P(Protocol[T]): pass', names); "
    assert run(code + others + "print(type(typing).__name__, typing.__name__)") == "module typing"


OF_OTHERS = """
import dataclasses, sys, types
other = sys.modules["other"] = types.ModuleType("other")
exec('''
from __future__ import annotations
from dataclasses import dataclass, field
@dataclass
class Texts:
    xs: list
    ys: "list" = field(default_factory=list)
import typing
@dataclass
class Kinds:
    k: typing.ClassVar[int]
    m: typing.Optional[int] = None
''', other.__dict__)
for kind in other.Texts, other.Kinds:
    print([field.name for field in dataclasses.fields(kind)])
print(other.Texts([1]))
"""


def test_dataclasses_of_others_are_what_they_are() -> None:
    at_once = OF_OTHERS.replace("from __future__ import annotations\n", "")
    for code in (OF_OTHERS, at_once):
        assert run(BEGIN + "startup.finish()" + code) == run(code)


@pytest.mark.parametrize(
    "use",
    [
        "from typing import *; assert List[int]",
        "import importlib.util; assert importlib.util.find_spec('typing') is not None",
        "import typing; assert typing.__file__.endswith('.py') and 'Union' in typing.__all__",
    ],
)
def test_whoever_asks_for_all_of_typing_gets_it(use: str) -> None:
    run(BEGIN + "startup.finish(); import isp.raw.dng; exec(" + repr(use) + ", {'__name__': 'other'})")


@pytest.mark.parametrize("option", ["--help", "-h", "--hel"])
def test_help_is_as_wide_as_the_terminal(option: str) -> None:
    def widest(columns: int) -> int:
        done = subprocess.run(
            [sys.executable, "-m", "isp.render", option],
            env={**os.environ, "COLUMNS": str(columns)},
            capture_output=True,
            text=True,
            check=True,
        )
        options = done.stdout.partition("arguments:")[2].partition("examples:")[0]
        return max(map(len, options.splitlines()))

    assert 65 < widest(70) < 70 < 110 < widest(120) < 120


def test_numpy_is_linked_ahead() -> None:
    """The linker's list of what this process holds has it, without anybody importing NumPy."""
    code = BEGIN + "import sys, time; end = time.time() + 20\n"
    code += "while '_multiarray_umath' not in open('/proc/self/maps').read() and time.time() < end: time.sleep(0.01)\n"
    code += "print('_multiarray_umath' in open('/proc/self/maps').read(), 'numpy' in sys.modules)"
    if not sys.platform.startswith("linux"):
        pytest.skip("/proc/self/maps is Linux's")
    assert run(code) == "True False"
