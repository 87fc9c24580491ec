"""C keeps every object that it will call, for exactly as long as it may call it."""

from __future__ import annotations

import contextlib
import gc
import sys
import textwrap
import weakref
from types import SimpleNamespace

import pytest
from helpers import LOCALHOST, WAYS, Ends, ignore, listening, run_python

import uvbind

cpython = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="counts references, which PyPy does not"
)


class Callback:
    """A callback that can be watched."""

    def __call__(self, *about: object) -> None:
        pass


def watched() -> tuple[Callback, weakref.ref[Callback]]:
    callback = Callback()
    return callback, weakref.ref(callback)


# -- callbacks go when they are replaced, and when the handle is closed


def reading(peers):
    return peers.server, peers.server.read_start, peers.server.read_stop


def reading_into(peers):
    buffer, server = bytearray(10), peers.server
    return server, lambda callback: server.read_start_into(buffer, callback), server.read_stop


def receiving(peers):
    udp = uvbind.UDP(peers.server.loop)
    udp.bind(LOCALHOST)
    return udp, udp.recv_start, udp.recv_stop


def receiving_batches(peers):
    udp = uvbind.UDP(peers.server.loop, recvmmsg=True)
    udp.bind(LOCALHOST)
    return udp, udp.recv_batch_start, udp.recv_stop


def polling(peers):
    poll = uvbind.Poll(peers.server.loop, peers.server)
    return poll, lambda callback: poll.start(uvbind.PollEvent.READABLE, callback), poll.stop


def timing(peers):
    timer = uvbind.Timer(peers.server.loop)
    return timer, lambda callback: timer.start(callback, 1000), timer.stop


STARTS = [reading, reading_into, receiving, receiving_batches, polling, timing]


@cpython
@pytest.mark.parametrize("make", STARTS)
def test_a_callback_that_is_replaced_is_freed(peers, make, no_collector):
    handle, start, stop = make(peers)
    old, alive = watched()
    start(old)
    del old
    assert alive() is not None
    stop()
    start(Callback())
    assert alive() is None
    handle.close()
    peers.server.loop.run(uvbind.RunMode.NOWAIT)


@cpython
@pytest.mark.parametrize("make", STARTS)
def test_a_closed_handle_and_its_callback_are_freed(peers, make, no_collector):
    handle, start, stop = make(peers)
    callback, alive = watched()
    start(callback)
    del callback
    handle.close()
    peers.server.loop.run(uvbind.RunMode.NOWAIT)
    assert alive() is None
    if handle is not peers.server:
        closed = weakref.ref(handle)
        del handle, start, stop
        assert closed() is None


@cpython
@pytest.mark.parametrize("way", WAYS)
def test_a_handle_of_any_kind_is_freed_when_it_has_been_closed(bare, way, no_collector):
    WAYS[way](bare, ignore)
    handles: list[uvbind.Handle] = []
    bare.walk(handles.append)
    alive = [weakref.ref(handle) for handle in handles]
    while handles:
        handles.pop().close()
    with contextlib.suppress(uvbind.UVError):  # a failure that nobody gave a callback for
        bare.run()
    assert alive and [ref() for ref in alive if ref() is not None] == []


@cpython
def test_what_a_request_has_is_freed_when_it_is_done(loop, peers, no_collector):
    data, objects = bytes(1 << 20), []

    def callback() -> Callback:
        objects.append(watched())
        return objects[-1][0]

    before = sys.getrefcount(data)
    connecting = uvbind.TCP(loop)
    server = listening(loop)
    connecting.connect(server.getsockname(), callback())
    peers.client.write(data, callback())
    peers.client.write(data)
    peers.client.shutdown(callback())
    uvbind.getaddrinfo(loop, "localhost", 80, callback=callback())
    uvbind.getnameinfo(loop, ("127.0.0.1", 80), callback=callback())
    refs = [objects.pop()[1] for _ in range(len(objects))]
    assert all(ref() is not None for ref in refs)
    assert sys.getrefcount(data) > before
    peers.server.read_start(lambda stream, data, error: error and stream.close())
    server.close()
    connecting.close()
    peers.client.close()  # some of them end so
    while loop._requests or len(loop._handles) > 1:  # the guard
        with contextlib.suppress(uvbind.UVError):  # of the write without a callback
            loop.run(uvbind.RunMode.ONCE)
    assert [ref() for ref in refs if ref() is not None] == []
    assert sys.getrefcount(data) == before


def test_a_buffer_that_reads_land_in_belongs_to_its_owner_again_after_them(peers):
    buffer = bytearray(10)
    with memoryview(buffer) as whole, whole[2:] as part:
        peers.server.read_start_into(part, ignore)
    if getattr(sys, "pypy_version_info", (8,)) >= (8,):  # before, it resizes what a view shows
        with pytest.raises(BufferError):
            buffer.append(0)
    peers.server.read_stop()
    buffer.append(0)
    peers.server.read_start_into(buffer, ignore)
    peers.server.close()
    peers.server.loop.run(uvbind.RunMode.NOWAIT)
    if sys.implementation.name == "pypy":
        gc.collect()
    buffer.append(0)


