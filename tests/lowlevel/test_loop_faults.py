"""Loops when the system refuses them memory, or to watch a descriptor, or gives them 0 to 2."""

from __future__ import annotations

import pytest
from faults import needs_compiled_libuv
from helpers import run_python


def test_a_loop_that_cannot_be_made_takes_no_descriptor_of_others(run_failing):
    run_failing("""
def descriptors():
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            pass
    return found

uvbind.Loop().close()
before = descriptors()
for number in range(1, 100):
    faults.fail_allocation(number)
    try:
        loop = uvbind.Loop()
    except OSError as error:
        assert error.errno == errno.ENOMEM
        assert descriptors() == before, number
    else:
        faults.fail_allocation(0)
        loop.close()
        break
assert number > 3 and descriptors() == before
""")


@needs_compiled_libuv
def test_a_loop_that_cannot_watch_its_own_descriptors_is_not_made(run_failing):
    run_failing("""
before = len(os.listdir("/proc/self/fd"))
for number in range(2):
    faults.refuse_to_watch(-1, 1, errno.ENOSPC)
    try:
        uvbind.Loop()
        raise SystemExit("made")
    except OSError as error:
        assert error.name == "ENOSPC"
uvbind.Loop().close()
assert len(os.listdir("/proc/self/fd")) <= before + 2  # libuv's pipe for all signals
""")


PEERS = """
def connected(loop):
    server, client, accepted = uvbind.TCP(loop), uvbind.TCP(loop), []
    server.bind(("127.0.0.1", 0))
    server.listen(lambda server, error: (accepted.append(server.accept()), server.close()))
    client.connect(server.getsockname(), lambda client, error: None)
    while not accepted or not client.is_writable():
        loop.run(uvbind.RunMode.ONCE)
    return client, accepted[0]
"""


@needs_compiled_libuv
@pytest.mark.parametrize("error", ["ENOSPC", "ENOMEM", "EPERM"])
def test_one_reader_hears_that_it_is_not_watched_and_others_go_on(run_failing, error):
    run_failing(
        PEERS
        + f"""
with uvbind.Loop() as loop:
    pairs, log, read = [connected(loop) for _ in range(3)], [], []
    faults.refuse_to_watch(pairs[1][1].fileno(), 1, errno.{error})
    for client, server in pairs:
        server.read_start(lambda _, data, error: (log if error else read).append(error or data))
        client.write(b"x")
    while len(log) + len(read) < 3:
        loop.run(uvbind.RunMode.ONCE)
    assert names(log) == ["{error}"] and read == [b"x", b"x"], (log, read)
    pairs[1][1].read_start(lambda server, data, error: read.append(data))  # there is room again
    while len(read) < 3:
        loop.run(uvbind.RunMode.ONCE)
"""
    )


@needs_compiled_libuv
@pytest.mark.parametrize("metrics", [False, True])
def test_a_connection_under_way_hears_that_it_is_not_watched(run_failing, metrics):
    run_failing(f"""
with uvbind.Loop() as loop:
    if {metrics}:
        loop.configure(metrics_idle_time=True)
    server, log = uvbind.TCP(loop), []
    server.bind(("127.0.0.1", 0))
    server.listen(lambda server, error: server.accept().close())
    loop.run(uvbind.RunMode.NOWAIT)
    clients = [uvbind.TCP(loop), uvbind.TCP(loop)]
    clients[0].connect(server.getsockname(), lambda client, error: log.append(error))
    faults.refuse_to_watch(clients[0].fileno(), 1, errno.ENOSPC)
    loop.run(uvbind.RunMode.ONCE)
    assert names(log) == ["ENOSPC"], log
    clients[1].connect(server.getsockname(), lambda client, error: log.append(error))
    while len(log) < 2:
        loop.run(uvbind.RunMode.ONCE)
    assert log[1] is None
""")


@needs_compiled_libuv
def test_a_write_that_waits_hears_that_it_is_not_watched(run_failing):
    run_failing(
        PEERS
        + """
with uvbind.Loop() as loop:
    client, server = connected(loop)
    log = []
    faults.refuse_to_watch(client.fileno(), 1, errno.ENOSPC)
    client.write(bytes(10_000_000), lambda client, error: log.append(error))
    client.write(b"x", lambda client, error: log.append(error))
    while len(log) < 2:
        loop.run(uvbind.RunMode.ONCE)
    assert names(log) == ["ENOSPC", "ENOSPC"] and client.write_queue_size == 0
"""
    )


@needs_compiled_libuv
def test_a_server_hears_that_it_is_not_watched_and_serves_later(run_failing):
    run_failing("""
with uvbind.Loop() as loop:
    server, log = uvbind.TCP(loop), []
    server.bind(("127.0.0.1", 0))
    server.listen(lambda server, error: log.append(error) if error else log.append(server.accept()))
    faults.refuse_to_watch(server.fileno(), 1, errno.ENOSPC)
    with socket.create_connection(server.getsockname()):
        while len(log) < 2:
            loop.run(uvbind.RunMode.ONCE)
    assert log[0].name == "ENOSPC" and isinstance(log[1], uvbind.TCP)
    server.close()
""")


