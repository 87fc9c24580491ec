"""What asyncio asks of its loop to have connections: accepted ones, and transports of ours."""

from __future__ import annotations

import _socket
import contextvars
import errno
import socket
from asyncio import constants, selector_events, sslproto, trsock
from asyncio.log import logger
from collections.abc import Callable
from typing import Any

from uvbind import Loop
from uvbind._callbacks import FAST
from uvbind._check import Socket
from uvbind.aio import _datagrams, _mended
from uvbind.aio._numbers import has_own_calls
from uvbind.aio._transports import SocketTransport

_Base: Any = selector_events.BaseSelectorEventLoop
_INTERNET = (int(socket.AF_INET), int(socket.AF_INET6))


# The connection is over before it was accepted: Linux tells its error in the place of ECONNABORTED.
_OVER = {
    getattr(errno, name, errno.ECONNABORTED)
    for name in (
        *("ECONNABORTED", "EPROTO", "ENOPROTOOPT", "ENETDOWN", "ENETUNREACH"),
        *("EHOSTDOWN", "EHOSTUNREACH", "ENONET", "ETIMEDOUT"),
    )
}
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def _accept(sock: Any) -> tuple[socket.socket, Any] | None:
    """Return a connection that does not block, and its address; None when none waits."""
    if "accept" in FAST and sock.__class__ is Socket:  # a program's has a say in it
        family = _socket.socket.family.__get__(sock)  # as a number: an enum's member costs more
        if family in _INTERNET:
            found = FAST["accept"](sock.fileno())
            if found is None:
                return None
            fd, address = found
            kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK  # the object is to know as well
            return Socket(family, kind, sock.proto, fd), address
    try:
        connection, address = sock.accept()
    except (BlockingIOError, InterruptedError):
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
        **options: Any,
    ) -> None:
        """Accept what waits at a listening socket, which is ready."""
        serving = (protocol_factory, sock, sslcontext, server, backlog, *timeouts)
        for _ in range(backlog):
            try:
                accepted = _accept(sock)
            except OSError as error:
                if error.errno not in _OVER:
                    self._pause_accepting(error, sock, serving, options)
                return
            if accepted is None:
                return
            if self._debug:
                logger.debug("%r got a new connection from %r: %r", server, *accepted[::-1])
            if sslcontext:
                connection, address = accepted
                extra = {"peername": address}
                arguments = (protocol_factory, connection, extra, sslcontext, server, *timeouts)
                self.create_task(self._accept_connection2(*arguments, **options))
            else:
                # asyncio has a task for each, and so a context.
                contextvars.copy_context().run(self._begin, protocol_factory, *accepted, server)
            if sock.fileno() == -1:  # closed by it
                return

    def _pause_accepting(
        self, error: OSError, sock: Any, serving: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        """Report what the system refused, and go on in a second: it may refuse each connection."""
        self._remove_reader(sock.fileno())

        def go_on() -> None:
            if sock.fileno() != -1:  # or the server was closed
                self._start_serving(*serving, **options)

        self.call_later(constants.ACCEPT_RETRY_DELAY, go_on)
        what = "out of system resource" if error.errno in _EXHAUSTED else "failed"
        self.call_exception_handler(
            {
                "message": f"socket.accept() {what}",
                "exception": error,
                "socket": trsock.TransportSocket(sock),
            }
        )

    def _begin(self, protocol_factory: Any, sock: Any, peername: Any, server: Any) -> None:
        """Make the transport of an accepted connection, for which nobody waits."""
        context = {"message": "Error on transport creation for incoming connection"}
        try:
            context["protocol"] = protocol = protocol_factory()
            extra = {"peername": peername}
            if has_own_calls(sock):
                _mended.SocketTransport(self, sock, protocol, None, extra, server)
                return
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
        self._ensure_fd_no_transport(sock)
        kind = _mended.SocketTransport if has_own_calls(sock) else SocketTransport
        return kind(self, sock, protocol, waiter, extra, server)

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
            kind = _mended.SocketTransport if has_own_calls(rawsock) else SocketTransport
            transport = kind(self, rawsock, ssl_protocol, extra=extra, server=server)
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
        if has_own_calls(sock) or not _datagrams.takes(sock):
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
