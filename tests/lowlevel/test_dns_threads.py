"""Lookups that take their time, in processes of their own with a slow resolver."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CC = shutil.which("cc") or shutil.which("gcc")
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD of Linux"),
    pytest.mark.skipif(CC is None, reason="no C compiler for the slow resolver"),
]

# What each script begins with. `began(n)` waits until n more slow lookups run in threads.
PRELUDE = """
import os, socket, sys
import uvbind
from uvbind import UVError, getaddrinfo, getnameinfo

def new_gate():
    global began_reader, leave_writer
    began_reader, began_writer = os.pipe()
    leave_reader, leave_writer = os.pipe()
    os.environ.update(SLOW_BEGAN=str(began_writer), SLOW_LEAVE=str(leave_reader))

new_gate()

def began(count):
    while count:
        count -= len(os.read(began_reader, count))

def none_began():
    os.set_blocking(began_reader, False)
    try:
        os.read(began_reader, 1)
    except BlockingIOError:
        return True
    finally:
        os.set_blocking(began_reader, True)
    return False

def leave(count):
    os.write(leave_writer, bytes(count))

done = []

def callback(request, result, error):
    done.append((request, error.name if error else result))
"""


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("resolver") / "slow_resolver.so"
    source = Path(__file__).parents[1] / "slow_resolver.c"
    subprocess.run([CC, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture
def run(resolver: Path):
    def run(script: str, **environment: str) -> None:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PRELUDE + script],
            env={**os.environ, "LD_PRELOAD": str(resolver), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (0, "")

    return run


SIXTEEN = """
with uvbind.Loop() as loop:
    requests = [getaddrinfo(loop, f"slow.{n}", 80, callback=callback) for n in range(LOOKUPS)]
    began(AT_A_TIME)
    assert none_began()
    assert os.environ.get("UV_THREADPOOL_SIZE") == GIVEN
    leave(LOOKUPS)
    loop.run()
    assert sorted(map(id, requests)) == sorted(id(request) for request, _ in done)
    assert all(result[0][4] == ("127.0.0.1", 80) for _, result in done)
"""


def test_sixteen_slow_lookups_run_side_by_side(run):
    run("LOOKUPS, AT_A_TIME, GIVEN = 20, 16, None" + SIXTEEN)


@pytest.mark.parametrize(("size", "at_a_time"), [("4", 2), ("9", 5), ("1", 1), ("0", 1)])
def test_the_environment_says_how_many(run, size, at_a_time):
    run(
        f"LOOKUPS, AT_A_TIME, GIVEN = 8, {at_a_time}, {size!r}" + SIXTEEN,
        UV_THREADPOOL_SIZE=size,
    )


def test_the_setting_is_not_left_to_child_processes(run):
    run("""
import subprocess
with uvbind.Loop() as loop:
    getaddrinfo(loop, "localhost", 80, callback=callback)
    assert b"UV_THREADPOOL_SIZE" not in subprocess.check_output(["env"])
    loop.run()
""")


def test_numeric_hosts_do_not_wait_for_slow_ones(run):
    run("""
with uvbind.Loop() as loop:
    for n in range(40):
        getaddrinfo(loop, f"slow.{n}", 80, callback=callback)
    began(16)
    numeric = getaddrinfo(loop, "::1", "http", callback=callback)
    names = getnameinfo(loop, ("127.0.0.1", 80), socket.NI_NUMERICHOST, callback=callback)
    while len(done) < 2:
        loop.run(uvbind.RunMode.ONCE)
    assert [request for request, _ in done] == [numeric, names]
    leave(40)
""")


def test_a_lookup_that_waits_for_a_thread_can_be_cancelled(run):
    run("""
with uvbind.Loop() as loop:
    requests = [getaddrinfo(loop, f"slow.{n}", 80, callback=callback) for n in range(17)]
    began(16)
    requests[16].cancel()
    for request in requests[:16]:
        try:
            request.cancel()
            raise AssertionError("cancelled although a thread has begun")
        except UVError as error:
            assert error.name == "EBUSY"
    loop.run(uvbind.RunMode.ONCE)
    assert done == [(requests[16], "EAI_CANCELED")] and none_began()
    leave(16)
    loop.run()
    assert len(done) == 17
