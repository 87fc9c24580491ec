"""Lookups that take their time, in libuv's threads: how many at once, cancelling, blocking ones."""

from __future__ import annotations

import pytest

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


def test_sixteen_slow_lookups_run_side_by_side(run_with_resolver):
    run_with_resolver("LOOKUPS, AT_A_TIME, GIVEN = 20, 16, None" + SIXTEEN)


@pytest.mark.parametrize(("size", "at_a_time"), [("4", 2), ("9", 5), ("1", 1), ("0", 1)])
def test_the_environment_says_how_many(run_with_resolver, size, at_a_time):
    run_with_resolver(
        f"LOOKUPS, AT_A_TIME, GIVEN = 8, {at_a_time}, {size!r}" + SIXTEEN,
        UV_THREADPOOL_SIZE=size,
    )


def test_the_setting_is_not_left_to_child_processes(run_with_resolver):
    run_with_resolver("""
import subprocess
with uvbind.Loop() as loop:
    getaddrinfo(loop, "localhost", 80, callback=callback)
    assert b"UV_THREADPOOL_SIZE" not in subprocess.check_output(["env"])
    loop.run()
""")


def test_numeric_hosts_do_not_wait_for_slow_ones(run_with_resolver):
    run_with_resolver("""
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


def test_a_lookup_that_waits_for_a_thread_can_be_cancelled(run_with_resolver):
    run_with_resolver("""
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


def test_a_reverse_lookup_runs_in_a_thread(run_with_resolver):
    run_with_resolver("""
with uvbind.Loop() as loop:
    request = getnameinfo(loop, ("127.0.0.1", 80), callback=callback)
    began(1)
    leave(1)
    loop.run()
    try:
        service = socket.getservbyport(80, "tcp")
    except OSError:  # without /etc/services (Debian: netbase)
        service = "80"
    assert done == [(request, ("127.0.0.1", service))]
""")


def test_leaving_a_loop_gives_up_what_has_not_begun(run_with_resolver):
    run_with_resolver("""
with uvbind.Loop() as loop:
    requests = [getaddrinfo(loop, f"slow.{n}", 80, callback=callback) for n in range(30)]
    began(16)
    uvbind.Timer(loop).close(lambda timer: leave(16))  # when the loop is being left
assert len(done) == 30
assert {request for request, result in done if result == "EAI_CANCELED"} == set(requests[16:])
""")


def test_blocking_lookups_let_other_threads_run(run_with_resolver):
    run_with_resolver("""
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


def test_another_thread_cannot_run_the_loop_of_a_blocking_lookup(run_with_resolver):
    run_with_resolver("""
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


def test_a_name_may_be_any_bytes(run_with_resolver):
    run_with_resolver("""
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
