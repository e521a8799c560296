"""Importing the library is light, and only `isp` is installed."""

import subprocess
import sys
from importlib import metadata

import pytest


def test_import_brings_no_heavy_library() -> None:
    code = "import isp, sys; print(sorted(m for m in ('torch', 'numpy', 'rawpy', 'scipy', 'kornia', 'colour', 'tifffile', 'PIL') if m in sys.modules))"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reading_brings_no_torch() -> None:
    code = "import isp.raw, isp.output, sys; isp.raw.read; isp.output.save; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_public_name_resolves() -> None:
    import isp

    for name in isp.__all__:
        assert getattr(isp, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = isp.nothing


def test_nothing_but_isp_is_installed() -> None:
    # A wheel has a RECORD; isp.egg-info, which `pip install .` leaves in the checkout and pytest finds first, has not
    files = next((d.files for d in metadata.distributions(name="isp") if d.read_text("RECORD")), None)
    if not files or not any(str(f).startswith("isp/") for f in files):
        pytest.skip("isp is not installed as a wheel here (running from the checkout)")
    tops = {f.parts[0] for f in files if f.parts[0] != ".."}
    assert all(top == "isp" or top.endswith(".dist-info") for top in tops), tops
