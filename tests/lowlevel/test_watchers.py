"""Prepare, Check and Idle: what a turn of the loop calls before, after and without waiting."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import ignore

from uvbind import Async, Check, Idle, Loop, Prepare, RunMode, UVError

each_watcher = pytest.mark.parametrize("kind", [Prepare, Check, Idle])


@each_watcher
def test_calls_back_once_a_turn_with_the_handle(loop: Loop, kind: type[Prepare]) -> None:
    calls: list[Prepare] = []
    watcher = kind(loop)
    watcher.start(calls.append)
    for turns in range(1, 4):
        loop.run(RunMode.NOWAIT)
        assert calls == [watcher] * turns
    watcher.close()


def test_a_turn_is_idle_prepare_wait_check(loop: Loop) -> None:
    calls: list[object] = []
    handles = [Check(loop), Idle(loop), Prepare(loop)]
    for handle in handles:
        handle.start(lambda handle: calls.append(type(handle)))
    async_ = Async(loop, lambda async_: calls.append(Async))
    async_.send()
    loop.run(RunMode.NOWAIT)
    assert calls == [Idle, Prepare, Async, Check]
    for handle in [*handles, async_]:
        handle.close()


def test_idle_keeps_the_loop_from_waiting(loop: Loop) -> None:
    async_ = Async(loop, ignore)
    loop.run(RunMode.NOWAIT)
    assert loop.backend_timeout() > 0  # the guard's
    idle = Idle(loop)
    idle.start(ignore)
    assert loop.backend_timeout() == 0
    assert loop.run(RunMode.ONCE)
    idle.close()
    async_.close()


@pytest.mark.parametrize("kind", [Prepare, Check])
def test_prepare_and_check_let_the_loop_wait(loop: Loop, kind: type[Prepare]) -> None:
    watcher = kind(loop)
    watcher.start(ignore)
    loop.run(RunMode.NOWAIT)
    assert loop.backend_timeout() > 0  # the guard's
    watcher.close()


@each_watcher
def test_start_of_one_that_runs_gives_it_the_new_callback(loop: Loop, kind: type[Prepare]) -> None:
    calls = []
    watcher = kind(loop)
    watcher.start(lambda watcher: calls.append("old"))
    watcher.start(lambda watcher: calls.append("new"))
    loop.run(RunMode.NOWAIT)
    assert calls == ["new"]
    watcher.close()


@each_watcher
def test_stop_ends_the_calls_and_start_begins_them_anew(loop: Loop, kind: type[Prepare]) -> None:
    calls: list[Prepare] = []
    watcher = kind(loop)
    watcher.stop()
    watcher.start(calls.append)
    watcher.stop()
    loop.run(RunMode.NOWAIT)
    assert (calls, watcher.is_active()) == ([], False)
    watcher.start(lambda watcher: (calls.append(watcher), watcher.stop()))
    loop.run(RunMode.NOWAIT)
    loop.run(RunMode.NOWAIT)
    assert (calls, watcher.is_active()) == ([watcher], False)
    watcher.close()


@each_watcher
def test_one_that_another_stops_in_the_same_turn_is_not_called(
    loop: Loop, kind: type[Prepare]
) -> None:
    calls = []
    watchers = [kind(loop) for _ in range(3)]

    def on_turn(watcher: Prepare) -> None:
        calls.append(watcher)
        for each in watchers:
            each.stop()

    for watcher in watchers:
        watcher.start(on_turn)
    loop.run(RunMode.NOWAIT)
    assert len(calls) == 1
    for watcher in watchers:
        watcher.close()


@each_watcher
def test_start_refuses_what_cannot_be_called(loop: Loop, kind: type[Prepare]) -> None:
    calls: list[Prepare] = []
    watcher = kind(loop)
    watcher.start(calls.append)
    with pytest.raises(TypeError, match="callback: expected a function, not NoneType"):
        watcher.start(None)  # type: ignore[arg-type]
    loop.run(RunMode.NOWAIT)
    assert calls == [watcher], "the refused start changed something"
    watcher.close()


@each_watcher
@pytest.mark.parametrize("verb", [lambda watcher: watcher.start(ignore), lambda w: w.stop()])
def test_no_verb_is_for_a_closed_watcher_or_another_thread(
    loop: Loop, kind: type[Prepare], verb: Callable[[Prepare], object]
) -> None:
    watcher = kind(loop)
    with ThreadPoolExecutor(1) as pool:
        error = pool.submit(verb, watcher).exception(timeout=30)
    assert isinstance(error, RuntimeError)
    assert "in use by another thread" in str(error)
    watcher.close()
    with pytest.raises(UVError, match=f"this {kind.__name__} is closed") as caught:
        verb(watcher)
    assert caught.value.name == "EBADF"
