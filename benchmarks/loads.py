"""The loads of instructions.py: they send while the server waits, and read when it waits again.

So the server finds all messages of a batch in one turn of its loop, however fast the load is. Each
load checks what comes back.
"""

from __future__ import annotations

import abc
import random
import select
import socket
import ssl
import time

from uvbind._bench.contenders import BenchError
from uvbind._bench.servers import HOST

# The kernel may deliver a little later than it takes, on a busy machine.
DELIVERY = 0.05  # seconds
BUFFER = 4 * 1024 * 1024  # what is sent or received waits in the kernel
NOISE = random.Random(0).randbytes(256 * 1024)
STEP = 61


class Load(abc.ABC):
    """A batch of messages is sent at once; the next one when the last has come back."""

    def __init__(self, batch: int, size: int) -> None:
        self.batch, self.size, self.number = batch, size, 0
        self.sockets: list[socket.socket] = []
        self.arguments: list[str] = []  # of the server

    def message(self) -> bytes:
        """Return a message that is unlike the ones before."""
        self.number += 1
        start = self.number * STEP % (len(NOISE) - self.size)
        return NOISE[start : start + self.size]

    @abc.abstractmethod
    def open(self, port: int) -> None:
        """Connect to the server, which may have to do something for that."""

    @abc.abstractmethod
    def send(self) -> None:
        """Send a batch."""

    @abc.abstractmethod
    def receive(self) -> bool:
        """Read all there is, and say whether the batch has come back, or the load is open."""

    def complete(self) -> bool:
        """Say whether the batch has come back, now that the server waits."""
        until = time.monotonic() + DELIVERY
        while not (complete := self.receive()) and time.monotonic() < until:
            select.select(self.sockets, [], [], DELIVERY)
        return complete

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


class TCP(Load):
    """A message on each of so many connections."""

    def __init__(self, connections: int, size: int) -> None:
        super().__init__(connections, size)
        self.sent: list[bytes] = [b""] * connections
        self.unsent: list[bytes] = [b""] * connections
        self.received = [bytearray() for _ in self.sent]

    def connect(self, port: int) -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        sock.connect((HOST, port))  # the kernel does it: the server need not accept yet
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        return sock

    def open(self, port: int) -> None:
        self.sockets = [self.connect(port) for _ in self.sent]

    def send(self) -> None:
        for index in range(self.batch):
            self.sent[index] = self.unsent[index] = self.message()
            self.received[index].clear()
            self.send_rest(index)

    def send_rest(self, index: int) -> None:
        try:
            while rest := self.unsent[index]:
                self.unsent[index] = rest[self.sockets[index].send(rest) :]
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass

    def receive(self) -> bool:
        complete = True
        for index, sock in enumerate(self.sockets):
            received = self.received[index]
            self.send_rest(index)
            try:
                while len(received) < self.size and self.sent[index]:
                    if not (data := sock.recv(self.size)):
                        raise BenchError("the server has closed a connection")
                    received += data
            except (BlockingIOError, ssl.SSLWantReadError):
                complete = False
            else:
                if received != self.sent[index]:
                    raise BenchError("a message did not come back as it was sent")
        return complete


class TLS(TCP):
    """The same, encrypted."""

    def open(self, port: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        super().open(port)
        self.handshaking = [
            context.wrap_socket(sock, do_handshake_on_connect=False) for sock in self.sockets
        ]
        self.sockets = list(self.handshaking)

    def receive(self) -> bool:
        if self.handshaking:
            self.handshaking = [sock for sock in self.handshaking if not shaken(sock)]
        return not self.handshaking and super().receive()


def shaken(sock: ssl.SSLSocket) -> bool:
    """Go on with the handshake, and say whether it is done."""
    try:
        sock.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


class Connections(TCP):
    """A new connection for each message, closed when it has come back.

    With more at once than the server's queue has room for Linux would answer with SYN cookies.
    """

    def open(self, port: int) -> None:
        self.port = port

    def send(self) -> None:
        self.sockets = [self.connect(self.port) for _ in self.sent]
        super().send()

    def receive(self) -> bool:
        if complete := super().receive():
            self.close()
        return complete


class UDP(Load):
    """A window of datagrams, each of which the server answers with so many copies."""

    def __init__(self, window: int, size: int, answers: int) -> None:
        super().__init__(window * max(answers, 1), size)
        self.window, self.answers = window, answers
        self.awaited: dict[bytes, int] = {}
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        sock.bind((HOST, 0))
        sock.setblocking(False)
        self.sockets = [sock]
        self.arguments = [str(answers), str(sock.getsockname()[1])]

    def open(self, port: int) -> None:
        self.sockets[0].connect((HOST, port))

    def send(self) -> None:
        for _ in range(self.window):
            message = self.message()
            if self.answers:
                self.awaited[message] = self.answers
            self.sockets[0].send(message)

    def receive(self) -> bool:
        try:
            while self.awaited:
                data = self.sockets[0].recv(self.size + 1)
                left = self.awaited.pop(data, 0)
                if not left:
                    raise BenchError("a datagram did not come back as it was sent")
                if left > 1:
                    self.awaited[data] = left - 1
        except BlockingIOError:
            return False
        return True
