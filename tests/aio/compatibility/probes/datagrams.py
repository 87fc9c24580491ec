"""Datagram endpoints."""

import asyncio
import socket
import tempfile

from peers import LOCALHOST, Packets, closed_port, raised, raises
from probing import probe


async def endpoint(loop, *arguments, **options):
    transport, protocol = await loop.create_datagram_endpoint(Packets, *arguments, **options)
    return transport, protocol.queue


@probe("loop.create_datagram_endpoint", "there and back, with and without a peer")
async def there_and_back(loop):
    server, got = await endpoint(loop, (LOCALHOST, 0))
    client, answers = await endpoint(loop, remote_addr=server.get_extra_info("sockname"))
    client.sendto(b"question")
    data, address = await got.get()
    server.sendto(b"answer", address)
    answer, sender = await answers.get()
    seen = data, answer, sender == server.get_extra_info("sockname")
    client.close(), server.close()
    await client.get_protocol().lost
    return seen


@probe("loop.create_datagram_endpoint", "IPv6, and `family=` alone")
async def ipv6(loop):
    server, got = await endpoint(loop, ("::1", 0))
    client, _ = await endpoint(loop, family=socket.AF_INET6)
    client.sendto(b"data", server.get_extra_info("sockname"))
    seen = (await got.get())[0]
    client.close(), server.close()
    return seen


@probe("loop.create_datagram_endpoint", "names as addresses")
async def names(loop):
    server, got = await endpoint(loop, ("localhost", 0), family=socket.AF_INET)
    port = server.get_extra_info("sockname")[1]
    client, _ = await endpoint(loop, remote_addr=("localhost", port), family=socket.AF_INET)
    client.sendto(b"data")
    seen = (await got.get())[0], server.get_extra_info("sockname")[0]
    client.close(), server.close()
    return seen


@probe("loop.create_datagram_endpoint", "`sock=`, and what it refuses")
async def with_socket(loop):
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.bind((LOCALHOST, 0))
    server, got = await endpoint(loop, sock=sock)
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.sendto(b"data", sock.getsockname())
        seen = [(await got.get())[0]]
    server.close()
    with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as plain:
        seen.append(await raises(endpoint(loop, sock=stream)))
        seen.append(await raises(endpoint(loop, (LOCALHOST, 0), sock=plain)))
    return [*seen, await raises(endpoint(loop))]


@probe("loop.create_datagram_endpoint", "`reuse_port=`, `allow_broadcast=`")
async def options(loop):
    one, _ = await endpoint(loop, (LOCALHOST, 0), reuse_port=True, allow_broadcast=True)
    two, _ = await endpoint(loop, one.get_extra_info("sockname"), reuse_port=True)
    seen = [await raises(endpoint(loop, one.get_extra_info("sockname")))]
    for transport in (one, two):
        sock = transport.get_extra_info("socket")
        seen.append(bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)))
        transport.close()
    return seen


@probe("loop.create_datagram_endpoint", "addresses that do not fit, or cannot be had")
async def wrong_addresses(loop):
    return [
        await raises(endpoint(loop, (LOCALHOST, 0), remote_addr=("::1", 9))),
        await raises(endpoint(loop, "127.0.0.1")),
        await raises(endpoint(loop, ("192.0.2.1", 0))),
        await raises(endpoint(loop, ("no-such-host.invalid", 0))),
    ]


@probe("loop.create_datagram_endpoint", "unix: `family=AF_UNIX`, paths both ways")
async def unix(loop):
    with tempfile.TemporaryDirectory() as folder:
        server, got = await endpoint(loop, folder + "/s", family=socket.AF_UNIX)
        client, answers = await endpoint(
            loop, folder + "/c", remote_addr=folder + "/s", family=socket.AF_UNIX
        )
        client.sendto(b"question")
        data, address = await got.get()
        server.sendto(b"answer", address)
        seen = data, address == folder + "/c", (await answers.get())[0]
        client.close(), server.close()
        return seen


@probe("loop.create_datagram_endpoint", "a pair of unix sockets, `sock=`")
async def unix_pair(loop):
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    other.setblocking(False)
    with other:
        transport, got = await endpoint(loop, sock=one)
        other.send(b"data")
        seen = (await got.get())[0]
        transport.sendto(b"back")
        await asyncio.sleep(0.01)
        seen = seen, other.recv(9)
        transport.close()
        return seen


@probe("loop.create_datagram_endpoint", "netlink: the kernel's interfaces")
async def netlink(loop):
    import struct

    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    with sock:
        sock.bind((0, 0))
        sock.setblocking(False)
        # RTM_GETLINK, dumped
        request = struct.pack("=LHHLLBxHiII", 32, 18, 0x301, 1, 0, 0, 0, 0, 0, 0)
        await loop.sock_sendall(sock, request)
        return struct.unpack_from("=LHH", await loop.sock_recv(sock, 1 << 16))[1]


@probe("loop.create_datagram_endpoint", "netlink, as an endpoint")
async def netlink_endpoint(loop):
    import struct

    # SOCK_DGRAM is as good as SOCK_RAW to the kernel, and what asyncio asks for.
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
    sock.bind((0, 0))
    transport, got = await endpoint(loop, sock=sock)
    request = struct.pack("=LHHLLBxHiII", 32, 18, 0x301, 1, 0, 0, 0, 0, 0, 0)
    transport.sendto(request, (0, 0))
    data, address = await got.get()
    transport.close()
    return struct.unpack_from("=LHH", data)[1], address


