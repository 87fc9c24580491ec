"""Errors of libuv's in the words of asyncio: the system's classes, numbers and texts.

A program that catches an error of asyncio's compares its class, its `errno` and its text.
"""

from __future__ import annotations

import os
import socket

from uvbind import UVError
from uvbind._uvbind import ffi, lib


def plain_error(error: UVError) -> OSError:
    """Return what Python's socket module would raise for an error of libuv's."""
    if not error.name.startswith("EAI_"):
        return OSError(error.errno, os.strerror(error.errno or 0))
    if not hasattr(socket, error.name):  # one that libuv alone knows: EAI_CANCELED
        return socket.gaierror(error.errno, error.strerror)
    text = ffi.string(lib.uvb_lookup_strerror(error.errno))
    return socket.gaierror(error.errno, os.fsdecode(text))
