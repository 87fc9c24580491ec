"""Timers: never early, repeating, and what the clock of the loop makes of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import hung, ignore

from uvbind import Loop, RunMode, Timer, UVError

FOREVER = 2**63 - 1


@pytest.fixture
def timer(loop: Loop) -> Iterator[Timer]:
    timer = Timer(loop)
    yield timer
    timer.close()


def let_pass(loop: Loop, milliseconds: int) -> None:
    """Wait until that much time has passed on the loop's clock."""
    end = loop.now() + milliseconds
    while loop.now() < end:
        loop.update_time()


@pytest.mark.parametrize("timeout", [0, 1, 2, 7, 20])
def test_is_never_early(loop: Loop, timer: Timer, timeout: int) -> None:
    fired = []
    loop.update_time()
    started = loop.now()
    timer.start(lambda timer: fired.append(loop.now()), timeout)
    loop.run()
    assert len(fired) == 1
    assert fired[0] - started >= timeout


def test_many_are_never_early_and_come_in_the_order_of_their_times(loop: Loop) -> None:
    fired = []
    timers = []
    for timeout in [9, 3, 12, 0, 6, 3]:
        timer = Timer(loop)
        due = loop.now() + timeout
        timer.start(lambda timer, due=due: fired.append((due, loop.now() - due)), timeout)
        timers.append(timer)
    loop.run()
    assert [due for due, late in fired] == sorted(due for due, late in fired)
    assert len(fired) == 6
    assert min(late for due, late in fired) >= 0
    for timer in timers:
        timer.close()


def test_the_time_counts_from_loop_now_which_may_be_past(loop: Loop, timer: Timer) -> None:
    started = loop.now()
    end = Loop.hrtime() + 20_000_000
    while Loop.hrtime() < end:
        pass
    timer.start(ignore, 1000)
    assert loop.now() == started
    assert timer.due_in == 1000
    loop.update_time()
    assert timer.due_in <= 1000 - 18  # the loop's clock may be a tick behind


def test_the_callback_gets_the_timer(loop: Loop, timer: Timer) -> None:
    got: list[object] = []
    timer.start(got.append, 0)
    loop.run()
    assert got == [timer]


def test_without_repeat_it_fires_once_and_is_idle_then(loop: Loop, timer: Timer) -> None:
    states = []
    timer.start(lambda timer: states.append(timer.is_active()), 0)
    assert timer.is_active()
    assert not loop.run()
    assert states == [False]


def test_with_repeat_it_fires_again_and_again_never_early(loop: Loop, timer: Timer) -> None:
    fired = [loop.now()]

    def on_timer(timer: Timer) -> None:
        fired.append(loop.now())
        if len(fired) == 5:
            timer.stop()

    timer.start(on_timer, 1, 3)
    loop.run()
    waits = [later - earlier for earlier, later in itertools.pairwise(fired)]
    assert len(waits) == 4
    assert waits[0] >= 1
    assert min(waits[1:]) >= 3


def test_start_of_one_that_runs_starts_it_anew(loop: Loop, timer: Timer) -> None:
    calls = []
    timer.start(lambda timer: calls.append("first"), 0, 1)
    timer.start(lambda timer: calls.append("second"), 5)
    assert timer.due_in == 5
    assert timer.repeat == 0
    loop.run()
    assert calls == ["second"]


def test_start_in_the_callback_goes_on(loop: Loop, timer: Timer) -> None:
    calls = []

    def on_timer(timer: Timer) -> None:
        calls.append(len(calls))
        if len(calls) < 3:
            timer.start(on_timer, 1)

    timer.start(on_timer, 0)
    loop.run()
    assert calls == [0, 1, 2]


def test_stop_keeps_it_from_calling_back(loop: Loop, timer: Timer) -> None:
    timer.start(hung, 0)
    timer.stop()
    assert not timer.is_active()
    let_pass(loop, 2)
    assert not loop.run()


def test_stop_of_one_that_does_not_run_does_nothing(timer: Timer) -> None:
    timer.stop()
    timer.stop()
    assert not timer.is_active()


def test_stop_in_the_callback_ends_the_repeating(loop: Loop, timer: Timer) -> None:
    calls = []
    timer.start(lambda timer: (calls.append(1), timer.stop()), 0, 1)
    loop.run()
    assert calls == [1]


def test_again_uses_repeat_as_the_timeout(loop: Loop, timer: Timer) -> None:
    timer.start(ignore, 5, 1000)
    timer.again()
    assert timer.due_in == 1000
    assert timer.is_active()


def test_again_starts_a_stopped_one(loop: Loop, timer: Timer) -> None:
    calls = []
    timer.start(lambda timer: (calls.append(1), timer.stop()), 1000, 2)
    timer.stop()
    timer.again()
    loop.run()
    assert calls == [1]


