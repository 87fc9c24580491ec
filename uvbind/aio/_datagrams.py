"""Datagram transports: asyncio's own, with libuv receiving and sending.

libuv owns the descriptor. It receives many datagrams with one system call, and the protocol gets
them one after the other, or all at once if it likes; sending is tried at once. All else is
asyncio's: flow control, what does not go out at once, and the rarer kinds of addresses.
"""

from __future__ import annotations

import contextvars
import os
import socket
import sys
from asyncio import selector_events
from collections.abc import Iterable, Iterator
from threading import get_ident
from typing import Any

from uvbind import UDP, UVError
from uvbind._address import pack, unpack
from uvbind._callbacks import FAST
from uvbind._uvbind import ffi, lib
from uvbind.aio._errors import plain_error
from uvbind.aio._mended import Sends
from uvbind.aio._numbers import Closing, Holder, LastStep

_Base: Any = selector_events._SelectorDatagramTransport  # type: ignore[attr-defined]
_Datagram = tuple[bytes, Any]
_PARTS = {socket.AF_INET: 2, socket.AF_INET6: 4}  # of an address
# No errors of the datagram's: asyncio's way of sending waits, or tells what is wrong.
_NOT_NOW = (lib.UV_EAGAIN, lib.UV_EDESTADDRREQ)
_SENDS_EMPTY = sys.version_info >= (3, 13)  # asyncio drops them before


def takes(sock: Any) -> bool:
    """Tell whether it is a socket for DatagramTransport.

    Of other families libuv does not know the senders' addresses; raw sockets it does not take.
    """
    return sock.family in _PARTS and sock.type == socket.SOCK_DGRAM


class _Socket(Holder, UDP):
    """The handle of a transport."""

    transport: Any = None

    def take(self, sock: socket.socket) -> None:
        self.hold(sock)
        try:
            self.open(sock.fileno())
        except UVError as error:
            raise plain_error(error) from None

    def _begin_close(self) -> None:
        self.let_go()
        transport, self.transport = self.transport, None
        if transport is not None:
            transport._forget_handle()
        super()._begin_close()


