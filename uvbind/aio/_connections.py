"""What asyncio asks of its loop to have connections: accepted ones, and transports of ours."""

from __future__ import annotations

import _socket
import contextvars
import socket
from asyncio import selector_events, sslproto
from asyncio.log import logger
from collections.abc import Callable
from typing import Any

from uvbind import Loop
from uvbind._callbacks import FAST
from uvbind.aio import _datagrams, _mended
from uvbind.aio._transports import SocketTransport

_Base: Any = selector_events.BaseSelectorEventLoop
_INTERNET = (int(socket.AF_INET), int(socket.AF_INET6))


def _accept(sock: Any) -> tuple[socket.socket, Any] | None:
    """Return a connection that does not block, and its address; None when none waits."""
    if "accept" in FAST and sock.__class__ is socket.socket:  # a program's has a say in it
        family = _socket.socket.family.__get__(sock)  # as a number: an enum's member costs more
        if family in _INTERNET:
            found = FAST["accept"](sock.fileno())
            if found is None:
                return None
            fd, address = found
            kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK  # the object is to know as well
            return socket.socket(family, kind, sock.proto, fd), address
    try:
        connection, address = sock.accept()
    except (BlockingIOError, InterruptedError, ConnectionAbortedError):
        return None
    connection.setblocking(False)
    return connection, address


class Connections(_Base):  # type: ignore[misc]
    """What EventLoop inherits for transports of sockets."""

    uv: Loop

    def __init__(self, *arguments: Any) -> None:
        self._streams: dict[int, SocketTransport] = {}  # by descriptor
        super().__init__(*arguments)

    def _accept_connection(
        self,
        protocol_factory: Any,
        sock: Any,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        *timeouts: Any,
    ) -> None:
        """Accept what waits at a listening socket, which is ready."""
        arguments = (protocol_factory, sock, sslcontext, server, backlog, *timeouts)
        if sslcontext:
            super()._accept_connection(*arguments)
            return
        for _ in range(backlog):
            try:
                accepted = _accept(sock)
            except OSError:
                super()._accept_connection(*arguments)  # meets it too, and deals with it
                return
            if accepted is None:
                return
            if self._debug:
                logger.debug("%r got a new connection from %r: %r", server, *accepted[::-1])
            # asyncio has a task for each, and so a context.
            contextvars.copy_context().run(self._begin, protocol_factory, *accepted, server)
            if sock.fileno() == -1:  # closed by it
                return

    def _begin(self, protocol_factory: Any, sock: Any, peername: Any, server: Any) -> None:
        """Make the transport of an accepted connection, for which nobody waits."""
        context = {"message": "Error on transport creation for incoming connection"}
        try:
            context["protocol"] = protocol = protocol_factory()
            extra = {"peername": peername}
            at_once = not self._debug  # which measures what the loop calls
            transport = SocketTransport(self, sock, protocol, None, extra, server, at_once)
        except BaseException as exception:
            sock.close()  # which asyncio leaves to the garbage collector
            if isinstance(exception, (SystemExit, KeyboardInterrupt)):
                raise
            if self._debug:
                self.call_exception_handler({**context, "exception": exception})
            return
        if at_once:
            transport.begin()

    def _make_socket_transport(
        self, sock: Any, protocol: Any, waiter: Any = None, *, extra: Any = None, server: Any = None
    ) -> SocketTransport:
        return SocketTransport(self, sock, protocol, waiter, extra, server)

    def _make_ssl_transport(
        self,
        rawsock: Any,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: Any = None,
        extra: Any = None,
        server: Any = None,
        **timeouts: Any,
    ) -> Any:
        self._ensure_fd_no_transport(rawsock)
        ssl_protocol: Any = sslproto.SSLProtocol(
            self, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts
        )
        try:
            transport = SocketTransport(self, rawsock, ssl_protocol, extra=extra, server=server)
        except BaseException:
            ssl_protocol._app_transport._closed = True  # which would warn that it is not
            raise
        if waiter is not None:

            def give_up(waiter: Any) -> None:
                # asyncio closes, which does nothing before the handshake begins.
                if waiter.cancelled():
                    transport.abort()

            waiter.add_done_callback(give_up)
        # asyncio asks the transport, which it forgets when the connection is lost: here that may
        # be before who waits for the connection gets to look at it.
        ssl_protocol._extra.update(transport._extra)
        return ssl_protocol._app_transport

    def _measured(self, callback: Callable[..., Any]) -> Callable[..., None]:
        """In debug mode asyncio measures the handles that it calls; this, what libuv calls."""

        def call(*arguments: Any) -> None:
            begin = self.time()
            try:
                callback(*arguments)
            finally:
                duration = self.time() - begin
                if duration >= self.slow_callback_duration:
                    logger.warning("Executing %r took %.3f seconds", callback, duration)

        return call

    def _make_datagram_transport(self, sock: Any, *arguments: Any) -> Any:
        self._ensure_fd_no_transport(sock)
        if not _datagrams.takes(sock):
            return _mended.DatagramTransport(self, sock, *arguments)
        return _datagrams.DatagramTransport(self, sock, *arguments)

    def _make_write_pipe_transport(self, pipe: Any, *arguments: Any, **options: Any) -> Any:
        return _mended.WritePipeTransport(self, pipe, *arguments, **options)

    def _add_reader(self, fd: Any, callback: Any, *args: Any) -> Any:
        stream = self._streams.get(fd)
        if stream is None:
            return super()._add_reader(fd, callback, *args)
        return stream._start_reading()

    def _remove_reader(self, fd: Any) -> bool:
        stream = self._streams.get(fd)
        if stream is None:
            return bool(super()._remove_reader(fd))
        return stream._stop_reading() or (self._selector.has(fd) and super()._remove_reader(fd))

    def _remove_writer(self, fd: Any) -> bool:
        if fd in self._streams and not self._selector.has(fd):
            return False
        return bool(super()._remove_writer(fd))
