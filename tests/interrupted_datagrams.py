"""The scenarios of UDP, each interrupted after its `yield`."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

from helpers import LOCALHOST
from interrupted_lowlevel import about
from interrupted_world import World
from interrupting import Steps

from uvbind import UDP, Membership, RunMode, UVError


def bound(world: World, **options: Any) -> UDP:
    udp = UDP(world.loop, **options)
    udp.bind(LOCALHOST)
    return udp


@about(UDP.bind, UDP.connect, UDP.disconnect, UDP.getsockname, UDP.getpeername)
def udp_bound_and_connected(world: World) -> Steps:
    server, client = UDP(world.loop), UDP(world.loop)
    yield
    server.bind(LOCALHOST)
    client.connect(server.getsockname())
    client.getpeername()
    client.disconnect()


SENDS: dict[str, Callable[..., object]] = {
    "bytes": lambda udp, to, done: udp.send(b"data", to),
    "bytearray": lambda udp, to, done: udp.send(bytearray(b"data"), to),
    "callback": lambda udp, to, done: udp.send(b"data", to, done),
    "try_send": lambda udp, to, done: udp.try_send(b"data", to),
    "try_send_bytearray": lambda udp, to, done: udp.try_send(bytearray(b"data"), to),
    "batch": lambda udp, to, done: udp.try_send_batch([(b"data", to)] * 25),
    "batch_of_bytearrays": lambda udp, to, done: udp.try_send_batch([(bytearray(b"d"), to)] * 25),
}


def sent(name: str) -> Callable[[World], Steps]:
    def scenario(world: World) -> Steps:
        server, client = bound(world), UDP(world.loop)
        address, done = server.getsockname(), world.callback(request=True)
        yield
        SENDS[name](client, address, done)
        if "callback" in name:
            world.expect(done)
            world.until(done)
        assert client.send_queue_size == client.send_queue_count == 0

    scenario.__name__ = f"sent_{name}"
    return scenario


for _name in SENDS:
    verb = UDP.try_send if "try" in _name else UDP.send
    verb = UDP.try_send_batch if "batch" in _name else verb
    about(verb, UDP.send_queue_size, UDP.send_queue_count)(sent(_name))


def received(batches: bool, recvmmsg: bool, again: bool) -> Callable[[World], Steps]:
    def scenario(world: World) -> Steps:
        server, client = bound(world, recvmmsg=recvmmsg), UDP(world.loop)
        address = server.getsockname()
        start = server.recv_batch_start if batches else server.recv_start
        if again:
            start(lambda udp, *about: udp.is_active())
            client.send(b"data", address)
            world.loop.run(RunMode.NOWAIT)
            server.recv_stop()
        done = world.callback(handle=server, at_most=100)
        client.send(b"data", address)
        world.later.append(lambda: client.is_closing() or client.send(b"data", address))
        yield
        start(done)
        world.expect(done)
        world.until(done)
        server.recv_stop()
        server.using_recvmmsg()

    name = "received" + ("_in_batches" if batches else "") + ("_recvmmsg" if recvmmsg else "")
    scenario.__name__ = name + ("_again" if again else "")
    return scenario


for _batches in (False, True):
    verb = UDP.recv_batch_start if _batches else UDP.recv_start
    about(verb, UDP.recv_stop, UDP.using_recvmmsg)(received(_batches, False, False))
    about(verb, UDP.recv_stop, UDP.using_recvmmsg)(received(_batches, True, True))


@about(
    UDP.set_membership,
    UDP.set_source_membership,
    UDP.set_multicast_loop,
    UDP.set_multicast_ttl,
    UDP.set_multicast_interface,
    UDP.set_broadcast,
    UDP.set_ttl,
)
def udp_options_set(world: World) -> Steps:
    udp = bound(world, family=socket.AF_INET)
    yield
    udp.set_multicast_loop(True)
    udp.set_multicast_ttl(1)
    udp.set_ttl(1)
    udp.set_broadcast(True)
    udp.set_multicast_interface("127.0.0.1")
    with contextlib.suppress(UVError):  # as the system has multicast, or not
        udp.set_membership("239.1.2.3", "127.0.0.1", Membership.JOIN_GROUP)
    with contextlib.suppress(UVError):
        udp.set_source_membership("239.1.2.3", "127.0.0.1", "127.0.0.2")
