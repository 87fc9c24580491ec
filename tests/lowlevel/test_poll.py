"""Poll: watching descriptors that belong to somebody else, who may close them."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers import ignore

from uvbind import Loop, Poll, PollEvent, RunMode, UVError

READABLE, WRITABLE = PollEvent.READABLE, PollEvent.WRITABLE


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets: what the second sends, the first gets."""
    ours, peer = socket.socketpair()
    with ours, peer:
        yield ours, peer


Pair = tuple[socket.socket, socket.socket]


class Seen:
    """A callback that notes what it is called with and closes the handle after `last` calls."""

    def __init__(self, last: int = 1) -> None:
        self.calls: list[tuple[Poll, int, UVError | None]] = []
        self.last = last

    def __call__(self, poll: Poll, events: int, error: UVError | None) -> None:
        self.calls.append((poll, events, error))
        if len(self.calls) == self.last:
            poll.close()


def unexpected(poll: Poll, events: int, error: UVError | None) -> None:
    raise AssertionError(f"called with {PollEvent(events)!r}, {error!r}")


def test_readable_when_the_peer_has_sent(loop: Loop, pair: Pair) -> None:
    ours, peer = pair
    seen = Seen()
    poll = Poll(loop, ours)
    poll.start(READABLE, seen)
    loop.run(RunMode.NOWAIT)
    assert seen.calls == []
    peer.send(b"x")
    loop.run()
    assert seen.calls == [(poll, READABLE, None)]


def test_writable_when_there_is_room(loop: Loop, pair: Pair) -> None:
    seen = Seen()
    poll = Poll(loop, pair[0])
    poll.start(WRITABLE, seen)
    loop.run()
    assert seen.calls == [(poll, WRITABLE, None)]


def test_both_at_once_are_one_call(loop: Loop, pair: Pair) -> None:
    seen = Seen()
    pair[1].send(b"x")
    Poll(loop, pair[0]).start(READABLE | WRITABLE, seen)
    loop.run()
    assert [events for _, events, _ in seen.calls] == [READABLE | WRITABLE]


def test_disconnect_when_the_peer_has_shut_down(loop: Loop, pair: Pair) -> None:
    seen = Seen()
    poll = Poll(loop, pair[0])
    poll.start(PollEvent.DISCONNECT, seen)
    pair[1].send(b"x")
    loop.run(RunMode.NOWAIT)
    assert seen.calls == []
    pair[1].shutdown(socket.SHUT_WR)
    loop.run()
    assert seen.calls == [(poll, PollEvent.DISCONNECT, None)]


def test_prioritized_when_there_is_data_out_of_band(loop: Loop) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        peer = stack.enter_context(socket.create_connection(listener.getsockname()))
        ours = stack.enter_context(listener.accept()[0])
        seen = Seen()
        poll = Poll(loop, ours)
        poll.start(PollEvent.PRIORITIZED, seen)
        peer.send(b"!", socket.MSG_OOB)
        loop.run()
        assert seen.calls == [(poll, PollEvent.PRIORITIZED, None)]


def test_calls_back_as_long_as_the_event_is_there(loop: Loop, pair: Pair) -> None:
    ours, peer = pair
    got = []

    def on_poll(poll: Poll, events: int, error: UVError | None) -> None:
        got.append(ours.recv(1))
        if got[-1] == b"c":
            poll.close()

    peer.send(b"abc")
    Poll(loop, ours).start(READABLE, on_poll)
    loop.run()
    assert got == [b"a", b"b", b"c"]


def test_start_replaces_the_events_of_an_earlier_start(loop: Loop, pair: Pair) -> None:
    pair[1].send(b"x")
    seen = Seen()
    poll = Poll(loop, pair[0])
    poll.start(READABLE, unexpected)
    poll.start(WRITABLE, seen)
    loop.run()
    assert seen.calls == [(poll, WRITABLE, None)]


def test_stop_ends_the_watching(loop: Loop, pair: Pair) -> None:
    poll = Poll(loop, pair[0])
    poll.start(WRITABLE, unexpected)
    poll.stop()
    assert not poll.is_active()
    assert not loop.run()
    poll.close()


