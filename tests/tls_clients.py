"""TLS by hand, for the tests of when it begins."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest


class Client:
    """TLS in a plain socket, which says hello before anybody has to be there to answer."""

    def __init__(self, context, address) -> None:
        self.sock = socket.create_connection(address)
        self.sock.setblocking(False)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.secure = context.wrap_bio(self._in, self._out, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            self.secure.do_handshake()
        self.sock.send(self._out.read())

    async def call(self, function, *arguments):
        """Call what may have to wait for the other side."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                return function(*arguments)
            except ssl.SSLWantReadError:
                pass
            finally:
                await loop.sock_sendall(self.sock, self._out.read())
            arrived = await loop.sock_recv(self.sock, 1 << 16)
            assert arrived, "the server has hung up"
            self._in.write(arrived)