def test_a_buffer_is_its_owners_again_when_the_end_has_been_read(loop, peers):
    buffer = bytearray(10)
    ends: list[object] = []
    peers.server.read_start_into(buffer, lambda stream, count, error: ends.append(error))
    peers.client.close()
    while not ends:
        loop.run(uvbind.RunMode.ONCE)
    buffer.append(0)


# -- nothing of the program's is needed to keep them

AFTER = """
import contextlib, gc, socket, sys, uvbind

def turn(loop, times=5):
    for _ in range(times):
        with contextlib.suppress(Exception):
            loop.run(uvbind.RunMode.NOWAIT)
        gc.collect()

def forget(thing):
    kept = {name: vars(thing)[name] for name in KEEP if name in vars(thing)}
    vars(thing).clear()
    vars(thing).update(kept)
    gc.collect()

loop = uvbind.Loop()
one, other = uvbind.TCP.socketpair(loop)
"""

# Before: what libuv has; after all attributes are gone it still arrives.
PENDING = {
    "reads": """
        other.read_start(lambda *about: seen.append(about))
        one.write(b"x")
        forget(other)
    """,
    "reads into": """
        other.read_start_into(memoryview(bytearray(1000)), lambda *about: seen.append(about))
        one.write(b"x")
        forget(other)
    """,
    "the end": """
        other.read_start(lambda *about: None)
        one.close()
        forget(other)
    """,
    "written": """
        while one.try_write(b"x" * 65536): pass
        one.write(bytes(100_000), lambda *about: seen.append(about))
        one.write(bytearray(100_000))
        one.write(bytes(100_000))
        for request in list(loop._requests): forget(request)
        forget(one)
        loop._requests.clear()
        other.read_start(lambda *about: None)
    """,
    "datagrams": """
        udp = uvbind.UDP(loop, recvmmsg=True)
        udp.bind(("127.0.0.1", 0))
        udp.recv_start(lambda *about: seen.append(about))
        for _ in range(50): udp.send(b"x", udp.getsockname())
        forget(udp)
    """,
    "batches": """
        udp = uvbind.UDP(loop)
        udp.bind(("127.0.0.1", 0))
        udp.recv_batch_start(lambda *about: (gc.collect(), seen.append(about)))
        for _ in range(50): udp.send(b"x", udp.getsockname())
        forget(udp)
    """,
    "connections": """
        server = uvbind.TCP(loop)
        server.bind(("127.0.0.1", 0))
        server.listen(lambda *about: None)
        client = uvbind.TCP(loop)
        client.connect(server.getsockname(), lambda *about: seen.append(about))
        for request in list(loop._requests): forget(request)
        for thing in (server, client): forget(thing)
        loop._requests.clear()
    """,
    "timers": """
        timer = uvbind.Timer(loop)
        timer.start(lambda timer: seen.append(timer), 0, 1)
        forget(timer)
    """,
    "others": """
        others = [uvbind.Prepare(loop), uvbind.Check(loop), uvbind.Idle(loop)]
        for each in others: each.start(lambda *about: seen.append(about))
        others.append(uvbind.Async(loop, lambda *about: seen.append(about)))
        others[-1].send()
        others.append(uvbind.Signal(loop))
        others[-1].start(lambda *about: seen.append(about), 28)
        import os; os.kill(os.getpid(), 28)
        poll = uvbind.Poll(loop, one)
        poll.start(uvbind.PollEvent.WRITABLE, lambda *about: seen.append(about))
        for each in [*others, poll]: forget(each)
        del others, each, poll
    """,
    "lookups": """
        requests = [uvbind.getaddrinfo(loop, "localhost", 80, callback=seen.append),
                    uvbind.getaddrinfo(loop, b"localhost", 80, callback=seen.append),
                    uvbind.getnameinfo(loop, ("127.0.0.1", 80), callback=seen.append)]
        for request in requests: forget(request)
        loop._requests.clear()
        del requests, request
        import time
        for _ in range(20): turn(loop, 1); time.sleep(0.005)
    """,
    "closing": """
        other.read_start(lambda *about: None)
        for each in (one, other): each.close(lambda handle: seen.append(handle))
        forget(one)
        vars(other).clear()
    """,
}


@pytest.mark.parametrize("closes", [False, True], ids=["left open", "closed"])
@pytest.mark.parametrize("pending", PENDING)
@pytest.mark.parametrize("keep", [(), ("_loop", "_core", "_c")], ids=["nothing", "the core"])
def test_objects_that_lose_their_attributes_crash_nothing(forks, pending, keep, closes):
    script = AFTER.replace("KEEP", repr(keep)) + "seen = []\n" + textwrap.dedent(PENDING[pending])
    script += textwrap.dedent(
        f"""
        handles = loop._core.handles()
        loop._handles.clear()
        turn(loop)
        for handle in handles:
            if {closes}:
                with contextlib.suppress(Exception):
                    handle.close()
        del handles
        turn(loop)
        print("alive", flush=True)
        """
    )
    ((status, printed),) = forks.run(script)
    assert status == 0 and "alive" in printed, printed


