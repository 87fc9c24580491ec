"""Each public verb of the asyncio loop and its transports is in a scenario that is interrupted at
every line."""

from __future__ import annotations

import asyncio
import inspect
from types import CodeType

import interrupted_asyncio_endpoints
import interrupted_asyncio_transports
import pytest
from interrupted_asyncio import SCENARIOS
from interrupting import code_of

from uvbind.aio import EventLoop
from uvbind.aio._datagrams import DatagramTransport
from uvbind.aio._mended import WritePipeTransport
from uvbind.aio._processes import Transport as ChildTransport
from uvbind.aio._transports import SocketTransport

# Each with the class of asyncio's that says which verbs it has.
KINDS = {
    EventLoop: asyncio.AbstractEventLoop,
    SocketTransport: asyncio.Transport,
    DatagramTransport: asyncio.DatagramTransport,
    WritePipeTransport: asyncio.WriteTransport,
    ChildTransport: asyncio.SubprocessTransport,
}
# They set or tell a part of the state, in code of asyncio's alone.
STATE = {"can_write_eof", "create_future", "create_task", "time"}
STATE_PREFIXES = ("get_", "is_", "set_")
OTHERS = {
    "call_exception_handler": "the other scenarios call it",
    "begin": "the loop calls it",
    "default_exception_handler": "it logs",
    "leave_socket": "the loop calls it when it closes",
    "send_signal": "asyncio's alone, as kill()",
    "shutdown_asyncgens": "the other scenarios call it when they end",
    "start_tls": "asyncio's TLS is Python, which an exception cuts off at any line",
    "terminate": "asyncio's alone, as kill()",
}

assert interrupted_asyncio_endpoints and interrupted_asyncio_transports  # they add to SCENARIOS


def is_verb(kind: type, name: str) -> bool:
    if name.startswith("_") or name in STATE or name in OTHERS:
        return False
    code = code_of(getattr(kind, name))
    in_python = isinstance(code, CodeType)
    ours = not in_python or code.co_filename.split("/")[-3:-1] == ["uvbind", "aio"]
    return ours or not name.startswith(STATE_PREFIXES)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_public_verb_has_a_scenario(kind):
    covered = {code for scenario in SCENARIOS for code in scenario.verbs}
    named = {name for name in dir(KINDS[kind]) if is_verb(kind, name)}
    own = {name for name, value in vars(kind).items() if inspect.isfunction(value)}
    for name in named | {name for name in own if is_verb(kind, name)}:
        assert code_of(getattr(kind, name)) in covered, f"{kind.__name__}.{name}"
