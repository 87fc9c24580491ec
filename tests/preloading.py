"""The environment of a process that is to load a library before the C library."""

from __future__ import annotations

import os
from pathlib import Path


def preloaded(library: Path) -> dict[str, str]:
    """Return this process's environment, with the library after those preloaded here already.

    A sanitizer's has to be the first.
    """
    names = [os.environ.get("LD_PRELOAD", ""), str(library)]
    return {**os.environ, "LD_PRELOAD": " ".join(filter(None, names))}
