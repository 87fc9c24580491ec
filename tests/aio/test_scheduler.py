"""The schedulers of Python and of C: handles, turns, timers, threads, and who keeps what."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import subprocess
import sys
import threading
import weakref
from unittest import mock

import pytest
from pure_loop import PureLoop

import uvbind
from uvbind.aio import EventLoop
from uvbind.aio._scheduler import PURE

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")


@pytest.fixture(params=[asyncio.SelectorEventLoop, PureLoop, EventLoop])
def kind(request):
    return request.param


@pytest.fixture
def loop(kind):
    loop = kind()
    yield loop
    loop.close()


def turn(loop):
    """Have the loop make one turn."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def turn_until(loop, condition):
    while not condition():
        turn(loop)


def told(loop):
    """What the exception handler of a loop is told from now on."""
    contexts: list = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    return contexts


# -- handles


@pytest.mark.parametrize("arguments", [(), (1,), ((1, 2),), (1, 2), (1, 2, 3, 4, 5)])
def test_a_callback_gets_its_arguments(loop, arguments):
    calls: list = []

    def callback(*got):
        calls.append(got)

    handles = [
        loop.call_soon(callback, *arguments),
        loop.call_soon_threadsafe(callback, *arguments),
        loop.call_later(0, callback, *arguments),
        loop.call_at(loop.time(), callback, *arguments),
    ]
    assert [handle._args for handle in handles] == [arguments] * 4
    turn_until(loop, lambda: len(calls) == 4)
    assert calls == [arguments] * 4


def test_handles_are_asyncios(loop):
    soon, later = loop.call_soon(print, "a"), loop.call_at(5, print, "b")
    assert isinstance(soon, asyncio.Handle) and not isinstance(soon, asyncio.TimerHandle)
    assert isinstance(later, asyncio.TimerHandle)
    assert repr(soon).startswith("<Handle print(")  # from Python 3.13 on without the arguments
    assert repr(later).startswith("<TimerHandle when=5 print(")
    assert later.when() == 5 and type(later.when()) is int
    assert later < loop.call_at(6, print) and later == later and hash(later) == hash(5)
    assert weakref.ref(soon)() is soon
    for handle in (soon, later):
        assert handle.cancelled() is False
        handle.cancel()
        handle.cancel()
        assert handle.cancelled() is True and "cancelled" in repr(handle)
        assert handle._callback is None and handle._args is None


def test_handles_that_were_cancelled_are_not_called(loop):
    calls: list = []
    handles = [
        loop.call_soon(calls.append, 1),
        loop.call_later(0, calls.append, 2),
        loop.call_soon_threadsafe(calls.append, 3),
    ]
    for handle in handles:
        handle.cancel()
    loop.call_later(0.001, calls.append, 4)
    turn_until(loop, lambda: calls)
    assert calls == [4]


def test_a_callback_can_cancel_its_own_handle(loop):
    calls: list = []

    def callback(one, two):
        handle.cancel()
        gc.collect()
        calls.append((one, two))

    handle = loop.call_soon(callback, object(), object())
    turn(loop)
    assert len(calls) == 1


def test_callbacks_run_in_the_context_of_the_call_or_in_the_one_given(loop):
    seen: list = []
    given = contextvars.copy_context()
    given.run(variable.set, "given")
    variable.set("inside")
    for call in (loop.call_soon, loop.call_soon_threadsafe):
        call(lambda: seen.append(variable.get()))
        call(lambda: seen.append(variable.get()), context=given)
        call(lambda: seen.append(variable.get()), context=None)
    loop.call_later(0.001, lambda: seen.append(variable.get()), context=given)
    variable.set("outside")
    turn_until(loop, lambda: len(seen) == 7)
    assert seen == [*["inside", "given", "inside"] * 2, "given"]


def test_a_keyword_that_was_put_together_is_known(loop):
    """asyncio's tasks in C pass one that is not interned."""
    given = contextvars.copy_context()
    handle = loop.call_soon(print, **{"".join(["con", "text"]): given})
    assert handle._context is given
    handle.cancel()


@pytest.mark.parametrize("debug", [False, True])
def test_arguments_that_are_wrong(loop, debug):
    loop.set_debug(debug)
    for call in (loop.call_soon, loop.call_soon_threadsafe):
        with pytest.raises(TypeError, match="callback"):
            call()
        with pytest.raises(TypeError, match="nonsense"):
            call(print, nonsense=1)
    with pytest.raises(TypeError, match="callback"):
        loop.call_later(1)
    with pytest.raises(TypeError, match="None"):
        loop.call_later(None, print)
    with pytest.raises(TypeError, match="None"):
        loop.call_at(None, print)
    assert not loop._ready and not loop._scheduled
    loop.call_soon(callback=print).cancel()


def test_a_closed_loop_takes_nothing(kind):
    loop = kind()
    loop.close()
    for call in (
        lambda: loop.call_soon(print),
        lambda: loop.call_soon_threadsafe(print),
        lambda: loop.call_later(1, print),
        lambda: loop.call_at(1, print),
    ):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            call()


