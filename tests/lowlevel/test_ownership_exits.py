"""Processes that end while a thread of theirs runs a loop, as a daemon's thread may."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys

import pytest

EXITS = 20  # of each kind; UVBIND's own crashed once in 560

TRAFFIC = """
import gc, socket, sys, threading, uvbind

flows = threading.Event()

def run():
    loop = uvbind.Loop()
    count = 0

    def on_message(*about):
        nonlocal count
        count += 1
        if count > 500:
            flows.set()

    one, other = uvbind.TCP.socketpair(loop)
    def echo(stream, data, error):
        on_message()
        stream.write(data)
    one.read_start(echo)
    buffer = bytearray(1000)
    def echo_into(stream, nbytes, error):
        on_message()
        stream.write(buffer[:nbytes], on_message)
    other.read_start_into(buffer, echo_into)
    one.write(b"x" * 100)
    udp = uvbind.UDP(loop, recvmmsg=True)
    udp.bind(("127.0.0.1", 0))
    udp.recv_batch_start(lambda udp, batch, error: udp.try_send_batch([d[:2] for d in batch]))
    udp.send(b"x", udp.getsockname())
    timer = uvbind.Timer(loop)
    timer.start(lambda timer: uvbind.Timer(loop).close(on_message), 0, 1)
    uvbind.getaddrinfo(loop, "localhost", 80, callback=on_message)
    loop.run()

threading.Thread(target=run, daemon=True).start()
assert flows.wait(30)
"""

ASYNCIO = """
import asyncio, socket, sys, threading, uvbind.aio

flows = threading.Event()

class Echo(asyncio.Protocol):
    count = 0
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        Echo.count += 1
        if Echo.count > 500:
            flows.set()
        self.transport.write(data)

async def main():
    loop = asyncio.get_running_loop()
    ends = socket.socketpair()
    for end in ends:
        transport, _ = await loop.create_connection(Echo, sock=end)
    transport.write(b"x" * 100)
    while True:
        await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0.001))

threading.Thread(target=uvbind.aio.run, args=(main(),), daemon=True).start()
assert flows.wait(30)
"""

# A thread that waits for the GIL when the interpreter is taken apart, which takes its time.
SLOW_END = """
class Slow:
    def __del__(self, sleep=__import__("time").sleep):
        sleep(0.01)
slow = Slow()
"""


@pytest.mark.parametrize("slowly", [False, True], ids=["quickly", "slowly"])
@pytest.mark.parametrize("script", [TRAFFIC, ASYNCIO], ids=["loop", "asyncio"])
def test_a_process_ends_while_another_thread_runs_a_loop(forks, script, slowly):
    script += SLOW_END * slowly
    ended = forks.run(script, times=EXITS // 2, at_once=4)
    assert len(ended) == EXITS // 2 and set(ended) == {(0, "")}


# The interpreter is gone, the process not yet: C's exit functions run, the last one first.
LATE = """
import ctypes, socket, sys, threading, uvbind

libc = ctypes.CDLL(None)
told = libc.strdup
told.restype = ctypes.c_void_p
libc.on_exit(libc.sleep, None)  # what they get is the exit status, 1, and this argument
libc.on_exit(libc.dprintf, ctypes.c_void_p(told(b"ended\\n")))

kind, ready = sys.argv[1], threading.Event()

def run():
    loop = uvbind.Loop()
    udp = uvbind.UDP(loop)
    udp.bind(("127.0.0.1", 0))
    if kind == "poll":
        poll = uvbind.Poll(loop, udp)
        poll.start(uvbind.PollEvent.READABLE, lambda *about: None)
    else:
        udp.recv_start(lambda *about: None)
    print(udp.getsockname()[1], flush=True)
    ready.set()
    loop.run()

threading.Thread(target=run, daemon=True).start()
ready.wait()
sys.exit(1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="on_exit() is glibc's")
@pytest.mark.skipif(sys.implementation.name != "cpython", reason="PyPy's interpreter stays")
@pytest.mark.parametrize("kind", ["recv", "poll"])
def test_a_loop_has_events_when_the_interpreter_is_gone(kind):
    with (
        subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-c", LATE, kind], stdout=-1, text=True
        ) as process,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert process.stdout.readline() == "ended\n"
        for _ in range(10):
            with contextlib.suppress(ConnectionRefusedError):
                sock.sendto(b"x", ("127.0.0.1", port))
        assert process.wait(60) == 1
