"""Hostile peers of a TCP server, while its other connections get their answers.

Servers on libuv's handles and on asyncio's streams; those on asyncio's own loop as well, which says
how connections have to end.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from besieged import AT_ONCE, HIGH_WATER, LowLevelServer, Plain, Server, StreamsServer
from endings import reset

import uvbind

BIG = bytes(range(251)) * 400
SERVERS: dict[str, Callable[[], Server]] = {
    "libuv": LowLevelServer,
    "streams on asyncio": lambda: StreamsServer(asyncio.SelectorEventLoop),
    "streams on uvbind": lambda: StreamsServer(uvbind.new_event_loop),
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    server = SERVERS[request.param]()
    try:
        server.add_bystanders()
        yield server
        assert server.told == []
    finally:
        server.close()
    assert len(server.ends) == server.made


# -- peers: each ends its connection itself


def is_silent(server: Server, peer: Plain) -> None:
    peer.sock.close()


def resets_at_once(server: Server, peer: Plain) -> None:
    reset(peer.sock)


def resets_after_silence(server: Server, peer: Plain) -> None:
    server.until_answered()
    reset(peer.sock)


def resets_with_data_on_the_way(server: Server, peer: Plain) -> None:
    peer.send(b"data")
    reset(peer.sock)


def resets_after_an_answer(server: Server, peer: Plain) -> None:
    peer.send(b"data")
    assert server.until_read(peer, 4) == b"data"
    peer.send(BIG)
    server.until_readable(peer)
    reset(peer.sock)


def leaves_with_an_answer_unread(server: Server, peer: Plain) -> None:
    peer.send(b"data")
    server.until_readable(peer)
    peer.sock.close()  # which is a reset


def half_closes_at_once(server: Server, peer: Plain) -> None:
    peer.sock.shutdown(socket.SHUT_WR)
    assert server.until_read(peer, 1) == b""
    peer.sock.close()


def half_closes_and_reads_all(server: Server, peer: Plain) -> None:
    assert peer.send(BIG) == len(BIG)
    peer.sock.shutdown(socket.SHUT_WR)
    assert server.until_read(peer, len(BIG) + 1) == BIG
    peer.sock.close()


def reads_no_more(server: Server, peer: Plain) -> None:
    """Shut down the side that reads: the kernel drops what comes, and the server does not know."""
    peer.sock.shutdown(socket.SHUT_RD)
    peer.send(BIG)
    server.until_answered()
    peer.sock.close()


def drips(server: Server, peer: Plain) -> None:
    for number in range(200):
        byte = bytes([number])
        peer.send(byte)
        assert server.until_read(peer, 1) == byte
    peer.sock.close()


def drips_and_reads_late(server: Server, peer: Plain) -> None:
    for number in range(200):
        peer.send(bytes([number]))
        server.turn()
    assert server.until_read(peer, 200) == bytes(range(200))
    peer.sock.close()


def is_urgent(server: Server, peer: Plain) -> None:
    """An urgent byte is not one of the stream."""
    for _ in range(3):
        peer.send(b"before it,")
        peer.sock.send(b"!", socket.MSG_OOB)
        peer.send(b"after it")
        assert server.until_read(peer, 18) == b"before it,after it"
    peer.sock.close()


def is_urgent_only(server: Server, peer: Plain) -> None:
    peer.sock.send(b"!", socket.MSG_OOB)
    server.until_answered()
    peer.sock.close()


class Peer(NamedTuple):
    act: Callable[[Server, Plain], None]
    ends: tuple[type[BaseException] | None, ...]  # what the server may be told


PEERS = [
    Peer(is_silent, (None,)),
    Peer(resets_at_once, (ConnectionResetError,)),
    Peer(resets_after_silence, (ConnectionResetError,)),
    Peer(resets_with_data_on_the_way, (ConnectionResetError, BrokenPipeError)),
    Peer(resets_after_an_answer, (ConnectionResetError, BrokenPipeError)),
    Peer(leaves_with_an_answer_unread, (ConnectionResetError,)),
    Peer(half_closes_at_once, (None,)),
    Peer(half_closes_and_reads_all, (None,)),
    Peer(reads_no_more, (None, ConnectionResetError, BrokenPipeError)),
    Peer(drips, (None,)),
    Peer(drips_and_reads_late, (None,)),
    Peer(is_urgent, (None,)),
    Peer(is_urgent_only, (None,)),
]


def kind(end: BaseException | None) -> type[BaseException] | None:
    for known in (ConnectionResetError, BrokenPipeError):
        if isinstance(end, known):  # UVError's subclasses are of these kinds, too
            return known
    return None if end is None else type(end)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.act.__name__)
def test_a_peer(server, peer):
    before, made, ended = server.handles(), server.made, len(server.ends)
    peer.act(server, Plain(server.address))
    server.until(lambda: len(server.ends) > ended and server.handles() == before)
    server.until_answered()
    assert server.made == made + 1 and len(server.ends) == ended + 1
    assert kind(server.ends[-1]) in peer.ends


def test_many_peers_at_once(server):
    """They all act at once, in an order that a seed decides."""
    chance = random.Random(9)
    before, ended = server.handles(), len(server.ends)
    acts = [is_silent, resets_at_once, resets_with_data_on_the_way]
    connected: list[tuple[Callable[[Server, Plain], None], Plain]] = []
    for _ in range(200):
        connected.append((chance.choice(acts), Plain(server.address)))
        if chance.random() < 0.5:
            act, peer = connected.pop(chance.randrange(len(connected)))
            act(server, peer)
        if chance.random() < 0.1:
            server.turn()
    server.until_answered()
    for act, peer in connected:
        act(server, peer)
    server.until(lambda: len(server.ends) == ended + 200 and server.handles() == before)
    server.until_answered()
    assert {kind(end) for end in server.ends} <= {None, ConnectionResetError, BrokenPipeError}


# -- peers that do not read


def fill(server: Server) -> Plain:
    """Send until neither the peer's kernel nor the server takes more; return the peer."""
    before = server.paused
    peer = server.client(receive_buffer=4096)
    refused = 0
    while refused < 3:  # turns that have made no room
        refused = 0 if peer.send(BIG) or server.paused == before else refused + 1
        server.until_answered()
    return peer


