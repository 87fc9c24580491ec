"""Checks of arguments: each names the argument and says what it should have been."""

from __future__ import annotations

import operator
import socket
from typing import Any

_VERBS = ("recv", "recv_into", "recvfrom", "send", "sendall", "sendto")
Socket: Any = socket.socket  # also while a test has put something else in its place


def integer(name: str, value: object, low: int, high: int) -> int:
    """Return `value` as an int from `low` to `high`, or raise TypeError or ValueError."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name}: expected an int, not {type(value).__name__}") from None
    if not low <= number <= high:
        raise ValueError(f"{name}: expected an int from {low} to {high}, not {number}")
    return number


def function(name: str, value: object) -> None:
    """Raise TypeError unless `value` can be called."""
    if not callable(value):
        raise TypeError(f"{name}: expected a function, not {type(value).__name__}")


def optional_function(name: str, value: object) -> None:
    """Raise TypeError unless `value` can be called or is None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name}: expected a function or None, not {type(value).__name__}")


def instance(name: str, value: object, expected: type) -> None:
    """Raise TypeError unless `value` is an instance of `expected`."""
    if not isinstance(value, expected):
        raise TypeError(
            f"{name}: expected a uvbind.{expected.__name__}, not {type(value).__name__}"
        )


def descriptor(name: str, value: Any) -> int:
    """Return the file descriptor that `value` is, or has behind its fileno()."""
    fileno = getattr(value, "fileno", None)
    number = fileno() if callable(fileno) else value
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(
            f"{name}: expected a file descriptor or an object with fileno(), "
            f"not {type(value).__name__}"
        )
    if not 0 <= number < 2**31:
        raise ValueError(f"{name}: {number} is not an open file descriptor")
    return number


def handed_over(name: str, value: Any) -> int:
    """Return the descriptor that `value` is or, a socket object, has: libuv will close it."""
    if not isinstance(value, (int, Socket)):
        raise TypeError(
            f"{name}: expected a socket or a file descriptor, not {type(value).__name__}; "
            "of an object that closes its descriptor itself, hand over os.dup(fileno())"
        )
    if not isinstance(value, int):
        kind = type(value)
        for verb in _VERBS:
            if getattr(kind, verb) is not getattr(Socket, verb):
                raise TypeError(
                    f"{name}: {kind.__name__} has a {verb}() of its own, as for TLS, and libuv "
                    "would read and write without it; hand over a plain socket.socket"
                )
    return descriptor(name, value)


def buffer(name: str, value: Any, writable: bool = False) -> memoryview:
    """Return a view of a bytes-like object, or raise TypeError or ValueError."""
    if isinstance(value, str):
        raise TypeError(f"{name}: expected a bytes-like object, not str; encode it first")
    try:
        view = memoryview(value)
    except TypeError:
        raise TypeError(
            f"{name}: expected a bytes-like object, not {type(value).__name__}"
        ) from None
    if not view.c_contiguous:
        raise ValueError(f"{name}: expected a buffer in one piece (C-contiguous)")
    if writable and view.readonly:
        raise TypeError(f"{name}: expected a writable buffer, such as a bytearray")
    return view


def keepable(view: memoryview) -> bytes:
    """Return what the view shows as an object that libuv may read later.

    It must not change: bytes cannot. And it must not be a memoryview, which CPython's garbage
    collector clears although it is still in use.
    """
    whole = view.obj
    return whole if type(whole) is bytes and len(whole) == view.nbytes else bytes(view)