@cpython
def test_a_loop_that_is_dropped_frees_all_that_it_had():
    """The handles and their callbacks are found by the collector, although libuv has them."""
    printed = run_python(
        """
import gc, socket, uvbind, warnings, weakref
class Callback:
    def __call__(self, *about): pass
def main():
    loop = uvbind.Loop()
    refs = [weakref.ref(loop)]
    def callback():
        one = Callback()
        refs.append(weakref.ref(one))
        return one
    one, other = uvbind.TCP.socketpair(loop)
    while one.try_write(bytes(65536)): pass
    one.write(b"x", callback())
    other.read_start(callback())
    udp = uvbind.UDP(loop)
    udp.bind(("127.0.0.1", 0))
    udp.recv_start(callback())
    timer = uvbind.Timer(loop)
    timer.start(callback(), 1000)
    poll = uvbind.Poll(loop, one)
    poll.start(uvbind.PollEvent.READABLE, callback())
    uvbind.getaddrinfo(loop, "localhost", callback=callback())
    refs += [weakref.ref(handle) for handle in loop._handles.values()]
    signal = uvbind.Signal(loop)
    signal.start(callback(), 28)
    loop.run(uvbind.RunMode.NOWAIT)
    return refs
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    refs = main()
    gc.collect()
told = [str(warning.message)[:14] for warning in caught if "Loop" in str(warning.message)]
caught.clear()  # each warning has its source, whose weak references live on in Python 3.15
gc.collect()
print(len(refs) > 10, [ref() for ref in refs if ref() is not None])
print(told)
import os; os.kill(os.getpid(), 28)
""",
        "-X",
        "faulthandler",
    )
    assert printed == "True []\n['unclosed <Loop']\n"


@cpython
def test_an_empty_loop_that_is_dropped_is_closed(recwarn):
    uvbind.Loop()
    gc.collect()
    assert "unclosed <Loop with handles: none" in str(recwarn.pop(ResourceWarning).message)
    # That no descriptor of it is left tests/conftest.py finds.


# -- what the program keeps of C's does nothing any more


@cpython
def test_builtins_of_a_closed_handle_do_nothing(loop, peers):
    ends = Ends(loop)
    write, send, flush = (
        getattr(peers.client._core, name) for name in ("write_now", "send", "flush")
    )
    start = peers.client._core.read_start
    send_datagram, try_send, send_batch = ends.client._core.senders(lambda address: None)
    address = ends.address
    ends.close()
    peers.client.close()
    loop.run(uvbind.RunMode.NOWAIT)
    del ends
    peers.client = uvbind.TCP(loop)
    gc.collect()
    unsent: list[bytes] = []
    assert write(b"x") is False and flush() is None
    send(SimpleNamespace(_unsent=unsent.append), b"x")
    assert unsent == [b"x"]
    assert start(False, None, ignore, None, None) < 0
    assert send_datagram(b"x", address) is None and try_send(b"x", address) is None
    assert send_batch([(b"x", address)], 0) is None


@cpython
def test_cores_take_no_other_kinds(loop):
    timer = uvbind.Timer(loop)
    for wrong in (
        lambda: timer._core.write_now(b"x"),
        lambda: timer._core.read_start(False, None, ignore, None, None),
        lambda: timer._core.run(0, 0),
        lambda: loop._core.init(0, 0),
        lambda: loop._core.senders(ignore),
        lambda: type(timer._core)(),
    ):
        with pytest.raises(TypeError):
            wrong()
    for early in (timer._core.release, loop._core.release):
        with pytest.raises(RuntimeError, match="libuv still has it"):
            early()
    timer.close()


# -- interruptions


class Interrupted(uvbind.Timer):
    """Its close callback is left by Ctrl-C, before or after what it does."""

    before: bool
    times = 0

    def _end_close(self) -> None:
        self.times += 1
        if self.times == 1 and self.before:
            raise KeyboardInterrupt
        super()._end_close()
        if self.times == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize("before", [True, False])
def test_a_handle_whose_close_callback_was_interrupted_closes(bare, before):
    timer = Interrupted(bare)
    timer.before = before
    timer.start(ignore, 1000)
    timer.close()
    with pytest.raises(KeyboardInterrupt):
        bare.run()
    closed: list[uvbind.Timer] = []
    if before:
        timer.close(closed.append)
        assert closed == [timer]
    timer.close()
    assert bare._handles == {} and timer.is_closing()
    assert not bare.run()


@cpython
def test_a_handle_that_was_interrupted_in_its_making_is_closed_with_its_loop():
    class Late(uvbind.Timer):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "_uv":
                raise KeyboardInterrupt

    with uvbind.Loop() as loop:
        with pytest.raises(KeyboardInterrupt):
            Late(loop)
        assert loop._core.handles() == []
