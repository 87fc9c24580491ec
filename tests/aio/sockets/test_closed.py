"""Sockets belong to the program, which may close them while they are waited for or watched."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import pytest
from helpers import MEGABYTES, needs_libuv
from plain_sockets import begun, new_pair

import uvbind


@pytest.mark.parametrize("watched", ["waited for", "read", "written"])
def test_the_peer_hears_at_once_that_a_socket_was_closed(run, watched):
    async def main():
        loop = asyncio.get_running_loop()
        with new_pair() as (ours, theirs):
            number = ours.fileno()
            if watched == "waited for":
                task = await begun(loop.sock_recv(ours, 1))
                theirs.send(b"x")
                await task
            elif watched == "read":
                loop.add_reader(ours, print)
            else:
                loop.add_writer(ours, print)
            ours.close()
            assert theirs.recv(1) == b""
            assert loop.remove_reader(number) == (watched == "read")
            assert loop.remove_writer(number) == (watched == "written")

    run(main)


@pytest.mark.parametrize("left", ["waited", "waiting", "read"])
def test_the_number_of_a_closed_descriptor_is_used_again(run, left):
    async def main():
        loop = asyncio.get_running_loop()
        with new_pair() as (first, its_peer):
            number, pending = first.fileno(), None
            if left == "read":
                loop.add_reader(number, pytest.fail, "the old reader is called")
            else:
                pending = await begun(loop.sock_recv(first, 1))
            if left == "waited":
                its_peer.send(b"x")
                assert await pending == b"x"
            first.close()
            with new_pair() as (second, its_peer):
                assert second.fileno() == number
                loop.remove_reader(number)
                task = await begun(loop.sock_recv(second, 10))
                if left == "waiting":
                    pending.cancel()
                    await asyncio.wait([pending])
                its_peer.send(b"second")
                assert await task == b"second"

    run(main)


@needs_libuv(1, 45)
@pytest.mark.parametrize("left", ["waited", "cancelled", "read"])
def test_a_descriptor_that_lives_on_elsewhere_keeps_nobody_busy(left):
    async def main():
        loop = asyncio.get_running_loop()
        with new_pair() as (ours, theirs):
            if left == "read":
                loop.add_reader(ours, print)
                loop.remove_reader(ours)
            else:
                task = await begun(loop.sock_recv(ours, 1))
                if left == "cancelled":
                    task.cancel()
                theirs.send(b"x")
                await asyncio.wait([task])
            elsewhere = os.dup(ours.fileno())
            ours.close()
            theirs.send(b"for nobody here")
            before = loop.uv.metrics_info().loop_count
            await asyncio.sleep(0.05)
            assert loop.uv.metrics_info().loop_count - before < 20
            os.close(elsewhere)

    uvbind.run(main())


@pytest.mark.parametrize("number", ["free", "a file's"])
def test_a_socket_that_is_closed_under_its_reader_and_its_writer(number, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        with new_pair() as (ours, theirs):
            reading = await begun(loop.sock_recv(ours, 10))
            writing = await begun(loop.sock_sendall(ours, MEGABYTES))
            with ours.dup(), contextlib.ExitStack() as files:
                ours.close()
                if number == "a file's":
                    files.enter_context(Path(tmp_path, "file").open("wb"))
                while not (reading.done() and writing.done()):
                    with contextlib.suppress(BlockingIOError):
                        theirs.recv(1 << 20)
                    await asyncio.sleep(0)
            for task in (reading, writing):
                assert isinstance(task.exception(), OSError)

    uvbind.run(main())  # in asyncio they wait for ever
