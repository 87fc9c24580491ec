"""The examples over UDP, run as a new user would."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from namespaces import Namespace, linked
from servers import dnsmasq

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SERVERS = ["udp_echo_server.py", "udp_batch_echo_server.py"]

# A datagram from port 0, to which nobody can answer: it takes a raw socket.
FROM_PORT_0 = """
import socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
    raw.sendto(struct.pack("!4H", 0, int(sys.argv[1]), 8, 0), ("127.0.0.1", 0))
"""

# A DHCP server, to which the client sends once; what it says is not for the client, up to the
# last, which has padding between the options and ends within one of them.
MISCHIEF = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, 25, b"left")  # SO_BINDTODEVICE, which PyPy does not know
    sock.bind(("0.0.0.0", 67))
    print("ready", flush=True)
    asked = sock.recv(2000)
    head = b"\\2" + asked[1:16] + bytes([10, 6, 6, 6]) + asked[20:240]
    offer = head + bytes([53, 1, 2])
    for answer in [
        b"", b"\\2", head[:239], head, asked,
        head + bytes([53, 1, 5]), head + bytes([53]), head + bytes([53, 9, 2]),
        b"\\1" + offer[1:],
        offer[:4] + bytes([offer[4] ^ 1]) + offer[5:],
        offer[:28] + bytes([offer[28] ^ 1]) + offer[29:],
        offer[:239] + b"!" + offer[240:],
        offer + bytes([0, 0, 54, 4, 10, 0, 0, 1, 0, 51, 4, 0, 0, 1, 44, 6, 8, 9, 9, 9, 9, 8]),
    ]:
        sock.sendto(answer, ("255.255.255.255", 68))
"""