def test_stop_in_the_callback_ends_the_watching(loop: Loop, pair: Pair) -> None:
    calls = []
    poll = Poll(loop, pair[0])
    poll.start(WRITABLE, lambda poll, *about: (calls.append(about), poll.stop()))
    assert not loop.run()
    assert calls == [(WRITABLE, None)]
    poll.close()


def test_stop_in_the_callback_of_another_holds_for_the_same_turn(loop: Loop, pair: Pair) -> None:
    calls = []
    polls = [Poll(loop, end) for end in pair]

    def on_poll(poll: Poll, events: int, error: UVError | None) -> None:
        calls.append(poll)
        for each in polls:
            each.stop()

    for poll in polls:
        poll.start(WRITABLE, on_poll)
    assert not loop.run()
    assert len(calls) == 1
    for poll in polls:
        poll.close()


def test_stop_of_one_that_does_not_watch_does_nothing(loop: Loop, pair: Pair) -> None:
    poll = Poll(loop, pair[0])
    poll.stop()
    assert not poll.is_active()
    poll.close()


def test_the_descriptor_becomes_non_blocking_and_stays_open(loop: Loop, pair: Pair) -> None:
    poll = Poll(loop, pair[0].fileno())
    assert not os.get_blocking(pair[0].fileno())
    poll.close()
    loop.run()
    pair[1].send(b"x")
    assert pair[0].recv(1) == b"x"


def test_fileno_is_the_descriptor_that_was_given(loop: Loop, pair: Pair) -> None:
    by_object, by_number = Poll(loop, pair[0]), Poll(loop, pair[1].fileno())
    assert by_object.fileno() == pair[0].fileno()
    assert by_number.fileno() == pair[1].fileno()
    by_object.close()
    by_number.close()