""")


def test_a_reverse_lookup_runs_in_a_thread(run):
    run("""
with uvbind.Loop() as loop:
    request = getnameinfo(loop, ("127.0.0.1", 80), callback=callback)
    began(1)
    leave(1)
    loop.run()
    assert done == [(request, ("127.0.0.1", "http"))]
""")


def test_leaving_a_loop_gives_up_what_has_not_begun(run):
    run("""
with uvbind.Loop() as loop:
    requests = [getaddrinfo(loop, f"slow.{n}", 80, callback=callback) for n in range(30)]
    began(16)
    uvbind.Timer(loop).close(lambda timer: leave(16))  # when the loop is being left
assert len(done) == 30
assert {request for request, result in done if result == "EAI_CANCELED"} == set(requests[16:])
""")


def test_blocking_lookups_let_other_threads_run(run):
    run("""
import threading
with uvbind.Loop() as loop:
    def helper():
        began(1)
        leave(1)
    thread = threading.Thread(target=helper)
    thread.start()
    assert getaddrinfo(loop, "slow.1", 80, type=socket.SOCK_STREAM)[0][4] == ("127.0.0.1", 80)
    thread.join()
""")


def test_another_thread_cannot_run_the_loop_of_a_blocking_lookup(run):
    run("""
import threading
with uvbind.Loop() as loop:
    caught = []
    def helper():
        began(1)
        try:
            loop.run()
        except RuntimeError as error:
            caught.append(str(error))
        leave(1)
    thread = threading.Thread(target=helper)
    thread.start()
    getaddrinfo(loop, "slow.1", 80)
    thread.join()
    assert len(caught) == 1 and "another thread" in caught[0], caught
""")


def test_lookups_under_way_end_in_a_forked_child(run):
    run("""
import signal, warnings
warnings.simplefilter("ignore")  # of os.fork() beside the threads of other libraries
with uvbind.Loop() as loop:
    requests = [getaddrinfo(loop, f"slow.{n}", 80, callback=callback) for n in range(18)]
    requests.append(getnameinfo(loop, ("127.0.0.1", 80), callback=callback))
    began(16)
    requests[17].cancel()
    requests.append(getaddrinfo(loop, "::1", 80, callback=callback))
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        loop.fork()
        loop.run()
        results = {request: result for request, result in done}
        assert len(done) == 20 and set(results) == set(requests), done
        assert [results[request] for request in requests[:19]] == ["EAI_CANCELED"] * 19
        assert results[requests[19]][0][4][0] == "::1"
        # and names can be looked up anew
        del done[:]
        new_gate()  # not the parent's
        again = [getaddrinfo(loop, f"slow.{n}", 80, callback=callback) for n in range(16)]
        began(16)
        leave(16)
        loop.run()
        assert [request in again for request, _ in done] == [True] * 16
        loop.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    leave(18)
    loop.run()
    assert len(done) == 20
""")


def test_a_system_without_room_for_so_many_threads(run):
    run("""
import resource
from pathlib import Path
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 150 * 2**20  # a thread takes 8 MiB
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
with uvbind.Loop() as loop:
    for n in range(20):
        getaddrinfo(loop, f"slow.{n}", 80, callback=callback)
    began(1)
    leave(20)
    loop.run()
    assert len(done) == 20
""")


def test_a_system_without_room_for_any_thread(run):
    run("""
import resource
from pathlib import Path
pages = int(Path("/proc/self/statm").read_text().split()[0])
with uvbind.Loop() as loop:
    limit = pages * resource.getpagesize() + 4 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        getaddrinfo(loop, "slow.1", 80, callback=callback)
        raise AssertionError("started")
    except UVError as error:
        assert error.name == "EAGAIN" and "threads" in str(error), error
    assert not loop.alive() and not done
""")


FORKED = """
import signal, warnings
warnings.simplefilter("ignore")  # of os.fork() beside the threads of other libraries
with uvbind.Loop() as loop:
    requests = [getaddrinfo(loop, f"slow.{n}", 80, callback=callback) for n in range(20)]
    began(16)
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        loop.fork()
        CHILD
        assert [result for _, result in done] == ["EAI_CANCELED"] * 20, done
        assert {request for request, _ in done} == set(requests)
        loop.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    leave(20)
