"""What a transport of a connection does."""

import asyncio
import contextvars
import os
import select
import socket
import struct
import tempfile

from peers import Filled, Recorder, beside_socket, connected, drained, raised, socket_pair, until
from probing import probe

MEGABYTES = bytes(range(256)) * 4096 * 4
variable = contextvars.ContextVar("variable", default=0)


class Open(Recorder):
    keep_open = True


@probe("BaseTransport.close", "once and again; is_closing()")
async def close(loop):
    async with connected(loop) as both:
        seen = [both.client.is_closing()]
        both.client.close(), both.client.close()
        seen.append(both.client.is_closing())
        await both.ours.lost
        both.client.close(), both.client.abort()
        return seen, both.ours.calls


@probe("BaseTransport.is_closing", "is so while connection_lost is called, and not before")
async def closing_inside(loop):
    seen = []

    class Ours(Recorder):
        def eof_received(self):
            seen.append(self.transport.is_closing())

        def connection_lost(self, exc):
            seen.append(self.transport.is_closing())
            super().connection_lost(exc)

    async with connected(loop, Ours) as both:
        both.server.close()
        await both.ours.lost
        return seen


@probe("BaseTransport.set_protocol", "the new one gets what comes then")
async def set_protocol(loop):
    async with connected(loop) as both:
        new = Recorder()
        new.calls.append("set")
        seen = both.client.get_protocol() is both.ours
        both.client.set_protocol(new)
        both.server.write(b"data")
        return seen, both.client.get_protocol() is new, await new.received(4), both.ours.data


@probe("BaseTransport.set_protocol", "right after connecting: the old one gets nothing")
async def set_protocol_at_once(loop):
    with socket_pair() as (one, other):
        other.send(b"data")
        transport, old = await loop.create_connection(Recorder, sock=one)
        new = Recorder()
        new.calls.append("set")
        transport.set_protocol(new)
        seen = await new.received(4), old.data
        transport.abort()
        return seen


@probe("BaseTransport.get_protocol", "from stream to buffered protocol and back")
async def change_kind(loop):
    async with connected(loop) as both:
        seen = []
        for kind in (Filled, Recorder, Filled):
            new = kind()
            new.calls.append("set")
            both.client.set_protocol(new)
            both.server.write(bytes(2500))
            seen.append(len(await new.received(2500)))
        return seen


@probe("ReadTransport.pause_reading", "nothing comes until resume_reading(); is_reading()")
async def pause_reading(loop):
    async with connected(loop) as both:
        client = both.client
        seen = [client.is_reading()]
        client.pause_reading(), client.pause_reading()
        both.server.write(b"data")
        await asyncio.sleep(0.02)
        seen += [client.is_reading(), both.ours.data]
        client.resume_reading(), client.resume_reading()
        return [*seen, client.is_reading(), await both.ours.received(4)]


@probe("ReadTransport.pause_reading", "right after connecting: nothing has come")
async def pause_at_once(loop):
    with socket_pair() as (one, other):
        other.send(b"data")
        transport, protocol = await loop.create_connection(Recorder, sock=one)
        transport.pause_reading()
        await asyncio.sleep(0.02)
        seen = [protocol.data]
        transport.resume_reading()
        seen.append(await protocol.received(4))
        transport.abort()
        return seen


