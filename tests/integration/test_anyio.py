"""anyio's asyncio backend, given the loop's factory."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest
from helpers import MEGABYTES

pytest.importorskip("anyio")
import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.streams.tls import TLSListener, TLSStream


@pytest.fixture
def run(new_loop, loop_name):
    """anyio.run with a loop of this kind."""

    def run(main):
        async def proven():
            assert type(asyncio.get_running_loop()).__module__.startswith(loop_name)
            with anyio.fail_after(60):
                await main()

        anyio.run(proven, backend="asyncio", backend_options={"loop_factory": new_loop})
        for thread in threading.enumerate():  # anyio tells them to end, and does not wait
            if thread.name.startswith("AnyIO"):
                thread.join(30)

    return run


async def echo(stream):
    async with stream:
        async for data in stream:
            await stream.send(data)


async def exchange(stream):
    """Send much and get it back, both at once."""
    received = bytearray()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream.send, MEGABYTES)
        while len(received) < len(MEGABYTES):
            received += await stream.receive()
    assert received == MEGABYTES


@pytest.mark.parametrize("kind", ["tcp", "tls", "unix"])
def test_streams_both_ways_at_once(run, kind, certificate, tmp_path):
    async def main():
        if kind == "unix":
            listener = await anyio.create_unix_listener(tmp_path / "s")
        else:
            listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
        if kind == "tls":
            listener = TLSListener(listener, certificate.server)
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, echo)
            if kind == "unix":
                stream = await anyio.connect_unix(tmp_path / "s")
            else:
                stream = await anyio.connect_tcp("localhost", port)
            if kind == "tls":
                stream = await TLSStream.wrap(
                    stream, hostname="localhost", ssl_context=certificate.client
                )
            async with stream:
                await exchange(stream)
                if kind != "tls":
                    await stream.send_eof()
                    with pytest.raises(anyio.EndOfStream):
                        await stream.receive()
            tasks.cancel_scope.cancel()

    run(main)


def test_cancelled_receiving_and_closing(run):
    async def main():
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listener.serve, echo)
                async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                    for _ in range(100):
                        with anyio.move_on_after(0.0001) as scope:
                            await stream.receive()
                        assert scope.cancelled_caught
                    await exchange(stream)
                    async with anyio.create_task_group() as receiving:
                        receiving.start_soon(expect_closed, stream)
                        await anyio.wait_all_tasks_blocked()
                        await stream.aclose()
                tasks.cancel_scope.cancel()
        with pytest.raises(OSError):
            await anyio.connect_tcp("127.0.0.1", port)

    async def expect_closed(stream):
        with pytest.raises(anyio.ClosedResourceError):
            await stream.receive()

    run(main)


def test_datagrams(run):
    async def main():
        async with (
            await anyio.create_udp_socket(local_host="127.0.0.1") as server,
            await anyio.create_connected_udp_socket(
                "127.0.0.1", server.extra(anyio.abc.SocketAttribute.local_port)
            ) as client,
        ):
            for number in range(100):
                await client.send(b"%d" % number)
                data, address = await server.receive()
                await server.sendto(data * 2, *address)
                assert await client.receive() == b"%d" % number * 2

    run(main)


def test_descriptors_over_a_unix_socket(run, tmp_path):
    async def main():
        (tmp_path / "file").write_text("in the file")

        async def hand_over(stream):
            async with stream:
                with (tmp_path / "file").open() as file:
                    await stream.send_fds(b"here", [file])

        async with (
            await anyio.create_unix_listener(tmp_path / "s") as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, hand_over)
            async with await anyio.connect_unix(tmp_path / "s") as stream:
                message, (fd,) = await stream.receive_fds(10, 1)
                assert message == b"here"
                with open(fd) as file:
                    assert file.read() == "in the file"
            tasks.cancel_scope.cancel()

    run(main)


def test_processes(run):
    script = "import sys; sys.stdout.write(sys.stdin.read()[::-1]); sys.exit(3)"

    async def main():
        command = [sys.executable, "-c", script]
        results = []

        async def one(number):
            done = await anyio.run_process(command, input=b"%d" % number, check=False)
            results.append((number, int(done.stdout[::-1]), done.returncode))

        async with anyio.create_task_group() as tasks:
            for number in range(100, 110):
                tasks.start_soon(one, number)
        assert sorted(results) == [(number, number, 3) for number in range(100, 110)]
        async with await anyio.open_process(["cat"]) as process:
            await process.stdin.send(b"to the cat")
            assert await process.stdout.receive() == b"to the cat"
            process.terminate()
            assert await process.wait() == -signal.SIGTERM

    run(main)


def test_threads(run):
    async def main():
        async def inside():
            return asyncio.get_running_loop()

        def outside(number):
            assert anyio.from_thread.run(inside) is loop
            return number

        loop, results = asyncio.get_running_loop(), []

        async def one(number):
            results.append(await anyio.to_thread.run_sync(outside, number))

        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(one, number)
        assert sorted(results) == list(range(200))

    run(main)


def test_a_portal_from_a_thread_without_a_loop(new_loop, loop_name):
    async def main():
        await anyio.sleep(0)
        return type(asyncio.get_running_loop()).__module__

    options = {"loop_factory": new_loop}
    with anyio.from_thread.start_blocking_portal("asyncio", options) as portal:
        assert portal.call(main).startswith(loop_name)
        futures = [portal.start_task_soon(anyio.sleep, 0.001) for _ in range(100)]
        assert [future.result(30) for future in futures] == [None] * 100


def test_signals(run):
    async def main():
        with anyio.open_signal_receiver(signal.SIGUSR1, signal.SIGUSR2) as signals:
            for each in (signal.SIGUSR1, signal.SIGUSR2) * 10:
                os.kill(os.getpid(), each)
                assert await signals.__anext__() == each

    run(main)


def test_watching_a_socket(run):
    async def main():
        left, right = socket.socketpair()
        with left, right:
            left.setblocking(False)
            await anyio.wait_writable(left)
            with anyio.move_on_after(0.01) as scope:
                await anyio.wait_readable(left)
            assert scope.cancelled_caught
            right.send(b"x")
            await anyio.wait_readable(left)
            assert left.recv(10) == b"x"

    run(main)


def test_files(run, tmp_path):
    async def main():
        path = anyio.Path(tmp_path / "file")
        await path.write_bytes(MEGABYTES)
        async with await anyio.open_file(path, "rb") as file:
            assert await file.read() == MEGABYTES
        assert Path(path).exists()

    run(main)
