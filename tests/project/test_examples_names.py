"""The examples that look up names, against real servers of names, IRC and HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from namespaces import Namespace, linked
from servers import answers, dnsmasq, free_port, running

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def network(tmp_path: Path) -> Iterator[tuple[Namespace, Namespace]]:
    """Two hosts; the second asks the first for names, at its link-local address."""
    with linked() as (server, client):
        for number, host, interface in ((1, server, "left"), (2, client, "right")):
            host.ip(
                f"address add 10.1.2.{number}/24 dev {interface}",
                f"address add 2001:db8::{number}/64 dev {interface} nodad",
            )
        (tmp_path / "resolv.conf").write_text("nameserver fe80::1%right\n")
        client.run("mount", "--bind", str(tmp_path / "resolv.conf"), "/etc/resolv.conf")
        yield server, client


@pytest.fixture
def names(network: tuple[Namespace, Namespace], tmp_path: Path) -> Iterator[None]:
    """The name server, who knows two hosts and that there are no others."""
    options = [
        "--interface=left",
        "--local=/test/10.in-addr.arpa/",
        "--host-record=router.test,10.1.2.1,2001:db8::1",
        "--host-record=near.test,fe80::1",
    ]
    with dnsmasq(network[0], tmp_path / "dnsmasq.log", *options):
        yield


@contextmanager
def ngircd(folder: Path, port: int) -> Iterator[None]:
    configuration = f"""
        [Global]
        Name = irc.example.net
        Listen = 127.0.0.1
        Ports = {port}
        [Options]
        Ident = no
        PAM = no
        NoticeBeforeRegistration = yes
    """
    (folder / "ngircd.conf").write_text(configuration.replace("        ", ""))
    options = ["--nodaemon", "--config", str(folder / "ngircd.conf")]
    with running(
        "ngircd", *options, package="ngircd", ready=answers(port), log=folder / "ngircd.log"
    ):
        yield


@contextmanager
def nginx(folder: Path, *ports: object, host: Namespace | None = None) -> Iterator[None]:
    """A web server with a short page, a long one, and one that comes in chunks."""
    (folder / "www").mkdir()
    (folder / "www/index.html").write_text("Hello!\n")
    (folder / "www/long").write_text("x" * 100_000)
    (folder / "www/chunked.html").write_text('<!--#echo var="HTTP_HOST" -->' + "x" * 100_000)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    (folder / "nginx.conf").write_text(f"""
        user root root;
        daemon off;
        master_process off;
        pid {folder}/nginx.pid;
        events {{}}
        http {{
            types {{ text/html html; }}
            access_log off;
            {"".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)}
            server {{
                {"".join(f"listen {port};" for port in ports)}
                root {folder}/www;
                ssi on;
            }}
        }}
    """)
    log = folder / "nginx.log"
    options = ["-e", "stderr", "-c", str(folder / "nginx.conf")]
    ready = (folder / "nginx.pid").exists  # which is there once it listens
    with running("nginx", *options, package="nginx-light", ready=ready, host=host, log=log):
        yield


@contextmanager
def saying(answer: bytes) -> Iterator[int]:
    """A server that gives everybody this answer and hangs up; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def finish(child):
    output, errors = child.communicate(timeout=120)
    return output, errors, child.returncode


# -- dns.py


def test_dns_prints_what_an_irc_server_says(start, tmp_path):
    port = free_port()
    with ngircd(tmp_path, port):
        child = start(EXAMPLES / "dns.py", "localhost", str(port))
        assert child.stdout.readline() == f"connected to 127.0.0.1 {port}\n"
        assert child.stdout.readline() == "NOTICE * :*** Looking up your hostname\n"
    output, _, status = finish(child)
    assert status == 0 and output.splitlines()[-1] == "ERROR :Server going down"


def test_dns_tries_every_address(start, names, network, tmp_path):
    server, client = network
    with nginx(tmp_path, 8080, host=server):  # which has no IPv6
        child = start(EXAMPLES / "dns.py", "router.test", "8080", host=client)
        assert child.stdout.readline() == "connected to 10.1.2.1 8080\n"
    assert finish(child) == ("", "2001:db8::1 8080 connect: connection refused\n", 0)


def test_dns_goes_by_a_link_local_address(start, network, tmp_path):
    server, client = network
    with nginx(tmp_path, "[::]:8080", host=server):
        child = start(EXAMPLES / "dns.py", "fe80::1%right", "8080", host=client)
        assert child.stdout.readline() == "connected to fe80::1 8080\n"
    assert finish(child) == ("", "", 0)


