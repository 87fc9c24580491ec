"""Who owns what: the ways in which a program could pull something away from under libuv."""

from __future__ import annotations

import contextlib
import copy
import pickle
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import ignore, listening, run_python, soon

import uvbind


def fill(stream) -> None:
    while stream.try_write(b"x" * 65536):
        pass


@pytest.mark.parametrize("end", ["sys.exit(0)", "timer.loop.stop()"])
def test_a_program_may_end_with_writes_pending(end):
    printed = run_python(
        f"""
import gc, sys, uvbind, warnings
warnings.simplefilter("ignore", ResourceWarning)
def main():
    loop = uvbind.Loop()
    one, other = uvbind.TCP.socketpair(loop)
    while one.try_write(b"x" * 65536):
        pass
    one.write(b"bytes", lambda stream, error: None)
    one.write(memoryview(bytearray(b"a view")), lambda stream, error: None)
    other.read_start_into(memoryview(bytearray(10)), lambda *about: None)
    other.read_stop()
    print("before", flush=True)
    timer = uvbind.Timer(loop)
    timer.start(lambda timer: {end}, 1)
    loop.run()
try:
    main()
finally:
    for _ in range(3):
        gc.collect()
    print("after", flush=True)
"""
    )
    assert printed == "before\nafter\n"


@pytest.mark.parametrize("listens", [False, True])
def test_a_handle_closed_while_it_is_passed_is_closed_when_it_has_been(loop, listens):
    ours, theirs = socket.socketpair()
    pipe = uvbind.Pipe(loop, ipc=True)
    pipe.open(ours)
    fill(pipe)
    passed, order = uvbind.TCP(loop), []
    passed.bind(("127.0.0.1", 0))
    address = passed.getsockname()
    if listens:
        passed.listen(lambda *about: order.append("not called"))
    pipe.write2(b"x", passed, lambda pipe, error: order.append(error))
    passed.close(lambda tcp: order.append("closed"))
    passed.close(lambda tcp: order.append("twice"))
    assert passed.is_closing()
    loop.run(uvbind.RunMode.NOWAIT)
    assert order == []
    if listens:
        with socket.create_connection(address):
            loop.run(uvbind.RunMode.NOWAIT)
    theirs.setblocking(False)
    descriptors: list[int] = []
    while not descriptors:
        loop.run(uvbind.RunMode.NOWAIT)
        with contextlib.suppress(BlockingIOError):
            _, descriptors, _, _ = socket.recv_fds(theirs, 1 << 20, 4)
    loop.run(uvbind.RunMode.NOWAIT)
    assert order == [None, "closed", "twice"]
    with socket.socket(fileno=descriptors[0]) as arrived:
        assert arrived.getsockname() == address
    theirs.close()
    pipe.close()


class Equal(uvbind.Timer):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


class Unhashable(uvbind.Timer):
    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("kind", [Equal, Unhashable])
def test_handles_may_define_equality(loop, kind):
    fired = []
    for number in range(3):
        kind(loop).start(lambda timer, number=number: (fired.append(number), timer.close()), 0)
    loop.run()
    assert fired == [0, 1, 2]


@pytest.mark.parametrize("function", [copy.copy, copy.deepcopy, pickle.dumps])
def test_handles_and_loops_cannot_be_copied(loop, function):
    timer = uvbind.Timer(loop)
    for thing in (timer, loop):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            function(thing)
    timer.close()


def test_a_handle_is_made_once(loop):
    timer = uvbind.Timer(loop)
    with pytest.raises(RuntimeError, match="made already"):
        timer.__init__(loop)
    timer.close()


def test_a_loop_is_made_once(loop):
    with pytest.raises(RuntimeError, match="made already"):
        loop.__init__()


class Closing:
    """An argument whose conversion closes the handle it is for."""

    def __init__(self, handle: uvbind.Handle) -> None:
        self.handle = handle

    def _close(self) -> int:
        self.handle.close()
        self.handle.loop.run(uvbind.RunMode.NOWAIT)
        return 1

    __bool__ = __index__ = _close


def test_an_argument_may_close_the_handle_it_is_for(loop):
    for kind, verb in (
        (uvbind.TCP, lambda tcp: tcp.nodelay(Closing(tcp))),
        (uvbind.TCP, lambda tcp: tcp.keepalive(Closing(tcp))),
        (uvbind.TCP, lambda tcp: tcp.simultaneous_accepts(Closing(tcp))),
        (uvbind.TCP, lambda tcp: tcp.set_blocking(Closing(tcp))),
        (uvbind.Timer, lambda timer: setattr(timer, "repeat", Closing(timer))),
        (uvbind.Timer, lambda timer: timer.start(ignore, Closing(timer))),
        (uvbind.UDP, lambda udp: udp.set_ttl(Closing(udp))),
        (uvbind.UDP, lambda udp: udp.set_broadcast(Closing(udp))),
    ):
        handle = kind(loop)
        # bool() of what returns 1 instead of True is a TypeError; closed it is all the same.
        with pytest.raises((uvbind.UVError, TypeError)):
            verb(handle)
        assert handle.is_closing()


CLOSING = {
    "send": lambda udp, data, address: udp.send(data, address),
    "send with a callback": lambda udp, data, address: udp.send(data, address, ignore),
    "try_send": lambda udp, data, address: udp.try_send(data, address),
    "try_send_batch": lambda udp, data, address: udp.try_send_batch([(data, address)]),
}


