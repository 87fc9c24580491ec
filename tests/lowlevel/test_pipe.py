"""Pipes: taking descriptors over, and passing handles between processes."""

from __future__ import annotations

import array
import os
import resource
import socket
import subprocess
import sys

import pytest
from helpers import serving

import uvbind


@pytest.fixture
def ipc(loop):
    """Two IPC pipes that are connected to each other."""
    pair = []
    for sock in socket.socketpair():
        pair.append(uvbind.Pipe(loop, ipc=True))
        pair[-1].open(sock)
        assert sock.fileno() == -1
    yield pair
    for pipe in pair:
        pipe.close()
    loop.run()


def test_a_pipe_carries_bytes(loop):
    reader, writer = (uvbind.Pipe(loop), uvbind.Pipe(loop))
    read_end, write_end = os.pipe()
    reader.open(read_end)
    writer.open(write_end)
    assert (reader.is_readable(), reader.is_writable()) == (True, False)
    assert (writer.is_readable(), writer.is_writable()) == (False, True)
    received = []
    reader.read_start(lambda pipe, data, error: received.append(data) if data else pipe.close())
    writer.write(b"through a pipe")
    writer.close()
    loop.run()
    assert received == [b"through a pipe"]


@pytest.mark.parametrize("verb", ["write2", "write2 with callback", "try_write2"])
def test_a_connection_is_passed_and_goes_on_elsewhere(loop, peers, ipc, verb):
    sender, receiver = ipc
    done, received = [], []

    def on_read(pipe, data, error):
        assert data == b"here" and pipe.pending_count() == 1
        assert pipe.pending_type() is uvbind.TCP
        connection = pipe.accept()
        assert type(connection) is uvbind.TCP and pipe.pending_count() == 0
        connection.write(b"from its new owner")
        connection.close()
        pipe.read_stop()

    receiver.read_start(on_read)
    if verb == "try_write2":
        assert sender.try_write2(b"here", peers.server) == 4
    elif verb == "write2":
        sender.write2(b"here", peers.server)
    else:
        sender.write2(b"here", peers.server, lambda pipe, error: done.append(error))
    peers.client.read_start(lambda tcp, data, error: (received.append(data), tcp.read_stop()))
    loop.run()
    assert received == [b"from its new owner"]
    assert done == ([None] if "callback" in verb else [])


def test_a_listening_socket_is_passed_to_a_child_process(loop):
    child_source = """
import socket, sys, uvbind
loop = uvbind.Loop()
pipe = uvbind.Pipe(loop, ipc=True)
pipe.open(socket.socket(fileno=int(sys.argv[1])))
def on_connection(server, error):
    server.accept().close()
    server.close()
def on_read(pipe, data, error):
    server = pipe.accept()
    server.listen(on_connection)
    pipe.write(b"listening")
    pipe.close()
pipe.read_start(on_read)
loop.run()
loop.close()
"""
    ours, theirs = socket.socketpair()
    child = subprocess.Popen(
        [sys.executable, "-c", child_source, str(theirs.fileno())], pass_fds=[theirs.fileno()]
    )
    theirs.close()
    pipe, server = uvbind.Pipe(loop, ipc=True), uvbind.TCP(loop)
    pipe.open(ours)
    server.bind(("127.0.0.1", 0))
    address = server.getsockname()
    answers = []
    pipe.read_start(lambda pipe, data, error: (answers.append(data), pipe.close()))
    pipe.write2(b"x", server, lambda pipe, error: server.close())
    loop.run()
    assert answers == [b"listening"]
    with socket.create_connection(address) as connection:
        assert connection.recv(1) == b""
    assert child.wait(120) == 0


def test_all_that_was_passed_before_the_peer_closed_arrives(loop, ipc):
    sender, receiver = ipc
    arrived = []
    for number in range(5):
        udp = uvbind.UDP(loop)
        udp.bind(("127.0.0.1", 0))
        sender.try_write2(b"%d" % number, udp)
        udp.close()
    sender.write(b"and data")
    sender.close()

    def on_read(pipe, data, error):
        if data is None:
            assert error.name == "EOF"
        else:
            arrived.append((data, pipe.pending_count()))
            if pipe.pending_count():
                pipe.accept().close()

    receiver.read_start(on_read)
    loop.run()
    assert arrived == [*((b"%d" % number, 1) for number in range(5)), (b"and data", 0)]


RECEIVER = """
import os, sys, uvbind
loop = uvbind.Loop()
pipe = uvbind.Pipe(loop, ipc=True)
handles = []
def on_connect(pipe, error):
    assert error is None, error
    assert pipe.getpeername() == name
    pipe.read_start(on_read)
def on_read(pipe, data, error):
    assert error is None, error
    while pipe.pending_count():
        kind = pipe.pending_type()
        handles.append(pipe.accept())
        assert type(handles[-1]) is kind
    if len(handles) == 3:
        tcp, udp, end = handles
        print(tcp.getpeername(), udp.getsockname())
        end.write(b"from the other process")
        tcp.write(b"as well")
        for handle in (*handles, pipe):
            handle.close()
name = eval(sys.argv[1])
pipe.connect(name, on_connect)
loop.run()
loop.close()
"""


