"""What the tests of the asyncio layer run on: asyncio's own loop, and ours."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import uvbind

LOOPS = {"asyncio": asyncio.SelectorEventLoop, "uvbind": uvbind.new_event_loop}


@pytest.fixture(params=LOOPS)
def new_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    """Each test that asks for it holds for both loops."""
    return LOOPS[request.param]


@pytest.fixture
def run(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Callable[..., Any]:
    """Run a coroutine function in a loop of its own, in debug mode; nothing may go unhandled."""

    def run(main: Callable[[], Coroutine[Any, Any, Any]], timeout: float = 60) -> Any:
        loop = new_loop()
        unhandled: list[Any] = []
        loop.set_exception_handler(lambda loop, context: unhandled.append(context))
        loop.set_debug(True)
        loop.slow_callback_duration = 10.0
        try:
            result = loop.run_until_complete(asyncio.wait_for(main(), timeout))
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()
        assert unhandled == []
        return result

    return run


@pytest.fixture(scope="session")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a server and a client that trusts it need for TLS."""
    trustme = pytest.importorskip("trustme", reason="no trustme to make certificates with")
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    return server, client
