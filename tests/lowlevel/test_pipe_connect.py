"""Pipes that connect: what goes wrong, and verbs in the wrong order."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import sys
from pathlib import Path

import pytest
from helpers import ignore, in_child, needs_fork, needs_libuv, serving

import uvbind
from uvbind import Pipe, UVError

linux = pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
ABSTRACT = b"\0uvbind test " + os.urandom(8).hex().encode()


def outcome(loop, name):
    """The error that connecting to a name ends in."""
    errors = []
    pipe = Pipe(loop)
    pipe.connect(name, lambda pipe, error: (errors.append(error), pipe.close()))
    with pytest.raises(UVError, match="not connected"):
        pipe.write(b"too early")
    loop.run()
    (error,) = errors
    return error


def test_connecting_to_what_is_not_there_fails_in_the_callback(loop, path):
    error = outcome(loop, path)
    assert isinstance(error, FileNotFoundError)
    assert str(error) == "[Errno 2] connect: no such file or directory"


def test_connecting_to_what_does_not_listen(loop, path):
    Path("file").touch()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path)
        for name in ("file", path, "."):
            assert isinstance(outcome(loop, name), ConnectionRefusedError)


@linux
@needs_libuv(1, 46)
def test_connecting_to_an_abstract_name_nobody_has(loop):
    assert isinstance(outcome(loop, ABSTRACT), ConnectionRefusedError)


@linux
def test_a_full_queue_is_an_error_at_once(loop, path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(0)
        with contextlib.ExitStack() as waiting:
            for _ in range(10):
                client = waiting.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                if client.connect_ex(path) != 0:
                    break
            assert outcome(loop, path).name == "EAGAIN"


@needs_fork
def test_a_path_without_permission(path, tmp_path):
    def child():
        if os.geteuid() == 0:
            os.setuid(65534)
        with uvbind.Loop() as loop:
            errors = []
            Pipe(loop).connect(path, lambda pipe, error: (errors.append(error), pipe.close()))
            loop.run()
        return isinstance(errors[0], PermissionError)

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        os.chmod(path, 0)
        assert in_child(child) == "True"


def test_closing_while_connecting_calls_back_with_ecanceled(loop, path):
    server, said = serving(loop, path), []
    for name in (path, "nothing"):
        pipe = Pipe(loop)
        pipe.connect(name, lambda pipe, error: said.append(error.name))
        pipe.close(lambda pipe: said.append("closed"))
    server.close()
    loop.run()
    assert sorted(said) == ["ECANCELED", "ECANCELED", "closed", "closed"]


def test_out_of_descriptors_the_connection_fails_and_can_be_tried_again(loop, pipe, path):
    server = serving(loop, path)
    errors = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        pipe.connect(path, lambda pipe, error: errors.append(error))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    while not errors:
        loop.run(uvbind.RunMode.ONCE)
    assert errors[0].name == "EMFILE"
    pipe.connect(path, lambda pipe, error: errors.append(error))
    while len(errors) < 2:
        loop.run(uvbind.RunMode.ONCE)
    assert errors[1] is None and pipe.getpeername() == path
    server.close()


# -- verbs in the wrong order, where libuv says nothing or the wrong thing


def test_a_pipe_is_bound_once(pipe, path):
    pipe.bind(path)
    with pytest.raises(UVError, match="bind to 'other': invalid argument"):
        pipe.bind("other")
    assert os.listdir() == [path]


def test_a_bound_pipe_does_not_connect(loop, pipe, path):
    server = serving(loop, path)
    pipe.bind("client")
    with pytest.raises(UVError, match=r"and not when it is bound; make a new one") as caught:
        pipe.connect(path, ignore)
    assert caught.value.name == "EINVAL"
    with pytest.raises(UVError, match="already connected"):
        server.connect(path, ignore)


def test_a_pipe_connects_once(loop, pipe, path):
    serving(loop, path)
    errors = []
    pipe.connect(path, lambda pipe, error: errors.append(error))
    with pytest.raises(UVError, match="connect: connection already in progress"):
        pipe.connect(path, ignore)
    with pytest.raises(UVError, match="invalid argument"):
        pipe.bind("other")
    with pytest.raises(UVError, match="listen: invalid argument"):
        pipe.listen(ignore)
    while not errors:
        loop.run(uvbind.RunMode.ONCE)
    with pytest.raises(UVError, match="connect: socket is already connected"):
        pipe.connect(path, ignore)
    with pytest.raises(UVError, match="listen: invalid argument"):
        pipe.listen(ignore)
    ours, peer = socket.socketpair()
    with peer:
        opened = Pipe(loop)
        opened.open(ours)
        with pytest.raises(UVError, match="connect: socket is already connected"):
            opened.connect(path, ignore)


def test_a_pipe_that_failed_to_connect_is_spent(loop, pipe, path):
    errors = []

    def on_connect(pipe, error):
        errors.append(error)
        with pytest.raises(UVError, match="libuv connects a Pipe once"):
            pipe.connect(path, ignore)

    pipe.connect("nothing", on_connect)
    serving(loop, path)
    while not errors:
        loop.run(uvbind.RunMode.ONCE)
    with pytest.raises(UVError, match="libuv connects a Pipe once"):
        pipe.connect(path, ignore)
    for verb in (lambda: pipe.write(b"x"), lambda: pipe.read_start(ignore), pipe.shutdown):
        with pytest.raises(UVError) as caught:
            verb()
        assert caught.value.name == "ENOTCONN"
    with pytest.raises(UVError, match="listen: invalid argument"):
        pipe.listen(ignore)


def test_only_a_bound_pipe_without_ipc_listens(loop, pipe, path):
    with pytest.raises(UVError, match=r"listen: bind\(\) this pipe first"):
        pipe.listen(ignore)
    ipc = Pipe(loop, ipc=True)
    ipc.bind(path)
    with pytest.raises(UVError, match="listen: an ipc pipe cannot"):
        ipc.listen(ignore)


def test_a_closed_pipe_refuses(loop, path):
    pipe = Pipe(loop)
    pipe.close()
    for verb in (
        lambda: pipe.bind(path),
        lambda: pipe.connect(path, ignore),
        lambda: pipe.listen(ignore),
        lambda: pipe.chmod(readable=True),
        lambda: pipe.pending_instances(1),
        pipe.getsockname,
        pipe.getpeername,
    ):
        with pytest.raises(UVError, match="this Pipe is closed"):
            verb()
    loop.run()
    assert os.listdir() == []