@pytest.mark.parametrize("abstract", [False, True])
def test_handles_are_passed_to_who_connects_by_name(loop, peers, abstract):
    if abstract and sys.platform != "linux":
        pytest.skip("abstract names are Linux's")
    if abstract and uvbind.features()["libuv_compiled"] < "1.46":
        pytest.skip("abstract names need libuv 1.46")
    name = b"\0uvbind test " + os.urandom(8).hex().encode() if abstract else "socket"
    udp = uvbind.UDP(loop)
    udp.bind(("127.0.0.1", 0))
    ours, theirs = uvbind.Pipe(loop), uvbind.Pipe(loop)
    for pipe, fd in zip((ours, theirs), uvbind.pipe()):
        pipe.open(fd)
    expected = f"{peers.server.getpeername()} {udp.getsockname()}\n"
    received = {"pipe": b"", "tcp": b""}

    def on_connection(server, error):
        client = server.accept(uvbind.Pipe(loop, ipc=True))
        for handle in (peers.server, udp, theirs):
            client.write2(b"x", handle, lambda client, error, handle=handle: handle.close())
        client.shutdown(lambda client, error: client.close())
        server.close()

    def collect(key):
        def on_read(stream, data, error):
            if data is None:
                stream.close()
            else:
                received[key] += data

        return on_read

    ours.read_start(collect("pipe"))
    peers.client.read_start(collect("tcp"))
    server = serving(loop, name, on_connection)
    child = subprocess.Popen([sys.executable, "-c", RECEIVER, repr(name)], stdout=-1, text=True)
    loop.run()
    assert child.communicate(timeout=120)[0] == expected and child.returncode == 0
    assert received == {"pipe": b"from the other process", "tcp": b"as well"}
    assert server.is_closing() and os.listdir() == []


def test_what_cannot_be_passed_is_named(loop, peers, ipc):
    sender, _ = ipc
    other = uvbind.Loop()
    elsewhere, unbound, timer = uvbind.TCP(other), uvbind.TCP(loop), uvbind.Timer(loop)
    for verb in (sender.write2, sender.try_write2):
        with pytest.raises(TypeError, match=r"send_handle: expected a uvbind\.TCP, UDP or Pipe"):
            verb(b"x", 1)
        with pytest.raises(ValueError, match="send_handle: the handle is of another loop"):
            verb(b"x", elsewhere)
        with pytest.raises(uvbind.UVError, match="fileno: bad file descriptor"):
            verb(b"x", unbound)
        with pytest.raises(TypeError, match=r"send_handle: expected .*, not Timer"):
            verb(b"x", timer)
        with pytest.raises(ValueError, match="data: a handle travels with"):
            verb(b"", peers.server)
    with pytest.raises(uvbind.UVError, match="invalid argument"):
        peers.client.write2(b"x", peers.server)
    with pytest.raises(uvbind.UVError, match="no handle has arrived"):
        sender.accept()
    for handle in (elsewhere, unbound, timer):
        handle.close()
    other.run()
    other.close()


def test_a_passed_handle_nobody_accepts_is_closed_with_the_pipe(loop, peers, ipc):
    sender, receiver = ipc
    reads = []
    receiver.read_start(lambda pipe, data, error: reads.append(pipe.pending_count()))
    sender.write2(b"x", peers.server)
    while not reads:
        loop.run(uvbind.RunMode.ONCE)
    assert reads == [1]


def test_what_is_no_handle_is_not_accepted(loop, tmp_path):
    ours, peer = socket.socketpair()
    pipe, spare = uvbind.Pipe(loop, ipc=True), uvbind.Pipe(loop)
    pipe.open(ours)
    seen = []

    def on_read(pipe, data, error):
        seen.append(data)
        assert (pipe.pending_count(), pipe.pending_type()) == (1, None)
        for client in (None, spare):  # libuv would abort when the spare pipe reads
            with pytest.raises(uvbind.UVError, match="what has arrived is no TCP, UDP or Pipe"):
                pipe.accept(client)
        pipe.close()

    pipe.read_start(on_read)
    with peer, open(tmp_path / "file", "w") as file:
        rights = array.array("i", [file.fileno()])
        peer.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        loop.run(uvbind.RunMode.ONCE)
    spare.close()
    loop.run()
    assert seen == [b"x"]


def test_a_handle_is_accepted_as_what_it_is(loop, peers, ipc):
    sender, receiver = ipc
    seen = []
    spares = uvbind.Pipe(loop), uvbind.TCP(loop)

    def on_read(pipe, data, error):
        with pytest.raises(TypeError, match=r"client: expected a uvbind\.TCP, not Pipe"):
            pipe.accept(spares[0])
        assert pipe.accept(spares[1]) is spares[1]
        seen.append(spares[1].getpeername())
        pipe.read_stop()

    with pytest.raises(uvbind.UVError, match="no handle has arrived"):
        receiver.accept(spares[0])
    receiver.read_start(on_read)
    sender.write2(b"x", peers.server)
    loop.run()
    assert seen == [peers.client.getsockname()]
    for spare in spares:
        spare.close()


def test_open_takes_sockets_and_pipes_only(loop, tmp_path):
    pipe = uvbind.Pipe(loop)
    with open(tmp_path / "file", "w") as file, open(os.devnull) as null:
        for bad in (file, null):
            with pytest.raises(TypeError, match=r"hand over os\.dup"):
                pipe.open(bad)
            with pytest.raises(uvbind.UVError, match="is neither a socket nor a pipe"):
                pipe.open(bad.fileno())
    with pytest.raises(uvbind.UVError, match="bad file descriptor"):
        pipe.open(10**6)
    pipe.close()
    loop.run()


@pytest.mark.parametrize("nonblock", [(False, False), (True, False), (False, True), (True, True)])
def test_a_pipe_without_a_name(nonblock):
    reader, writer = uvbind.pipe(nonblock_read=nonblock[0], nonblock_write=nonblock[1])
    try:
        assert (not os.get_blocking(reader), not os.get_blocking(writer)) == nonblock
        assert not os.get_inheritable(reader) and not os.get_inheritable(writer)
        os.write(writer, b"through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
        os.close(writer)


def test_a_pipe_without_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(uvbind.UVError, match="pipe: too many open files"):
            uvbind.pipe()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
