"""Tasks that wait in `sock_*` methods: cancelled, several at one socket, looked at."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest
from plain_sockets import begun, new_pair

import uvbind


class Connecting(socket.socket):
    """A socket whose connection takes longer than a turn of the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.setblocking(False)

    def connect(self, address: object) -> None:
        raise BlockingIOError(errno.EINPROGRESS, "Operation now in progress")


@pytest.mark.parametrize("turns", range(4))
def test_a_cancelled_receive_loses_nothing(turns):
    async def main():
        loop = asyncio.get_running_loop()
        with new_pair() as (ours, theirs):
            for number in range(20):
                task = await begun(loop.sock_recv(ours, 10))
                theirs.send(b"%d" % number)
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel("enough")
                try:
                    data = await task
                except asyncio.CancelledError:
                    data = ours.recv(10)
                assert data == b"%d" % number

    uvbind.run(main())  # asyncio's own loop does lose data


def test_a_cancelled_wait_is_over(run):
    async def main():
        loop = asyncio.get_running_loop()
        with new_pair() as (ours, theirs):
            for _ in range(3):
                task = await begun(loop.sock_recv(ours, 10))
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(loop.sock_recv(ours, 10), 0.001)
            theirs.send(b"still here")
            assert await loop.sock_recv(ours, 10) == b"still here"

    run(main)


def test_tasks_that_wait_for_the_same_socket_all_get_their_turn():
    async def main():
        loop = asyncio.get_running_loop()
        with new_pair(socket.SOCK_SEQPACKET) as (ours, theirs):
            tasks = [await begun(loop.sock_recv(ours, 10)) for _ in range(3)]
            tasks.pop(1).cancel()
            theirs.send(b"one")
            theirs.send(b"two")
            assert sorted(await asyncio.gather(*tasks)) == [b"one", b"two"]

    uvbind.run(main())  # in asyncio one of them waits for ever


def test_a_loop_that_closes_under_a_wait(new_loop):
    loop = new_loop()
    with new_pair() as (ours, _):
        tasks = [
            loop.create_task(loop.sock_recv(ours, 1)),
            loop.create_task(loop.sock_connect(ours, "nowhere")),
        ]
        loop.run_until_complete(asyncio.sleep(0))
        assert isinstance(tasks[1].exception(), OSError)
        tasks[0].cancel()
        loop.run_until_complete(asyncio.wait(tasks))
        loop.close()


@pytest.mark.parametrize("method", ["sock_accept", "sock_recv", "sock_connect"])
def test_a_wait_that_outlives_its_loop_ends_in_silence(new_loop, method):
    loop = new_loop()
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        new_pair() as (ours, _),
        Connecting() as sock,
    ):
        server.setblocking(False)
        wait = {
            "sock_accept": lambda: loop.sock_accept(server),
            "sock_recv": lambda: loop.sock_recv(ours, 1),
            "sock_connect": lambda: loop.sock_connect(sock, server.getsockname()),
        }[method]()
        task = loop.create_task(wait)
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert not task.done()
        loop.close()
        wait.close()  # as Python does when nobody keeps the coroutine


def test_a_task_may_stop_the_loop(new_loop):
    loop = new_loop()

    async def main(sock):
        await loop.sock_recv(sock, 1)
        loop.stop()

    with new_pair() as (ours, theirs):
        task = loop.create_task(main(ours))
        loop.call_soon(theirs.send, b"x")
        loop.run_forever()
        assert loop.run_until_complete(task) is None
    loop.close()


def test_who_looks_at_what_a_task_waits_for(run):
    async def main():
        loop = asyncio.get_running_loop()
        with new_pair() as (ours, _):
            task = await begun(loop.sock_recv(ours, 10))
            waiter = task._fut_waiter
            assert asyncio.isfuture(waiter) and waiter.get_loop() is loop
            assert not waiter.done() and not waiter.cancelled()
            task.cancel()
            await asyncio.wait([task])
            assert waiter.done() and waiter.cancelled()

    run(main)


def test_what_is_waited_for_and_watched(run, new_loop):
    async def main():
        loop = asyncio.get_running_loop()
        with new_pair() as (ours, theirs):
            writable = loop.create_future()
            task = await begun(loop.sock_recv(ours, 10))
            loop.add_writer(ours, lambda: writable.done() or writable.set_result(None))
            await writable
            loop.remove_writer(ours)
            theirs.send(b"one")
            assert await task == b"one"
            assert not loop.remove_reader(ours) and not loop.remove_writer(ours)

    run(main)
