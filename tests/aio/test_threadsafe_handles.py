"""Handles of call_soon_threadsafe() that other threads cancel: since Python 3.14 cancel() waits
while the callback runs."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest
from pure_loop import PureLoop

from uvbind.aio import EventLoop

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 14), reason="asyncio's cancel() waits since Python 3.14"
)


@pytest.fixture(params=[asyncio.SelectorEventLoop, PureLoop, EventLoop])
def loop(request):
    loop = request.param()
    yield loop
    loop.close()


@pytest.fixture
def elsewhere():
    """Run functions in threads, which end before the test does."""
    threads = []

    def start(function):
        threads.append(threading.Thread(target=function))
        threads[-1].start()
        return threads[-1]

    yield start
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("verb", ["cancel", "cancelled"])
def test_another_thread_waits_until_the_callback_has_returned(loop, elsewhere, verb):
    asked, order = threading.Event(), []

    def ask():
        asked.set()
        getattr(handle, verb)()
        order.append("asked")

    def callback():
        thread = elsewhere(ask)
        asked.wait()
        thread.join(0.05)  # it must not come further
        order.append("returned")
        loop.stop()

    handle = loop.call_soon_threadsafe(callback)
    loop.run_forever()
    while len(order) < 2:
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert order == ["returned", "asked"]


def test_threads_that_wait_all_go_on(loop, elsewhere):
    asked, ended = threading.Barrier(5), []
    threads: list[threading.Thread] = []

    def ask():
        asked.wait()
        handle.cancel()
        ended.append(handle.cancelled())

    def callback():
        threads.extend(elsewhere(ask) for _ in range(4))
        asked.wait()
        threads[0].join(0.05)  # none must come further
        assert not ended
        loop.stop()

    handle = loop.call_soon_threadsafe(callback)
    loop.run_forever()
    for thread in threads:
        thread.join()
    assert ended == [True] * 4


def test_a_callback_cancels_its_own_handle_without_waiting(loop):
    done = []

    def callback():
        handle.cancel()
        done.append(handle.cancelled())
        loop.stop()

    handle = loop.call_soon_threadsafe(callback)
    loop.run_forever()
    assert done == [True]


def test_a_handle_that_another_thread_cancelled_is_not_called(loop, elsewhere):
    called = []
    handle = loop.call_soon_threadsafe(called.append, 1)
    elsewhere(handle.cancel).join()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert handle.cancelled() and not called


def test_an_exception_lets_the_waiting_thread_go_on(loop, elsewhere):
    contexts, asked = [], threading.Event()
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    def ask():
        asked.set()
        handle.cancel()

    def callback():
        elsewhere(ask)
        asked.wait()
        raise ValueError

    handle = loop.call_soon_threadsafe(callback)
    loop.call_soon(loop.stop)
    loop.run_forever()
    (context,) = contexts
    assert type(context["exception"]) is ValueError and context["handle"] is handle


def test_the_class_is_asyncio_s(loop):
    handle = loop.call_soon_threadsafe(print)
    assert isinstance(handle, asyncio.events._ThreadSafeHandle)  # type: ignore[attr-defined]
    handle.cancel()
