"""The TCP half of the benchmark's load generator, against honest and dishonest servers."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from uvbind._bench.contenders import BenchError
from uvbind._bench.load import Load

# Far more than needed, far less than for ever.
TIMEOUT = 60.0


@contextlib.contextmanager
def serving(talk: Callable[[socket.socket], None], host: str = "127.0.0.1") -> Iterator[int]:
    """Serve every connection with ``talk`` in a thread of its own; yields the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family)
    threads: list[threading.Thread] = []

    def serve_one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            talk(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve_one, args=(connection,), daemon=True))
                threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        # Closing alone would leave the thread in accept().
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in [accepting, *threads]:
            thread.join(TIMEOUT)


def echo(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize(("connections", "size"), [(1, 1), (7, 1024), (3, 200_000)])
def test_exact_number_of_messages(load: Load, host: str, connections: int, size: int) -> None:
    with contextlib.ExitStack() as stack:
        try:
            port = stack.enter_context(serving(echo, host))
        except OSError:
            pytest.skip(f"{host} is not available")
        load.connect_tcp("echo", port, connections, size, host=host)
        for messages in (1, 50):
            result = load.run(seconds=TIMEOUT, messages=messages)
            assert result["messages"] == messages
            assert result["bytes"] == messages * size
            assert result["mismatches"] == result["errors"] == 0
            assert 0 < result["p50_us"] <= result["p99_us"]
        load.disconnect()


def test_run_for_a_time(load: Load) -> None:
    with serving(echo) as port:
        load.connect_tcp("echo", port, connections=2, size=100)
        result = load.run(seconds=0.05)
        assert result["messages"] > 0
        assert result["seconds"] >= 0.05
        load.disconnect()


def flip_a_bit(connection: socket.socket) -> None:
    seen = 0
    while data := connection.recv(65536):
        seen += len(data)
        if seen > 5000:
            data = data[:-1] + bytes([data[-1] ^ 1])
        connection.sendall(data)


def repeat_the_first(connection: socket.socket) -> None:
    first = connection.recv(1000, socket.MSG_WAITALL)
    connection.sendall(first)
    while connection.recv(1000, socket.MSG_WAITALL):
        connection.sendall(first)


def one_byte_too_many(connection: socket.socket) -> None:
    while data := connection.recv(1000, socket.MSG_WAITALL):
        connection.sendall(data + b"!")


def swap_halves(connection: socket.socket) -> None:
    while data := connection.recv(1000, socket.MSG_WAITALL):
        connection.sendall(data[500:] + data[:500])


@pytest.mark.parametrize("talk", [flip_a_bit, repeat_the_first, one_byte_too_many, swap_halves])
def test_wrong_bytes_are_found(load: Load, talk: Callable[[socket.socket], None]) -> None:
    with serving(talk) as port:
        load.connect_tcp("liar", port, connections=2, size=1000)
        with pytest.raises(BenchError, match=r"^liar: \d+ reads did not hold what was sent"):
            load.run(seconds=TIMEOUT, messages=50)
        load.disconnect()


def test_bytes_of_another_connection_are_found(load: Load) -> None:
    both = threading.Barrier(2, timeout=TIMEOUT)
    received: list[bytes] = []

    def swap(connection: socket.socket) -> None:
        received.append(connection.recv(1000, socket.MSG_WAITALL))
        mine = received[-1]
        both.wait()
        connection.sendall(next(other for other in received if other != mine))
        connection.recv(1)  # until the peer has read this and closes

    with serving(swap) as port:
        load.connect_tcp("mixer", port, connections=2, size=1000)
        with pytest.raises(BenchError, match=r"^mixer: 2 reads"):
            load.run(seconds=TIMEOUT, messages=2)
        load.disconnect()


@pytest.mark.parametrize("answered", [0, 3])
def test_server_that_closes(load: Load, answered: int) -> None:
    def talk(connection: socket.socket) -> None:
        for _ in range(answered):
            connection.sendall(connection.recv(1000, socket.MSG_WAITALL))

    with serving(talk) as port:
        load.connect_tcp("quitter", port, connections=1, size=1000)
        with pytest.raises(BenchError, match=r"^quitter: (EOF|ECONNRESET|EPIPE): "):
            load.run(seconds=TIMEOUT, messages=50)
        load.disconnect()


def test_server_that_never_answers(load: Load) -> None:
    done = threading.Event()

    def wait(connection: socket.socket) -> None:
        done.wait(TIMEOUT)

    with serving(wait) as port:
        load.connect_tcp("mute", port, connections=2, size=1000, timeout=0.2)
        with pytest.raises(BenchError, match=r"^mute: ETIMEDOUT: .* after 0 messages"):
            load.run(seconds=TIMEOUT)
        load.disconnect()
        done.set()


def test_server_that_trickles(load: Load) -> None:
    """It shows progress for ever, so what ends the run is the bound on the last echoes."""
    done = threading.Event()

    def trickle(connection: socket.socket) -> None:
        data = connection.recv(1000, socket.MSG_WAITALL)
        for i in range(len(data)):
            connection.sendall(data[i : i + 1])
            if done.wait(0.01):
                break

    with serving(trickle) as port:
        load.connect_tcp("slow", port, connections=1, size=1000, timeout=0.3)
        with pytest.raises(BenchError, match=r"^slow: ETIMEDOUT: "):
            load.run(seconds=0.1)
        load.disconnect()
        done.set()


@pytest.mark.parametrize(
    ("host", "error"), [("127.0.0.1", "ECONNREFUSED"), ("not.numeric", "EINVAL")]
)
def test_no_listener(load: Load, host: str, error: str) -> None:
    with socket.socket() as sock:  # it has the port, and does not listen
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        with pytest.raises(BenchError, match=f"^nobody: {error}: "):
            load.connect_tcp("nobody", port, connections=3, size=1000, host=host)