def test_debug_mode_checks_and_remembers_where(loop):
    loop.set_debug(True)

    async def coroutine():
        pass

    for name in ("call_soon", "call_soon_threadsafe"):
        with pytest.raises(TypeError, match=f"coroutines cannot be used with {name}"):
            getattr(loop, name)(coroutine)
        with pytest.raises(TypeError, match=f"callable object was expected by {name}"):
            getattr(loop, name)(3)
    with pytest.raises(TypeError, match="coroutines cannot be used with call_at"):
        loop.call_later(1, coroutine)
    handles = [
        loop.call_soon(print),
        loop.call_soon_threadsafe(print),
        loop.call_later(1, print),
        loop.call_at(1, print),
    ]
    for handle in handles:
        assert handle._source_traceback[-1].name == "test_debug_mode_checks_and_remembers_where"
        handle.cancel()
    loop.set_debug(False)
    assert loop.get_debug() is False and loop.call_soon(print)._source_traceback is None
    loop._ready.clear()


# -- what a callback raises


def test_what_a_callback_raises_is_told_and_the_next_ones_are_called(loop):
    contexts, calls = told(loop), []

    def fail(text):
        raise ValueError(text)

    handle = loop.call_soon(fail, "told")
    loop.call_soon(calls.append, 1)
    turn(loop)
    (context,) = contexts
    assert context["handle"] is handle and str(context["exception"]) == "told"
    assert context["message"].startswith("Exception in callback ")
    assert "fail(" in context["message"]
    assert "source_traceback" not in context and calls == [1]


def test_the_handler_sees_the_exception_as_the_one_that_is_handled(loop):
    seen, before = [], sys.exception()
    loop.set_exception_handler(lambda loop, context: seen.append(sys.exception()))
    loop.call_soon(lambda: 1 / 0)
    turn(loop)
    assert isinstance(seen[0], ZeroDivisionError) and sys.exception() is before


@pytest.mark.parametrize("kind_of_end", [SystemExit, KeyboardInterrupt])
def test_what_ends_the_program_leaves_the_loop_and_the_rest_waits(loop, kind_of_end):
    contexts, calls = told(loop), []

    def end():
        raise kind_of_end

    loop.call_soon(end)
    loop.call_soon(calls.append, 1)
    with pytest.raises(kind_of_end):
        loop.run_forever()
    assert calls == [] and contexts == []
    turn(loop)
    assert calls == [1]


def test_a_context_that_is_none_is_told_of(loop):
    contexts = told(loop)
    loop.call_soon(print, context=3)
    loop.call_soon(None)
    turn(loop)
    assert [type(context["exception"]) for context in contexts] == [AttributeError, TypeError]


# -- turns


def test_callbacks_of_a_turn_wait_for_the_next(loop):
    log: list = []

    def first():
        log.append("first")
        loop.call_soon(log.append, "next turn")
        loop.call_soon_threadsafe(log.append, "next turn too")

    loop.call_soon(first)
    loop.call_soon(log.append, "second")
    turn(loop)
    assert log == ["first", "second"]
    turn(loop)
    assert log == ["first", "second", "next turn", "next turn too"]


def test_many_callbacks_keep_their_order_while_the_ring_grows(loop):
    calls: list = []

    def more(number):
        calls.append(number)
        if number < 500:
            loop.call_soon(more, number + 500)
            loop.call_soon(calls.append, -number)

    for number in range(500):
        loop.call_soon(more, number)
    turn(loop)
    turn(loop)
    expected = [each for number in range(500) for each in (number + 500, -number)]
    assert calls == [*range(500), *expected]


@pytest.mark.skipif(PURE, reason="a deque, which asyncio takes from although it is empty")
def test_a_callback_can_clear_what_is_ready():
    loop, calls = EventLoop(), []
    loop.call_soon(lambda: loop._ready.clear())
    loop.call_soon(calls.append, 1)
    loop.call_soon(loop.stop)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    loop.close()
    assert calls == []


def test_a_timer_without_a_time_or_with_none_left(loop):
    calls: list = []
    loop.call_at(float("inf"), calls.append, "never").cancel()
    for when in (float("-inf"), float("nan"), 0, -5.0):
        loop.call_at(when, calls.append, when)
    turn_until(loop, lambda: len(calls) == 4)


def test_timers_are_called_by_their_times(loop):
    begin, calls = loop.time(), []
    for number in (5, 3, 8, 1, 7, 2, 6, 4):
        loop.call_at(begin + number / 1000, calls.append, number)
    turn_until(loop, lambda: len(calls) == 8)
    assert calls == sorted(calls)


def test_cancelled_timers_are_sorted_out(loop):
    timers = [loop.call_later(1000 + number, print) for number in range(1000)]
    for timer in timers[::2] + timers[1:500:2]:
        timer.cancel()
    turn(loop)
    assert sorted(loop._scheduled) == [timer for timer in timers if not timer.cancelled()]
    assert loop._timer_cancelled_count == 0
    assert not timers[0]._scheduled and timers[-1]._scheduled


# -- what programs see and replace


