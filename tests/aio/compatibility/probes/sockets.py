"""Sockets, and descriptors that are watched."""

import asyncio
import socket
import tempfile

from peers import LOCALHOST, drained, listening, raises, socket_pair
from probing import probe

MEGABYTES = bytes(range(256)) * 4096 * 4


@probe("loop.sock_recv", "data, and the end")
async def sock_recv(loop):
    with socket_pair() as (one, other):
        other.send(b"data")
        seen = [await loop.sock_recv(one, 10)]
        receiving = loop.create_task(loop.sock_recv(one, 10))
        await asyncio.sleep(0.001)
        other.send(b"later")
        seen.append(await receiving)
        other.close()
        return [*seen, await loop.sock_recv(one, 10)]


@probe("loop.sock_recv", "cancelled: what comes then is for the next")
async def cancelled(loop):
    with socket_pair() as (one, other):
        receiving = loop.create_task(loop.sock_recv(one, 10))
        await asyncio.sleep(0.001)
        receiving.cancel()
        seen = [await raises(receiving)]
        other.send(b"data")
        return [*seen, await loop.sock_recv(one, 10)]


@probe("loop.sock_recv_into", "a bytearray and a view")
async def sock_recv_into(loop):
    with socket_pair() as (one, other):
        buffer = bytearray(8)
        other.send(b"data")
        seen = [await loop.sock_recv_into(one, buffer)]
        other.send(b"more")
        seen.append(await loop.sock_recv_into(one, memoryview(buffer)[4:]))
        return seen, buffer


@probe("loop.sock_sendall", "much, while the other side reads")
async def sock_sendall(loop):
    with socket_pair() as (one, other):
        received, result = await asyncio.gather(
            drained(loop, other, len(MEGABYTES)), loop.sock_sendall(one, MEGABYTES)
        )
        assert received == MEGABYTES, "other data"
        return result


@probe("loop.sock_sendall", "nobody there: BrokenPipeError")
async def sendall_to_nobody(loop):
    with socket_pair() as (one, other):
        other.close()
        return await raises(loop.sock_sendall(one, b"data"))


@probe("loop.sock_connect", "an address and a name; refused")
async def sock_connect(loop):
    seen = []
    with listening() as listener:
        for host in (LOCALHOST, "localhost"):
            with socket.socket() as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, (host, listener.getsockname()[1]))
                seen.append(sock.getpeername() == listener.getsockname())
    with socket.socket() as sock:
        sock.setblocking(False)
        return [*seen, await raises(loop.sock_connect(sock, listener_gone()))]


def listener_gone():
    with listening() as listener:
        return listener.getsockname()


@probe("loop.sock_connect", "a unix socket")
async def connect_unix(loop):
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(folder + "/s")
        listener.listen()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, folder + "/s")
            return sock.getpeername() == folder + "/s"


@probe("loop.sock_accept", "a socket that does not block, and its address")
async def sock_accept(loop):
    with listening() as listener:
        listener.setblocking(False)
        accepting = loop.create_task(loop.sock_accept(listener))
        await asyncio.sleep(0.001)
        with socket.create_connection(listener.getsockname()) as client:
            sock, address = await accepting
            with sock:
                return address == client.getsockname(), sock.gettimeout()


@probe("loop.sock_recvfrom", "datagrams and their senders")
async def sock_recvfrom(loop):
    with datagram_sockets() as (one, other):
        sent = await loop.sock_sendto(one, b"data", other.getsockname())
        data, address = await loop.sock_recvfrom(other, 100)
        return sent, data, address == one.getsockname()


@probe("loop.sock_recvfrom_into", "datagrams and their senders")
async def sock_recvfrom_into(loop):
    with datagram_sockets() as (one, other):
        receiving = loop.create_task(loop.sock_recvfrom_into(other, buffer := bytearray(8)))
        await asyncio.sleep(0.001)
        await loop.sock_sendto(one, b"data", other.getsockname())
        count, address = await receiving
        return count, buffer, address == one.getsockname()


class datagram_sockets:
    def __enter__(self):
        self.pair = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(2)]
        for sock in self.pair:
            sock.bind((LOCALHOST, 0))
            sock.setblocking(False)
        return self.pair

    def __exit__(self, *about):
        for sock in self.pair:
            sock.close()


@probe("loop.sock_sendto", "no room at the other side: waits until there is")
async def sock_sendto(loop):
    kind = socket.AF_UNIX, socket.SOCK_DGRAM
    with tempfile.TemporaryDirectory() as folder, socket.socket(*kind) as full:
        full.bind(folder + "/s")
        with socket.socket(*kind) as sock:
            sock.setblocking(False)
            try:
                while True:
                    sock.sendto(b"data", folder + "/s")
            except BlockingIOError:
                pass
            sending = loop.create_task(loop.sock_sendto(sock, b"last", folder + "/s"))
            await asyncio.sleep(0.01)
            seen = sending.done()
            full.recv(9), full.recv(9)
            return seen, await sending


@probe("loop.sock_sendfile", "a file, its offset and count; then where the file stands")
async def sock_sendfile(loop):
    with socket_pair() as (one, other), tempfile.TemporaryFile() as file:
        file.write(MEGABYTES)
        file.flush()
        received, sent = await asyncio.gather(
            drained(loop, other, 1_000_000), loop.sock_sendfile(one, file, 5, 1_000_000)
        )
        assert received == MEGABYTES[5:1_000_005], "other data"
        return sent, file.tell()


@probe("loop.sock_sendfile", "what is no file: by reading, or refused")
async def sock_sendfile_fallback(loop):
    import io

    with socket_pair() as (one, other):
        seen = [await raises(loop.sock_sendfile(one, io.BytesIO(b"data"), fallback=False))]
        seen.append(await loop.sock_sendfile(one, io.BytesIO(b"data")))
        return [*seen, other.recv(9)]


@probe("loop.sock_recv", "sockets that block are refused in debug mode")
async def blocking(loop):
    loop.set_debug(True)
    one, other = socket.socketpair()
    with one, other:
        other.send(b"data")
        return await raises(loop.sock_recv(one, 1)), await raises(loop.sock_sendall(one, b"a"))
