"""A server whose process runs out of descriptors."""

from __future__ import annotations

import errno
import os
import socket

import pytest

import uvbind

resource = pytest.importorskip("resource")


@pytest.fixture
def all_descriptors_taken():
    """A function that takes every descriptor but `spare`, and one that gives them back."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []

    def take(spare: int = 0) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        while True:
            try:
                taken.append(os.dup(0))
            except OSError as error:
                assert error.errno == errno.EMFILE
                break
        for _ in range(spare):
            os.close(taken.pop())

    def give_back() -> None:
        while taken:
            os.close(taken.pop())

    yield take, give_back
    give_back()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_listen_callback_hears_of_it_and_the_server_goes_on(loop, all_descriptors_taken):
    take, give_back = all_descriptors_taken
    heard = []

    def on_connection(server, error):
        heard.append(error and error.name)
        if error is None:
            server.accept().close()
        else:
            assert isinstance(error, OSError) and error.errno == errno.EMFILE

    server = uvbind.TCP(loop)
    server.bind(("127.0.0.1", 0))
    server.listen(on_connection)
    address = server.getsockname()
    loop.run(uvbind.RunMode.NOWAIT)  # what the loop itself needs is there before the shortage
    for _ in range(3):
        del heard[:]
        with socket.socket() as client:
            take()
            client.setblocking(False)
            assert client.connect_ex(address) == errno.EINPROGRESS
            while not heard:
                loop.run(uvbind.RunMode.ONCE)
            assert heard == ["EMFILE"]
            loop.run(uvbind.RunMode.NOWAIT)
            give_back()
        with socket.create_connection(address):
            while heard[-1] is not None:
                loop.run(uvbind.RunMode.ONCE)
        assert heard == ["EMFILE", None]
    server.close()
    loop.run()


def test_every_server_of_the_loop_hears_of_it(loop, all_descriptors_taken):
    take, _ = all_descriptors_taken
    heard = []
    servers = []
    for number in range(2):
        server = uvbind.TCP(loop)
        server.bind(("127.0.0.1", 0))
        server.listen(lambda server, error, number=number: heard.append((number, error.name)))
        servers.append(server)
    loop.run(uvbind.RunMode.NOWAIT)
    with socket.socket() as client:
        take()
        client.setblocking(False)
        client.connect_ex(servers[0].getsockname())
        while len(heard) < 2:
            loop.run(uvbind.RunMode.ONCE)
    assert sorted(heard) == [(0, "EMFILE"), (1, "EMFILE")]
    for server in servers:
        server.close()
    loop.run()


@pytest.mark.parametrize("spare", range(6))
def test_making_things_without_descriptors_raises_and_leaks_nothing(all_descriptors_taken, spare):
    take, give_back = all_descriptors_taken
    take(spare)
    made = []
    loop = None
    with pytest.raises(OSError) as caught:  # at some point of this the spare ones are used up
        loop = uvbind.Loop()
        for _ in range(10):
            made.append(uvbind.TCP(loop, socket.AF_INET))
            made[-1].bind(("127.0.0.1", 0))
            made[-1].listen(lambda server, error: None)
            made.extend(uvbind.TCP.socketpair(loop))
            made.append(uvbind.Poll(loop, 0))
            loop.run(uvbind.RunMode.NOWAIT)
    assert caught.value.errno == errno.EMFILE
    give_back()
    if loop is not None:
        loop.__exit__(None, None, None)


def test_the_loop_closes_right_after_it_was_told(all_descriptors_taken):
    take, give_back = all_descriptors_taken
    loop = uvbind.Loop()

    def on_connection(server, error):
        give_back()
        server.close()
        loop.stop()

    server = uvbind.TCP(loop)
    server.bind(("127.0.0.1", 0))
    server.listen(on_connection)
    loop.run(uvbind.RunMode.NOWAIT)
    with socket.socket() as client:
        take()
        client.setblocking(False)
        client.connect_ex(server.getsockname())
        loop.run()
    loop.close()
