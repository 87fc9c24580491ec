"""The UDP half of the benchmark: the load generator against honest and dishonest servers, and the
servers that are compared."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from uvbind._bench.contenders import BenchError, Server, installed
from uvbind._bench.load import Load
from uvbind._bench.workloads import LOOPS

# Far more than needed, far less than for ever.
TIMEOUT = 60.0
# The load takes a datagram for lost whose answer does not come in a hundredth of its timeout, in
# which a server may wait for a processor: where none is lost, and where each costs the time.
NONE_IS_LOST = 300.0
SOME_ARE_LOST = 100.0

Answer = Callable[[int, bytes], Iterable[bytes]]


@contextlib.contextmanager
def serving(answer: Answer, host: str = "127.0.0.1") -> Iterator[int]:
    """Serve with `answer(index, data)`, which says what to send back; yields the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))

        def serve() -> None:
            index = 0
            while True:
                data, address = sock.recvfrom(65536)
                if data == b"end":
                    return
                for reply in answer(index, data):
                    sock.sendto(reply, address)
                index += 1

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            with socket.socket(family, socket.SOCK_DGRAM) as other:
                while thread.is_alive():  # this one may get lost as well
                    other.sendto(b"end", sock.getsockname())
                    thread.join(0.1)


def echo(index: int, data: bytes) -> Iterable[bytes]:
    return [data]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize(("window", "size"), [(1, 8), (7, 64), (64, 1200), (2, 60_000)])
def test_exact_number_of_datagrams(load: Load, host: str, window: int, size: int) -> None:
    with contextlib.ExitStack() as stack:
        try:
            port = stack.enter_context(serving(echo, host))
        except OSError:
            pytest.skip(f"{host} is not available")
        load.connect_udp("echo", port, window, 1, size, host=host, timeout=NONE_IS_LOST)
        for messages in (1, 300):
            result = load.run(seconds=TIMEOUT, messages=messages)
            assert result["sent"] == result["messages"] == messages
            assert result["bytes"] == messages * size
            assert result["lost"] == result["mismatches"] == result["errors"] == 0
            assert 0 < result["p50_us"] <= result["p99_us"]
        load.disconnect()


def test_the_window_is_kept_full(load: Load) -> None:
    waiting: list[bytes] = []

    def answer(index: int, data: bytes) -> Iterable[bytes]:
        waiting.append(data)
        if len(waiting) < 5:
            return []
        replies = waiting[::-1]  # the order does not matter
        waiting.clear()
        return replies

    with serving(answer) as port:
        load.connect_udp("hesitant", port, 5, 1, 64, timeout=NONE_IS_LOST)
        result = load.run(seconds=TIMEOUT, messages=50)
        assert (result["messages"], result["lost"]) == (50, 0)
        load.disconnect()


def test_run_for_a_time(load: Load) -> None:
    with serving(echo) as port:
        load.connect_udp("echo", port, 2, 1, 100, timeout=NONE_IS_LOST)
        result = load.run(seconds=0.05)
        assert result["messages"] > 0
        assert result["seconds"] >= 0.05
        load.disconnect()


def test_what_is_lost_is_counted_and_replaced(load: Load) -> None:
    def drop(index: int, data: bytes) -> Iterable[bytes]:
        return [] if index % 5 == 0 else [data]

    with serving(drop) as port:
        load.connect_udp("lossy", port, 4, 1, 64, timeout=SOME_ARE_LOST)
        result = load.run(seconds=TIMEOUT, messages=20)
        assert (result["sent"], result["messages"], result["lost"]) == (20, 16, 4)
        load.disconnect()


def test_what_is_late_is_not_lost(load: Load) -> None:
    held: list[bytes] = []

    def hold_the_first(index: int, data: bytes) -> Iterable[bytes]:
        if index == 0:
            held.append(data)
            return []
        return [*held, data]

    with serving(hold_the_first) as port:
        load.connect_udp("late", port, 1, 1, 64, timeout=SOME_ARE_LOST)
        # The second takes the place of the first, which is given up by then.
        result = load.run(seconds=TIMEOUT, messages=2)
        assert (result["messages"], result["lost"]) == (2, 0)
        load.disconnect()


def flip_a_bit(index: int, data: bytes) -> Iterable[bytes]:
    return [data[:-1] + bytes([data[-1] ^ 1])]


def cut_short(index: int, data: bytes) -> Iterable[bytes]:
    return [data[:-1]]


def one_byte_too_many(index: int, data: bytes) -> Iterable[bytes]:
    return [data + b"!"]


