"""Numbers of descriptors come back: nothing that is left of their last owner may meet the next."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers import Oops, in_child, needs_fork

import uvbind

# asyncio's own loop waits for ever, or logs errors, or leaves it to the garbage collector.
only_ours = pytest.mark.parametrize("new_loop", [uvbind.new_event_loop], ids=["uvbind"])


def new_pair() -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for each in pair:
        each.setblocking(False)
    return pair


def new_pair_at(number: int) -> tuple[socket.socket, socket.socket]:
    """A pair whose first socket has the number that was closed last."""
    one, two = new_pair()
    assert number in (one.fileno(), two.fileno())
    return (one, two) if one.fileno() == number else (two, one)


def test_a_socket_that_is_watched_can_be_closed(run):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = new_pair()
        loop.add_reader(ours, print)
        ours.close()
        with theirs:
            assert await loop.sock_recv(theirs, 10) == b""

    run(main)


@only_ours
@pytest.mark.parametrize("before", ["reader", "writer", "both"])
@pytest.mark.parametrize("removed", [False, True])
def test_the_number_of_a_socket_that_was_watched_comes_back(run, before, removed):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = new_pair()
        number = ours.fileno()
        stale = []
        if before != "writer":
            loop.add_reader(ours, stale.append, "reader")
        if before != "reader":
            loop.add_writer(ours, stale.append, "writer")
        ours.close()
        theirs.close()
        if removed:
            loop.remove_reader(number)
        ours, theirs = new_pair_at(number)
        came = asyncio.Event()
        with ours, theirs:
            loop.add_reader(ours, came.set)
            theirs.send(b"x")
            await came.wait()
            came.clear()
            loop.add_reader(ours, came.set)
            await came.wait()
            assert loop.remove_reader(ours)
            assert not loop.remove_writer(ours)
            assert stale == []

    run(main)


@only_ours
@pytest.mark.parametrize("next_owner", ["transport", "sock_recv"])
def test_what_was_given_up_in_this_turn_leaves_the_next_owner_alone(run, next_owner):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = new_pair()
        number = ours.fileno()
        task = loop.create_task(loop.sock_recv(ours, 10))
        await asyncio.sleep(0)
        task.cancel()
        ours.close()
        theirs.close()
        ours, theirs = new_pair_at(number)
        with ours, theirs:
            theirs.send(b"x")
            if next_owner == "sock_recv":
                assert await loop.sock_recv(ours, 10) == b"x"
            else:
                reader, writer = await asyncio.open_connection(sock=ours)
                assert await reader.readexactly(1) == b"x"
                writer.close()
                await writer.wait_closed()

    run(main)


@only_ours
def test_the_socket_object_of_a_transport_closes_nobody_else(run):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = new_pair()
        number = ours.fileno()
        reader, writer = await asyncio.open_connection(sock=ours)
        ours.close()
        other, another = new_pair()
        with other, another, theirs:
            assert number not in (other.fileno(), another.fileno())
            theirs.send(b"x")
            assert await reader.readexactly(1) == b"x"  # it is the transport's
            writer.close()
            await writer.wait_closed()
            assert await loop.sock_recv(theirs, 10) == b"" and ours.fileno() == -1
            other.send(b"y")
            assert another.recv(10) == b"y"

    run(main)


@only_ours
def test_sendfile_ends_with_its_connection(run):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = new_pair()
        number = ours.fileno()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        with tempfile.TemporaryFile() as file, theirs:
            file.truncate(10_000_000)  # more than the kernel's buffers take
            sending = loop.create_task(loop.sendfile(transport, file))
            await loop.sock_recv(theirs, 1)
            transport.abort()
            with pytest.raises(ConnectionError):
                await sending
        ours, theirs = new_pair_at(number)
        with ours, theirs:
            loop.add_writer(ours, print)  # the number is nobody's
            assert loop.remove_writer(ours)

    run(main)


# What a turn calls is what was there before libuv looked, then what libuv found.


@only_ours
def test_an_accept_that_is_given_up_takes_no_connection(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            task = loop.create_task(loop.sock_accept(server))
            await asyncio.sleep(0)
            with socket.create_connection(server.getsockname()) as client:
                loop.call_soon(task.cancel)
                with pytest.raises(asyncio.CancelledError):
                    await task
                accepted, address = await loop.sock_accept(server)
                accepted.close()
                assert address == client.getsockname()

    run(main)


@only_ours
@pytest.mark.parametrize("turns", range(4))
def test_a_connection_is_accepted_or_left_when_its_task_is_cancelled(run, turns):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            task = loop.create_task(loop.sock_accept(server))
            await asyncio.sleep(0)
            with socket.create_connection(server.getsockname()) as client:
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                try:
                    accepted, address = await task
                except asyncio.CancelledError:
                    accepted, address = await loop.sock_accept(server)
                accepted.close()
                assert address == client.getsockname()

    run(main)


@only_ours
def test_a_connection_to_a_server_that_closes_right_then(run):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_debug(False)  # or asyncio says what became of it
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=context)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.setblocking(False)
            loop.call_soon(loop.call_soon, server.close)  # between accept() and its transport
            with contextlib.suppress(ConnectionResetError):
                assert await loop.sock_recv(client, 1) == b""

    run(main)


@only_ours
def test_a_connection_for_which_there_is_no_protocol_is_closed(run):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_debug(False)  # or asyncio says what became of it
        server = await loop.create_server(lambda: 1 / 0, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.setblocking(False)
            assert await loop.sock_recv(client, 1) == b""
        server.close()

    run(main)


@only_ours
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_tls_that_is_given_up_before_the_handshake_is_closed(run, turns):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = new_pair()
        task = loop.create_task(
            loop.create_connection(
                asyncio.Protocol,
                sock=ours,
                ssl=ssl.create_default_context(),
                server_hostname="localhost",
            )
        )
        for _ in range(1 + turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with theirs:
            while await loop.sock_recv(theirs, 1000):  # until the end
                pass

    run(main)


def test_transports_outlive_their_loop(new_loop):
    loop = new_loop()
    ours, theirs = new_pair()
    transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=ours))
    loop.close()
    with ours, theirs, pytest.raises(RuntimeError, match="closed"):
        transport.close()
    transport._sock = None  # asyncio would warn, which says so elsewhere


@only_ours
def test_a_write_after_the_loop_is_closed_is_written_to_nobody_else(new_loop):
    first = new_loop()
    pairs = [new_pair() for _ in range(30)]
    late, _ = first.run_until_complete(first.create_connection(asyncio.Protocol, sock=pairs[0][0]))
    first.close()
    second = new_loop()

    async def main():
        loop = asyncio.get_running_loop()
        for ours, _ in pairs[1:]:  # some of them get the memory of what was closed
            await loop.create_connection(asyncio.Protocol, sock=ours)
        late.write(b"x")
        assert pairs[0][1].recv(1) == b"x"
        for _, theirs in pairs[1:]:
            with pytest.raises(BlockingIOError):
                theirs.recv(1)

    second.run_until_complete(main())
    transports = list(second._streams.values())
    second.close()
    for transport in [late, *transports]:
        transport._sock = None  # asyncio would warn
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


@only_ours
@needs_fork
def test_a_forked_child_leaves_what_the_parent_watches(run):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = new_pair()
        came = asyncio.Event()
        with ours, theirs:
            loop.add_reader(ours, came.set)
            for use in (loop.remove_reader, loop.add_writer):
                arguments = (ours, print) if use == loop.add_writer else (ours,)
                assert "RuntimeError" in in_child(lambda: use(*arguments))  # noqa: B023
            assert "None" in in_child(lambda: os.close(ours.fileno()))
            theirs.send(b"x")
            await came.wait()
            assert loop.remove_reader(ours)

    run(main)


@needs_fork
def test_a_forked_child_can_close_the_loop(new_loop):
    loop = new_loop()
    ours, theirs = new_pair()
    transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=ours))

    def child():
        loop.close()
        another = new_loop()
        another.run_until_complete(asyncio.sleep(0))
        another.close()
        return loop.is_closed()

    assert in_child(child) == "True"
    with theirs:
        transport.write(b"x")
        assert theirs.recv(1) == b"x"
        transport.close()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="PyPy traces another set of lines")
@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")  # interrupted in making
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_ctrl_c_anywhere_leaves_a_descriptor_one_owner(kind):
    # In a thread of its own: CPython may keep an exception as the thread's handled one when a trace
    # function raises, and later exceptions of the thread would have it as their context.
    with ThreadPoolExecutor(1) as executor:
        executor.submit(ctrl_c_anywhere, kind).result()


def ctrl_c_anywhere(kind):
    """An exception at each line of ours in turn, as a signal handler would raise it there."""
    folder = str(Path(uvbind.__file__).parent)
    left, hit = 0, True

    def tracer(frame, event, argument):
        nonlocal left, hit
        if not frame.f_code.co_filename.startswith(folder) or frame.f_code.co_name == "__del__":
            return None
        if event == "line":
            left -= 1
            if left == 0:
                sys.settrace(None)
                hit = True
                raise Oops
        return tracer

    nth, before = 0, sys.gettrace()
    while hit:
        nth += 1
        left, hit = nth, False
        loop = uvbind.new_event_loop()
        sock = socket.socket(socket.AF_INET, kind)
        sock.setblocking(False)
        number, transport = sock.fileno(), None
        try:
            sys.settrace(tracer)
            if kind == socket.SOCK_STREAM:
                transport = loop._make_socket_transport(sock, asyncio.Protocol())
            else:
                transport = loop._make_datagram_transport(sock, asyncio.DatagramProtocol())
        except Oops:
            pass
        finally:
            sys.settrace(before)
        loop.close()
        assert sock.fileno() in (number, -1)
        if sock.fileno() == number:
            os.fstat(number)  # libuv has not closed it
            sock.close()
        with pytest.raises(OSError):
            os.fstat(number)
        if transport is not None:
            transport._sock = None  # asyncio would warn
    assert nth > 30