@needs_compiled_libuv
def test_a_server_that_is_not_watched_may_be_closed(run_failing):
    run_failing("""
with uvbind.Loop() as loop:
    server, log = uvbind.TCP(loop), []
    server.bind(("127.0.0.1", 0))
    server.listen(lambda server, error: (log.append(error), server.close()))
    faults.refuse_to_watch(server.fileno(), 1, errno.ENOSPC)
    loop.run()
    assert names(log) == ["ENOSPC"]
""")


@needs_compiled_libuv
@pytest.mark.parametrize("recvmmsg", [False, True])
def test_a_udp_socket_hears_that_it_is_not_watched_and_receives_later(run_failing, recvmmsg):
    run_failing(f"""
with uvbind.Loop() as loop:
    udp, log = uvbind.UDP(loop, recvmmsg={recvmmsg}), []
    udp.bind(("127.0.0.1", 0))
    udp.recv_start(lambda udp, data, address, flags, error: log.append(error or data))
    faults.refuse_to_watch(udp.fileno(), 1, errno.ENOSPC)
    udp.send(b"x", udp.getsockname())
    while len(log) < 2:
        loop.run(uvbind.RunMode.ONCE)
    assert names(log) == ["ENOSPC", b"x"], log
""")


@needs_compiled_libuv
def test_a_poll_ends_that_is_not_watched(run_failing):
    run_failing("""
with uvbind.Loop() as loop:
    ours, peer = socket.socketpair()
    poll, log = uvbind.Poll(loop, ours), []
    poll.start(uvbind.PollEvent.READABLE, lambda poll, events, error: log.append(error or events))
    faults.refuse_to_watch(-1, 1, errno.ENOSPC)
    loop.run(uvbind.RunMode.NOWAIT)
    if not log:  # the loop's own was the first
        faults.refuse_to_watch(-1, 1, errno.ENOSPC)
        poll.start(uvbind.PollEvent.READABLE, poll._callback)
        loop.run(uvbind.RunMode.NOWAIT)
    assert names(log) == ["ENOSPC"] and not poll.is_active(), log
    ours.close(), peer.close()
""")


@needs_compiled_libuv
def test_a_descriptor_that_the_program_closed_ends_one_connection(run_failing):
    run_failing(
        PEERS
        + """
with uvbind.Loop() as loop:
    (client, server), log = connected(loop), []
    taken = [os.dup(0) for _ in range(3)]
    os.close(client.fileno())
    client.read_start(lambda client, data, error: log.append(error))
    loop.run(uvbind.RunMode.NOWAIT)
    assert names(log) == ["EBADF"]
"""
    )


LOW = """
import os, resource, socket, sys
out = os.fdopen(os.dup(1), "w")
import uvbind

def low():
    return [fd for fd in range(3) if os.path.exists(f"/proc/self/fd/{fd}")]

for fd in range(3):
    os.close(fd)
with uvbind.Loop() as loop:
    assert low() == [], low()
    signal = uvbind.Signal(loop)
    server, client = uvbind.TCP(loop), uvbind.TCP(loop)
    udp, pipe = uvbind.UDP(loop), uvbind.Pipe(loop)
    server.bind(("127.0.0.1", 0))
    udp.bind(("127.0.0.1", 0))
    pipe.bind("socket")
    accepted = []
    server.listen(lambda server, error: accepted.append(server.accept()))
    client.connect(server.getsockname(), lambda client, error: None)
    pair = uvbind.TCP.socketpair(loop)
    assert low() == [], low()
    while not accepted:
        loop.run(uvbind.RunMode.ONCE)
    assert low() == [], low()
    ends = []
    for fd in range(3):
        os.open(os.devnull, os.O_RDONLY)
    ours, theirs = socket.socketpair()
    a, b = uvbind.Pipe(loop, ipc=True), uvbind.Pipe(loop, ipc=True)
    a.open(ours)
    b.open(theirs)
    for fd in range(3):
        os.close(fd)
    b.read_start(lambda b, data, error: ends.append(b.accept()))
    a.write2(b"x", udp)
    while not ends:
        loop.run(uvbind.RunMode.ONCE)
    assert low() == [], low()
print("fine", file=out)
"""


@needs_compiled_libuv
def test_no_handle_has_a_descriptor_below_3():
    assert run_python(LOW) == "fine\n"


GIVEN = """
import os, socket, sys
out = os.fdopen(os.dup(1), "w")
import uvbind

with uvbind.Loop() as loop:
    for handle, reset in ((uvbind.TCP, False), (uvbind.Pipe, False), (uvbind.TCP, True)):
        if reset:
            with socket.create_server(("127.0.0.1", 0)) as server:
                ours = socket.create_connection(server.getsockname())
                peer, _ = server.accept()
        else:
            ours, peer = socket.socketpair()
        os.dup2(ours.fileno(), 0)
        ours.close()
        stream = handle(loop)
        stream.open(0)
        assert stream.fileno() == 0
        stream.close_reset() if reset else stream.close()
        loop.run()
        peer.settimeout(10)
        try:
            assert peer.recv(1) == b"" and not reset
        except ConnectionResetError:
            assert reset
        peer.close()
        assert os.open(os.devnull, os.O_RDONLY) == 0
print("fine", file=out)
"""


def test_a_stream_that_was_given_descriptor_0_closes_it():
    assert run_python(GIVEN) == "fine\n"
