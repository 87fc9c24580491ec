"""The asyncio loop under failing system calls: scenarios, and the bystanders beside them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import uvbind

NAME = "\0uvbind failing calls " + os.urandom(8).hex()  # of no other process
BIG = bytes(range(256)) * 2048  # more than one write takes
PATIENCE = 20.0  # seconds until a scenario that waits in vain ends,
AFTER_AN_ERROR = 0.005  # and until one ends that was told of an error


class AsyncioWorld:
    """A loop with two bystanders on one server, and one scenario for each way to carry bytes."""

    def __init__(self) -> None:
        asyncio.constants.ACCEPT_RETRY_DELAY = 0.01  # instead of a second
        self.told: list[BaseException] = []
        self.loop = uvbind.new_event_loop()
        self.loop.set_exception_handler(self._on_exception)
        self.scenarios: dict[str, Callable[[], bool]] = {
            "streams": lambda: self._run(self.streams()),
            "unix streams": lambda: self._run(self.unix_streams()),
            "datagrams": lambda: self._run(self.datagrams()),
            "sockets": lambda: self._run(self.sockets()),
            "pipes": lambda: self._run(self.pipes()),
            "readers": lambda: self._run(self.readers()),
            "threads": lambda: self._run(self.threads()),
            "loop": self.another_loop,
        }
        start = asyncio.start_server(self._echo, "127.0.0.1", 0)
        self.server = self.loop.run_until_complete(start)
        self.address = self.server.sockets[0].getsockname()
        self.bystanders = [
            self.loop.run_until_complete(asyncio.open_connection(*self.address)) for _ in range(2)
        ]

    def _on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.told.append(context.get("exception") or AssertionError(context["message"]))

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(2**16):
                writer.write(data)
                await writer.drain()
        except OSError as error:
            self.told.append(error)
        finally:
            writer.close()

    # -- the bystanders

    def check(self) -> Iterator[str]:
        for reader, writer in self.bystanders:
            try:
                self.loop.run_until_complete(self._ask(reader, writer))
            except Exception as exception:
                yield f"a bystander got {exception!r}"

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        if len(tasks) != len(self.bystanders):  # each has one at the server
            await asyncio.wait(tasks, timeout=AFTER_AN_ERROR)
        writer.write(b"bystander\n")
        async with asyncio.timeout(PATIENCE):
            if await reader.readexactly(10) != b"bystander\n":
                raise AssertionError("wrong bytes")

    def close(self) -> None:
        self.loop.run_until_complete(self._close())
        self.loop.close()

    async def _close(self) -> None:
        self.server.close()
        for _, writer in self.bystanders:
            writer.close()
            await writer.wait_closed()
        if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks, timeout=PATIENCE)

    # -- scenarios: each returns whether all came that should

    def _run(self, scenario: Coroutine[Any, Any, bool]) -> bool:
        return self.loop.run_until_complete(self._patiently(scenario))

    async def _patiently(self, scenario: Coroutine[Any, Any, bool]) -> bool:
        """Wait for a scenario, not long when an error was told."""
        task = asyncio.ensure_future(scenario)
        end = self.loop.time() + PATIENCE
        while not task.done() and self.loop.time() < end:
            await asyncio.wait({task}, timeout=AFTER_AN_ERROR)
            if self.told:
                await asyncio.wait({task}, timeout=AFTER_AN_ERROR)
                break
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        await asyncio.sleep(0)  # what was closed is closed in the loop's next turn
        try:
            return False if task.cancelled() else task.result()
        finally:
            del task  # or its exception keeps this frame, which keeps the task

    async def _exchange(self, connect: Awaitable[Any]) -> bool:
        """Send much to a server that echoes it, and half close."""
        reader, writer = await connect
        try:
            writer.write(BIG[:1000])
            writer.writelines([BIG[1000:2000], BIG[2000:]])
            writer.write_eof()
            received = await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        if not BIG.startswith(received):
            raise AssertionError("wrong bytes were received")
        return received == BIG

    async def streams(self) -> bool:
        server = await asyncio.start_server(self._echo, "127.0.0.1", 0)
        try:
            return await self._exchange(
                asyncio.open_connection(*server.sockets[0].getsockname()[:2])
            )
        finally:
            server.close()

    async def unix_streams(self) -> bool:
        server = await asyncio.start_unix_server(self._echo, NAME)
        try:
            return await self._exchange(asyncio.open_unix_connection(NAME))
        finally:
            server.close()

    async def datagrams(self) -> bool:
        got = self.loop.create_future()
        world = self

        class Receiver(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, address: Any) -> None:
                if not got.done():
                    got.set_result(data)

            def error_received(self, exc: OSError) -> None:
                world.told.append(exc)

        receiver, _ = await self.loop.create_datagram_endpoint(
            Receiver, local_addr=("127.0.0.1", 0)
        )
        try:
            address = receiver.get_extra_info("sockname")
            sender, _ = await self.loop.create_datagram_endpoint(Receiver, remote_addr=address)
            try:
                sender.sendto(b"datagram")
                if await got != b"datagram":
                    raise AssertionError("a wrong datagram was received")
            finally:
                sender.close()
        finally:
            receiver.close()
        return True

    async def sockets(self) -> bool:
        loop, received = self.loop, bytearray()
        with socket.socket() as ours:
            ours.setblocking(False)
            await loop.sock_connect(ours, self.address)

            async def receive() -> None:
                while len(received) < len(BIG):
                    data = await loop.sock_recv(ours, 2**16)
                    if not data:
                        raise ConnectionResetError("the server ended the connection early")
                    received.extend(data)

            both = [loop.create_task(each) for each in (loop.sock_sendall(ours, BIG), receive())]
            try:
                await asyncio.gather(*both)  # whichever fails first tells of the error
            finally:
                for each in both:
                    each.cancel()
                await asyncio.wait(both)
                del both[:]
        if received != BIG:
            raise AssertionError("wrong bytes were received")
        return True

    async def pipes(self) -> bool:
        reading, writing = os.pipe()
        reader = asyncio.StreamReader()
        with open(reading, "rb", 0) as source, open(writing, "wb", 0) as sink:
            read, _ = await self.loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), source
            )
            try:
                write, _ = await self.loop.connect_write_pipe(asyncio.BaseProtocol, sink)
                write.write(b"piped")  # type: ignore[attr-defined]
                write.close()
                received = await reader.read()
            finally:
                read.close()
                await asyncio.sleep(0)
        return received == b"piped"

    async def readers(self) -> bool:
        ours, theirs = socket.socketpair()
        event = asyncio.Event()
        with ours, theirs:
            self.loop.add_reader(ours, event.set)
            try:
                theirs.send(b"x")
                await event.wait()
            finally:
                self.loop.remove_reader(ours)
        return True

    async def threads(self) -> bool:
        return await self.loop.run_in_executor(None, lambda: True)

    def another_loop(self) -> bool:
        loop = uvbind.new_event_loop()
        try:
            return loop.run_until_complete(asyncio.sleep(0, True))
        finally:
            loop.close()
