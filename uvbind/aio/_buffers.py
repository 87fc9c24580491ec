"""Buffers that programs write, seen as bytes whatever their items are.

asyncio takes len() of a memoryview for its size in bytes. A view of numbers or of several
dimensions has fewer items than bytes, and asyncio loses the rest.
"""

from __future__ import annotations

from typing import Any


def as_bytes(data: Any) -> Any:
    """Return a memoryview as one of single bytes in one dimension, anything else as it is.

    A view whose memory is not in one piece is copied, as the system calls do not take it.
    """
    if not isinstance(data, memoryview):
        return data
    if not data.c_contiguous:
        return data.tobytes()
    if data.ndim == 1 and data.itemsize == 1:
        return data
    try:
        return data.cast("B")
    except (TypeError, ValueError):  # a format of another byte order, or a dimension of size 0
        return data.tobytes()
