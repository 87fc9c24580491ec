"""What the tests of `sock_*` methods run on: ours also as it is where there is no epoll."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pure_loop import without_epoll

import uvbind


@pytest.fixture(params=["asyncio", "uvbind", "uvbind without epoll"])
def new_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    if request.param == "asyncio":
        return asyncio.SelectorEventLoop
    if request.param.endswith("without epoll"):
        without_epoll(monkeypatch)
    return uvbind.new_event_loop
