"""libuv's handles under failing system calls: scenarios, and the bystanders beside them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvbind
from uvbind import TCP, UDP, Loop, Pipe, Poll, PollEvent, RunMode, Timer

LOCALHOST = ("127.0.0.1", 0)
NAME = "\0uvbind failing calls " + os.urandom(8).hex()  # of no other process
BIG = bytes(range(256)) * 2048  # more than one write takes
PATIENCE = 20_000  # milliseconds until a scenario that waits in vain ends,
AFTER_AN_ERROR = 5  # and until one ends that was told of an error


class LowLevelWorld:
    """A loop with a TCP and a UDP bystander, and one scenario for each kind of handle."""

    def __init__(self) -> None:
        self.told: list[BaseException] = []
        self.loop = Loop()
        self.scenarios: dict[str, Callable[[], bool]] = {
            "tcp": self.tcp,
            "udp": self.udp,
            "udp batches": self.udp_batches,
            "pipe": self.pipe,
            "passing": self.passing,
            "poll": self.poll,
            "async": self.send_async,
            "loop": self.another_loop,
        }
        self.server = TCP(self.loop)
        self.server.bind(LOCALHOST)
        self.server.listen(self._on_bystander)
        self.datagrams = UDP(self.loop)
        self.datagrams.bind(LOCALHOST)
        self.datagrams.recv_start(self._answer)
        self.sender = UDP(self.loop)
        self.sender.bind(LOCALHOST)
        self.sender.recv_start(self._on_answer)
        self.client = TCP(self.loop)
        self.answers: list[bytes | None] = []
        self.client.connect(self.server.getsockname(), self._on_connected)
        self.bystanders = 0
        if list(self.check()):
            raise AssertionError("the bystanders get no answer")
        self.bystanders = len(self.loop._handles)

    # -- the bystanders

    def _on_bystander(self, server: TCP, error: OSError | None) -> None:
        if error is not None:  # out of descriptors: every server of the loop hears of it
            self.told.append(error)
        else:
            server.accept().read_start(self._echo)

    def _echo(self, stream: TCP, data: bytes | None, error: OSError | None) -> None:
        if data is None:
            stream.close()
        else:
            stream.write(data)

    def _on_connected(self, client: TCP, error: OSError | None) -> None:
        if error is not None:
            raise error
        client.read_start(lambda client, data, error: self.answers.append(data))

    def _answer(self, udp: UDP, data: bytes, address: Any, flags: int, error: Any) -> None:
        if error is not None:
            self.told.append(error)
        else:
            udp.send(data, address)

    def _on_answer(self, udp: UDP, data: bytes, address: Any, flags: int, error: Any) -> None:
        if error is not None:
            self.told.append(error)
        else:
            self.answers.append(data)

    def check(self) -> Iterator[str]:
        self._close_all_but_bystanders()
        if self.bystanders and len(self.loop._handles) != self.bystanders:
            yield f"handles are left: {self.loop!r}"
        self.answers.clear()
        if self.bystanders:
            self.client.write(b"tcp")
        self.sender.send(b"udp", self.datagrams.getsockname())
        wanted = 2 if self.bystanders else 1
        self._run(lambda: len(self.answers) == wanted, hurries=False)
        if sorted(answer or b"" for answer in self.answers) != [b"tcp", b"udp"][2 - wanted :]:
            yield f"the bystanders got {self.answers}"

    def _close_all_but_bystanders(self) -> None:
        if not self.bystanders:
            return
        for handle in list(self.loop._handles.values())[self.bystanders :]:
            handle.close()
        left = self.bystanders + 1  # the timer
        self._run(lambda: len(self.loop._handles) == left, hurries=False)

    def close(self) -> None:
        self.loop.__exit__(None, None, None)

    # -- scenarios: each returns whether all came that should

    def _run(self, done: Callable[[], bool], hurries: bool = True) -> bool:
        """Run the loop until that is so, at most for a while.

        `hurries`: what is waited for need not come after an error.
        """
        patience = Timer(self.loop)
        patience.start(Timer.stop, PATIENCE)
        patient = hurries
        while not done() and patience.is_active():
            if patient and self.told:
                patient = False
                patience.start(Timer.stop, AFTER_AN_ERROR)
            try:
                self.loop.run(RunMode.ONCE)
            except OSError as error:
                self.told.append(error)
        patience.close()
        while patience._c is not None:
            self.loop.run(RunMode.NOWAIT)
        return done()

    def _tell(self, error: OSError | None) -> None:
        if error is not None:
            self.told.append(error)

    def _write(self, stream: Any, data: bytes, asked: list[str], ended: list[str]) -> None:
        """Write with a callback, which has to come once the write was accepted."""
        stream.write(data, lambda stream, error: (ended.append("write"), self._tell(error)))
        asked.append("write")

    def _exchange(self, server: Any, client: Any, address: Any) -> bool:
        """A server echoes what a client sends, and both end."""
        got: list[bytes] = []
        asked: list[str] = []
        ended: list[str] = []

        def on_connection(server: Any, error: OSError | None) -> None:
            self._tell(error)
            if error is None:
                server.accept().read_start(on_request)

        def on_request(stream: Any, data: bytes | None, error: OSError | None) -> None:
            if data is not None:
                stream.write(data)
            elif error is not None and error.errno is not None and error.name != "EOF":
                self._tell(error)
                stream.close()
            else:
                stream.shutdown(lambda stream, error: (self._tell(error), stream.close()))

        def on_connect(client: Any, error: OSError | None) -> None:
            self._tell(error)
            if error is None:
                client.read_start(on_reply)
                client.write(BIG[:1000])
                self._write(client, BIG[1000:], asked, ended)
                client.shutdown(lambda client, error: self._tell(error))

        def on_reply(client: Any, data: bytes | None, error: OSError | None) -> None:
            if data is not None:
                got.append(data)
                return
            if error is not None and error.name != "EOF":
                self._tell(error)
            ended.append("read")
            client.close()

        server.listen(on_connection)
        client.connect(address(), on_connect)
        self._run(lambda: "read" in ended)
        received = b"".join(got)
        if not BIG.startswith(received):
            raise AssertionError("wrong bytes were received")
        client.close()
        self._run(lambda: ended.count("write") == len(asked), hurries=False)
        if ended.count("write") != len(asked):
            raise AssertionError("a write that was accepted has not called back")
        return received == BIG

    def tcp(self) -> bool:
        server, client = TCP(self.loop), TCP(self.loop)
        server.bind(LOCALHOST)
        client.nodelay(True)
        return self._exchange(server, client, server.getsockname)

    def pipe(self) -> bool:
        server, client = Pipe(self.loop), Pipe(self.loop)
        server.bind(NAME)
        return self._exchange(server, client, lambda: NAME)

    def passing(self) -> bool:
        """One end of a pair passes a datagram handle to the other."""
        arrived: list[bytes] = []
        ends: list[Pipe] = []
        for sock in socket.socketpair():
            with sock:
                ends.append(Pipe(self.loop, ipc=True))
                ends[-1].open(sock)
        passed = UDP(self.loop)
        passed.bind(LOCALHOST)
        address = passed.getsockname()

        def on_read(pipe: Pipe, data: bytes | None, error: OSError | None) -> None:
            self._tell(error)
            while pipe.pending_count():
                pipe.accept().recv_start(on_datagram)
                self.sender.send(b"for whoever has it", address)

        def on_datagram(udp: UDP, data: bytes, address: Any, flags: int, error: Any) -> None:
            self._tell(error)
            if error is None:
                arrived.append(data)

        ends[1].read_start(on_read)
        ends[0].write2(b"!", passed, lambda pipe, error: self._tell(error))
        passed.close()
        return self._run(lambda: bool(arrived))

    def udp(self) -> bool:
        return self._datagrams(UDP(self.loop))

    def udp_batches(self) -> bool:
        return self._datagrams(UDP(self.loop, recvmmsg=True))

    def _datagrams(self, server: UDP) -> bool:
        got: list[bytes] = []
        client = UDP(self.loop)
        server.bind(LOCALHOST)

        def on_datagram(udp: UDP, data: bytes, address: Any, flags: int, error: Any) -> None:
            self._tell(error)
            if error is None:
                got.append(data)

        server.recv_start(on_datagram)
        address = server.getsockname()
        client.send(b"sent", address, lambda client, error: self._tell(error))
        client.try_send(b"sent", address)
        sent = client.try_send_batch([(b"sent", address), (b"sent", address)])
        if sent < 2:
            self.told.append(OSError("try_send_batch() has told how many it sent"))
        self._run(lambda: len(got) == 2 + sent)
        if set(got) - {b"sent"}:
            raise AssertionError(f"wrong datagrams were received: {got}")
        return len(got) == 4

    def poll(self) -> bool:
        seen: list[PollEvent] = []
        ours, theirs = socket.socketpair()
        with ours, theirs:
            poll = Poll(self.loop, ours)

            def on_event(poll: Poll, events: PollEvent, error: OSError | None) -> None:
                self._tell(error)
                seen.append(events)
                poll.stop()

            poll.start(PollEvent.READABLE, on_event)
            theirs.send(b"x")
            ended = self._run(lambda: bool(seen))
            poll.close()
            self._run(lambda: poll._c is None)
        return ended

    def send_async(self) -> bool:
        called: list[int] = []
        wake = uvbind.Async(self.loop, lambda wake: called.append(1))
        wake.send()
        return self._run(lambda: bool(called))

    def another_loop(self) -> bool:
        with Loop() as loop:
            called: list[int] = []
            timer = Timer(loop)
            timer.start(lambda timer: (called.append(1), timer.close()), 0)
            loop.run()
        return bool(called)
