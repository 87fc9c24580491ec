"""Runs CPython's tests of asyncio's streams on ours, and on our loop, as cpython_suite.py does."""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Any

from cpython_suite import main

import uvbind
from uvbind.aio._streams import _Protocol

OURS = {
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


def prepare(module: ModuleType) -> None:
    assert module.asyncio is asyncio
    module.asyncio = Asyncio()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(prepare)
