"""os.fork() in a coroutine: the child ends as it wants to, the loop of its parent goes on."""

from __future__ import annotations

import asyncio

import pytest
from forking import Forks
from helpers import in_child, needs_fork

import uvbind

pytestmark = needs_fork

# Each child writes nothing: its exit status is what the parent prints.
PROGRAM = """
import asyncio, os, socket, sys, warnings
import uvbind

warnings.simplefilter("ignore", DeprecationWarning)  # of threads where a program forks
new_loop = {"asyncio": asyncio.SelectorEventLoop, "uvbind": uvbind.new_event_loop}[loop]

async def serve(reader, writer):
    while line := await reader.readline():
        writer.write(line)
    writer.close()

async def waits():
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await asyncio.sleep(0)

async def main():
    loop = asyncio.get_running_loop()
    reads, writes = socket.socketpair()
    reads.setblocking(False)
    tasks = [asyncio.create_task(waits())]
    if around == "executor":
        await loop.run_in_executor(None, int)
    elif around == "sockets":
        tasks.append(asyncio.create_task(loop.sock_recv(reads, 1)))
    elif around == "timers":
        tasks.append(asyncio.create_task(asyncio.sleep(3600)))
    elif around == "names":
        tasks.append(asyncio.create_task(loop.getaddrinfo("localhost", 80)))
    elif around == "signals":
        loop.add_signal_handler(10, int)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await asyncio.sleep(0)
    pid = os.fork()
    if pid == 0:
        sys.stderr = open(os.devnull, "w")  # tasks tell that they could not close their connections
        return await child(loop)
    status = os.waitpid(pid, 0)[1]
    writer.write(b"still here\\n")
    assert await asyncio.wait_for(reader.readline(), 30) == b"still here\\n"
    if around == "sockets":
        writes.send(b"x")
        assert await asyncio.wait_for(tasks.pop(), 30) == b"x"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    writer.close()
    server.close()
    reads.close()
    writes.close()
    print("status", os.waitstatus_to_exitcode(status))

async def child(loop):
    if way == "exit":
        raise SystemExit(7)
    if way == "exit with a text":
        sys.exit("a text")
    if way == "exit later":
        await asyncio.sleep(0)
        raise SystemExit(7)
    if way == "exit of a task":  # from Python 3.12 on a child has no running loop
        await asyncio.ensure_future(exits(), loop=loop)
    if way == "raise":
        raise ValueError
    if way == "exit at once":
        os._exit(7)

async def exits():
    raise SystemExit(7)

if runner == "run_until_complete":
    loop = new_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
elif runner == "uvbind.run":
    uvbind.run(main())
else:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
"""
WAYS = {
    "exit": 7,
    "exit with a text": 1,
    "exit later": 7,
    "exit of a task": 7,
    "raise": 1,
    "return": 0,
    "exit at once": 7,
}


def status_of_child(forks: Forks, *arguments: str) -> str:
    ((status, printed),) = forks.run(f"loop, way, around, runner = {arguments!r}\n{PROGRAM}")
    assert status == 0, printed
    (told,) = (line for line in printed.splitlines() if line.startswith("status "))
    return told.removeprefix("status ")  # asyncio tells of cancelled tasks on the other lines


@pytest.mark.parametrize("way", WAYS)
def test_the_exit_status_of_a_child(forks, way):
    """On asyncio's own loop too, whose parent may be deaf then: they share the selector."""
    assert status_of_child(forks, "uvbind", way, "nothing", "Runner") == str(WAYS[way])


@pytest.mark.parametrize("way", ["exit", "return"])
@pytest.mark.parametrize("runner", ["run_until_complete", "uvbind.run"])
def test_whatever_runs_the_loop(forks, runner, way):
    assert status_of_child(forks, "uvbind", way, "nothing", runner) == str(WAYS[way])


@pytest.mark.parametrize("way", ["exit", "return"])
@pytest.mark.parametrize("around", ["executor", "sockets", "timers", "names", "signals"])
def test_whatever_else_the_loop_has(forks, around, way):
    assert status_of_child(forks, "uvbind", way, around, "Runner") == str(WAYS[way])


def test_a_child_that_would_have_to_wait_is_told_how():
    loop = uvbind.new_event_loop()
    try:
        for waits in (loop.create_future, lambda: loop.getaddrinfo("localhost", 80)):
            answer = in_child(lambda: loop.run_until_complete(waits()))  # noqa: B023
            assert answer.startswith("RuntimeError: the loop is the parent process's")
        answer = in_child(loop.run_forever)
        assert answer.startswith("RuntimeError: the loop is the parent process's")
    finally:
        loop.close()


def test_after_fork_a_child_runs_the_loop():
    loop = uvbind.new_event_loop()

    def child():
        loop.uv.fork()
        return loop.run_until_complete(asyncio.sleep(0.001, "slept"))

    try:
        assert in_child(child) == "'slept'"
    finally:
        loop.close()
