"""Hostile peers of a TLS server of asyncio's, while its other connections get their answers.

On asyncio's own loop as well, which says how connections have to end. A connection without a
handshake is none to the protocol: it is told nothing, and the exception handler is told nothing.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from besieged import AT_ONCE, HIGH_WATER, Plain, Secure, StreamsServer
from endings import reset

import uvbind

BIG = bytes(range(251)) * 400
LOOPS = {"asyncio": asyncio.SelectorEventLoop, "uvbind": uvbind.new_event_loop}
UNKNOWN_NAME = "nonsense.invalid"


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    trustme = pytest.importorskip("trustme", reason="no trustme to make certificates with")
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    server.set_alpn_protocols(["echo"])

    def refuse_unknown(connection: object, name: str | None, context: object) -> int | None:
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME if name == UNKNOWN_NAME else None

    server.sni_callback = refuse_unknown
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    return server, client


@pytest.fixture(params=LOOPS)
def server(request: pytest.FixtureRequest, contexts) -> Iterator[StreamsServer]:
    server = StreamsServer(LOOPS[request.param], contexts)
    try:
        server.add_bystanders()
        yield server
        assert server.told == []
    finally:
        server.close()
    assert len(server.ends) == server.made


def client_context(**options: object) -> ssl.SSLContext:
    """A client that trusts whoever answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, value in options.items():
        setattr(context, name, value)
    return context


def client_hello() -> bytes:
    out = ssl.MemoryBIO()
    secure = client_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        secure.do_handshake()
    return out.read()


# -- peers that do not get as far as a connection: each returns when the server has ended it


def until_ended(server: StreamsServer, peer: Plain) -> None:
    """Read what the server says until it closes or resets the connection, and close it, too."""

    def ended() -> bool:
        try:
            while data := peer.receive():
                pass
        except ConnectionResetError:
            return True
        return data is not None

    server.until(ended)
    peer.sock.close()


def is_silent(server: StreamsServer, peer: Plain) -> None:
    peer.sock.close()


def resets(server: StreamsServer, peer: Plain) -> None:
    reset(peer.sock)


def sends_garbage(server: StreamsServer, peer: Plain) -> None:
    chance = random.Random(9)
    peer.send(bytes([0x80]) + chance.randbytes(999))
    until_ended(server, peer)


def sends_http(server: StreamsServer, peer: Plain) -> None:
    peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    until_ended(server, peer)


def sends_garbage_in_records(server: StreamsServer, peer: Plain) -> None:
    peer.send(b"\x16\x03\x01\x01\x00" + random.Random(9).randbytes(256))
    until_ended(server, peer)


def sends_a_record_too_long(server: StreamsServer, peer: Plain) -> None:
    peer.send(b"\x16\x03\x01\xff\xff" + bytes(2000))
    until_ended(server, peer)


def sends_garbage_after_its_hello(server: StreamsServer, peer: Plain) -> None:
    peer.send(client_hello())
    server.until_readable(peer)
    peer.send(random.Random(9).randbytes(1000))
    until_ended(server, peer)


def damages_its_hello(server: StreamsServer, peer: Plain) -> None:
    """Lengths inside of the message that reach beyond its end."""
    hello = bytearray(client_hello())
    hello[43] = 0xFF  # the length of the session id
    peer.send(bytes(hello))
    until_ended(server, peer)


def half_closes_in_its_hello(server: StreamsServer, peer: Plain) -> None:
    peer.send(client_hello()[:100])
    peer.sock.shutdown(socket.SHUT_WR)
    until_ended(server, peer)


def leaves_in_its_hello(server: StreamsServer, peer: Plain) -> None:
    peer.send(client_hello()[:100])
    server.until_answered()
    peer.sock.close()


def resets_in_the_handshake(server: StreamsServer, peer: Plain) -> None:
    peer.send(client_hello())
    server.until_readable(peer)
    reset(peer.sock)