@pytest.fixture
def silent():
    """The port of a socket that never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.mark.parametrize("server", SERVERS)
def test_udp_hello_world_talks_to_the_echo_servers(start, server):
    port = start(EXAMPLES / server, "0").stdout.readline().split()[-1]
    for _ in range(2):
        client = start(EXAMPLES / "udp_hello_world.py", port)
        assert client.communicate(timeout=120) == ("Hello, world!\n", "")
        assert client.returncode == 0


@pytest.mark.parametrize("server", SERVERS)
def test_the_echo_servers_send_back_whatever_comes(start, server):
    port = int(start(EXAMPLES / server, "0").stdout.readline().split()[-1])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(30)
        for size in (0, 1, 1200, 65507):
            sock.sendto(bytes(size), ("127.0.0.1", port))
            assert sock.recv(65536) == bytes(size)
        for number in range(50):  # more than one batch
            sock.sendto(b"%d" % number, ("127.0.0.1", port))
        assert [int(sock.recv(9)) for _ in range(50)] == list(range(50))


@pytest.mark.parametrize("server", SERVERS)
def test_an_answer_that_cannot_be_sent_does_not_end_the_echo_servers(start, tmp_path, server):
    (tmp_path / "from_port_0.py").write_text(FROM_PORT_0)
    with Namespace() as host:
        child = start(EXAMPLES / server, "0", host=host)
        port = child.stdout.readline().split()[-1]
        for _ in range(2):
            sender = start(tmp_path / "from_port_0.py", port, host=host)
            assert sender.communicate(timeout=120) == ("", "")
            assert child.stderr.readline() == "send: invalid argument\n"
            client = start(EXAMPLES / "udp_hello_world.py", port, host=host)
            assert client.communicate(timeout=120) == ("Hello, world!\n", "")


def test_udp_hello_world_says_that_nobody_is_there(start):
    client = start(EXAMPLES / "udp_hello_world.py", "1")
    assert client.communicate(timeout=120) == ("", "port 1: recv: connection refused\n")
    assert client.returncode == 1


def test_udp_hello_world_does_not_wait_for_ever(start, silent):
    client = start(EXAMPLES / "udp_hello_world.py", str(silent))
    output, errors = client.communicate(timeout=120)
    assert (output, errors) == ("", f"port {silent}: no answer within two seconds\n")
    assert client.returncode == 1


# -- DHCP


@pytest.fixture
def network():
    """Two hosts: the first has an address, the second gets answers although it has none."""
    with linked() as (server, client):
        server.ip("address add 10.1.2.1/24 dev left")
        for interface in ("all", "right"):
            path = f"/proc/sys/net/ipv4/conf/{interface}/rp_filter"
            client.run("sh", "-c", f"grep -q 0 {path} || echo 0 >{path}")
        yield server, client


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_udp_dhcp_discover_prints_what_dnsmasq_offers(start, network, tmp_path, known):
    server, client = network
    client.ip("link set right address 02:00:00:12:34:56")
    if not known:  # libuv lists interfaces by their addresses
        client.ip("address flush dev right")
    options = [
        "--port=0",
        "--interface=left",
        "--dhcp-authoritative",
        "--no-ping",
        "--dhcp-range=10.1.2.50,10.1.2.50,255.255.255.0,30m",
        "--dhcp-host=02:00:00:12:34:56,10.1.2.77,30m",
        "--dhcp-option=option:router,10.1.2.254",
        "--dhcp-option=option:dns-server,10.1.2.2,10.1.2.3",
    ]
    with dnsmasq(server, tmp_path / "log", *options):
        child = start(EXAMPLES / "udp_dhcp_discover.py", "right", host=client)
        output, errors = child.communicate(timeout=120)
    assert (errors, child.returncode) == ("", 0), (tmp_path / "log").read_text()
    assert output.splitlines() == [
        "address: 10.1.2.77" if known else "address: 10.1.2.50",
        "server: 10.1.2.1",
        "mask: 255.255.255.0",
        "router: 10.1.2.254",
        "dns: 10.1.2.2, 10.1.2.3",
        "lease: 1800 seconds",
    ]


def test_udp_dhcp_discover_ignores_what_is_not_for_it(start, network, tmp_path):
    (tmp_path / "mischief.py").write_text(MISCHIEF)
    server = start(tmp_path / "mischief.py", host=network[0])
    assert server.stdout.readline() == "ready\n"
    child = start(EXAMPLES / "udp_dhcp_discover.py", "right", host=network[1])
    output, errors = child.communicate(timeout=120)
    assert server.communicate(timeout=120) == ("", "")
    assert (errors, child.returncode) == ("", 0)
    assert output.splitlines() == [
        "address: 10.6.6.6",
        "server: 10.0.0.1",
        "mask: none",
        "router: none",
        "dns: none",
        "lease: 300 seconds",
    ]


def test_udp_dhcp_discover_gives_up(start, network):
    child = start(EXAMPLES / "udp_dhcp_discover.py", "right", host=network[1])
    output, errors = child.communicate(timeout=120)
    assert (output, child.returncode) == ("", 1)
    assert errors == "no DHCP server answered on right within five seconds\n"


def test_udp_dhcp_discover_says_what_it_lacks(start):
    child = start(EXAMPLES / "udp_dhcp_discover.py")
    assert "python udp_dhcp_discover.py INTERFACE" in child.communicate(timeout=120)[1]
    assert child.returncode == 1
    child = start(EXAMPLES / "udp_dhcp_discover.py", "nosuch0")
    output, errors = child.communicate(timeout=120)
    assert (output, child.returncode) == ("", 1)
    assert errors in ("nosuch0: No such device\n", "nosuch0: Operation not permitted\n")


# -- multicast


def test_multicast_chat_between_three(start):
    with Namespace() as host:
        people = [start(EXAMPLES / "multicast_chat.py", host=host) for _ in range(3)]
        names = [person.stdout.readline().split(" as ")[1].strip() for person in people]
        assert len(set(names)) == 3
        for speaker, name in zip(people, names):
            speaker.stdin.write("Hello!\nIs anybody\n")
            speaker.stdin.flush()
            for listener in people:
                if listener is not speaker:
                    assert listener.stdout.readline() == f"{name} Hello!\n"
                    assert listener.stdout.readline() == f"{name} Is anybody\n"
        people[0].stdin.write("there?")  # the last line of a file need not end
        assert people[0].communicate(timeout=120) == ("", "")
        for person in people[1:]:
            assert person.stdout.readline() == f"{names[0]} there?\n"
            assert person.communicate(timeout=120) == ("", "")
        assert [person.returncode for person in people] == [0, 0, 0]


def test_multicast_chat_at_a_terminal(start):
    ours, terminal = os.openpty()
    try:
        with Namespace() as host:
            listener = start(EXAMPLES / "multicast_chat.py", host=host)
            listener.stdout.readline()
            speaker = start(EXAMPLES / "multicast_chat.py", host=host, stdin=terminal)
            name = speaker.stdout.readline().split(" as ")[1].strip()
            os.write(ours, b"Hello!\n")
            assert listener.stdout.readline() == f"{name} Hello!\n"
            assert os.get_blocking(terminal)  # it is the shell's as well
            os.write(ours, b"\x04")  # Ctrl-D
            assert speaker.communicate(timeout=120) == ("", "")
            assert speaker.returncode == 0
    finally:
        os.close(ours)
        os.close(terminal)


@pytest.mark.parametrize("interface", ["192.0.2.1", "eth0", "::1"])
def test_multicast_chat_says_that_there_is_no_such_interface(start, interface):
    child = start(EXAMPLES / "multicast_chat.py", interface)
    output, errors = child.communicate(timeout=120)
    assert (output, child.returncode, errors.count("\n")) == ("", 1, 1)
    assert "Traceback" not in errors
