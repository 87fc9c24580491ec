"""Descriptors that are watched."""

import asyncio
import os
import socket
import tempfile

from peers import raised, socket_pair, until
from probing import probe

MEGABYTES = bytes(range(256)) * 4096 * 4


@probe("loop.add_reader", "a socket that belongs to a transport is refused")
async def of_a_transport(loop):
    with socket_pair() as (one, _):
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=one)
        sock = transport.get_extra_info("socket")
        seen = [raised(call, sock.fileno(), print) for call in (loop.add_reader, loop.add_writer)]
        transport.abort()
        return seen


@probe("loop.add_reader", "is called while there is something to read")
async def add_reader(loop):
    with socket_pair() as (one, other):
        seen, done = [], loop.create_future()

        def ready(what):
            seen.append((what, one.recv(2)))
            if len(seen) == 2:
                loop.remove_reader(one)
                done.set_result(None)

        loop.add_reader(one, ready, "it")
        other.send(b"data")
        await done
        other.send(b"more")
        await asyncio.sleep(0.002)
        return seen


@probe("loop.add_reader", "again: the new callback only")
async def add_reader_again(loop):
    with socket_pair() as (one, other):
        calls = []
        loop.add_reader(one, calls.append, "old")
        loop.add_reader(one.fileno(), lambda: (calls.append("new"), one.recv(9)))
        other.send(b"data")
        await until(lambda: calls)
        loop.remove_reader(one)
        return calls


@probe("loop.add_reader", "a pipe, a terminal; no plain file")
async def kinds(loop):
    seen = []
    ours, theirs = os.pipe()
    master, slave = os.openpty()
    for read, write in ((ours, theirs), (master, slave)):
        ready = loop.create_future()
        loop.add_reader(read, lambda ready=ready: ready.done() or ready.set_result(1))
        os.write(write, b"a\n")
        seen.append(await ready)
        loop.remove_reader(read)
    for descriptor in (ours, theirs, master, slave):
        os.close(descriptor)
    with tempfile.TemporaryFile() as file:
        return [*seen, raised(loop.add_reader, file, print)]


@probe("loop.add_reader", "what it refuses: -1, text, a closed socket")
async def add_reader_refuses(loop):
    with socket_pair() as (one, _):
        one.close()
        return [raised(loop.add_reader, what, print) != "nothing" for what in (-1, "text", one)]


@probe("loop.remove_reader", "tells whether it was watched")
async def remove_reader(loop):
    with socket_pair() as (one, _):
        seen = [loop.remove_reader(one)]
        loop.add_reader(one, print)
        return [*seen, loop.remove_reader(one), loop.remove_reader(one)]


@probe("loop.remove_reader", "of a socket that is closed: by its number")
async def remove_closed(loop):
    with socket_pair() as (one, _):
        number = one.fileno()
        loop.add_reader(one, print)
        one.close()
        return raised(loop.remove_reader, number)


@probe("loop.remove_reader", "of a socket that is closed: by itself")
async def remove_closed_object(loop):
    with socket_pair() as (one, _):
        loop.add_reader(one, print)
        one.close()
        return raised(loop.remove_reader, one)


@probe("loop.add_reader", "the number of a closed socket, used again by another")
async def used_again(loop):
    with socket_pair() as (new, peer):
        one, other = socket.socketpair()
        number = one.fileno()
        calls = []
        loop.add_reader(one, calls.append, "old")
        await asyncio.sleep(0.001)
        one.close(), other.close()
        os.dup2(new.fileno(), number)
        with socket.socket(fileno=number) as sock:
            loop.remove_reader(number)
            loop.add_reader(sock, lambda: (calls.append("new"), sock.recv(9)))
            peer.send(b"data")
            await until(lambda: calls)
            loop.remove_reader(sock)
        return calls


@probe("loop.add_reader", "the same, and nobody has removed the old one")
async def used_again_at_once(loop):
    with socket_pair() as (new, peer):
        one, other = socket.socketpair()
        number = one.fileno()
        calls = []
        loop.add_reader(one, calls.append, "old")
        await asyncio.sleep(0.001)
        one.close(), other.close()
        os.dup2(new.fileno(), number)
        with socket.socket(fileno=number) as sock:
            loop.add_reader(sock, lambda: (calls.append("new"), sock.recv(9)))
            peer.send(b"data")
            await until(lambda: calls, 2)
            loop.remove_reader(sock)
        return calls


@probe("loop.add_reader", "cancelled by another callback of the same turn")
async def removed_in_turn(loop):
    with socket_pair() as (one, other), socket_pair() as (two, another):
        calls = []

        def ready(name, mine, others):
            calls.append(name)
            loop.remove_reader(mine), loop.remove_reader(others)

        loop.add_reader(one, ready, 1, one, two)
        loop.add_reader(two, ready, 2, two, one)
        other.send(b"a"), another.send(b"a")
        await asyncio.sleep(0.01)
        return len(calls)


@probe("loop.add_writer", "is called while there is room")
async def add_writer(loop):
    with socket_pair() as (one, _):
        calls = []

        def ready():
            calls.append(1)
            if len(calls) == 3:
                loop.remove_writer(one)

        loop.add_writer(one, ready)
        await until(lambda: len(calls) == 3)
        await asyncio.sleep(0.002)
        return calls


@probe("loop.remove_writer", "the reader of the same socket stays")
async def remove_writer(loop):
    with socket_pair() as (one, other):
        calls = []
        loop.add_reader(one, lambda: calls.append(one.recv(9)))
        loop.add_writer(one, print)
        loop.remove_writer(one)
        other.send(b"data")
        await until(lambda: calls)
        loop.remove_reader(one)
        return calls


@probe("loop.add_reader", "is told of an end")
async def end(loop):
    with socket_pair() as (one, other):
        ready = loop.create_future()
        loop.add_reader(one, lambda: ready.done() or ready.set_result(one.recv(1)))
        other.close()
        seen = await ready
        loop.remove_reader(one)
        return seen


@probe("loop.add_reader", "a watched socket that is closed: the other side is told")
async def closed_while_watched(loop):
    with socket_pair() as (one, other):
        loop.add_reader(one, print)
        await asyncio.sleep(0.001)
        one.close()
        return raised(other.recv, 1)