def asks_for_an_unknown_name(server: StreamsServer, peer: Plain) -> None:
    peer.sock.close()
    peer = Secure(server.address, client_context(), name=UNKNOWN_NAME)
    with pytest.raises(OSError):  # asyncio closes the connection without the alert
        server.until(peer.hello)
    peer.sock.close()


def speaks_an_old_version(server: StreamsServer, peer: Plain) -> None:
    """TLS 1.1's hello, by hand: clients of today cannot say it any more."""
    body = b"\x03\x02" + bytes(32) + b"\0" + b"\0\x02\0\x2f" + b"\x01\0"
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    peer.send(b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message)
    until_ended(server, peer)


STRANGERS = [
    is_silent,
    resets,
    sends_garbage,
    sends_http,
    sends_garbage_in_records,
    sends_a_record_too_long,
    sends_garbage_after_its_hello,
    damages_its_hello,
    half_closes_in_its_hello,
    leaves_in_its_hello,
    resets_in_the_handshake,
    asks_for_an_unknown_name,
    speaks_an_old_version,
]


def open_streams(server: StreamsServer) -> int:
    """How many connections the server has, those in a handshake included."""
    return server.handles() or len(server.loop._selector.get_map())


@pytest.mark.parametrize("act", STRANGERS, ids=lambda act: act.__name__)
def test_a_peer_without_a_handshake(server, act):
    before, made = open_streams(server), server.made
    peer = Plain(server.address)
    server.until(lambda: open_streams(server) > before)
    act(server, peer)
    server.until(lambda: open_streams(server) == before)
    server.until_answered()
    assert server.made == made and server.ends == []


@pytest.mark.parametrize("size", [0, 100, None], ids=["nothing", "a beginning", "a hello"])
def test_a_handshake_that_is_never_finished_ends_in_time(server, size):
    address = server.listen(ssl_handshake_timeout=0.05)
    before, made = open_streams(server), server.made
    peer = Plain(address)
    peer.send(client_hello()[:size])
    until_ended(server, peer)
    server.until(lambda: open_streams(server) == before)
    server.until_answered()
    assert server.made == made and server.ends == []


def test_many_peers_without_a_handshake_at_once(server):
    chance = random.Random(9)
    before, made = open_streams(server), server.made
    peers = [Plain(server.address) for _ in range(60)]
    for peer in peers:
        peer.send(chance.choice([b"", client_hello(), client_hello()[:100], BIG]))
    server.until_answered()
    for peer in peers:
        chance.choice([socket.socket.close, reset])(peer.sock)
    server.until(lambda: open_streams(server) == before)
    server.until_answered()
    assert server.made == made and server.ends == []


# -- peers with a handshake


def says_goodbye(server: StreamsServer, peer: Secure) -> None:
    peer.say_goodbye()
    peer.sock.close()


def closes_without_goodbye(server: StreamsServer, peer: Secure) -> None:
    peer.sock.close()


def half_closes_without_goodbye(server: StreamsServer, peer: Secure) -> None:
    peer.sock.shutdown(socket.SHUT_WR)
    until_ended(server, peer.below())


def resets_connection(server: StreamsServer, peer: Secure) -> None:
    reset(peer.sock)


def resets_after_an_answer(server: StreamsServer, peer: Secure) -> None:
    peer.send(b"data")
    assert server.until_read(peer, 4) == b"data"
    reset(peer.sock)


def says_goodbye_with_data_on_the_way(server: StreamsServer, peer: Secure) -> None:
    peer.send(b"data")
    peer.say_goodbye()
    until_ended(server, peer.below())


def drips(server: StreamsServer, peer: Secure) -> None:
    for number in range(100):
        byte = bytes([number])
        peer.send(byte)
        assert server.until_read(peer, 1) == byte
    says_goodbye(server, peer)


def drips_records(server: StreamsServer, peer: Secure) -> None:
    """Each byte of a record comes by itself."""
    peer.secure.write(b"byte by byte")
    for byte in peer.records():
        peer.sock.send(bytes([byte]))
        server.turn()
    assert server.until_read(peer, 12) == b"byte by byte"
    says_goodbye(server, peer)


