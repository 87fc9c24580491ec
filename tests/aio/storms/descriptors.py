"""Storms over what asyncio only watches: each function is one round."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

from ends import Datagrams, PipeEnd
from tags import Checker, frame, guard, new_tag, release
from world import LONG, World


def new_pair() -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for each in pair:
        each.setblocking(False)
    return pair


async def sock_connect(world: World) -> None:
    """Sockets that connect, are given up, and close in the same turn or later."""
    with socket.socket() as sock:
        sock.setblocking(False)
        host = world.random.choice(["127.0.0.1", "127.0.0.1", "localhost"])
        address = world.random.choice([world.echo, world.rude])
        task = world.loop.create_task(world.loop.sock_connect(sock, (host, address[1])))
        await world.turns(world.random.randrange(4))
        task.cancel()
        if world.random.random() < 0.5:
            sock.close()
        await world.all_of([task])
    with socket.socket() as sock:  # it has the number now
        sock.setblocking(False)
        await world.loop.sock_connect(sock, world.echo)
        await exchange(world, sock)
        world.counts["finished"] += 1


async def exchange(world: World, sock: socket.socket) -> None:
    """Have an echo server answer over a socket, which it must, whatever its number was before."""
    tag = new_tag()
    data = frame(tag, 0, world.random.choice([1, 1000]))
    checker = Checker(tag)
    guard(sock.fileno())
    await world.loop.sock_sendall(sock, data)
    while not checker.number:
        part = await world.loop.sock_recv(sock, 100_000)
        if not part:
            world.fault("an echo that ends too early")
            break
        checker.feed(part)
    release(sock.fileno())


async def sock_accept(world: World) -> None:
    loop, chance = world.loop, world.random
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        address = server.getsockname()
        server.setblocking(False)
        client.setblocking(False)
        accepting = loop.create_task(world.cancelled(loop.sock_accept(server)))
        await world.turns(chance.randrange(3))
        connecting = loop.create_task(
            world.cancelled(loop.sock_connect(client, server.getsockname()))
        )
        await asyncio.wait({connecting}, timeout=LONG)
        if chance.random() < 0.5:
            client.close()
        if not accepting.done():
            with socket.create_connection(address):  # for one that waits for ever
                await asyncio.wait({accepting}, timeout=LONG)
        accepted = accepting.result()
        if accepted is not None:
            accepted[0].close()


async def sock_recv(world: World) -> None:
    """Reads and writes that are given up, while others wait for the same socket's number."""
    loop, chance = world.loop, world.random
    ours, theirs = new_pair()
    buffer = bytearray(1000)
    verbs = [loop.sock_recv(ours, 1000), loop.sock_recv_into(ours, buffer)]
    if hasattr(loop, "sock_recvfrom"):
        verbs.append(loop.sock_recvfrom(ours, 1000))
    verb = chance.choice(verbs)
    for each in verbs:
        if each is not verb:
            each.close()
    tasks = [loop.create_task(verb), loop.create_task(loop.sock_sendall(ours, bytes(1_000_000)))]
    chance.shuffle(tasks)
    tag = new_tag()
    for task in tasks:
        await world.turns(chance.randrange(3))
        if chance.random() < 0.3:
            with contextlib.suppress(OSError):
                theirs.send(frame(tag, 0, 100))
        task.cancel()
        if chance.random() < 0.3:
            ours.close()
            break
    later = []
    if chance.random() < 0.5 or ours.fileno() == -1:
        ours.close()
        theirs.close()
        ours, theirs = new_pair()  # with the numbers of those
        later.append(loop.create_task(loop.sock_recv(ours, 1000)))
        await world.turns(chance.randrange(3))
        data = frame(new_tag(), 0, 100)
        await loop.sock_sendall(theirs, data)
        done, _ = await asyncio.wait(later, timeout=LONG)
        if not done:
            world.fault("hangs: a socket with the number of another")
            later[0].cancel()
        elif later[0].result() != data:
            world.fault("a socket with the number of another has its bytes")
    for task in tasks:
        task.cancel()
    await world.all_of(tasks)
    ours.close()
    theirs.close()