class DatagramTransport(Closing, Sends, _Base):  # type: ignore[misc]
    """A datagram endpoint over an IPv4 or IPv6 socket."""

    _sock: Any  # and in the end what stands for it

    def __init__(
        self,
        loop: Any,
        sock: socket.socket,
        protocol: Any,
        address: Any = None,
        waiter: Any = None,
        extra: Any = None,
    ) -> None:
        self._loop, self._sock = loop, None  # for __del__
        udp, fd = None, sock.fileno()
        try:
            self._udp = udp = _Socket(loop.uv, recvmmsg=True)
            udp.transport = self  # which the handle keeps
            udp.take(sock)
            self._receiving: contextvars.Context | None = None  # while libuv receives
            self._received: Iterator[_Datagram] | None = None  # what the protocol has not got yet
            self._try_send: Any = self._plain_try_send
            self._send_batch: Any = _not_now
            if FAST:
                _, self._try_send, self._send_batch = udp._core.senders(self._raw)
            else:
                self._book: dict[Any, Any] = {}
            self._parts = _PARTS[sock.family]
            loop._streams[fd] = self
            peer = _peer(sock)
            # One place to send to: it is connected to it, or asyncio names it every time.
            self._one_target = bool(address or peer)
            self._target = None if peer else address
            super().__init__(loop, sock, protocol, address, waiter, extra)
        except BaseException:
            if loop._streams.get(fd) is self:
                del loop._streams[fd]
            if udp is not None:
                udp.close()
            self._sock = None
            raise

    # -- receiving: asyncio has the loop watch the descriptor, and the loop asks these

    def _start_reading(self) -> bool:
        self._stop_reading()  # a protocol that pauses in connection_made() is begun with twice
        self._receiving = context = contextvars.copy_context()
        if self._received is None:
            self._receive()
        else:
            self._loop.call_soon(self._go_on, context, context=context)
        return True

    def _receive(self) -> None:
        loop = self._loop
        callback = loop._measured(self._on_batch) if loop._debug else self._on_batch
        self._udp._recv_start(callback, 2)

    def _stop_reading(self) -> bool:
        """Tell whether libuv did receive, which it no longer does."""
        if self._receiving is None:
            return False
        self._receiving = None
        self._udp.recv_stop()
        return True

    def set_protocol(self, protocol: Any) -> None:
        super().set_protocol(protocol)
        # Of the class, for a mock has everything.
        self._gets_batches = hasattr(type(protocol), "datagrams_received")
        self._start_over()

    def _start_over(self) -> None:
        """Have what is left of a batch handed over in the loop's next turn."""
        if self._receiving is not None:
            self._add_reader(self._sock_fd, self._read_ready)

    def _on_batch(self, udp: _Socket, datagrams: list[_Datagram], error: UVError | None) -> None:
        try:
            context = self._receiving
            if context is None:
                return
            if error is not None:
                context.run(self._guarded, self._protocol.error_received, _os_error(error.errno))
                return
            self._received, datagrams = iter(datagrams), []
            context.run(self._hand_over, context)
        except BaseException:  # a signal handler's, perhaps: the next turn hands over the rest
            if datagrams:
                self._received = iter(datagrams)
            self._start_over()
            raise

    def _hand_over(self, context: contextvars.Context) -> None:
        """Give the protocol what was received, for as long as the transport goes on reading."""
        received = self._received
        assert received is not None
        if self._gets_batches:
            method = self._protocol.datagrams_received
            try:
                # Taken and handed over in one step of C's, unless nothing is left.
                next(map(method, filter(None, map(list, (received,)))), None)
                if self._received is received:
                    self._received = None
            except BaseException as exception:
                self._start_over()
                if isinstance(exception, (SystemExit, KeyboardInterrupt)):
                    raise
                self._report(method, exception)
            return
        protocol = self._protocol
        try:
            for data, address in received:
                protocol.datagram_received(data, address)
                if self._receiving is not context:
                    return
            self._received = None
        except BaseException as exception:
            if self._receiving is context:
                self._start_over()
            if isinstance(exception, (SystemExit, KeyboardInterrupt)):
                raise
            self._report(protocol.datagram_received, exception)

    def _go_on(self, context: contextvars.Context) -> None:
        """Hand over the rest, and receive more."""
        if self._receiving is context:
            self._hand_over(context)
            if self._receiving is context:
                self._receive()

    def _guarded(self, method: Any, argument: Any) -> None:
        try:
            method(argument)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exception:
            self._report(method, exception)

    def _report(self, method: Any, exception: BaseException) -> None:
        """What a protocol raises, a datagram endpoint survives."""
        self._loop.call_exception_handler(
            {
                "message": f"Exception in callback {method!r}",
                "exception": exception,
                "transport": self,
                "protocol": self._protocol,
            }
        )

    # -- sending

    def sendto(self, data: Any, addr: Any = None) -> None:
        sent = None
        if not self._buffer:
            if not self._one_target:
                sent = self._try_send(data, addr)
            elif not self._conn_lost and (addr is None or addr == self._address):
                sent = self._try_send(data, self._target)
        if sent:
            if sent > 0:
                return
            if sent not in _NOT_NOW:
                self._protocol.error_received(_os_error(-sent))
                return
        super().sendto(data, addr)

    def sendto_many(self, datagrams: Iterable[tuple[Any, Any]]) -> None:
        """Send (data, addr) pairs, as sendto() sends each, with as few system calls as can be.

        The address is None on a connected endpoint. Of failures error_received() hears.
        """
        queue = list(datagrams)
        if not _SENDS_EMPTY:
            queue = [datagram for datagram in queue if datagram[0] != b""]
        batch, done = queue, 0
        if self._one_target:
            batch = [(data, self._only_target(addr)) for data, addr in queue]
        while done < len(batch) and not self._buffer and not self._conn_lost:
            sent = self._send_batch(batch, done)
            if not sent or sent in _NOT_NOW:
                break
            if sent < 0:
                self._protocol.error_received(_os_error(-sent))
            done += max(sent, 1)
        for data, addr in queue[done:]:
            self.sendto(data, addr)

    def _only_target(self, addr: Any) -> Any:
        if self._address and addr is not None and addr != self._address:
            raise ValueError(f"Invalid address: must be None or {self._address}")
        return self._target

    def _plain_try_send(self, data: bytes, address: Any) -> int | None:
        """What the builtin does, where there is none: how many bytes were sent or libuv's error;
        None for what is asyncio's to send."""
        udp, storage = self._udp, ffi.NULL
        if type(data) is not bytes or not data or udp.loop._c.owner != get_ident():
            return None
        if address is not None:
            if type(address) is not tuple or not _is_plain(address):
                return None
            storage = self._book.get(address)
            if storage is None:
                storage = self._storage(address)
                if storage is None:
                    return None
                if len(self._book) >= 1024:
                    self._book.clear()
                self._book[address] = storage
        return int(lib.uvb_udp_try_send(udp._c, data, len(data), storage))

    def _storage(self, address: tuple[Any, ...]) -> Any:
        """The address as libuv has it; None for one that is for the socket module to resolve,
        or to refuse."""
        if "%" in address[0] or len(address) not in (2, self._parts):
            return None
        try:
            storage = pack(address)
        except (TypeError, ValueError):
            return None
        return storage if len(unpack(storage)) == self._parts else None

    def _raw(self, address: tuple[Any, ...]) -> bytes | None:
        storage = self._storage(address)
        return None if storage is None else bytes(ffi.buffer(storage))

    def _forget_handle(self) -> None:
        """It closes, perhaps with the loop."""
        self._receiving = None
        self._try_send = self._send_batch = _not_now

    def leave_socket(self) -> None:
        self._udp.leave()

    def _let_go(self) -> None:
        self._loop._let_go_of(self)
        self._sock = LastStep(self._loop, self._udp)


def _peer(sock: socket.socket) -> Any:
    try:
        return sock.getpeername()
    except OSError:  # it is not connected
        return None


def _os_error(number: int | None) -> OSError:
    """What the socket module would have raised."""
    assert number is not None
    return OSError(number, os.strerror(number))


def _is_plain(address: tuple[Any, ...]) -> bool:
    return (
        bool(address)
        and type(address[0]) is str
        and all(type(number) is int for number in address[1:])
    )


def _not_now(first: Any, second: Any) -> int | None:
    """The fast lanes of a closed handle: leave it to asyncio."""
    return None
