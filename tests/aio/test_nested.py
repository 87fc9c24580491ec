"""A loop that runs is not run once more from inside: that is refused, and the loop goes on."""

from __future__ import annotations

import asyncio

import pytest

import uvbind


@pytest.mark.parametrize("debug", [False, True])
def test_running_a_running_loop_is_refused(new_loop, debug):
    async def main():
        coroutine = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_until_complete(coroutine)
        coroutine.close()
        return await asyncio.sleep(0.001, "goes on")

    loop = new_loop()
    try:
        loop.set_debug(debug)
        assert loop.run_until_complete(main()) == "goes on"
    finally:
        loop.close()


@pytest.mark.parametrize("debug", [False, True])
def test_who_does_not_ask_whether_the_loop_runs_is_refused(debug):
    """As a class that runs inside of itself would be made of the loop's."""

    class Nested(uvbind.EventLoop):
        def _check_running(self):
            pass

    async def main():
        waiting = loop.create_future()
        with pytest.raises(RuntimeError, match="running"):
            loop.run_until_complete(waiting)
        asyncio._set_running_loop(loop)
        return await asyncio.sleep(0.001, "goes on")

    loop = Nested()
    try:
        loop.set_debug(debug)
        assert loop.run_until_complete(main()) == "goes on"
    finally:
        loop.close()
