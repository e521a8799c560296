"""Where files are kept that can be made again: exported networks, the compiled kernel."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$ISP_CACHE, or else ~/.cache/isp; it may not exist yet."""
    return Path(os.environ.get("ISP_CACHE") or Path.home() / ".cache" / "isp")
