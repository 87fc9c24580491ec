"""Pipes with names: unix domain sockets in folders and, on Linux, in the abstract namespace."""

from __future__ import annotations

import os
import socket
import stat
import sys
from pathlib import Path

import pytest
from helpers import has_libuv, ignore, in_child, needs_fork, needs_libuv, serving

import uvbind
from uvbind import Pipe, UVError
from uvbind._uvbind import lib

linux = pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
ROOM = lib.UVB_PIPE_NAME_SIZE
# Names of no other process: its network may be ours, and its number of the process as well.
ABSTRACT = b"\0uvbind test " + os.urandom(8).hex().encode()


def echoed(loop, name):
    """What comes back through a server of that name, and what both ends say of their names."""
    names, received = {}, []

    def on_read(client, data, error):
        if data is None:
            client.close()
        else:
            client.write(data)

    def on_connection(server, error):
        client = server.accept()
        assert type(client) is Pipe
        names["accepted"] = client.getsockname(), client.getpeername()
        client.read_start(on_read)
        server.close()

    def on_connect(pipe, error):
        assert error is None
        names["connected"] = pipe.getsockname(), pipe.getpeername()
        pipe.write(b"by name")
        pipe.read_start(lambda pipe, data, error: (received.append(data), pipe.close()))

    server = serving(loop, name, on_connection)
    names["server"] = server.getsockname()
    Pipe(loop).connect(name, on_connect)
    loop.run()
    return received, names


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_echo_over_a_path(loop, path, kind):
    received, names = echoed(loop, kind(path))
    assert received == [b"by name"]
    assert names == {"server": path, "accepted": (path, ""), "connected": ("", path)}


def test_names_are_the_file_systems(loop, path):
    name = os.fsdecode(b"\xff\xc3\xa4")
    assert echoed(loop, name)[1]["server"] == name


@linux
@needs_libuv(1, 46)
@pytest.mark.parametrize(
    "name",
    [ABSTRACT, ABSTRACT.decode(), ABSTRACT.ljust(ROOM, b"x"), b"\0"],
    ids=["bytes", "str", "longest", "empty"],  # the same in every process of a run
)
def test_echo_over_an_abstract_name(loop, name):
    received, names = echoed(loop, name)
    assert received == [b"by name"]
    name = os.fsencode(name)
    assert names == {"server": name, "accepted": (name, ""), "connected": ("", name)}


@linux
@pytest.mark.skipif(has_libuv(1, 46), reason="this libuv has abstract names")
def test_abstract_names_need_a_newer_libuv(pipe):
    for name in (ABSTRACT, ""):
        with pytest.raises(NotImplementedError, match=r"abstract name needs libuv 1\.46"):
            pipe.bind(name)
        with pytest.raises(NotImplementedError, match=r"abstract name needs libuv 1\.46"):
            pipe.connect(name, ignore)
    for verb in (pipe.bind2, lambda name: pipe.connect2(name, ignore)):
        with pytest.raises(NotImplementedError, match=r"2\(\) needs libuv 1\.46"):
            verb("socket")


@linux
@pytest.mark.skipif(uvbind.features()["libuv_origin"] == "system", reason="which version is it?")
def test_linux_chooses_a_name(loop, pipe):
    pipe.bind("")
    name = pipe.getsockname()
    assert isinstance(name, bytes) and name.startswith(b"\0") and len(name) == 6
    pipe.close()
    loop.run()
    assert echoed(loop, name)[0] == [b"by name"]


def test_an_unbound_name_is_no_name(pipe):
    for verb in (pipe.getsockname, pipe.getpeername):
        with pytest.raises(UVError, match="fileno: bad file descriptor"):
            verb()


def test_a_server_has_no_peer(loop, pipe, path):
    pipe.bind(path)
    with pytest.raises(UVError, match="getpeername: socket is not connected"):
        pipe.getpeername()


def test_names_of_other_descriptors(loop, pipe):
    reader, writer = os.pipe()
    os.close(writer)
    pipe.open(reader)
    with pytest.raises(UVError, match="getsockname: socket operation on non-socket"):
        pipe.getsockname()
    tcp = Pipe(loop)
    tcp.open(socket.socket())
    for verb in (tcp.getsockname, tcp.getpeername):
        with pytest.raises(UVError, match="this is not a unix stream socket") as caught:
            verb()
        assert caught.value.name == "EAFNOSUPPORT"


# -- the path


def test_closing_removes_the_path(loop, pipe, path):
    pipe.bind(path)
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    pipe.close()
    assert not os.path.exists(path)