def twice(index: int, data: bytes) -> Iterable[bytes]:
    return [data, data]


def another_number(index: int, data: bytes) -> Iterable[bytes]:
    return [bytes([data[0] ^ 1]) + data[1:]]


def nothing_but_the_number(index: int, data: bytes) -> Iterable[bytes]:
    return [data[:8] + bytes(len(data) - 8)]


LIES = [flip_a_bit, cut_short, one_byte_too_many, twice, another_number, nothing_but_the_number]


@pytest.mark.parametrize("answer", LIES)
def test_wrong_datagrams_are_found(load: Load, answer: Answer) -> None:
    with serving(answer) as port:
        load.connect_udp("liar", port, 2, 1, 64, timeout=5.0)
        with pytest.raises(BenchError, match=r"^liar: \d+ reads did not hold what was sent"):
            load.run(seconds=TIMEOUT, messages=20)
        load.disconnect()


def test_sink_that_answers_is_found(load: Load) -> None:
    with serving(echo) as port:
        load.connect_udp("echo", port, 2, 0, 64)
        with pytest.raises(BenchError, match=r"^echo: \d+ reads did not hold what was sent"):
            for _ in range(100):  # until the first answer has come
                load.run(seconds=0.2)
        load.disconnect()


@pytest.mark.parametrize("copies", [2, 3, 4])
def test_copies_are_counted(load: Load, copies: int) -> None:
    with serving(lambda index, data: [data] * copies) as port:
        load.connect_udp("source", port, 1, 3, 64, timeout=SOME_ARE_LOST)
        if copies > 3:
            with pytest.raises(BenchError, match=r"^source: \d+ reads"):
                load.run(seconds=TIMEOUT, messages=10)
        else:
            result = load.run(seconds=TIMEOUT, messages=2)
            assert (result["messages"], result["lost"]) == (2 * copies, 2 * (3 - copies))
        load.disconnect()


def test_server_that_never_answers(load: Load) -> None:
    with serving(lambda index, data: []) as port:
        load.connect_udp("mute", port, 2, 1, 64, timeout=0.2)
        with pytest.raises(BenchError, match=r"^mute: ETIMEDOUT: .* after 0 messages"):
            load.run(seconds=TIMEOUT)
        load.disconnect()


def test_nobody_there(load: Load) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    load.connect_udp("nobody", port, 2, 1, 64)
    with pytest.raises(BenchError, match=r"^nobody: ECONNREFUSED: "):
        load.run(seconds=TIMEOUT)
    load.disconnect()


@pytest.mark.parametrize(
    "job", [("not.numeric", 1, 1, 64), ("::1", 0, 1, 64), ("::1", 1, -1, 64), ("::1", 1, 1, 7)]
)
def test_senseless_jobs(load: Load, job: tuple[Any, ...]) -> None:
    host, *shape = job
    with pytest.raises(BenchError, match=r"^nobody: EINVAL: "):
        load.connect_udp("nobody", 9, *shape, host=host)


@pytest.mark.parametrize("name", [name for name in LOOPS if installed(name)])
@pytest.mark.parametrize("answers", [0, 1, 32])
def test_servers_do_what_they_are_for(load: Load, name: str, answers: int) -> None:
    with Server(name, "udp_servers", answers) as server:
        server.ready()
        load.connect_udp(name, server.port, 2, answers, 64, timeout=NONE_IS_LOST)
        # Few enough for any receive buffer, when nobody waits for answers.
        result = load.run(seconds=TIMEOUT, messages=20)
        assert (result["sent"], result["messages"], result["lost"]) == (20, 20 * answers, 0)
        if not answers:  # the load is done when all are sent, which the server may read later
            deadline = time.monotonic() + TIMEOUT
            while server.ask("tally", timeout=TIMEOUT)["received"] < 20:
                assert time.monotonic() < deadline
            assert server.tally()["received"] == 20
        assert server.close() == 0
        load.disconnect()


@pytest.mark.parametrize("answers", [0, 1])
def test_a_flood_does_not_grow_uvbind(load: Load, answers: int) -> None:
    psutil = pytest.importorskip("psutil")
    with Server("uvbind", "udp_servers", answers) as server:
        server.ready()
        process = psutil.Process(server.process.pid)
        load.connect_udp("uvbind", server.port, 256, answers, 1200, timeout=TIMEOUT / 10)
        resident = []
        for _ in range(6):
            load.run(seconds=0.1)
            resident.append(process.memory_info().rss)
        load.disconnect()
    assert max(resident[3:]) < 1.05 * resident[2], resident