def test_dns_says_that_nobody_answers(start):
    output, errors, status = finish(start(EXAMPLES / "dns.py", "localhost", "1"))
    assert (output, status) == ("", 1)
    assert errors.splitlines()[-2:] == [
        "127.0.0.1 1 connect: connection refused",
        "localhost: no address answers on port 1",
    ]


# -- host.py


def test_host_looks_up_both_ways(start, names, network):
    words = ["router.test", "near.test", "10.1.2.1", "2001:db8::1", "fe80::1%right"]
    output, errors, status = finish(start(EXAMPLES / "host.py", *words, host=network[1]))
    assert (errors, status) == ("", 0)
    assert sorted(output.splitlines()) == [
        "10.1.2.1 is called router.test",
        "2001:db8::1 is called router.test",
        "fe80::1%right is called near.test",
        "near.test has IPv6 address fe80::1",
        "router.test has IPv6 address 2001:db8::1",
        "router.test has address 10.1.2.1",
    ]


def test_host_says_what_it_did_not_find(start, names, network):
    words = ["nosuch.test", "10.1.2.77", "near.test"]
    output, errors, status = finish(start(EXAMPLES / "host.py", *words, host=network[1]))
    assert (output, status) == ("near.test has IPv6 address fe80::1\n", 1)
    assert sorted(errors.splitlines()) == [
        "getaddrinfo: 'nosuch.test': unknown node or service",
        "getnameinfo: ('10.1.2.77', 0): unknown node or service",
    ]


def test_host_says_that_the_name_server_is_away(start, network):
    output, errors, status = finish(start(EXAMPLES / "host.py", "near.test", host=network[1]))
    assert (output, status) == ("", 1)
    assert errors == "getaddrinfo: 'near.test': temporary failure\n"


# -- http_get.py


def test_http_get_prints_a_page_of_nginx(start, tmp_path):
    port = free_port()
    with nginx(tmp_path, port):
        url = f"http://localhost:{port}"
        assert finish(start(EXAMPLES / "http_get.py", url)) == ("Hello!\n", "", 0)
        for page, content in [
            ("/", "Hello!\n"),
            ("/long?query", "x" * 100_000),
            ("/chunked.html", f"localhost:{port}" + "x" * 100_000),
        ]:
            assert finish(start(EXAMPLES / "http_get.py", url + page)) == (content, "", 0)
        assert finish(start(EXAMPLES / "http_get.py", url + "/nosuch")) == (
            "",
            f"{url}/nosuch: 404 Not Found\n",
            1,
        )


def test_http_get_asks_the_name_server(start, names, network, tmp_path):
    server, client = network
    with nginx(tmp_path, 80, host=server):
        child = start(EXAMPLES / "http_get.py", "http://router.test/", host=client)
        assert finish(child) == ("Hello!\n", "", 0)
        child = start(EXAMPLES / "http_get.py", "http://nosuch.test/", host=client)
        output, errors, status = finish(child)
        assert (output, status) == ("", 1)
        assert errors.startswith("getaddrinfo: 'nosuch.test': ")


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"", "without response"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "SSH-2.0"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "4 more expected"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nshort", "IncompleteRead"),
    ],
)
def test_http_get_says_that_the_answer_is_not_whole(start, answer, complaint):
    with saying(answer) as port:
        child = start(EXAMPLES / "http_get.py", f"http://127.0.0.1:{port}/")
        output, errors, status = finish(child)
    assert (output, status) == ("", 1)
    assert errors.startswith(f"127.0.0.1:{port}: ") and complaint in errors
    assert errors.count("\n") == 1


def test_http_get_says_that_nobody_is_there(start):
    output, errors, status = finish(start(EXAMPLES / "http_get.py", "http://127.0.0.1:1/"))
    assert (output, errors, status) == ("", "127.0.0.1:1: connect: connection refused\n", 1)


@pytest.mark.parametrize("example", ["dns.py", "host.py", "http_get.py"])
def test_without_an_argument_they_say_how_they_are_used(start, example):
    output, errors, status = finish(start(EXAMPLES / example))
    assert (output, status) == ("", 1) and f"python {example} " in errors


@pytest.mark.parametrize(
    ("example", "name"),
    [
        ("dns.py", ""),
        ("dns.py", "a" * 300),
        ("host.py", "é..com"),
        ("http_get.py", "http://é..com"),
    ],
)
def test_they_say_what_is_no_name(start, example, name):
    output, errors, status = finish(start(EXAMPLES / example, name))
    assert (output, status, errors.count("\n")) == ("", 1, 1)
    assert "is not a name" in errors


def test_http_get_wants_a_host(start):
    for url in ("http:///path", "https://localhost/", "localhost"):
        output, errors, status = finish(start(EXAMPLES / "http_get.py", url))
        assert (output, status) == ("", 1) and "python http_get.py " in errors
