"""Errors: libuv's codes as Python exceptions.

Facts from libuv's manual, page "Error handling".
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

from uvbind._uvbind import ffi, lib


class UVError(OSError):
    """An error of libuv's.

    `errno` is the platform's number, `code` libuv's (negative), `name` its symbol such as
    "ECONNREFUSED", `strerror` says what failed and why. Where Python has an exception class
    for the error, the instance is of that class too: ConnectionRefusedError, BrokenPipeError,
    BlockingIOError, EOFError, socket.gaierror ...
    """

    code: int
    name: str


def _also(base: type[Exception]) -> type[UVError]:
    name = f"UV{base.__name__[0].upper()}{base.__name__[1:]}"
    return type(name, (UVError, base), {"__doc__": f"A UVError that is a {base.__name__} too."})


_EOF_CLASS = _also(EOFError)
_LOOKUP_CLASS = _also(socket.gaierror)
# Python's own table of which errno is which class, turned into ours.
_CLASSES = {
    number: _also(type(OSError(number, "")))
    for number in sorted(errno.errorcode)
    if type(OSError(number, "")) is not OSError
}
# By name, so that a pickled error finds its class again.
globals().update({cls.__name__: cls for cls in (_EOF_CLASS, _LOOKUP_CLASS, *_CLASSES.values())})
_CLASSES = {number: globals()[cls.__name__] for number, cls in _CLASSES.items()}


def uv_error(code: int, what: str) -> UVError:
    """Return libuv's error `code` (negative) as an exception; `what` says what failed.

    Wraps uv_strerror_r and uv_err_name_r.
    """
    name = _text(lib.uv_err_name_r, code)
    number: int
    if code == lib.UV_EOF:
        cls, number = _EOF_CLASS, code
    elif name.startswith("EAI_"):
        cls, number = _LOOKUP_CLASS, getattr(socket, name, code)
    else:
        number = getattr(errno, name, code)
        cls = _CLASSES.get(number, UVError)
    error = cls(number, f"{what}: {_text(lib.uv_strerror_r, code)}")
    error.code = code
    error.name = name
    return error


def check(code: int, what: str) -> int:
    """Return `code`, or raise it as a UVError when it is negative, as libuv's errors are."""
    if code < 0:
        raise uv_error(code, what)
    return code


def strerror(code: int) -> str:
    """Return the text of libuv's error `code`. Wraps uv_strerror and uv_strerror_r."""
    return _text(lib.uv_strerror_r, code)


def err_name(code: int) -> str:
    """Return the symbol of libuv's error `code`, such as "EOF". Wraps uv_err_name and
    uv_err_name_r."""
    return _text(lib.uv_err_name_r, code)


def translate_sys_error(number: int) -> int:
    """Return libuv's code for the platform's errno `number`. Wraps uv_translate_sys_error."""
    return int(lib.uv_translate_sys_error(number))


def _text(getter: Callable[..., Any], code: int) -> str:
    # Into memory of ours: those without _r leak a little for each code that libuv does not know.
    buffer = ffi.new("char[]", 128)
    return str(ffi.string(getter(code, buffer, len(buffer))), "utf-8")