def test_again_stops_one_that_does_not_repeat(loop: Loop, timer: Timer) -> None:
    timer.start(ignore, 5)
    timer.again()
    assert not timer.is_active()


def test_again_of_one_never_started_is_einval(timer: Timer) -> None:
    with pytest.raises(UVError, match="never started") as caught:
        timer.again()
    assert caught.value.name == "EINVAL"


def test_repeat_is_what_start_was_given(timer: Timer) -> None:
    assert timer.repeat == 0
    timer.start(ignore, 5, 7)
    assert timer.repeat == 7


def test_a_change_of_repeat_counts_from_the_next_expiry_on(loop: Loop, timer: Timer) -> None:
    due = []

    def on_timer(timer: Timer) -> None:
        due.append(timer.due_in)
        timer.repeat = 4
        if len(due) == 3:
            timer.stop()

    timer.start(on_timer, 1, 2)
    timer.repeat = 3
    assert timer.due_in == 1
    loop.run()
    assert due == [3, 4, 4]


def test_repeat_set_to_0_ends_the_repeating(loop: Loop, timer: Timer) -> None:
    calls = []
    timer.start(calls.append, 0, 1)
    timer.repeat = 0
    loop.run()
    assert calls == [timer]


def test_due_in_is_what_is_left(loop: Loop, timer: Timer) -> None:
    timer.start(ignore, 1000)
    before = loop.now()
    assert timer.due_in == 1000
    let_pass(loop, 3)
    assert timer.due_in == 1000 - (loop.now() - before)


def test_due_in_is_0_before_the_first_start(timer: Timer) -> None:
    assert timer.due_in == 0


def test_due_in_is_0_when_it_is_due(loop: Loop, timer: Timer) -> None:
    timer.start(ignore, 1)
    let_pass(loop, 2)
    assert timer.due_in == 0


def test_due_in_is_0_when_it_is_stopped(timer: Timer) -> None:
    timer.start(ignore, 1000)
    timer.stop()
    assert timer.due_in == 0


def test_the_longest_timeout_is_far_away_and_not_in_the_past(loop: Loop, timer: Timer) -> None:
    timer.start(hung, FOREVER, FOREVER)
    loop.run(RunMode.NOWAIT)
    assert timer.is_active()
    assert timer.due_in > 2**62
    assert timer.repeat == FOREVER


@pytest.mark.parametrize("arguments", [(-1,), (0, -1), (FOREVER + 1,), (0, 2**64)])
def test_start_refuses_times_out_of_range(timer: Timer, arguments: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"(timeout|repeat): expected an int from 0 to"):
        timer.start(ignore, *arguments)
    assert not timer.is_active()


@pytest.mark.parametrize("arguments", [(1.0,), ("1",), (None,), (0, 0.5)])
def test_start_refuses_times_that_are_no_ints(timer: Timer, arguments: tuple[int, ...]) -> None:
    with pytest.raises(TypeError, match=r"(timeout|repeat): expected an int, not"):
        timer.start(ignore, *arguments)
    assert not timer.is_active()


def test_start_refuses_what_cannot_be_called(loop: Loop, timer: Timer) -> None:
    calls = []
    timer.start(calls.append, 0)
    with pytest.raises(TypeError, match="callback: expected a function, not int"):
        timer.start(1, 2)  # type: ignore[arg-type]
    loop.run()
    assert calls == [timer], "the refused start changed something"


@pytest.mark.parametrize(("interval", "error"), [(-1, ValueError), ("1", TypeError)])
def test_repeat_refuses_what_is_no_time(
    timer: Timer, interval: int, error: type[Exception]
) -> None:
    with pytest.raises(error, match="repeat: "):
        timer.repeat = interval
    assert timer.repeat == 0


LOOP_VERBS: dict[str, Callable[[Timer], object]] = {
    "start": lambda timer: timer.start(ignore, 0),
    "stop": Timer.stop,
    "again": Timer.again,
    "repeat": lambda timer: timer.repeat,
    "repeat=": lambda timer: setattr(timer, "repeat", 1),
    "due_in": lambda timer: timer.due_in,
}


@pytest.mark.parametrize("verb", LOOP_VERBS.values(), ids=list(LOOP_VERBS))
def test_every_verb_of_a_closed_timer_is_ebadf(
    timer: Timer, verb: Callable[[Timer], object]
) -> None:
    timer.close()
    with pytest.raises(UVError, match="this Timer is closed") as caught:
        verb(timer)
    assert caught.value.name == "EBADF"


@pytest.mark.parametrize("verb", LOOP_VERBS.values(), ids=list(LOOP_VERBS))
def test_no_verb_is_for_another_thread(timer: Timer, verb: Callable[[Timer], object]) -> None:
    timer.start(ignore, 10)
    with ThreadPoolExecutor(1) as elsewhere:
        error = elsewhere.submit(verb, timer).exception(timeout=30)
    assert isinstance(error, RuntimeError)
    assert "in use by another thread" in str(error)
