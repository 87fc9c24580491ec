"""A server whose process runs out of descriptors."""

from __future__ import annotations

import errno
import os
import socket

import pytest
from helpers import needs_fork, run_python

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


FIRST_LOOP = """
import os, resource, signal, sys, warnings
import asyncio, uvbind

warnings.simplefilter("ignore")  # a loop that could not be made says that it was not closed
taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(40)]
base, hard = max(taken) + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def first_loop(room):
    signal.alarm(30)
    resource.setrlimit(resource.RLIMIT_NOFILE, (base + room, hard))
    try:
        {make}.close()
    except OSError:
        return 1
    return 0


for room in range(20):
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(first_loop(room))
        finally:
            os._exit(2)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), end=" ")
"""


@needs_fork
@pytest.mark.parametrize("make", ["uvbind.Loop()", "uvbind.new_event_loop()"])
def test_the_first_loop_of_a_process_is_made_or_refused(make):
    """Whatever room there is: libuv itself aborts when there is too little for its first one."""
    ended = [int(code) for code in run_python(FIRST_LOOP.replace("{make}", make)).split()]
    assert ended == sorted(ended, reverse=True) and set(ended) == {0, 1}
