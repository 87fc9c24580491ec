"""What CPython's tests of asyncio's streams get in the place of asyncio: our streams."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Callable
from typing import Any

import uvbind
from uvbind.aio._streams import _Protocol

OURS: dict[str, Any] = {
    "StreamReader": uvbind.StreamReader,
    "StreamReaderProtocol": _Protocol,
    "StreamWriter": uvbind.StreamWriter,
    "open_connection": uvbind.open_connection,
    "open_unix_connection": uvbind.open_unix_connection,
    "start_server": uvbind.start_server,
    "start_unix_server": uvbind.start_unix_server,
}


def with_loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """Take the argument that asyncio's had before Python 3.10, and ours have not."""

    async def call(*args: Any, loop: Any = None, **options: Any) -> Any:
        if loop is not None:
            warnings.warn("The loop argument is deprecated", DeprecationWarning, stacklevel=2)
        return await function(*args, **options)

    return call


if sys.version_info < (3, 10):
    OURS.update({name: with_loop(OURS[name]) for name in OURS if name.islower()})


class Asyncio:
    """Stands for asyncio in the module of the tests."""

    def __getattr__(self, name: str) -> Any:
        return OURS[name] if name in OURS else getattr(asyncio, name)
