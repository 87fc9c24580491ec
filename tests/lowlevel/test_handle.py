"""What all handles have in common, closing above all."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import hung, ignore

from uvbind import Async, Check, Handle, Idle, Loop, Poll, Prepare, RunMode, Signal, Timer, UVError


def hung_up_poll(loop: Loop) -> Poll:
    ours, peer = socket.socketpair()
    with ours, peer:  # a Poll outlives its owner's descriptor
        return Poll(loop, ours)


MAKE: dict[str, Callable[[Loop], Handle]] = {
    "Prepare": Prepare,
    "Check": Check,
    "Idle": Idle,
    "Timer": Timer,
    "Signal": Signal,
    "Async": lambda loop: Async(loop, ignore),
    "Poll": hung_up_poll,
}
START: dict[str, Callable[..., object]] = {
    "Prepare": Prepare.start,
    "Check": Check.start,
    "Idle": Idle.start,
    "Timer": lambda timer, callback: timer.start(callback, 0),
    "Signal": lambda watcher, callback: watcher.start(callback, 28),
    "Poll": lambda poll, callback: poll.start(1, callback),
}
each_kind = pytest.mark.parametrize("kind", list(MAKE))
each_start = pytest.mark.parametrize("kind", list(START))


@each_kind
def test_a_loop_is_needed_to_make_one(kind: str) -> None:
    with pytest.raises(TypeError, match=r"loop: expected a uvbind\.Loop, not NoneType"):
        MAKE[kind](None)  # type: ignore[arg-type]


@each_kind
def test_none_is_made_in_a_closed_loop(kind: str) -> None:
    loop = Loop()
    loop.close()
    with pytest.raises(RuntimeError, match="the loop is closed"):
        MAKE[kind](loop)


@each_kind
def test_none_is_made_in_the_loop_of_another_thread(loop: Loop, kind: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        error = pool.submit(MAKE[kind], loop).exception(timeout=30)
    assert isinstance(error, RuntimeError)
    assert "in use by another thread" in str(error)


@each_kind
def test_loop_is_the_one_it_was_made_in(loop: Loop, kind: str) -> None:
    handle = MAKE[kind](loop)
    assert handle.loop is loop
    handle.close()
    assert handle.loop is loop


@each_kind
def test_the_loop_keeps_it_until_its_close_callback_has_run(loop: Loop, kind: str) -> None:
    handle = MAKE[kind](loop)
    assert id(handle) in loop._handles
    handle.close()
    assert id(handle) in loop._handles
    loop.run()
    assert id(handle) not in loop._handles


@each_start
def test_is_active_from_start_to_close(loop: Loop, kind: str) -> None:
    handle = MAKE[kind](loop)
    assert not handle.is_active()
    START[kind](handle, ignore)
    assert handle.is_active()
    handle.close()
    assert not handle.is_active()
    loop.run()
    assert not handle.is_active()


@each_kind
def test_is_closing_from_close_on(loop: Loop, kind: str) -> None:
    handle = MAKE[kind](loop)
    assert not handle.is_closing()
    handle.close()
    assert handle.is_closing()
    loop.run()
    assert handle.is_closing()


@each_kind
def test_ref_and_unref_decide_whether_the_loop_waits_for_it(loop: Loop, kind: str) -> None:
    handle = MAKE[kind](loop)
    if kind in START:
        START[kind](handle, ignore)
    assert handle.has_ref()
    assert loop.alive()
    handle.unref()
    handle.unref()
    assert not handle.has_ref()
    assert not loop.alive()
    handle.ref()
    assert handle.has_ref()
    assert loop.alive()
    handle.close()


@each_kind
@pytest.mark.parametrize("verb", [Handle.ref, Handle.unref, Handle.has_ref, Handle.fileno])
def test_what_needs_an_open_handle_is_ebadf_without(
    loop: Loop, kind: str, verb: Callable[[Handle], object]
) -> None:
    handle = MAKE[kind](loop)
    handle.close()
    with pytest.raises(UVError, match=f"this {kind} is closed") as caught:
        verb(handle)
    assert caught.value.name == "EBADF"


@pytest.mark.parametrize(
    "verb",
    [Handle.ref, Handle.unref, Handle.has_ref, Handle.fileno, Handle.is_active, Handle.close],
)
def test_what_all_handles_have_is_not_for_another_thread(
    loop: Loop, verb: Callable[[Handle], object]
) -> None:
    handle = Prepare(loop)
    with ThreadPoolExecutor(1) as pool:
        error = pool.submit(verb, handle).exception(timeout=30)
    assert isinstance(error, RuntimeError)
    assert "in use by another thread" in str(error)
    handle.close()


@pytest.mark.parametrize("kind", [kind for kind in MAKE if kind != "Poll"])
def test_fileno_of_one_without_is_einval(loop: Loop, kind: str) -> None:
    handle = MAKE[kind](loop)
    with pytest.raises(UVError) as caught:
        handle.fileno()
    assert caught.value.name == "EINVAL"
    handle.close()


@each_start
def test_repr_tells_kind_and_state(loop: Loop, kind: str) -> None:
    handle = MAKE[kind](loop)
    assert repr(handle) == f"<{kind} idle>"
    START[kind](handle, ignore)
    assert repr(handle) == f"<{kind} active>"
    handle.close()
    assert repr(handle) == f"<{kind} closed>"
    loop.run()
    assert repr(handle) == f"<{kind} closed>"


# -- closing


@each_kind
def test_close_calls_back_with_the_handle_and_not_at_once(loop: Loop, kind: str) -> None:
    closed: list[Handle] = []
    handle = MAKE[kind](loop)
    handle.close(closed.append)
    assert closed == []
    loop.run()
    assert closed == [handle]


@each_kind
def test_a_second_close_only_adds_its_callback(loop: Loop, kind: str) -> None:
    closed = []
    handle = MAKE[kind](loop)
    handle.close(lambda handle: closed.append("first"))
    handle.close()
    handle.close(lambda handle: closed.append("third"))
    loop.run()
    assert closed == ["first", "third"]


@each_kind
def test_close_of_a_closed_one_does_nothing_and_takes_no_callback(loop: Loop, kind: str) -> None:
    handle = MAKE[kind](loop)
    handle.close()
    loop.run()
    handle.close()
    with pytest.raises(ValueError, match=f"callback: this {kind} has been closed already"):
        handle.close(ignore)


def test_close_refuses_what_cannot_be_called_and_closes_nothing(loop: Loop) -> None:
    handle = Prepare(loop)
    with pytest.raises(TypeError, match="callback: expected a function or None, not int"):
        handle.close(1)  # type: ignore[arg-type]
    assert not handle.is_closing()
    handle.close()


@each_start
def test_one_that_is_closed_while_due_does_not_call_back(loop: Loop, kind: str) -> None:
    handle = MAKE[kind](loop)
    START[kind](handle, hung)
    handle.close()
    assert not loop.run()


@pytest.mark.parametrize("kind", ["Prepare", "Check", "Idle", "Timer", "Poll"])
def test_close_is_legal_in_its_own_callback(loop: Loop, kind: str) -> None:
    calls = []
    handle = MAKE[kind](loop)
    START[kind](
        handle,
        lambda handle, *about: (
            handle.close(lambda handle: calls.append("closed")),
            handle.close(),
        ),
    )
    if kind in ("Prepare", "Check"):
        loop.run(RunMode.NOWAIT)
    loop.run()
    assert calls == ["closed"]


@pytest.mark.parametrize("kind", ["Prepare", "Check", "Idle", "Timer", "Poll"])
def test_one_that_another_closes_in_its_callback_is_not_called(loop: Loop, kind: str) -> None:
    calls = []
    handles = [MAKE[kind](loop) for _ in range(3)]

    def callback(handle: Handle, *about: object) -> None:
        calls.append(handle)
        for each in handles:
            each.close()

    for handle in handles:
        START[kind](handle, callback)
    loop.run(RunMode.NOWAIT)
    assert not loop.run()
    assert len(calls) == 1


def test_close_is_legal_in_a_close_callback(loop: Loop) -> None:
    closed = []
    first, second = Timer(loop), Timer(loop)
    first.close(lambda first: (first.close(), second.close(closed.append)))
    loop.run()
    assert closed == [second]


def test_a_new_handle_may_be_made_in_a_close_callback(loop: Loop) -> None:
    calls = []

    def again(handle: Handle) -> None:
        timer = Timer(loop)
        timer.start(lambda timer: (calls.append("new"), timer.close()), 0)

    Timer(loop).close(again)
    loop.run()
    assert calls == ["new"]