async def datagrams(world: World) -> None:
    loop, chance = world.loop, world.random
    tag = new_tag()
    receiver, sender = Datagrams(world, tag), Datagrams(world, tag)
    made = await world.cancelled(
        loop.create_datagram_endpoint(lambda: receiver, ("127.0.0.1", 0)), receiver.made
    )
    if made is not None:
        remote = made[0].get_extra_info("sockname")
        if chance.random() < 0.2:
            remote = ("localhost", remote[1])
        other = await world.cancelled(
            loop.create_datagram_endpoint(
                lambda: sender, remote_addr=remote, family=socket.AF_INET
            ),
            sender.made,
        )
        if chance.random() < 0.3:
            made[0].close()
        if other is not None:
            for number in range(chance.randrange(200)):
                other[0].sendto(frame(tag, number, 1000))
            await world.turns(chance.randrange(3))
            chance.choice([other[0].close, other[0].abort])()
        chance.choice([made[0].close, made[0].abort])()
    for each in (receiver, sender):
        if each.made.is_set():
            await world.until(each.lost.is_set, "a datagram endpoint")
            await world.gone(each.sock)


async def names(world: World) -> None:
    loop, chance = world.loop, world.random
    host = chance.choice(["localhost", "127.0.0.1", "::1"])
    lookups = [
        loop.create_task(world.cancelled(loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM)))
        for _ in range(chance.randrange(1, 4))
    ]
    lookups.append(loop.create_task(world.cancelled(loop.getnameinfo(("127.0.0.1", 80)))))
    await asyncio.wait(lookups, timeout=LONG)


async def pipes(world: World) -> None:
    loop, chance = world.loop, world.random
    ends = [os.fdopen(fd, mode, buffering=0) for fd, mode in zip(os.pipe(), ("rb", "wb"))]
    tag = new_tag()
    reader, writer = protocols = [PipeEnd(world, tag), PipeEnd(world, tag)]
    connecting = [
        loop.create_task(
            world.cancelled(loop.connect_read_pipe(lambda: reader, ends[0]), reader.made)
        ),
        loop.create_task(
            world.cancelled(loop.connect_write_pipe(lambda: writer, ends[1]), writer.made)
        ),
    ]
    await asyncio.wait(connecting, timeout=LONG)
    if connecting[1].result() is not None:
        for number in range(chance.randrange(4)):
            connecting[1].result()[0].write(frame(tag, number, chance.choice([1, 100_000])))
        await world.turns(chance.randrange(4))
    if not reader.made.is_set():
        ends[0].close()  # or who writes might wait for it
    elif chance.random() < 0.5:
        protocols.reverse()
    for protocol in protocols:
        if protocol.made.is_set():
            aborts = protocol is writer and chance.random() < 0.5
            if aborts and not writer.transport.is_closing():  # asyncio's would be lost twice
                writer.transport.abort()
            else:
                protocol.transport.close()
            if protocol is writer and reader.made.is_set():
                reader.transport.close()
            await world.until(protocol.lost.is_set, "a pipe")
    await world.turns(2)
    for end in ends:
        end.close()


async def watched(world: World) -> None:
    """Descriptors that are closed while they are watched, and whose numbers come back."""
    loop, chance = world.loop, world.random
    pair = new_pair()
    for each in pair:
        if chance.random() < 0.7:
            loop.add_reader(each, lambda: None)
        if chance.random() < 0.3:
            loop.add_writer(each, lambda: None)
    await world.turns(chance.randrange(3))
    for each in pair:
        each.close()
    await world.turns(chance.randrange(3))
    again = new_pair()
    data = frame(new_tag(), 0, 100)
    came = asyncio.Event()
    got = []

    def on_readable() -> None:
        got.append(again[0].recv(1000))
        came.set()

    if chance.random() < 0.5:
        loop.add_reader(again[0], on_readable)
        again[1].send(data)
        await world.until(came.is_set, "a descriptor with the number of another")
        loop.remove_reader(again[0])
        if got != [data]:
            world.fault(f"a descriptor with the number of another has {got!r}")
    else:
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=again[0])
        transport.write(data)
        if await loop.sock_recv(again[1], 1000) != data:
            world.fault("a transport with the number of another")
        transport.close()
        await world.gone(again[0])
    for each in again:
        each.close()
    world.counts["cancelled"] += 1
    world.counts["finished"] += 1
