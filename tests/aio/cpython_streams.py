"""What CPython's tests of asyncio's streams get in the place of asyncio: our streams."""

from __future__ import annotations

import asyncio
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


class Asyncio:
    """Stands for asyncio in the module of the tests."""

    def __getattr__(self, name: str) -> Any:
        return OURS[name] if name in OURS else getattr(asyncio, name)
