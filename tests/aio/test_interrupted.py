"""What a signal handler raises may leave any line of the loop's: the loop goes on to work."""

from __future__ import annotations

import asyncio
import linecache
import sys
import threading

import pytest
from helpers import Oops
from plain_sockets import new_pair
from pure_loop import PureLoop

import uvbind
from uvbind.aio import _eventloop, _scheduler, _turns

FILES = [module.__file__ for module in (_eventloop, _turns, _scheduler)]
FILES.append(_scheduler.__file__.replace("_scheduler", "_scheduler_fast"))
MADE_OR_CLOSED = ("__init__", "close", "_make_self_pipe", "_close_self_pipe")
# Who has taken a callback from one place and not put it into the next loses it, in asyncio too.
IN_HAND = ("call_soon", "_take_due", "stop", "_call_soon_checked", "_without_us", "popleft")


class Injected:
    """Raises at the nth line of the loop's own code."""

    def __init__(self, nth: int, kind: type[BaseException]) -> None:
        self.left, self.kind, self.where = nth, kind, ""

    def __call__(self, frame, event, argument):
        code = frame.f_code
        if code.co_filename not in FILES or code.co_name in MADE_OR_CLOSED + IN_HAND:
            return None
        line = linecache.getline(code.co_filename, frame.f_lineno)
        if event == "line" and not (code.co_name == "_turn" and "handle" in line):
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                self.where = f"{frame.f_lineno}: {line.strip()}"
                raise self.kind
        return self


async def receive(sock):
    return await asyncio.get_running_loop().sock_recv(sock, 10)


async def wait_for_a_thread():
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(done.set))
    loop.call_later(0.001, thread.start)
    try:
        await done.wait()
    finally:
        if thread.ident is not None:
            thread.join()


def new_tasks(loop, ours, theirs):
    loop.call_later(0.002, theirs.send, b"data")
    coroutines = [asyncio.sleep(0.001), asyncio.sleep(0.003), receive(ours), wait_for_a_thread()]
    return [loop.create_task(coroutine) for coroutine in coroutines]


def give_up(timer):
    raise SystemExit


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="PyPy traces another set of lines")
@pytest.mark.parametrize("kind", [KeyboardInterrupt, Oops])
@pytest.mark.parametrize("new_loop", [PureLoop, uvbind.new_event_loop])
def test_an_exception_at_any_line_stops_no_timer_and_strands_no_task(kind, new_loop):
    before, nth, injected = sys.gettrace(), 0, None
    while injected is None or injected.left <= 0:
        nth += 1
        injected = Injected(nth, kind)
        loop = new_loop()
        loop.set_exception_handler(lambda loop, context: None)
        try:
            with new_pair() as (ours, theirs):
                tasks = new_tasks(loop, ours, theirs)
                together = asyncio.gather(*tasks, return_exceptions=True)
                uvbind.Timer(loop.uv).start(give_up, 30_000)
                try:
                    sys.settrace(injected)
                    loop.run_until_complete(together)
                except kind:
                    pass
                finally:
                    sys.settrace(before)
                if not together.done():
                    loop.run_until_complete(together)
        except SystemExit:
            pytest.fail(f"it hangs: {injected.where}")
        finally:
            loop.close()
    assert nth > (50 if _scheduler.PURE or new_loop is PureLoop else 5)  # few are Python's with C