@probe("ReadTransport.pause_reading", "in data_received, and in connection_made")
async def pause_inside(loop):
    class Ours(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()

    async with connected(loop, Ours) as both:
        both.server.write(b"one")
        await asyncio.sleep(0.02)
        # asyncio of Python 3.11.2 reads on when it was paused in connection_made().
        assert not both.ours.data, f"{both.ours.data!r} came to a paused transport"
        both.client.resume_reading()
        seen = [await both.ours.received(3)]
        both.server.write(b"two")
        await asyncio.sleep(0.02)
        return [*seen, both.ours.data]


@probe("ReadTransport.resume_reading", "after close: nothing happens")
async def resume_closed(loop):
    async with connected(loop) as both:
        both.client.pause_reading()
        both.client.close()
        seen = raised(both.client.resume_reading), raised(both.client.pause_reading)
        await both.ours.lost
        return seen, raised(both.client.resume_reading), both.client.is_reading()


@probe("ReadTransport.is_reading", "not once it closes")
async def reading_closed(loop):
    async with connected(loop) as both:
        both.client.close()
        return both.client.is_reading()


@probe("Protocol", "a reset by the other side, and an end in the middle of writing")
async def reset(loop):
    async with beside_socket(loop) as (_, protocol, peer):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        seen = [await protocol.lost, protocol.calls]
    async with beside_socket(loop) as (transport, protocol, peer):
        transport.write(MEGABYTES)
        peer.close()
        return [*seen, await protocol.lost]


@probe("Protocol", "data and then a reset, before the loop looks: both are told")
async def data_and_reset(loop):
    async with beside_socket(loop) as (transport, protocol, peer):
        await asyncio.sleep(0.005)
        peer.send(b"half of it")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        poll = select.poll()
        poll.register(transport.get_extra_info("socket").fileno(), 0)
        poll.poll(1000)
        return await protocol.lost, protocol.data, protocol.calls


@probe("Protocol", "a descriptor passed with data, more data, the end: all of it is told")
async def data_after_descriptor(loop):
    with socket_pair() as (one, other), open(os.devnull, "rb") as file:
        _, protocol = await loop.create_connection(Recorder, sock=one)
        await asyncio.sleep(0.005)
        socket.send_fds(other, [b"with it,"], [file.fileno()])
        other.send(b"after it")
        other.close()
        return await protocol.lost, protocol.data


@probe("Protocol", "what eof_received() returns decides on closing")
async def eof_received(loop):
    seen = []
    for kind in (Recorder, Open):
        async with beside_socket(loop, kind) as (transport, protocol, peer):
            peer.shutdown(socket.SHUT_WR)
            await protocol.ended
            await asyncio.sleep(0.01)
            seen.append((protocol.calls, transport.is_closing()))
    return seen


@probe("Protocol", "data_received() that fails: told, and the connection is lost")
async def failing_protocol(loop):
    class Ours(Recorder):
        def data_received(self, data):
            raise KeyError

    async with connected(loop, Ours) as both:
        both.server.write(b"data")
        return await both.ours.lost, await both.theirs.lost


@probe("Protocol", "connection_made() that fails: told")
async def failing_connection_made(loop):
    class Ours(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise KeyError

    async with connected(loop, Ours) as both:
        both.server.write(b"data")
        await asyncio.sleep(0.01)
        both.client.abort()
        return both.ours.made.done()


@probe("Protocol", "its methods run in the context that made the connection")
async def context(loop):
    class Ours(Recorder):
        seen = ()

        def connection_made(self, transport):
            super().connection_made(transport)
            self.seen += (variable.get(),)

        def data_received(self, data):
            self.seen += (variable.get(),)
            super().data_received(data)

        def connection_lost(self, exc):
            self.seen += (variable.get(),)
            super().connection_lost(exc)

    variable.set(5)
    async with connected(loop, Ours) as both:
        variable.set(6)
        both.server.write(b"data")
        await both.ours.received(4)
        both.server.close()
        await both.ours.lost
        return both.ours.seen[:2]


@probe("BufferedProtocol", "its own buffer is filled, to the end")
async def buffered(loop):
    async with connected(loop, Filled) as both:
        both.server.write(MEGABYTES[:100_000])
        both.server.close()
        await both.ours.lost
        return both.ours.data == MEGABYTES[:100_000], both.ours.calls


@probe("BufferedProtocol", "an empty buffer is an error")
async def empty_buffer(loop):
    class Ours(Filled):
        def get_buffer(self, sizehint):
            return bytearray()

    async with connected(loop, Ours) as both:
        both.server.write(b"data")
        return await both.ours.lost


@probe("BaseTransport.get_extra_info", "TCP: which keys, and names as a socket tells them")
async def extra_info(loop):
    async with connected(loop) as both:
        info = both.client.get_extra_info
        sock = info("socket")
        seen = [info("sockname") == sock.getsockname(), info("peername") == sock.getpeername()]
        missing = [info(key) for key in ("sslcontext", "pipe", "subprocess", "nonsense")]
        return seen, missing, info("nonsense", 5)


@probe("BaseTransport.get_extra_info", "the socket: family, options, fileno")
async def extra_socket(loop):
    async with connected(loop) as both:
        sock = both.client.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return (
            (sock.family, sock.type),
            bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)),
            bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)),
            os.get_inheritable(sock.fileno()),
        )


@probe("BaseTransport.get_extra_info", "after close: names yet, and the socket is closed")
async def extra_after_close(loop):
    async with connected(loop) as both:
        name, sock = both.client.get_extra_info("peername"), both.client.get_extra_info("socket")
        both.client.close()
        await both.ours.lost
        return both.client.get_extra_info("peername") == name, sock.fileno()


@probe("BaseTransport.get_extra_info", "unix sockets")
async def extra_unix(loop):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        made = []
        server = await loop.create_unix_server(lambda: made.append(Recorder()) or made[0], path)
        transport, _ = await loop.create_unix_connection(Recorder, path)
        await until(lambda: made and made[0].transport)
        seen = [transport.get_extra_info(key) for key in ("sockname", "peername")]
        seen += [made[0].transport.get_extra_info(key) for key in ("sockname", "peername")]
        family = transport.get_extra_info("socket").family
        transport.abort()
        server.close()
        return [name.replace(path, "PATH") for name in seen], family


@probe("Transport", "is an `asyncio.Transport`; repr")
async def kind(loop):
    async with connected(loop) as both:
        return isinstance(both.client, asyncio.Transport), str(both.client)[:1]


@probe("Transport", "unix socket pairs: data, half close, end")
async def unix_pair(loop):
    with socket_pair() as (one, other):
        transport, protocol = await loop.create_connection(Recorder, sock=one)
        transport.write(b"question")
        transport.write_eof()
        seen = [await drained(loop, other, 100)]
        other.send(b"answer")
        other.close()
        await protocol.lost
        return [*seen, protocol.data, protocol.calls]


@probe("Transport", "a dropped one warns, and its socket is closed")
async def dropped(loop):
    import gc
    import warnings

    with socket_pair() as (one, _):
        transport, protocol = await loop.create_connection(Recorder, sock=one)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            transport.pause_reading()
            protocol.transport = None
            del transport, protocol, one
            gc.collect()
        return sorted({warning.category.__name__ for warning in caught})