def test_a_path_that_is_there_already_is_in_use_and_stays(loop, pipe, path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    Path("file").write_text("mine")
    for name in (path, "file"):
        with pytest.raises(UVError, match=rf"bind to '{name}': address already in use"):
            pipe.bind(name)
    with pytest.raises(UVError, match="bind to 'no/socket': permission denied"):  # sic: no folder
        pipe.bind("no/socket")
    pipe.bind("another")  # what failed can be tried again
    pipe.close()
    assert Path("file").read_text() == "mine" and os.path.exists(path)


@needs_fork
@pytest.mark.parametrize("forked", ["a fork of the loop", "none"])
def test_a_child_leaves_the_parents_path(loop, pipe, path, forked):
    pipe.bind(path)

    def child():
        if forked == "none":
            loop.close()
        loop.fork()
        pipe.close()
        loop.run(uvbind.RunMode.NOWAIT)
        return os.path.exists(path)

    answer = in_child(child)
    assert answer.startswith("RuntimeError: the loop is" if forked == "none" else "True")
    assert os.path.exists(path)
    pipe.close()
    assert not os.path.exists(path)


def test_chmod_adds_rights_for_everybody(pipe, path):
    pipe.bind(path)
    os.chmod(path, 0o600)
    for rights, mode in (
        ({"readable": True}, 0o644),
        ({"readable": True, "writable": False}, 0o644),
        ({"writable": True}, 0o666),
        ({"readable": True, "writable": True}, 0o666),
    ):
        pipe.chmod(**rights)
        assert stat.S_IMODE(os.stat(path).st_mode) == mode


def test_chmod_of_what_has_no_path(loop, pipe):
    with pytest.raises(ValueError, match="chmod: expected readable=True, writable=True or both"):
        pipe.chmod()
    with pytest.raises(UVError, match="bad file descriptor"):
        pipe.chmod(readable=True)
    sock, peer = socket.socketpair()
    pipe.open(sock)
    with peer, pytest.raises(UVError, match="chmod: this pipe is not bound to a path"):
        pipe.chmod(readable=True)
    if sys.platform == "linux" and has_libuv(1, 46):
        abstract = Pipe(loop)
        abstract.bind(ABSTRACT)
        with pytest.raises(UVError, match="chmod: this pipe is not bound to a path"):
            abstract.chmod(writable=True)


def test_pending_instances_is_for_windows(pipe):
    pipe.pending_instances(4)
    for bad in (0, -1, 2**31):
        with pytest.raises(ValueError, match="count: expected an int from 1 to"):
            pipe.pending_instances(bad)


# -- bad names


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (None, TypeError, "name: expected a str, bytes or os.PathLike, not NoneType"),
        (7, TypeError, "name: expected a str, bytes or os.PathLike, not int"),
        (bytearray(b"socket"), TypeError, "name: expected a str, .* not bytearray"),
        ("a\0b", ValueError, "name: 'a.*b' has a NUL behind the first character"),
        (b"socket\0", ValueError, "has a NUL behind the first character"),
        ("x" * ROOM, UVError, f"name: {ROOM} bytes, of which {ROOM - 1} fit: 'xxx"),
        ("\xe4" * (ROOM // 2), UVError, f"name: {ROOM} bytes, of which {ROOM - 1} fit"),
        ("x" * 100_000, UVError, "name: 100000 bytes, of which"),
    ],
)
def test_bad_names_are_told(pipe, name, error, message):
    for verb in (pipe.bind, lambda name: pipe.connect(name, ignore)):
        with pytest.raises(error, match=message) as caught:
            verb(name)
        if error is UVError:
            assert caught.value.name == "ENAMETOOLONG"


@linux
@needs_libuv(1, 46)
def test_bad_abstract_names_are_told(pipe):
    for verb in (pipe.bind, lambda name: pipe.connect(name, ignore)):
        with pytest.raises(ValueError, match="has a NUL behind the first character"):
            verb("\0a\0b")
        with pytest.raises(UVError, match=f"name: {ROOM + 1} bytes, of which {ROOM} fit"):
            verb(b"\0" + b"x" * ROOM)


def test_connecting_asks_for_a_name_and_a_callback(pipe, path):
    with pytest.raises((ValueError, NotImplementedError), match=r"name: expected the name|needs"):
        pipe.connect("", ignore)
    with pytest.raises(TypeError, match="callback: expected a function, not NoneType"):
        pipe.connect(path, None)


def test_the_longest_path(loop):
    assert echoed(loop, "x" * (ROOM - 1))[0] == [b"by name"]


@needs_libuv(1, 46)
def test_a_path_is_cut_off_when_asked_for(loop, pipe):
    name = "x" * (ROOM + 10)
    for verb in (pipe.bind2, lambda name: pipe.connect2(name, ignore)):
        with pytest.raises(UVError, match="bytes, of which"):
            verb(name)
    pipe.bind2(name, no_truncate=False)
    assert pipe.getsockname() == name[:ROOM] and os.listdir() == [name[:ROOM]]
    pipe.listen(lambda server, error: server.accept().close())
    errors = []
    client = Pipe(loop)
    client.connect2(name, lambda client, error: errors.append(error), no_truncate=False)
    while not errors:
        loop.run(uvbind.RunMode.ONCE)
    assert errors == [None] and client.getpeername() == name[:ROOM]
    pipe.close()
    assert os.listdir() == []
