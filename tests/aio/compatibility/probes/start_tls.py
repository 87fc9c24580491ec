"""TLS that begins later, or on a socket that is accepted elsewhere."""

import asyncio
import socket
import ssl
import tempfile
import threading
import time

from peers import LOCALHOST, Filled, Recorder, connected, contexts, raises
from probing import probe

MEGABYTES = bytes(range(256)) * 4096 * 2


class Open(Recorder):
    keep_open = True


async def upgrade(loop, both, contexts):
    """Start TLS at both ends of a connection."""
    return await asyncio.gather(
        loop.start_tls(both.server, both.theirs, contexts[0], server_side=True),
        loop.start_tls(both.client, both.ours, contexts[1], server_hostname="localhost"),
    )


@probe("loop.start_tls", "client and server; then data both ways")
async def start_tls(loop):
    async with connected(loop) as both:
        both.client.write(b"STARTTLS")
        await both.theirs.received(8)
        server, client = await upgrade(loop, both, contexts())
        client.write(b"question")
        server.write(b"answer")
        seen = await both.theirs.received(16), await both.ours.received(6)
        client.close()
        await both.theirs.lost
        return seen


@probe("loop.start_tls", "with BufferedProtocols")
async def start_tls_buffered(loop):
    async with connected(loop, Filled, Filled) as both:
        _, client = await upgrade(loop, both, contexts())
        client.write(MEGABYTES[:50_000])
        assert await both.theirs.received(50_000) == MEGABYTES[:50_000], "other data"


@probe("loop.start_tls", "what the other side sent just before and after is not lost")
async def start_tls_at_once(loop):
    server_side, client_side = contexts()
    with socket.socket() as listener:
        listener.bind((LOCALHOST, 0))
        listener.listen()

        def serve():
            peer, _ = listener.accept()
            peer.recv(8)
            with server_side.wrap_socket(peer, server_side=True) as secure:
                secure.sendall(b"first")
                secure.recv(9)

        thread = threading.Thread(target=serve)
        thread.start()
        transport, protocol = await loop.create_connection(Recorder, *listener.getsockname())
        transport.write(b"STARTTLS")
        new = await loop.start_tls(transport, protocol, client_side, server_hostname="localhost")
        seen = await protocol.received(5)
        new.write(b"thanks")
        new.close()
        await loop.run_in_executor(None, thread.join)
        return seen


@probe("loop.start_tls", "what it refuses: no context, no transport, another's name")
async def start_tls_refuses(loop):
    loop.set_exception_handler(lambda loop, context: None)
    async with connected(loop) as both:
        seen = [await raises(loop.start_tls(both.client, both.ours, None))]
        seen.append(await raises(loop.start_tls(object(), both.ours, contexts()[1])))
        other = ssl.create_default_context()
        results = await asyncio.gather(
            upgrade(loop, both, (contexts()[0], other)), return_exceptions=True
        )
        return [*seen, isinstance(results[0], (ssl.SSLError, ConnectionError))]


@probe("loop.start_tls", "`ssl_handshake_timeout=`")
async def start_tls_timeout(loop):
    async with connected(loop) as both:
        options = {"server_hostname": "", "ssl_handshake_timeout": 0.05}
        return await raises(loop.start_tls(both.client, both.ours, contexts()[1], **options))


@probe("loop.start_tls", "TLS inside TLS")
async def inside(loop):
    async with connected(loop, ssl=contexts()) as both:
        _, client = await upgrade(loop, both, contexts())
        client.write(b"data")
        return await both.theirs.received(4)


@probe("StreamWriter.start_tls", "client and server")
async def stream_start_tls(loop):
    server_side, client_side = contexts()

    async def serve(reader, writer):
        writer.write(b"go on\n")
        await writer.start_tls(server_side)
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, LOCALHOST, 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await reader.readline()
    await writer.start_tls(client_side, server_hostname="localhost")
    writer.write(b"line\n")
    seen = await reader.readline()
    writer.close()
    server.close()
    return seen


@probe("StreamWriter.start_tls", "at once, in the handler of a server")
async def handler_start_tls(loop):
    server_side, client_side = contexts()
    served = loop.create_future()

    async def serve(reader, writer):
        try:
            await writer.start_tls(server_side, ssl_handshake_timeout=30)
            writer.write((await reader.readline()).upper())
            await writer.drain()
            served.set_result(None)
        except Exception as error:
            served.set_exception(error)
        writer.close()

    def ask():
        with socket.create_connection(server.sockets[0].getsockname()) as plain:
            plain.settimeout(30)
            with client_side.wrap_socket(plain, server_hostname="localhost") as secure:
                secure.sendall(b"line\n")
                return secure.recv(5)

    server = await asyncio.start_server(serve, LOCALHOST, 0)
    asking = loop.run_in_executor(None, ask)
    time.sleep(0.05)  # so that its first words are there when the connection is accepted
    await served
    seen = await asking
    server.close()
    return seen


@probe("loop.connect_accepted_socket", "`ssl=`")
async def accepted(loop):
    server_side, client_side = contexts()
    one, other = socket.socketpair()

    def meet():
        with client_side.wrap_socket(other, server_hostname="localhost") as secure:
            secure.sendall(b"question")
            return secure.recv(6)

    meeting = loop.run_in_executor(None, meet)
    protocol = Recorder()
    transport, told = await loop.connect_accepted_socket(lambda: protocol, one, ssl=server_side)
    seen = await protocol.received(8)
    transport.write(b"answer")
    seen = seen, await meeting, told is protocol
    transport.abort()
    return seen


@probe("loop.sendfile", "over TLS, by reading and writing")
async def sendfile(loop):
    async with connected(loop, ssl=contexts()) as both:
        with tempfile.TemporaryFile() as file:
            file.write(MEGABYTES)
            file.flush()
            seen = [await raises(loop.sendfile(both.client, file, fallback=False))]
            sent = await loop.sendfile(both.client, file, 5, 300_000)
            data = await both.theirs.received(300_000)
            return [*seen, sent, file.tell(), data == MEGABYTES[5:300_005]]
