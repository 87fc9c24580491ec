"""Libraries that change asyncio itself: freezegun its clock, nest_asyncio how it runs.

Each in a process of its own, whose asyncio it leaves changed.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("freezegun")
pytest.importorskip("nest_asyncio")

NEW_LOOP = {
    "asyncio": "asyncio.SelectorEventLoop()",
    "uvbind": "uvbind.new_event_loop()",
}
FROZEN = """
import asyncio, time
import freezegun
import uvbind

async def turns():
    for _ in range(3):
        await asyncio.sleep(0)

async def main():
    called = []
    with freezegun.freeze_time("2020-01-01") as clock:
        before = loop.time()
        loop.call_later(5, called.append, 5)
        await turns()
        assert called == [] and loop.time() == before
        clock.tick(6)
        await turns()
        assert called == [5] and loop.time() == before + 6
    await asyncio.wait_for(asyncio.sleep(0.001), 10)
    with freezegun.freeze_time("2021-01-01", real_asyncio=True):
        assert time.time() == 1609459200
        await asyncio.wait_for(asyncio.sleep(0.001), 10)
    await asyncio.wait_for(asyncio.sleep(0.001), 10)

if {installed}:
    uvbind.install()
loop = {new_loop}
loop.run_until_complete(main())
loop.close()
"""
NESTED = """
import asyncio, sys
import nest_asyncio
import uvbind

async def inner():
    return await asyncio.sleep(0.001, "inner")

async def main():
    try:
        nest_asyncio.apply(loop)
    except ValueError as error:
        assert "uvbind" in str(error)
        return await inner()
    return loop.run_until_complete(inner())

loop = {new_loop}
loop.call_later(30, sys.exit, "hangs")
assert loop.run_until_complete(main()) == "inner"
loop.close()
"""


def run_program(text: str) -> None:
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "installed"), [("asyncio", False), ("uvbind", False), ("uvbind", True)]
)
def test_freezegun_stops_the_clock_and_moves_it(name, installed):
    """With real_asyncio it gives the time to the class of asyncio.new_event_loop() alone."""
    program = FROZEN.replace("{new_loop}", NEW_LOOP[name])
    run_program(program.replace("{installed}", str(installed)))


def test_nest_asyncio_works_or_says_why_not(loop_name):
    run_program(NESTED.replace("{new_loop}", NEW_LOOP[loop_name]))