def test_a_peer_that_does_not_read_is_not_read_from(server):
    peer = fill(server)
    assert server.paused >= 1 and server.ends == []
    assert HIGH_WATER < server.queued <= HIGH_WATER + AT_ONCE
    peer.sock.close()  # which is a reset
    server.until(lambda: server.ends)
    server.until_answered()
    assert [kind(end) for end in server.ends] in ([ConnectionResetError], [BrokenPipeError])


def test_a_peer_that_reads_at_last_gets_all(server):
    peer = server.client(receive_buffer=4096)
    sent = 0
    while not server.paused:
        sent += peer.send(BIG[sent % 251 :])
        server.until_answered()
    peer.sock.shutdown(socket.SHUT_WR)
    received = server.until_read(peer, sent + 1)
    assert received == (bytes(range(251)) * (sent // 251 + 1))[:sent]
    peer.sock.close()
    server.until(lambda: server.ends)
    assert server.ends == [None]


def test_a_connection_whose_peer_does_not_read_can_be_aborted(server):
    before = server.handles()
    peer = fill(server)
    server.abort()
    server.until(lambda: server.ends and server.handles() == before)
    server.until_answered()
    assert server.ends == [None]
    peer.sock.close()


# -- that these tests can fail


def first_byte_wrong(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


@pytest.mark.parametrize("kind_of_server", ["libuv", "streams on uvbind"])
@pytest.mark.parametrize("echo", [first_byte_wrong, lambda data: data + b"!"])
def test_a_tampered_echo_is_found_out(kind_of_server, echo):
    server = SERVERS[kind_of_server]()
    try:
        server.add_bystanders()
        server.echo = echo
        with pytest.raises(AssertionError, match="a bystander got"):
            while True:
                server.until_answered()
        server.bystanders, bystanders = [], server.bystanders
        peer = Plain(server.address)
        with pytest.raises(AssertionError):
            half_closes_and_reads_all(server, peer)
        for client in (peer, *(bystander.client for bystander in bystanders)):
            client.sock.close()
    finally:
        server.close()


def test_a_server_that_does_not_stop_reading_is_found_out(monkeypatch):
    monkeypatch.setattr("besieged.HIGH_WATER", 10 * AT_ONCE)
    server = SERVERS["streams on uvbind"]()
    try:
        server.add_bystanders()
        fill(server).sock.close()
        assert server.queued > HIGH_WATER + AT_ONCE
    finally:
        server.close()
