"""What the tests of streams run on: asyncio's functions and ours, in debug mode and out of it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from streaming import NAMES

import uvbind
from uvbind.aio._streams import _Protocol


@pytest.fixture(params=["asyncio", "uvbind"])
def streams(request):
    """Both sets of functions; each test that asks for them holds for both."""
    module = asyncio if request.param == "asyncio" else uvbind
    found = SimpleNamespace(**{name: getattr(module, name) for name in NAMES})
    found.Protocol = asyncio.StreamReaderProtocol if module is asyncio else _Protocol
    return found


@pytest.fixture(params=[False, True], ids=["plain", "debug"])
def run(request, new_loop):
    """As the other tests' `run`; out of debug mode too, where tasks go on at once."""

    def run(main, timeout=60):
        loop = new_loop()
        unhandled = []
        loop.set_exception_handler(lambda loop, context: unhandled.append(context))
        loop.set_debug(request.param)
        loop.slow_callback_duration = 10.0
        try:
            return loop.run_until_complete(asyncio.wait_for(main(unhandled), timeout))
        finally:
            loop.close()
            assert unhandled == []

    return run