@probe("DatagramTransport.sendto", "to a name")
async def sendto_name(loop):
    server, got = await endpoint(loop, (LOCALHOST, 0))
    client, _ = await endpoint(loop, family=socket.AF_INET)
    client.sendto(b"data", ("localhost", server.get_extra_info("sockname")[1]))
    seen = (await got.get())[0]
    client.close(), server.close()
    return seen


@probe("DatagramTransport.sendto", "bytes, bytearray, memoryview; text is refused")
async def sendto_kinds(loop):
    server, got = await endpoint(loop, (LOCALHOST, 0))
    client, _ = await endpoint(loop, remote_addr=server.get_extra_info("sockname"))
    seen = []
    for data in (b"a", bytearray(b"b"), memoryview(b"c")):
        client.sendto(data)
        seen.append((await got.get())[0])
    seen.append(raised(client.sendto, "text"))
    client.close(), server.close()
    return seen


@probe("DatagramTransport.sendto", "an empty datagram", since=(3, 13))
async def empty(loop):
    server, got = await endpoint(loop, (LOCALHOST, 0))
    client, _ = await endpoint(loop, remote_addr=server.get_extra_info("sockname"))
    client.sendto(b"")
    client.sendto(b"end")
    seen = [(await got.get())[0], (await got.get())[0]]
    client.close(), server.close()
    return seen


@probe("DatagramTransport.sendto", "another address than the peer's is refused")
async def other_address(loop):
    client, _ = await endpoint(loop, remote_addr=(LOCALHOST, 9))
    seen = [raised(client.sendto, b"data", (LOCALHOST, 10))]
    seen.append(raised(client.sendto, b"data", (LOCALHOST, 9)))
    client.close()
    return seen


@probe("DatagramTransport.sendto", "too long a datagram: error_received()")
async def too_long(loop):
    client, got = await endpoint(loop, remote_addr=(LOCALHOST, 9))
    client.sendto(bytes(100_000))
    seen = await got.get()
    client.close()
    return seen


@probe("DatagramTransport.sendto", "nobody there: error_received(), and it goes on")
async def nobody_there(loop):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind((LOCALHOST, 0))
        address = sock.getsockname()
    client, got = await endpoint(loop, remote_addr=address)
    client.sendto(b"data")
    seen = [await got.get()]
    server, received = await endpoint(loop, address)
    client.sendto(b"again")
    seen.append((await received.get())[0])
    client.close(), server.close()
    return seen


@probe("DatagramTransport.sendto", "no address and no peer; after close")
async def no_address(loop):
    client, got = await endpoint(loop, (LOCALHOST, 0))
    seen = [raised(client.sendto, b"data")]
    if got.empty():
        await asyncio.sleep(0.01)
    seen.append([] if got.empty() else got.get_nowait())
    client.close()
    return seen, client.is_closing()


@probe("DatagramTransport.sendto", "all of a burst comes, in order")
async def burst(loop):
    server, got = await endpoint(loop, (LOCALHOST, 0))
    client, _ = await endpoint(loop, remote_addr=server.get_extra_info("sockname"))
    for number in range(200):
        client.sendto(str(number).encode())
    seen = [(await got.get())[0] for _ in range(200)]
    client.close(), server.close()
    assert seen == [str(number).encode() for number in range(200)]


@probe("DatagramTransport.abort", "connection_lost() comes, once")
async def abort(loop):
    client, _ = await endpoint(loop, (LOCALHOST, 0))
    client.abort(), client.abort(), client.close()
    seen = await client.get_protocol().lost if client.get_protocol() else None
    return seen, client.is_closing()


@probe("DatagramTransport.close", "what was sent before goes out")
async def close_flushes(loop):
    server, got = await endpoint(loop, (LOCALHOST, 0))
    client, _ = await endpoint(loop, remote_addr=server.get_extra_info("sockname"))
    for _ in range(20):
        client.sendto(b"data")
    client.close()
    seen = [(await got.get())[0] for _ in range(20)]
    server.close()
    return len(seen)


@probe("BaseTransport.get_extra_info", "UDP: sockname, peername, socket")
async def extra_info(loop):
    seen = []
    for options in ({"local_addr": (LOCALHOST, 0)}, {"remote_addr": (LOCALHOST, closed_port())}):
        transport, _ = await endpoint(loop, **options)
        info = transport.get_extra_info
        seen.append(info("sockname") == info("socket").getsockname())
        peer = info("peername")
        seen.append(peer if peer is None else peer == options["remote_addr"])
        seen.append((info("socket").family, info("socket").type))
        transport.close()
    return seen


@probe("DatagramProtocol", "datagram_received() that fails: told")
async def failing_protocol(loop):
    class Fails(Packets):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            raise KeyError

    transport, protocol = await loop.create_datagram_endpoint(Fails, (LOCALHOST, 0))
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.sendto(b"data", transport.get_extra_info("sockname"))
        await protocol.queue.get()
        lost = await asyncio.wait({protocol.lost}, timeout=0.1)
        peer.sendto(b"data", transport.get_extra_info("sockname"))
    seen = bool(lost[0]), transport.is_closing()
    transport.abort()
    return seen
