"""Removes from a process what its start has left behind and a count would depend on."""

from __future__ import annotations

import gc

held: list[bytes] = []


def settle() -> None:
    """Leave nothing to the garbage collector, and no free memory between used memory.

    malloc takes several ways, some of them twice as long as others, where free chunks of many sizes
    lie about. Which ones do depends on all that the process has done, down to its environment.
    """
    gc.collect()
    gc.freeze()
    held.extend(bytes(1000) for _ in range(16_000))