def sends_plain_text(server: StreamsServer, peer: Secure) -> None:
    peer.send(b"data")
    assert server.until_read(peer, 4) == b"data"
    peer.sock.send(b"and now without encryption" * 10)
    until_ended(server, peer.below())


def damages_a_record(server: StreamsServer, peer: Secure) -> None:
    peer.secure.write(b"data")
    record = bytearray(peer.records())
    record[-1] ^= 1
    peer.sock.send(bytes(record))
    until_ended(server, peer.below())


class Peer(NamedTuple):
    act: Callable[[StreamsServer, Secure], None]
    ends: tuple[type[BaseException] | None, ...]  # what the protocol may be told


LOST = (None, ConnectionResetError, BrokenPipeError)
PEERS = [
    Peer(says_goodbye, LOST),
    Peer(closes_without_goodbye, LOST),
    Peer(half_closes_without_goodbye, (None,)),
    Peer(resets_connection, (ConnectionResetError,)),
    Peer(resets_after_an_answer, (ConnectionResetError,)),
    Peer(says_goodbye_with_data_on_the_way, (None,)),
    Peer(drips, LOST),
    Peer(drips_records, LOST),
    Peer(sends_plain_text, (ssl.SSLError,)),
    Peer(damages_a_record, (ssl.SSLError,)),
]


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.act.__name__)
def test_a_peer(server, peer):
    before, made = open_streams(server), server.made
    peer.act(server, server.client())
    server.until(lambda: server.ends and open_streams(server) == before)
    server.until_answered()
    assert server.made == made + 1 and len(server.ends) == 1
    assert (None if server.ends[0] is None else type(server.ends[0])) in peer.ends


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_with_other_protocols_gets_none_of_them(server, version):
    context = client_context(maximum_version=version)
    context.set_alpn_protocols(["nonsense", "x" * 255])
    peer = Secure(server.address, context)
    server.until(peer.hello)
    peer.send(b"data")
    assert server.until_read(peer, 4) == b"data"
    assert peer.secure.selected_alpn_protocol() is None
    peer.sock.close()
    server.until(lambda: server.ends)
    server.until_answered()


def fill(server: StreamsServer) -> Secure:
    """Send until the server does not read any more."""
    peer = server.client(receive_buffer=4096)
    quiet = 0
    while quiet < 3:
        before = server.queued, server.paused
        with_room = peer.room()
        if with_room:
            peer.send(BIG[:16_000])
        server.until_answered()
        quiet = 0 if with_room or before != (server.queued, server.paused) else quiet + 1
    return peer


def test_a_peer_that_does_not_read_is_not_read_from(server):
    before = open_streams(server)
    peer = fill(server)
    assert server.paused >= 1 and server.ends == []
    assert HIGH_WATER < server.queued <= HIGH_WATER + AT_ONCE
    reset(peer.sock)
    server.until(lambda: server.ends and open_streams(server) == before)
    server.until_answered()
    assert len(server.ends) == 1 and isinstance(server.ends[0], ConnectionError)


def test_a_connection_whose_peer_does_not_read_can_be_aborted(server):
    before = open_streams(server)
    peer = fill(server)
    server.abort()
    server.until(lambda: server.ends and open_streams(server) == before)
    server.until_answered()
    assert server.ends == [None]
    peer.sock.close()


def test_a_peer_that_does_not_say_goodbye_is_left_in_time(server):
    """The server closes; the peer takes no notice, so ssl_shutdown_timeout ends the connection."""
    address = server.listen(ssl_shutdown_timeout=0.05)
    before = open_streams(server)
    peer = Secure(address, server.contexts[1])
    server.until(peer.hello)
    peer.send(b"data")
    assert server.until_read(peer, 4) == b"data"
    server.transports[-1].close()
    server.until(lambda: server.ends and open_streams(server) == before)
    server.until_answered()
    assert [type(end) for end in server.ends] == [TimeoutError]
    peer.sock.close()