def test_the_queues_look_like_asyncios(loop):
    handles = [loop.call_soon(print, number) for number in range(3)]
    timers = [loop.call_later(number, print) for number in (30, 20)]
    ready, scheduled = loop._ready, loop._scheduled
    assert len(ready) == 3 and list(ready) == handles and ready[1] is handles[1]
    assert len(scheduled) == 2 and scheduled[0] is timers[1] and bool(scheduled)
    assert ready.popleft() is handles[0]
    ready.append(handles[0])
    assert list(loop._ready) == [handles[1], handles[2], handles[0]]
    ready.clear()
    scheduled.clear()
    assert not loop._ready and not loop._scheduled
    with pytest.raises(IndexError):
        ready.popleft()


def test_methods_can_be_replaced(kind):
    class Loop(kind):
        def call_soon(self, callback, *args, context=None):
            calls.append("soon")
            return super().call_soon(callback, *args, context=context)

        def call_at(self, when, callback, *args, context=None):
            calls.append("at")
            return super().call_at(when, callback, *args, context=context)

    calls: list = []
    loop = Loop()
    loop.call_soon(print).cancel()
    loop.call_later(5, print).cancel()
    assert calls == ["soon", "at"]
    with mock.patch.object(loop, "call_at") as call_at:
        loop.call_later(5, print)
    call_at.assert_called_once()
    with mock.patch.object(kind, "time", lambda self: 7.0):
        assert loop.time() == 7 and loop.call_later(5, print).when() == 12
    with mock.patch.object(loop, "time", lambda: 8.0):
        assert loop.call_later(5, print).when() == 13
    with mock.patch("time.monotonic", lambda: 9.0):
        assert loop.time() == 9 and loop.call_later(5, print).when() == 14
    assert loop.time() != 9
    loop.close()


# -- other threads


def test_calls_of_other_threads_come_in_each_threads_order(loop):
    got: list = []
    total = 4 * 500

    def call(thread):
        for number in range(500):
            loop.call_soon_threadsafe(take, thread, number)

    def take(thread, number):
        got.append((thread, number))
        if len(got) == total:
            loop.stop()

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    loop.run_forever()
    for thread in threads:
        thread.join()
    for number in range(4):
        assert [n for thread, n in got if thread == number] == list(range(500))


def test_one_call_of_another_thread_wakes_a_loop_that_waits(loop):
    """Again and again, at any moment of its turns: a wakeup that is lost hangs here."""
    asked, answers = threading.Semaphore(0), []

    def ask():
        for number in range(300):
            loop.call_soon_threadsafe(answer, number)
            asked.acquire()
        loop.call_soon_threadsafe(loop.stop)

    def answer(number):
        answers.append(number)
        asked.release()

    thread = threading.Thread(target=ask)
    thread.start()
    loop.run_forever()
    thread.join()
    assert answers == list(range(300))


def test_a_loop_that_closes_while_threads_call(kind):
    for _ in range(20):
        loop, begun, refused = kind(), threading.Event(), []

        def call(loop=loop, begun=begun, refused=refused):
            try:
                while True:
                    loop.call_soon_threadsafe(int)
                    begun.set()
            except RuntimeError as error:
                refused.append(str(error))

        thread = threading.Thread(target=call)
        thread.start()
        begun.wait()
        loop.close()
        thread.join()
        assert refused == ["Event loop is closed"]


# -- who keeps what


class Thing:
    def __call__(self, *arguments):
        pass


def test_nothing_of_a_call_is_kept(loop):
    things = [Thing() for _ in range(5)]
    references = [weakref.ref(thing) for thing in things]
    loop.call_soon(things[0], things[1])
    loop.call_later(0, things[2], things[3], 4)
    loop.call_later(1000, things[4]).cancel()
    del things
    gc.disable()
    try:
        turn_until(loop, lambda: references[2]() is None or sys.implementation.name != "cpython")
        if sys.implementation.name == "cpython":
            assert [reference() for reference in references] == [None] * 5
    finally:
        gc.enable()


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="PyPy collects when it likes")
@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_loop_goes_with_what_it_has_scheduled(closed):
    loop, thing = EventLoop(), Thing()
    thing.loop = loop
    references = [weakref.ref(loop), weakref.ref(thing)]
    loop.call_soon(thing, loop)
    loop.call_later(1000, thing, loop, thing)
    if closed:
        loop.close()
    del loop, thing
    gc.collect()
    assert [reference() for reference in references] == [None, None]


@pytest.mark.skipif(PURE, reason="this is the Python one already")
def test_the_environment_chooses_the_scheduler_in_python():
    program = (
        "import uvbind; loop = uvbind.new_event_loop(); print(type(loop).__mro__[1].__name__);"
        "loop.close()"
    )
    names = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "UVBIND_PURE": value},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for value in ("1", "0")
    ]
    assert names == ["PureScheduler", "FastScheduler"]


@pytest.mark.skipif(PURE, reason="C's only")
def test_the_types_of_c_cannot_be_made_by_hand():
    loop = uvbind.new_event_loop()
    for handle in (loop.call_soon(print), loop.call_later(1, print)):
        with pytest.raises(TypeError, match="cannot create"):
            type(handle)(print, (), loop)
    loop.close()
