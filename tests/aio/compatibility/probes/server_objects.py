"""What a server does once there is one."""

import asyncio
import socket

from peers import LOCALHOST, Recorder, raises
from probing import probe


def told(address):
    """Whether somebody listens there."""
    with socket.socket() as sock:
        return sock.connect_ex(address) == 0


class connected_server:
    """A server, a connection's transport at the client, and its protocol at the server."""

    def __init__(self, loop):
        self.loop = loop

    async def __aenter__(self):
        accepted = self.loop.create_future()

        class Theirs(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                accepted.set_result(self)

        self.server = await self.loop.create_server(Theirs, LOCALHOST, 0)
        address = self.server.sockets[0].getsockname()
        self.client, _ = await self.loop.create_connection(Recorder, *address)
        return self.server, self.client, await accepted

    async def __aexit__(self, *about):
        self.client.abort()
        self.server.close()


@probe("Server.close", "no more connections; those that are go on")
async def close(loop):
    accepted = loop.create_future()

    class Theirs(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            accepted.set_result(self)

    server = await loop.create_server(Theirs, LOCALHOST, 0)
    address = server.sockets[0].getsockname()
    client, ours = await loop.create_connection(Recorder, *address)
    theirs = await accepted
    server.close()
    await asyncio.sleep(0.01)
    seen = [told(address), server.is_serving()]
    client.write(b"still")
    seen.append(await theirs.received(5))
    theirs.transport.write(b"there")
    seen.append(await ours.received(5))
    client.close()
    server.close()
    return seen


@probe("Server.sockets", "can be asked, and are none after close")
async def sockets(loop):
    server = await loop.create_server(Recorder, LOCALHOST, 0)
    sock = server.sockets[0]
    seen = [sock.family == socket.AF_INET, sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)]
    server.close()
    return [*seen, list(server.sockets)]


@probe("Server.get_loop", "is the loop")
async def get_loop(loop):
    server = await loop.create_server(Recorder, LOCALHOST, 0)
    seen = server.get_loop() is loop
    server.close()
    return seen


@probe("Server.wait_closed", "waits for the connections", since=(3, 12))
async def wait_closed(loop):
    async with connected_server(loop) as (server, client, theirs):
        server.close()
        waiting = loop.create_task(server.wait_closed())
        await asyncio.sleep(0.01)
        seen = [waiting.done()]
        client.close()
        await asyncio.wait_for(waiting, 30)
        return [*seen, theirs.lost.done()]


@probe("Server.wait_closed", "of a server that is closed, again and again")
async def wait_closed_twice(loop):
    server = await loop.create_server(Recorder, LOCALHOST, 0)
    server.close()
    await server.wait_closed()
    server.close()
    await server.wait_closed()


@probe("Server.serve_forever", "until it is cancelled, which closes")
async def serve_forever(loop):
    server = await loop.create_server(Recorder, LOCALHOST, 0, start_serving=False)
    task = loop.create_task(server.serve_forever())
    await asyncio.sleep(0.01)
    seen = [server.is_serving(), await raises(server.serve_forever())]
    task.cancel()
    return [*seen, await raises(task), server.is_serving(), await raises(server.serve_forever())]


@probe("Server.is_serving", "`async with` closes")
async def with_server(loop):
    async with await loop.create_server(Recorder, LOCALHOST, 0) as server:
        seen = server.is_serving()
    return seen, server.is_serving()


@probe("Server.start_serving", "twice does nothing; after close it is refused")
async def start_twice(loop):
    server = await loop.create_server(Recorder, LOCALHOST, 0)
    await server.start_serving()
    seen = told(server.sockets[0].getsockname())
    server.close()
    return seen, await raises(server.start_serving())


@probe("Server.close_clients", "closes the connections, after what was written", since=(3, 13))
async def close_clients(loop):
    async with connected_server(loop) as (server, client, theirs):
        ours = client.get_protocol()
        theirs.transport.write(b"last")
        server.close()
        server.close_clients()
        await server.wait_closed()
        await ours.lost
        return ours.data, theirs.calls


@probe("Server.abort_clients", "aborts the connections", since=(3, 13))
async def abort_clients(loop):
    async with connected_server(loop) as (server, client, theirs):
        ours = client.get_protocol()
        client.pause_reading()
        theirs.transport.write(bytes(20_000_000))
        server.close()
        server.abort_clients()
        await server.wait_closed()
        client.resume_reading()
        await ours.lost
        return theirs.calls, len(ours.data) < 20_000_000
