"""Writing to a connection, and files sent over it."""

import array
import contextvars
import socket
import struct
import tempfile

from peers import (
    Recorder,
    beside_socket,
    connected,
    drained,
    raised,
    raises,
    until,
)
from probing import probe

MEGABYTES = bytes(range(256)) * 4096 * 4
TOO_MUCH = bytes(20_000_000)  # for the system's buffers
variable = contextvars.ContextVar("variable", default=0)


class Open(Recorder):
    keep_open = True


@probe("WriteTransport.write", "bytes, bytearray, memoryview, an array; the empty one")
async def write(loop):
    async with connected(loop) as both:
        for data in (b"a", bytearray(b"b"), memoryview(b"c"), memoryview(array.array("h", [3]))):
            both.client.write(data)
        both.client.write(b"")
        return await both.theirs.received(5)


@probe("WriteTransport.write", "text and None are refused")
async def write_text(loop):
    async with connected(loop) as both:
        return raised(both.client.write, "text"), raised(both.client.write, None)


@probe("WriteTransport.write", "much at once, in order, all of it before close")
async def write_much(loop):
    async with connected(loop) as both:
        for _ in range(3):
            both.client.write(MEGABYTES)
        both.client.close()
        await both.theirs.lost
        assert both.theirs.data == 3 * MEGABYTES, "other data"


@probe("WriteTransport.write", "after close, and when the other side has gone: no exception")
async def write_after_close(loop):
    async with beside_socket(loop) as (transport, protocol, peer):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        seen = await protocol.lost
        for _ in range(7):
            transport.write(b"data")
        return seen, transport.is_closing()


@probe("WriteTransport.writelines", "a list, an iterator, views, nothing")
async def writelines(loop):
    async with connected(loop) as both:
        both.client.writelines([b"a", bytearray(b"b"), memoryview(b"c")])
        both.client.writelines(iter((b"d", b"e")))
        both.client.writelines([])
        both.client.writelines([MEGABYTES, b"end"])
        return await both.theirs.received(len(MEGABYTES) + 8) == b"abcde" + MEGABYTES + b"end"


@probe("WriteTransport.writelines", "text in it is refused")
async def writelines_text(loop):
    async with connected(loop) as both:
        return raised(both.client.writelines, ["text"]), raised(both.client.writelines, 5)


@probe("WriteTransport.write_eof", "the other direction goes on")
async def half_close(loop):
    async with connected(loop, theirs=Open) as both:
        both.client.write(b"question")
        both.client.write_eof()
        both.client.write_eof()
        await both.theirs.ended
        both.server.write(b"answer")
        return await both.ours.received(6), both.theirs.calls, both.client.is_closing()


@probe("WriteTransport.write_eof", "after it, writing is refused")
async def write_after_eof(loop):
    async with connected(loop, theirs=Open) as both:
        both.client.write_eof()
        return raised(both.client.write, b"data"), raised(both.client.writelines, [b"data"])


@probe("WriteTransport.write_eof", "comes after what was written")
async def late_eof(loop):
    async with connected(loop) as both:
        both.client.write(MEGABYTES)
        both.client.write_eof()
        await both.theirs.ended
        assert both.theirs.data == MEGABYTES, "other data"


@probe("WriteTransport.can_write_eof", "over TCP")
async def can_write_eof(loop):
    async with connected(loop) as both:
        return both.client.can_write_eof()


@probe("WriteTransport.set_write_buffer_limits", "and get_write_buffer_limits")
async def limits(loop):
    async with connected(loop) as both:
        client = both.client
        seen = [client.get_write_buffer_limits()]
        for options in ({"high": 1000}, {"low": 10}, {"high": 0}, {"high": 9, "low": 8}, {}):
            client.set_write_buffer_limits(**options)
            seen.append(client.get_write_buffer_limits())
        return seen, raised(client.set_write_buffer_limits, high=1, low=2)


@probe("WriteTransport.get_write_buffer_limits", "a protocol is paused above, resumed below")
async def flow_control(loop):
    async with beside_socket(loop) as (transport, protocol, peer):
        transport.set_write_buffer_limits(high=1000, low=100)
        transport.write(TOO_MUCH)
        paused = list(protocol.calls)
        await drained(loop, peer, len(TOO_MUCH))
        await until(lambda: "resume" in protocol.calls)
        return paused, protocol.calls


@probe("WriteTransport.get_write_buffer_size", "what has not gone out")
async def buffer_size(loop):
    async with beside_socket(loop) as (transport, _, peer):
        seen = [transport.get_write_buffer_size()]
        transport.write(TOO_MUCH)
        size = transport.get_write_buffer_size()
        seen.append(0 < size <= len(TOO_MUCH))
        data = await drained(loop, peer, len(TOO_MUCH))
        await until(lambda: not transport.get_write_buffer_size())
        return seen, len(data)


@probe("WriteTransport.abort", "drops what has not gone out")
async def abort(loop):
    async with beside_socket(loop) as (transport, protocol, peer):
        transport.write(TOO_MUCH)
        transport.abort()
        seen = await protocol.lost, transport.is_closing()
        return seen, len(await drained(loop, peer, len(TOO_MUCH))) < len(TOO_MUCH)


@probe("loop.sendfile", "a file, its offset and count")
async def sendfile(loop):
    async with connected(loop) as both:
        with tempfile.TemporaryFile() as file:
            file.write(MEGABYTES)
            file.flush()
            both.client.write(b"head")
            sent = await loop.sendfile(both.client, file, 5, 100_000)
            both.client.write(b"tail")
            data = await both.theirs.received(100_008)
            return sent, file.tell(), data == b"head" + MEGABYTES[5:100_005] + b"tail"


@probe("loop.sendfile", "what it refuses")
async def sendfile_refuses(loop):
    import io

    async with connected(loop) as both:
        with tempfile.TemporaryFile() as file:
            seen = [await raises(loop.sendfile(both.client, file, -1))]
            seen.append(await raises(loop.sendfile(both.client, file, 0, 0)))
        seen.append(await raises(loop.sendfile(both.client, io.BytesIO(b"a"), fallback=False)))
        both.client.close()
        return [*seen, await raises(loop.sendfile(both.client, io.BytesIO(b"a")))]
