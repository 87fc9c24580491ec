"""Bytes that say whose they are, and descriptors that nobody else may close."""

from __future__ import annotations

import ctypes
import itertools
import struct
from typing import Any

HEADER = struct.Struct("!III")  # tag, number, size of what follows
_tags = itertools.count(1)


class WrongBytes(Exception):
    """These bytes were for another connection, or are none of ours."""


def new_tag() -> int:
    return next(_tags)


def frame(tag: int, number: int, size: int) -> bytes:
    return HEADER.pack(tag, number, size) + bytes([(tag * 31 + number) & 255]) * size


class Checker:
    """Checks what arrives over one connection: frames of one tag, in their order."""

    def __init__(self, tag: int | None = None) -> None:
        self.tag = tag
        self.number = 0
        self._buffer = bytearray()

    def feed(self, data: Any) -> None:
        buffer = self._buffer
        buffer += data
        while len(buffer) >= HEADER.size:
            tag, number, size = HEADER.unpack_from(buffer)
            if self.tag is None:
                self.tag = tag
            if (tag, number) != (self.tag, self.number):
                raise WrongBytes(f"{(tag, number)} where {(self.tag, self.number)} was due")
            if len(buffer) < HEADER.size + size:
                return
            if buffer[: HEADER.size + size] != frame(tag, number, size):
                raise WrongBytes(f"the payload of {(tag, number)} is not its own")
            self.number += 1
            del buffer[: HEADER.size + size]


_library = ctypes.CDLL(None)


def guard(fd: int) -> None:
    """From here on until release(fd) nobody may close it."""
    if hasattr(_library, "descriptor_guard"):
        _library.descriptor_guard(fd)


def release(fd: int) -> None:
    if hasattr(_library, "descriptor_release"):
        _library.descriptor_release(fd)
