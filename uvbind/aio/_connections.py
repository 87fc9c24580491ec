"""What asyncio asks of its loop to have connections: accepted ones, and transports of ours."""

from __future__ import annotations

import _socket
import contextvars
import errno
import functools
import socket
import weakref
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
            # The socket object is there first: it owns the descriptor from the step that makes it.
            made = Socket.__new__(Socket)
            made._io_refs, made._closed = 0, False
            kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK  # the object is to know as well
            own = functools.partial(_socket.socket.__init__, made, family, kind, sock.proto)
            address = FAST["accept"](sock.fileno(), own)
            return None if address is None else (made, address)
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
        # By descriptor.
        self._streams: weakref.WeakValueDictionary[int, SocketTransport]
        self._streams = weakref.WeakValueDictionary()
        super().__init__(*arguments)

    def _accept_connection(
        self,
        protocol_factory: Any,
        sock: Any,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        *timeouts: Any,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> None:
        """Accept what waits at a listening socket, which is ready."""
        if len(timeouts) > 2:  # where asyncio 3.15 has the server's context
            *timeouts, context = timeouts  # type: ignore[assignment]
        if context is not None:
            options["context"] = context
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
                if context is not None:
                    options["context"] = context.copy()
                accept = self._accept_connection2(*arguments, **options)
                self.create_task(accept, context=options.get("context"))
            elif context is None:
                # asyncio has a task for each, and so a context.
                contextvars.copy_context().run(self._begin, protocol_factory, *accepted, server)
            else:
                self._begin(protocol_factory, *accepted, server, context.copy())
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

    def _begin(
        self, protocol_factory: Any, sock: Any, peername: Any, server: Any, context: Any = None
    ) -> None:
        """Make the transport of an accepted connection, for which nobody waits."""
        told: dict[str, Any] = {"message": "Error on transport creation for incoming connection"}
        options = {} if context is None else {"context": context}
        transport = None
        try:
            protocol = protocol_factory() if context is None else context.run(protocol_factory)
            told["protocol"] = protocol
            extra = {"peername": peername}
            if has_own_calls(sock):
                _mended.SocketTransport(self, sock, protocol, None, extra, server, **options)
                return
            at_once = not self._debug  # which measures what the loop calls
            transport = SocketTransport(
                self, sock, protocol, None, extra, server, at_once, **options
            )
            if at_once:
                transport.begin()
        except BaseException as exception:
            if transport is not None and isinstance(exception, Exception):
                # There was no memory to begin with reading, or a signal handler has raised.
                transport._fatal_error(exception, "Fatal error: a connection cannot be read")
                return
            if transport is not None:
                transport.abort()
                raise
            sock.close()  # which asyncio leaves to the garbage collector
            if isinstance(exception, (SystemExit, KeyboardInterrupt)):
                raise
            if self._debug:
                self.call_exception_handler({**told, "exception": exception})

    # Newer Pythons pass more to these hooks: what is of use here is named, the rest let pass.

    def _make_socket_transport(
        self,
        sock: Any,
        protocol: Any,
        waiter: Any = None,
        *,
        extra: Any = None,
        server: Any = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> SocketTransport:
        self._ensure_fd_no_transport(sock)
        return self._new_transport(sock, protocol, waiter, extra, server, context)

    def _new_transport(
        self, sock: Any, protocol: Any, waiter: Any, extra: Any, server: Any, context: Any
    ) -> SocketTransport:
        kind = _mended.SocketTransport if has_own_calls(sock) else SocketTransport
        options = {} if context is None else {"context": context}
        return kind(self, sock, protocol, waiter, extra, server, **options)

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
        ssl_handshake_timeout: Any = None,
        ssl_shutdown_timeout: Any = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> Any:
        self._ensure_fd_no_transport(rawsock)
        ssl_protocol: Any = sslproto.SSLProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        try:
            transport = self._new_transport(rawsock, ssl_protocol, None, extra, server, context)
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

    async def _create_connection_transport(self, sock: Any, *arguments: Any, **options: Any) -> Any:
        # From Python 3.15 on asyncio would close it under the transport that has it.
        self._ensure_fd_no_transport(sock)
        return await super()._create_connection_transport(sock, *arguments, **options)

    def _make_datagram_transport(self, sock: Any, *arguments: Any, **options: Any) -> Any:
        self._ensure_fd_no_transport(sock)
        if has_own_calls(sock) or not _datagrams.takes(sock):
            return _mended.DatagramTransport(self, sock, *arguments)
        return _datagrams.DatagramTransport(self, sock, *arguments)

    def _make_write_pipe_transport(
        self, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None, **options: Any
    ) -> Any:
        return _mended.WritePipeTransport(self, pipe, protocol, waiter, extra)

    def _add_reader(self, fd: Any, callback: Any, *args: Any, **options: Any) -> Any:
        stream = self._streams.get(fd)
        if stream is None:
            return super()._add_reader(fd, callback, *args, **options)
        return stream._start_reading()

    def _remove_reader(self, fd: Any) -> bool:
        stream = self._streams.get(fd)
        if stream is None:
            return bool(super()._remove_reader(fd))
        return stream._stop_reading() or bool(super()._remove_reader(fd))

    def _remove_writer(self, fd: Any) -> bool:
        try:
            return bool(super()._remove_writer(fd))
        except BaseException:
            if fd in self._streams:
                self._streams[fd]._writer_removed()
            raise