"""


def test_lookups_can_be_cancelled_in_a_forked_child(run):
    run(FORKED.replace("CHILD", "[request.cancel() for request in requests]; loop.run()"))


def test_a_forked_child_can_leave_a_loop_with_lookups(run):
    run(FORKED.replace("CHILD", "loop.__exit__(None, None, None)"))


def test_a_forked_child_can_take_over_a_loop_twice(run):
    """As it has to when Ctrl-C has ended the first Loop.fork() half way."""
    run(FORKED.replace("CHILD", "loop._forked = True; loop.fork(); loop.run()"))


def test_a_fork_while_a_lookup_is_being_delivered(run):
    run("""
import signal, warnings
warnings.simplefilter("ignore")  # of os.fork() beside the threads of other libraries
with uvbind.Loop() as loop:
    request = getaddrinfo(loop, "late.1", 80, callback=callback)
    began(1)  # in uv_async_send, with the loop's lock
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        loop.fork()
        loop.run()
        assert [one for one, _ in done] == [request] and done[0][1][0][4][0] == "127.0.0.1"
        loop.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    leave(1)
""")


def test_a_child_of_a_child_counts_the_lookups_of_its_grandparent_once(run):
    run("""
import signal, warnings
import uvbind._dns_threads
warnings.simplefilter("ignore")  # of os.fork() beside the threads of other libraries
with uvbind.Loop() as loop:
    for n in range(16):
        getaddrinfo(loop, f"slow.{n}", 80, callback=callback)
    began(16)
    pid = os.fork()
    if pid == 0:
        child = os.fork()
        if child == 0:
            os._exit(0 if uvbind._dns_threads._lost == 16 else 1)
        os._exit(os.waitpid(child, 0)[1])
    assert os.waitpid(pid, 0)[1] == 0
    leave(16)
""")


@pytest.mark.parametrize("between", ["pass", "child()"])
def test_a_forked_child_ends_as_any_process_does(run, between):
    """libuv waits for its threads then, and the child has only those of its parent to wait for."""
    run(f"""
import signal, threading, warnings
warnings.simplefilter("ignore")  # of os.fork() beside the threads of other libraries

def child():
    pid = os.fork()
    if pid != 0:
        assert os.waitpid(pid, 0)[1] == 0
        sys.exit()

loop = uvbind.Loop()
getaddrinfo(loop, "localhost", 80, callback=callback)
loop.run()
loop.close()
child()
signal.alarm(30)
{between}
for _ in range(40):  # on the stacks that those of libuv had
    threading.Thread(target=threading.Event().wait, daemon=True).start()
sys.exit()
""")


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="garbage comes and goes there")
def test_a_lookup_that_gets_no_thread_leaves_no_memory_behind(run):
    run("""
import resource
from pathlib import Path

def pages():
    return int(Path("/proc/self/statm").read_text().split()[0])

def fail(count):
    for _ in range(count):
        try:
            getaddrinfo(loop, "localhost", 80, callback=callback)
            raise AssertionError("started")
        except UVError as error:
            assert error.name == "EAGAIN", error

with uvbind.Loop() as loop:
    limit = pages() * resource.getpagesize() + 7 * 2**20  # a thread takes 8 MiB
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    fail(100)
    before = pages()
    fail(5000)
    assert pages() - before < 100
""")


def test_a_name_may_be_any_bytes(run):
    run("""
name = os.fsdecode(b"caf\\xe9")
with uvbind.Loop() as loop:
    getaddrinfo(loop, "latin", 80, flags=socket.AI_CANONNAME, callback=callback)
    loop.run()
    getnameinfo(loop, ("127.0.0.1", 8859), callback=callback)
    loop.run()
    assert [done[0][1][0][3], done[1][1]] == [name, (name, "8859")], done
    assert getaddrinfo(loop, "latin", 80, flags=socket.AI_CANONNAME)[0][3] == name
    assert getnameinfo(loop, ("127.0.0.1", 8859)) == (name, "8859")
""")
