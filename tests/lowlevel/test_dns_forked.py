"""Lookups that are under way when the process forks: the child ends them, and can do its own."""

from __future__ import annotations

import pytest


def test_lookups_under_way_end_in_a_forked_child(run_with_resolver):
    run_with_resolver("""
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


def test_lookups_can_be_cancelled_in_a_forked_child(run_with_resolver):
    run_with_resolver(
        FORKED.replace("CHILD", "[request.cancel() for request in requests]; loop.run()")
    )


def test_a_forked_child_can_leave_a_loop_with_lookups(run_with_resolver):
    run_with_resolver(FORKED.replace("CHILD", "loop.__exit__(None, None, None)"))


def test_a_forked_child_can_take_over_a_loop_twice(run_with_resolver):
    """As it has to when Ctrl-C has ended the first Loop.fork() half way."""
    run_with_resolver(FORKED.replace("CHILD", "loop._forked = True; loop.fork(); loop.run()"))


def test_a_fork_while_a_lookup_is_being_delivered(run_with_resolver):
    run_with_resolver("""
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


def test_a_child_of_a_child_counts_the_lookups_of_its_grandparent_once(run_with_resolver):
    run_with_resolver("""
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
def test_a_forked_child_ends_as_any_process_does(run_with_resolver, between):
    """libuv waits for its threads then, and the child has only those of its parent to wait for."""
    run_with_resolver(f"""
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
