"""TLS."""

import asyncio
import contextlib
import socket
import ssl
import tempfile
import threading

from peers import LOCALHOST, Filled, Recorder, connected, contexts, raised, raises
from probing import probe

MEGABYTES = bytes(range(256)) * 4096 * 2


class Open(Recorder):
    keep_open = True


@probe("loop.create_connection, ssl=", "data both ways, and an end")
async def tls(loop):
    async with connected(loop, ssl=contexts()) as both:
        both.client.write(b"question")
        question = await both.theirs.received(8)
        both.server.write(b"answer")
        answer = await both.ours.received(6)
        both.client.close()
        await both.theirs.lost
        await both.ours.lost
        return question, answer, both.ours.calls, both.theirs.calls


@probe("loop.create_connection, ssl=", "much, with a protocol that is paused and resumed")
async def much(loop):
    async with connected(loop, ssl=contexts()) as both:
        # Otherwise the system may take all of it at once, and nobody is paused.
        sender, receiver = (end.get_extra_info("socket") for end in (both.client, both.server))
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        both.client.set_write_buffer_limits(high=1000)
        for _ in range(3):
            both.client.write(MEGABYTES)
        data = await both.theirs.received(3 * len(MEGABYTES))
        await asyncio.sleep(0.01)
        return data == 3 * MEGABYTES, sorted(set(both.ours.calls))


@probe("loop.create_connection, ssl=", "a BufferedProtocol")
async def buffered(loop):
    async with connected(loop, Filled, Filled, ssl=contexts()) as both:
        both.client.write(MEGABYTES[:100_000])
        assert await both.theirs.received(100_000) == MEGABYTES[:100_000], "other data"


@probe("loop.create_connection, ssl=", "a certificate nobody vouches for, and another's name")
async def verified(loop):
    server_side, client_side = contexts()
    loop.set_exception_handler(lambda loop, context: None)
    server = await loop.create_server(Recorder, LOCALHOST, 0, ssl=server_side)
    address = server.sockets[0].getsockname()
    seen = []
    for context, name in ((ssl.create_default_context(), "localhost"), (client_side, "else.where")):
        seen.append(
            await raises(
                loop.create_connection(Recorder, *address, ssl=context, server_hostname=name)
            )
        )
    server.close()
    return seen


@probe("loop.create_connection, ssl=", "the other side is silent: `ssl_handshake_timeout=`")
async def handshake_timeout(loop):
    with socket.socket() as silent:
        silent.bind((LOCALHOST, 0))
        silent.listen()
        connecting = loop.create_connection(
            Recorder,
            *silent.getsockname(),
            ssl=contexts()[1],
            server_hostname="localhost",
            ssl_handshake_timeout=0.05,
        )
        return await raises(connecting)


@probe("loop.create_connection, ssl=", "the other side does not speak TLS")
async def no_tls(loop):
    server = await asyncio.start_server(
        lambda reader, writer: (writer.write(b"220 hello\r\n" * 9), writer.close()), LOCALHOST, 0
    )
    seen = await raises(
        loop.create_connection(
            Recorder, *server.sockets[0].getsockname(), ssl=contexts()[1], server_hostname=""
        )
    )
    server.close()
    return seen


@probe("loop.create_connection, ssl=", "a cut in the middle: the protocol is told")
async def cut(loop):
    async with connected(loop, ssl=contexts()) as both:
        both.server.abort()
        await both.ours.lost
        return both.ours.calls


@probe("loop.create_connection, ssl=", "close() says goodbye, and does not go on downloading")
async def close_downloading(loop):
    async with connected(loop, ssl=contexts()) as both:
        both.client.pause_reading()
        for _ in range(8):
            both.server.write(MEGABYTES)
        both.client.close()
        await asyncio.wait_for(both.ours.lost, 20)
        return len(both.ours.data) < 8 * len(MEGABYTES)


@probe("loop.create_connection, ssl=", "`ssl_shutdown_timeout=`")
async def shutdown_timeout(loop):
    server_side, client_side = contexts()
    with socket.socket() as listener:
        listener.bind((LOCALHOST, 0))
        listener.listen()

        def serve():
            peer, _ = listener.accept()
            with server_side.wrap_socket(peer, server_side=True):
                served.wait()  # and does not answer the goodbye

        served = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        transport, protocol = await loop.create_connection(
            Recorder,
            *listener.getsockname(),
            ssl=client_side,
            server_hostname="localhost",
            ssl_shutdown_timeout=0.05,
        )
        transport.close()
        seen = await protocol.lost
        served.set()
        await loop.run_in_executor(None, thread.join)
        return seen


@probe("BaseTransport.get_extra_info", "TLS: cipher, certificate, ssl_object, the socket")
async def extra_info(loop):
    async with connected(loop, ssl=contexts()) as both:
        info = both.client.get_extra_info
        certificate = info("peercert")
        return (
            certificate["subject"],
            info("cipher")[1],
            info("compression"),
            isinstance(info("sslcontext"), ssl.SSLContext),
            info("ssl_object").version(),
            info("peername") == info("socket").getpeername(),
        )


@probe("Transport", "TLS: write_eof, buffer limits, pausing")
async def transport(loop):
    async with connected(loop, ssl=contexts()) as both:
        client = both.client
        seen = [client.can_write_eof(), raised(client.write_eof), client.is_reading()]
        client.set_write_buffer_limits(high=1000, low=10)
        client.pause_reading()
        seen += [client.is_reading(), client.get_write_buffer_size()]
        both.server.write(b"data")
        await asyncio.sleep(0.02)
        seen.append(both.ours.data)
        client.resume_reading()
        return [*seen, await both.ours.received(4)]


@probe("WriteTransport.write", "TLS: bytes, bytearray, memoryview; text is refused")
async def write(loop):
    async with connected(loop, ssl=contexts()) as both:
        for data in (b"a", bytearray(b"b"), memoryview(b"c"), b""):
            both.client.write(data)
        both.client.writelines([b"d", memoryview(b"e")])
        return await both.theirs.received(5), raised(both.client.write, "text")


@probe("loop.create_server, ssl=", "a client that is no TLS client leaves the server well")
async def plain_client(loop):
    loop.set_exception_handler(lambda loop, context: None)
    made = []
    server_side, client_side = contexts()
    server = await loop.create_server(
        lambda: made.append(Recorder()) or made[-1], LOCALHOST, 0, ssl=server_side
    )
    address = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        await reader.read()
    writer.close()
    transport, _ = await loop.create_connection(
        Recorder, *address, ssl=client_side, server_hostname="localhost"
    )
    transport.write(b"data")
    data = await made[-1].received(4)
    transport.abort()
    server.close()
    return data


@probe("loop.create_server, ssl=", "SNI: a context chosen by name")
async def names(loop):
    server_side, client_side = contexts()
    asked = []
    server_side.sni_callback = lambda sslobj, name, context: asked.append(name)
    async with connected(loop, ssl=(server_side, client_side)):
        return asked


@probe("loop.create_unix_server, ssl=", "TLS over a unix socket")
async def unix(loop):
    server_side, client_side = contexts()
    with tempfile.TemporaryDirectory() as folder:
        made = []
        server = await loop.create_unix_server(
            lambda: made.append(Recorder()) or made[-1], folder + "/s", ssl=server_side
        )
        transport, _ = await loop.create_unix_connection(
            Recorder, folder + "/s", ssl=client_side, server_hostname="localhost"
        )
        transport.write(b"data")
        seen = await made[0].received(4)
        transport.abort()
        server.close()
        return seen
