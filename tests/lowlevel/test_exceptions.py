"""Exceptions in callbacks: they come out of run(), each once and in their order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from helpers import WAYS, Oops, close_others, fail, soon

from uvbind import Check, Handle, Idle, Loop, Timer

each_way = pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))


@each_way
@pytest.mark.parametrize("exception", [Oops, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_exception_in_a_callback_comes_out_of_run(
    loop: Loop,
    way: Callable[[Loop, Callable[..., object]], object],
    exception: type[BaseException],
) -> None:
    raised = exception("from a callback")
    calls = []

    def callback(*about: object) -> None:
        calls.append(about)
        if len(calls) > 1:
            loop.stop()
        raise raised

    way(loop, callback)
    with pytest.raises(exception) as caught:
        loop.run()
    assert caught.value is raised
    assert len(calls) == 1
    close_others(loop)


@each_way
def test_an_exception_before_the_first_line_of_a_callback_counts_too(
    loop: Loop, way: Callable[[Loop, Callable[..., object]], object]
) -> None:
    way(loop, lambda: None)
    with pytest.raises(TypeError, match="takes 0 positional arguments"):
        loop.run()
    close_others(loop)


def test_an_exception_stops_the_loop_after_the_turn(loop: Loop) -> None:
    turns = []
    idle, check = Idle(loop), Check(loop)
    idle.start(fail)

    def on_check(check: Check) -> None:
        turns.append(len(turns))
        if len(turns) == 2:
            loop.stop()

    check.start(on_check)
    with pytest.raises(Oops):
        loop.run()
    assert turns == [0]
    idle.close()
    check.close()


def test_several_exceptions_of_a_turn_are_raised_one_per_call_in_their_order(loop: Loop) -> None:
    exceptions = [Oops(1), SystemExit(2), KeyboardInterrupt(3), Oops(4)]

    def callback(raised: BaseException) -> None:
        raise raised

    for exception in exceptions:
        soon(loop, lambda exception=exception: callback(exception))
    for expected in exceptions:
        with pytest.raises(type(expected)) as caught:
            loop.run()
        assert caught.value is expected
    assert not loop.run()


def test_one_close_callback_that_fails_does_not_keep_the_others_from_theirs(loop: Loop) -> None:
    calls: list[Handle] = []
    timer = Timer(loop)
    timer.close(fail)
    timer.close(calls.append)
    with pytest.raises(Oops):
        loop.run()
    assert calls == [timer]
