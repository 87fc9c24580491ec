"""Two hosts, each a namespace, over a network that loses, delays, doubles and reorders packets.

impaired.py is the network, impaired_hosts.py has the programs of the hosts.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from namespaces import Namespace

HERE = Path(__file__).parent
LEFT, RIGHT, HOLE = "192.0.2.1", "192.0.2.2", "192.0.2.3"
IMPAIRED = ("--loss=0.04", "--duplication=0.03", "--delay=1", "--jitter=4", "--seed=9")
LAYERS = ("asyncio", "libuv")
CONNECTIONS, SIZE, DATAGRAMS = 6, 100 << 10, 2000

pytestmark = pytest.mark.skipif(
    not Path("/dev/net/tun").exists(), reason="no TUN devices: there is no /dev/net/tun"
)


class Network:
    """The two hosts, and the relay between them."""

    def __init__(self, left: Namespace, right: Namespace, options: tuple[str, ...]) -> None:
        self._left, self._right = left, right
        relay = [sys.executable, str(HERE / "impaired.py"), "left", "right", f"--hole={HOLE}"]
        self._relay = left.start(*relay, *options)
        assert self._relay.stdout is not None
        if self._relay.stdout.readline() != "ready\n":
            pytest.skip("no TUN device can be made in a network namespace")
        left.ip(f"link set right netns {right.pid}")
        for host, device, address in ((left, "left", LEFT), (right, "right", RIGHT)):
            host.ip(
                f"address add {address}/24 dev {device}",
                f"link set {device} mtu 1400 txqueuelen 5000 up",
                # TCP sends again after tens of milliseconds, not hundreds.
                f"route replace 192.0.2.0/24 dev {device} src {address} rto_min 20ms",
            )

    @contextlib.contextmanager
    def serving(self, tampers: bool = False) -> Iterator[list[dict[str, Any]]]:
        """Echo servers on the right host; the list has what they said when they have ended."""
        program = [sys.executable, str(HERE / "impaired_hosts.py"), "serve", json.dumps(tampers)]
        process = self._right.start(*program)
        assert process.stdout is not None
        assert process.stdout.readline() == '{"ready": true}\n'
        said: list[dict[str, Any]] = []
        yield said
        said += map(json.loads, process.communicate(timeout=60)[0].splitlines())
        assert process.returncode == 0

    def run(self, part: str, *arguments: object) -> list[dict[str, Any]]:
        """Run a part of impaired_hosts.py on the left host and return what it said."""
        program = [sys.executable, str(HERE / "impaired_hosts.py"), part]
        printed = self._left.run(*program, *map(json.dumps, arguments))
        return [json.loads(line) for line in printed.splitlines()]

    def end(self) -> dict[str, int]:
        """End the relay and return its counts."""
        return json.loads(self._relay.communicate(timeout=60)[0])


@contextlib.contextmanager
def network(*options: str) -> Iterator[Network]:
    with Namespace() as left, Namespace(beside=left) as right:
        yield Network(left, right, options)


def in_order(facts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(facts, key=lambda fact: fact["layer"])


def of_both_layers(number: int, **facts: Any) -> list[dict[str, Any]]:
    return [{"layer": layer, **facts} for layer in LAYERS for _ in range(number)]


def test_every_byte_arrives_in_its_place():
    with network(*IMPAIRED) as impaired:
        with impaired.serving() as ends:
            said = impaired.run("echo", CONNECTIONS, SIZE)
        counts = impaired.end()
    assert in_order(said) == of_both_layers(CONNECTIONS, bytes=SIZE, same=True)
    assert in_order(ends) == of_both_layers(CONNECTIONS, end=None)
    assert counts["lost"] and counts["duplicated"] and counts["reordered"], counts


def test_connections_are_aborted_in_the_middle():
    with network(*IMPAIRED) as impaired:
        with impaired.serving() as ends:
            said = impaired.run("abort", CONNECTIONS, 5 * SIZE)
        counts = impaired.end()
    assert in_order(said) == of_both_layers(CONNECTIONS, end=None, same=True)
    assert counts["lost"] and counts["reordered"], counts
    assert len(ends) == 2 * CONNECTIONS
    # close_reset() says so to the other side; after abort() the end of the stream may come first.
    told = {layer: {end["end"] for end in ends if end["layer"] == layer} for layer in LAYERS}
    assert told["libuv"] <= {"ECONNRESET", "EPIPE"}
    assert told["asyncio"] <= {None, "ConnectionResetError", "BrokenPipeError"}


def test_connecting_to_a_host_that_does_not_answer_can_be_given_up():
    with network() as perfect:
        said = perfect.run("unreachable", 0.5)
        counts = perfect.end()
    assert {fact["way"]: fact["end"] for fact in said} == {
        "with_a_timeout": "TimeoutError",
        "cancelled": "CancelledError",
        "on_a_socket": "TimeoutError",
        "closed": "ECANCELED",
    }
    assert counts["in the hole"] >= 4 and counts["relayed"] == 0, counts


def test_datagrams_that_arrive_are_whole():
    with network(*IMPAIRED) as impaired:
        with impaired.serving() as said_by_server:
            (counts,) = impaired.run("datagrams", DATAGRAMS, 0.5)
        relayed = impaired.end()
    assert said_by_server == []
    assert counts["sent"] == counts["answered"] + counts["given up"] == DATAGRAMS
    assert counts["wrong"] == 0 and counts["again"] > 0 and relayed["lost"] > 0
    assert DATAGRAMS / 2 < counts["answered"] < DATAGRAMS


# -- that these tests can fail


def test_a_tampered_echo_is_found_out():
    with network() as perfect, perfect.serving(tampers=True):
        said = perfect.run("echo", 1, SIZE)
        (counts,) = perfect.run("datagrams", 50, 0.5)
    assert in_order(said) == of_both_layers(1, bytes=SIZE, same=False)
    assert counts["wrong"] > 0 and counts["answered"] == 0


def test_a_perfect_network_loses_nothing():
    with network() as perfect:
        with perfect.serving():
            perfect.run("datagrams", 100, 30.0)
        counts = perfect.end()
    assert not counts["lost"] + counts["duplicated"] + counts["reordered"]
    assert counts["relayed"] == 200