@pytest.mark.parametrize("data", [b"x", bytearray(b"x")])
@pytest.mark.parametrize("verb", CLOSING.values(), ids=CLOSING)
def test_an_address_may_close_the_handle_it_is_for(bare, verb, data):
    udp = uvbind.UDP(bare)
    udp.bind(("127.0.0.1", 0))

    class Port:
        def __index__(self):
            udp.close()
            bare.run()
            return 9

    with pytest.raises(uvbind.UVError, match="this UDP is closed"):
        verb(udp, data, ("127.0.0.1", Port()))


def test_an_argument_may_close_the_loop_it_is_for():
    loop = uvbind.Loop()

    class Zero:
        def __index__(self):
            loop.close()
            return 0

    with pytest.raises(RuntimeError, match="the loop is closed"):
        uvbind.getaddrinfo(loop, "127.0.0.1", 80, family=Zero())


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="__del__ comes later elsewhere")
def test_a_callback_that_is_replaced_is_not_called_again(loop, peers):
    class Old:
        def __call__(self, *about: object) -> None:
            raise AssertionError("the old callback was called")

        def __del__(self) -> None:
            peers.client.write(b"x")
            loop.run(uvbind.RunMode.NOWAIT)

    received = []
    peers.server.read_start(Old())
    peers.server.read_stop()
    peers.server.read_start(lambda stream, data, error: received.append(data))
    while not received:
        loop.run(uvbind.RunMode.ONCE)
    assert received == [b"x"]
    peers.server.read_stop()


def test_a_listening_handle_neither_connects_nor_shuts_down(loop):
    server = listening(loop)
    with pytest.raises(uvbind.UVError, match="already connected"):
        server.connect(server.getsockname(), ignore)
    with pytest.raises(uvbind.UVError, match="not connected"):
        server.shutdown(ignore)
    assert repr(server) == "<TCP listening>"
    server.close()


def test_a_handle_that_failed_to_connect_is_not_connected(loop):
    tcp, states = uvbind.TCP(loop), []
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        tcp.connect(unused.getsockname(), lambda tcp, error: states.append(error.name))
        assert not (tcp.is_readable() or tcp.is_writable())
        loop.run()
    assert states == ["ECONNREFUSED"] and repr(tcp) == "<TCP not connected>"
    for verb in (
        lambda: tcp.write(b"x"),
        lambda: tcp.write(b"x"),
        lambda: tcp.write(bytearray(b"x")),
        lambda: tcp.read_start(ignore),
        tcp.shutdown,
    ):
        with pytest.raises(uvbind.UVError) as caught:
            verb()
        assert caught.value.name == "ENOTCONN"
    tcp.close()


@pytest.mark.parametrize("loop_argument", [None, "closed"])
def test_socketpair_leaks_nothing_when_it_fails(loop_argument):
    if loop_argument == "closed":
        loop_argument = uvbind.Loop()
        loop_argument.close()
    with pytest.raises((TypeError, RuntimeError), match="loop"):
        uvbind.TCP.socketpair(loop_argument)


def test_two_threads_cannot_crash_a_loop_that_a_third_runs():
    loop = uvbind.Loop()
    timers = [uvbind.Timer(loop) for _ in range(2)]
    done = threading.Event()

    def use(timer: uvbind.Timer) -> int:
        refused = 0
        while not done.is_set():
            try:
                timer.start(ignore, 0)
            except RuntimeError:
                refused += 1
        return refused

    with ThreadPoolExecutor(2) as threads:
        users = [threads.submit(use, timer) for timer in timers]
        for _ in range(
            3000 if sys.implementation.name == "cpython" else 100
        ):  # PyPy waits for the other's verb
            try:
                loop.run(uvbind.RunMode.NOWAIT)
            except RuntimeError as error:
                assert "another thread" in str(error)
        done.set()
        for user in users:
            user.result(timeout=30)
    loop.run(uvbind.RunMode.NOWAIT)  # takes it over from whichever thread was last
    for timer in timers:
        timer.close()
    loop.run()
    loop.close()


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="looks at another thread's frames")
def test_a_loop_runs_while_its_maker_is_in_the_middle_of_a_send():
    woken: list[int] = []
    ready, locked = threading.Event(), threading.Event()

    def wake(handle: uvbind.Async) -> None:
        woken.append(threading.get_ident())
        handle.close()

    def make_and_send() -> None:
        handle = uvbind.Async(uvbind.Loop(), wake)
        soon(handle.loop, lambda: handle._lock.release())
        made.append((handle, threading.get_ident()))
        ready.set()
        assert locked.wait(30)
        handle.send()

    made: list[tuple[uvbind.Async, int]] = []
    with ThreadPoolExecutor(1) as threads:
        maker = threads.submit(make_and_send)
        assert ready.wait(30)
        handle, thread = made[0]
        handle._lock.acquire()  # of two lines of send() it waits between
        locked.set()
        while sys._current_frames()[thread].f_code is not uvbind.Async.send.__code__:
            pass
        try:
            handle.loop.run()
        except RuntimeError:
            handle._lock.release()
            raise
        maker.result(30)
    assert woken == [threading.get_ident()]
    handle.loop.close()
