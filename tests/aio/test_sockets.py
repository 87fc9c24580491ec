"""`sock_*` methods and watched descriptors: plain sockets of the program, which may close them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import MEGABYTES, needs_libuv

import uvbind
from uvbind.aio import _waits

DATAGRAMS = sys.version_info >= (3, 11)  # asyncio has sock_recvfrom and its kin from then on


@pytest.fixture(params=["asyncio", "uvbind", "uvbind without epoll"])
def new_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    if request.param == "asyncio":
        return asyncio.SelectorEventLoop
    if request.param.endswith("without epoll"):
        monkeypatch.setattr(_waits, "_EpollSet", _waits._SelectorSet)
    return uvbind.new_event_loop


@contextlib.contextmanager
def pair(kind: int = socket.SOCK_STREAM) -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(type=kind)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


async def begun(coroutine):
    """A task that has gone as far as it gets by itself."""
    task = asyncio.ensure_future(coroutine)
    await asyncio.sleep(0)
    return task


async def received(sock, size):
    loop, data = asyncio.get_running_loop(), bytearray()
    while len(data) < size:
        data += await loop.sock_recv(sock, 1 << 20)
    return bytes(data)


@pytest.mark.parametrize("size", [100, 1 << 16, 1 << 20])
def test_receiving(run, size):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (ours, theirs):
            theirs.send(b"now")
            assert await loop.sock_recv(ours, size) == b"now"
            later = await begun(loop.sock_recv(ours, size))
            theirs.send(b"later")
            assert await later == b"later"
            buffer = bytearray(10)
            into = await begun(loop.sock_recv_into(ours, buffer))
            theirs.send(b"into")
            assert await into == 4 and buffer[:4] == b"into"
            end = await begun(loop.sock_recv(ours, size))
            theirs.close()
            assert await end == b""

    run(main)


def test_megabytes_both_ways_at_once(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (ours, theirs):
            results = await asyncio.gather(
                loop.sock_sendall(ours, MEGABYTES),
                loop.sock_sendall(theirs, bytearray(MEGABYTES)),
                received(ours, len(MEGABYTES)),
                received(theirs, len(MEGABYTES)),
            )
            assert results == [None, None, MEGABYTES, MEGABYTES]

    run(main)


def test_a_view_of_numbers_is_sent_whole():
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (ours, theirs):
            sending = await begun(loop.sock_sendall(ours, memoryview(MEGABYTES).cast("I")))
            assert await received(theirs, len(MEGABYTES)) == MEGABYTES
            await sending

    uvbind.run(main())  # asyncio takes numbers for bytes


def test_datagrams(run, new_loop):
    if not DATAGRAMS and new_loop is asyncio.SelectorEventLoop:
        pytest.skip("this Python's asyncio has no sock_recvfrom")

    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket(type=socket.SOCK_DGRAM) as ours:
            ours.setblocking(False)
            ours.bind(("127.0.0.1", 0))
            address, buffer = ours.getsockname(), bytearray(10)
            first = await begun(loop.sock_recvfrom(ours, 10))
            assert await loop.sock_sendto(ours, b"first", address) == 5
            assert await first == (b"first", address)
            second = await begun(loop.sock_recvfrom_into(ours, buffer))
            await loop.sock_sendto(ours, b"second", address)
            assert await second == (6, address) and buffer[:6] == b"second"

    run(main)


def test_connecting_and_accepting(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
            server.setblocking(False)
            client.setblocking(False)
            accepting = await begun(loop.sock_accept(server))
            await loop.sock_connect(client, ("localhost", server.getsockname()[1]))
            accepted, address = await accepting
            with accepted:
                assert accepted.gettimeout() == 0 and address == client.getsockname()
            assert await loop.sock_recv(client, 10) == b""

    run(main)


def test_connecting_to_nobody(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket() as unused, socket.socket() as client:
            unused.bind(("127.0.0.1", 0))
            client.setblocking(False)
            with pytest.raises(ConnectionRefusedError):
                await loop.sock_connect(client, unused.getsockname())

    run(main)


def test_what_is_refused(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as blocking:
            for call in (
                loop.sock_recv(blocking, 1),
                loop.sock_recv_into(blocking, bytearray(1)),
                loop.sock_sendall(blocking, b"x"),
                loop.sock_accept(blocking),
                loop.sock_connect(blocking, ("127.0.0.1", 1)),
            ):
                with pytest.raises(ValueError, match="must be non-blocking"):
                    await call
        context = ssl.create_default_context()
        with pair() as (ours, _):
            wrapped = context.wrap_socket(ours, server_hostname="x", do_handshake_on_connect=False)
            with wrapped, pytest.raises(TypeError, match="SSLSocket"):
                await loop.sock_recv(wrapped, 1)
        with pair() as (ours, _):
            transport, _protocol = await loop.create_connection(asyncio.Protocol, sock=ours)
            for call in (loop.add_reader, loop.add_writer):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    call(transport.get_extra_info("socket"), print)
            with pytest.raises(RuntimeError, match="is used by transport"):
                await loop.sock_recv(ours, 1)
            transport.close()
            await asyncio.sleep(0)

    run(main)


def test_errors_come_from_the_socket(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (ours, _):
            with pytest.raises(ValueError, match="negative"):
                await loop.sock_recv(ours, -1)
            ours.close()
            with pytest.raises(OSError, match="Bad file descriptor"):
                await loop.sock_recv(ours, 1)

    run(main)


# -- giving up


@pytest.mark.parametrize("turns", range(4))
def test_a_cancelled_receive_loses_nothing(turns):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (ours, theirs):
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
        with pair() as (ours, theirs):
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
        with pair(socket.SOCK_SEQPACKET) as (ours, theirs):
            tasks = [await begun(loop.sock_recv(ours, 10)) for _ in range(3)]
            tasks.pop(1).cancel()
            theirs.send(b"one")
            theirs.send(b"two")
            assert sorted(await asyncio.gather(*tasks)) == [b"one", b"two"]

    uvbind.run(main())  # in asyncio one of them waits for ever


def test_a_loop_that_closes_under_a_wait(new_loop):
    loop = new_loop()
    with pair() as (ours, _):
        tasks = [
            loop.create_task(loop.sock_recv(ours, 1)),
            loop.create_task(loop.sock_connect(ours, "nowhere")),
        ]
        loop.run_until_complete(asyncio.sleep(0))
        assert isinstance(tasks[1].exception(), OSError)
        tasks[0].cancel()
        loop.run_until_complete(asyncio.wait(tasks))
        loop.close()


def test_a_task_may_stop_the_loop(new_loop):
    loop = new_loop()

    async def main(sock):
        await loop.sock_recv(sock, 1)
        loop.stop()

    with pair() as (ours, theirs):
        task = loop.create_task(main(ours))
        loop.call_soon(theirs.send, b"x")
        loop.run_forever()
        assert loop.run_until_complete(task) is None
    loop.close()


# -- the descriptor belongs to the program


@pytest.mark.parametrize("watched", ["waited for", "read", "written"])
def test_the_peer_hears_at_once_that_a_socket_was_closed(run, watched):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (ours, theirs):
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
        with pair() as (first, its_peer):
            number, pending = first.fileno(), None
            if left == "read":
                loop.add_reader(number, pytest.fail, "the old reader is called")
            else:
                pending = await begun(loop.sock_recv(first, 1))
            if left == "waited":
                its_peer.send(b"x")
                assert await pending == b"x"
            first.close()
            with pair() as (second, its_peer):
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
        with pair() as (ours, theirs):
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


def test_what_is_waited_for_and_watched(run, new_loop):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (ours, theirs):
            writable = loop.create_future()
            task = await begun(loop.sock_recv(ours, 10))
            loop.add_writer(ours, lambda: writable.done() or writable.set_result(None))
            await writable
            loop.remove_writer(ours)
            theirs.send(b"one")
            assert await task == b"one"
            assert not loop.remove_reader(ours) and not loop.remove_writer(ours)

    run(main)


def test_readers_and_writers(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (ours, theirs):
            calls: list[str] = []
            done = loop.create_future()

            def read():
                calls.append("read")
                ours.recv(10)
                assert loop.remove_reader(ours)
                done.set_result(None)

            def write():
                calls.append("write")
                assert loop.remove_writer(ours)
                theirs.send(b"x")

            loop.add_reader(ours, pytest.fail, "was replaced")
            loop.add_reader(ours, read)
            loop.add_writer(ours, write)
            await done
            assert calls == ["write", "read"]
            assert not loop.remove_reader(ours) and not loop.remove_writer(ours.fileno())

    run(main)


def test_a_reader_may_stop_the_loop(new_loop):
    loop = new_loop()
    with pair() as (ours, theirs):
        loop.add_reader(ours, loop.stop)
        theirs.send(b"x")
        loop.run_forever()
        loop.remove_reader(ours)
    loop.close()


def test_what_a_reader_raises_goes_to_the_exception_handler(new_loop):
    contexts = []
    loop = new_loop()
    loop.set_exception_handler(lambda loop, context: contexts.append(context["exception"]))

    def fail():
        loop.stop()
        raise ZeroDivisionError

    with pair() as (ours, theirs):
        loop.add_reader(ours, fail)
        theirs.send(b"x")
        loop.run_forever()
        loop.remove_reader(ours)
    loop.close()
    assert [type(exception) for exception in contexts] == [ZeroDivisionError]


def test_what_cannot_be_watched(run, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        with Path(tmp_path, "file").open("wb") as file:
            with pytest.raises(PermissionError):
                loop.add_reader(file, print)
            assert not loop.remove_reader(file)
        with pytest.raises(ValueError, match="Invalid file"):
            loop.add_reader(object(), print)
        with pytest.raises(ValueError, match="Invalid file descriptor"):
            loop.add_reader(-1, print)

    run(main)


def test_many_are_ready_at_once(run):
    async def main():
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            pairs = [stack.enter_context(pair()) for _ in range(300)]  # more than one look shows
            tasks = [await begun(loop.sock_recv(ours, 10)) for ours, _ in pairs]
            for number, (_, theirs) in enumerate(pairs):
                theirs.send(b"%d" % number)
            assert await asyncio.gather(*tasks) == [b"%d" % number for number in range(300)]

    run(main)


@pytest.mark.parametrize("number", ["free", "a file's"])
def test_a_socket_that_is_closed_under_its_reader_and_its_writer(number, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (ours, theirs):
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


def test_who_looks_at_what_a_task_waits_for(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (ours, _):
            task = await begun(loop.sock_recv(ours, 10))
            waiter = task._fut_waiter
            assert asyncio.isfuture(waiter) and waiter.get_loop() is loop
            assert not waiter.done() and not waiter.cancelled()
            task.cancel()
            await asyncio.wait([task])
            assert waiter.done() and waiter.cancelled()

    run(main)


def test_sizes_of_other_types(run):
    class Size:
        def __index__(self):
            return 3

        def __gt__(self, other):
            return other < 3

    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (ours, theirs):
            theirs.send(b"data")
            assert await loop.sock_recv(ours, Size()) == b"dat"
            with pytest.raises(TypeError):
                await loop.sock_recv(ours, 1.5)

    run(main)