def test_a_regular_file_is_eperm(loop: Loop, tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as file, pytest.raises(PermissionError) as caught:
        Poll(loop, file)
    assert isinstance(caught.value, UVError)
    assert caught.value.name == "EPERM"


def test_a_number_that_is_not_open_is_ebadf(loop: Loop) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    with pytest.raises(UVError) as caught:
        Poll(loop, writer)
    assert caught.value.name == "EBADF"


def test_an_object_that_is_closed_is_a_value_error(loop: Loop, pair: Pair) -> None:
    pair[0].close()
    with pytest.raises(ValueError, match="fd: -1 is not an open file descriptor"):
        Poll(loop, pair[0])


@pytest.mark.parametrize("fd", ["1", None, 1.0, True, object()])
def test_what_is_no_descriptor_is_a_type_error(loop: Loop, fd: object) -> None:
    with pytest.raises(TypeError, match="fd: expected a file descriptor or an object"):
        Poll(loop, fd)


@pytest.mark.parametrize("fd", [-1, 2**31, 2**70])
def test_a_number_out_of_range_is_a_value_error(loop: Loop, fd: int) -> None:
    with pytest.raises(ValueError, match="is not an open file descriptor"):
        Poll(loop, fd)


@pytest.mark.parametrize(
    ("events", "error"),
    [(0, ValueError), (-1, ValueError), (16, ValueError), ("r", TypeError), (None, TypeError)],
)
def test_start_refuses_what_are_no_events(
    loop: Loop, pair: Pair, events: int, error: type[Exception]
) -> None:
    poll = Poll(loop, pair[0])
    with pytest.raises(error, match="events: expected an int"):
        poll.start(events, unexpected)
    assert not poll.is_active()
    poll.close()


def test_start_refuses_what_cannot_be_called(loop: Loop, pair: Pair) -> None:
    poll = Poll(loop, pair[0])
    with pytest.raises(TypeError, match="callback: expected a function, not NoneType"):
        poll.start(READABLE, None)  # type: ignore[arg-type]
    assert not poll.is_active()
    poll.close()


def test_closed_by_its_owner_before_start_it_is_watched_all_the_same(
    loop: Loop, pair: Pair
) -> None:
    ours, peer = pair
    seen = Seen()
    poll = Poll(loop, ours)
    ours.close()
    poll.start(READABLE, seen)
    peer.send(b"x")
    loop.run()
    assert seen.calls == [(poll, READABLE, None)]


def test_closed_by_its_owner_while_watched_it_goes_on(loop: Loop, pair: Pair) -> None:
    ours, peer = pair
    seen = Seen(last=2)
    poll = Poll(loop, ours)
    poll.start(READABLE, seen)
    loop.run(RunMode.NOWAIT)
    ours.close()
    peer.send(b"x")
    loop.run(RunMode.ONCE)
    poll.start(READABLE | PollEvent.DISCONNECT, seen)  # asks the kernel for it once more
    loop.run()
    assert [events for _, events, _ in seen.calls] == [READABLE, READABLE]


def test_close_lets_go_of_the_descriptor_at_once(loop: Loop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        poll = Poll(loop, server)
        poll.start(PollEvent.READABLE, ignore)
        loop.run(RunMode.NOWAIT)
        poll.close()
        address = server.getsockname()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(address):
        pass
    loop.run()


def test_closed_by_its_owner_in_the_callback(loop: Loop, pair: Pair) -> None:
    def on_poll(poll: Poll, events: int, error: UVError | None) -> None:
        pair[0].close()
        poll.stop()
        poll.start(READABLE, lambda poll, events, error: poll.close())

    Poll(loop, pair[0]).start(WRITABLE, on_poll)
    pair[1].send(b"x")
    assert not loop.run()


@pytest.mark.parametrize("started", [False, True])
def test_a_number_that_is_another_socket_by_now_is_not_taken_for_it(
    loop: Loop, pair: Pair, started: bool
) -> None:
    ours, peer = pair
    poll = Poll(loop, ours)
    if started:
        poll.start(READABLE, unexpected)
        loop.run(RunMode.NOWAIT)
    other, other_peer = socket.socketpair()
    with other, other_peer:
        os.dup2(other.fileno(), ours.fileno(), inheritable=False)
        other_peer.send(b"for the other")
        assert select.select([ours], [], [], 30)[0]
        poll.start(READABLE, unexpected)
        loop.run(RunMode.NOWAIT)
        loop.run(RunMode.NOWAIT)
        seen = Seen()
        poll.start(READABLE, seen)
        peer.send(b"for the first")
        loop.run()
        assert len(seen.calls) == 1
        assert other.recv(100) == b"for the other"


VERBS: dict[str, Callable[[Poll], object]] = {
    "start": lambda poll: poll.start(READABLE, unexpected),
    "stop": Poll.stop,
    "fileno": Poll.fileno,
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=list(VERBS))
def test_every_verb_of_a_closed_poll_is_ebadf(
    loop: Loop, pair: Pair, verb: Callable[[Poll], object]
) -> None:
    poll = Poll(loop, pair[0])
    poll.close()
    with pytest.raises(UVError, match="this Poll is closed") as caught:
        verb(poll)
    assert caught.value.name == "EBADF"


@pytest.mark.parametrize("verb", VERBS.values(), ids=list(VERBS))
def test_no_verb_is_for_another_thread(
    loop: Loop, pair: Pair, verb: Callable[[Poll], object]
) -> None:
    poll = Poll(loop, pair[0])
    with ThreadPoolExecutor(1) as elsewhere:
        error = elsewhere.submit(verb, poll).exception(timeout=30)
    assert isinstance(error, RuntimeError)
    assert "in use by another thread" in str(error)
    poll.close()


def test_one_that_cannot_be_made_leaves_the_descriptor_alone(pair: Pair) -> None:
    loop = Loop()
    loop.close()
    with pytest.raises(RuntimeError, match="the loop is closed"):
        Poll(loop, pair[0])
    with pytest.raises(TypeError, match=r"loop: expected a uvbind\.Loop, not str"):
        Poll("loop", pair[0])  # type: ignore[arg-type]
    assert os.get_blocking(pair[0].fileno())
