"""Versions: of this package, of libuv, and what the libuv at hand is able to do."""

from __future__ import annotations

import sys

from uvbind._uvbind import ffi, lib

__version__ = "0.1.0"

# What the extension was compiled against decides which functions there are; with
# UVBIND_SYSTEM_LIBUV=1 the library found at run time may be another.
_COMPILED: int = lib.UV_VERSION_HEX


def version() -> int:
    """Return libuv's version as a number, 0x013200 for 1.50.0. Wraps uv_version."""
    return int(lib.uv_version())


def version_string() -> str:
    """Return libuv's version as text, "1.50.0". Wraps uv_version_string."""
    return str(ffi.string(lib.uv_version_string()), "ascii")


def needs(major: int, minor: int, what: str) -> None:
    """Raise NotImplementedError when `what` is newer than the libuv compiled against."""
    if (major << 16 | minor << 8) > _COMPILED:
        at_hand = f"{_COMPILED >> 16}.{_COMPILED >> 8 & 0xFF}.{_COMPILED & 0xFF}"
        raise NotImplementedError(
            f"{what} needs libuv {major}.{minor} or newer, uvbind was built with {at_hand}"
        )


def features() -> dict[str, object]:
    """Return what sets this build apart from others, for `uvbind info` and bug reports."""
    from uvbind._callbacks import FAST

    return {
        "libuv_compiled": f"{_COMPILED >> 16}.{_COMPILED >> 8 & 0xFF}.{_COMPILED & 0xFF}",
        "libuv_origin": "system" if lib.UVB_SYSTEM_LIBUV else "vendored",
        "fast_lane": bool(FAST),
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
    }
