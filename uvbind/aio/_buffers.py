"""Buffers that programs write, seen as bytes whatever their items are.

asyncio takes len() of a memoryview for its size in bytes. A view of numbers or of several
dimensions has fewer items than bytes, and asyncio loses the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any


def view_of(data: Any) -> memoryview:
    """Return a view of a buffer, of single bytes in one dimension, which the caller releases.

    PyPy collects a view late, and until then the program could not resize what it shows. Memory
    that is not in one piece is copied, as the system calls do not take it. Raises TypeError for
    what is no buffer.
    """
    view = memoryview(data)
    if view.ndim == 1 and view.itemsize == 1 and view.c_contiguous:
        return view
    with view:
        if view.c_contiguous:
            with suppress(TypeError, ValueError):  # another byte order, a dimension of size 0
                return view.cast("B")
        return memoryview(view.tobytes())


def views_of(pieces: Iterable[Any], into: list[Any]) -> None:
    """Add each buffer to a list, as a view unless it is bytes; release_views() ends them."""
    for piece in pieces:
        into.append(piece if piece.__class__ is bytes else view_of(piece))


def release_views(pieces: list[Any]) -> None:
    """Release the views among what views_of() has added."""
    for piece in pieces:
        if piece.__class__ is not bytes:
            piece.release()


def unchanging(view: memoryview) -> memoryview | bytes:
    """Return what a view shows as an object that may be kept: nobody changes or releases it."""
    return memoryview(view) if view.obj.__class__ is bytes else bytes(view)
