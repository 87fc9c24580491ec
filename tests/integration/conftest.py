"""Real programs on the loop: what they run on, and the servers they talk to.

Every test runs on asyncio's own loop too, which shows that the test is right.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import ssl
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from servers import free_port, installed, running, says

import uvbind

HERE = Path(__file__).parent
LOOPS = {"asyncio": asyncio.SelectorEventLoop, "uvbind": uvbind.new_event_loop}


# -- pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("integration")


if os.environ.get("UVBIND_NO_SKIP"):  # what is missing is to be installed, not to be skipped

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(collector: pytest.Collector) -> Any:
        return (yield from _not_skipped())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(item: pytest.Item) -> Any:
        return (yield from _not_skipped())

    def _not_skipped() -> Any:
        report = yield
        if report.outcome == "skipped":
            report.outcome = "failed"
        return report


# -- loops


@pytest.fixture(params=LOOPS, scope="session")
def loop_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def new_loop(loop_name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    return LOOPS[loop_name]


@pytest.fixture
def run(new_loop: Callable[[], asyncio.AbstractEventLoop], loop_name: str) -> Callable[..., Any]:
    """Run a coroutine function in a loop of its own; nothing may go unhandled."""

    def run(main: Callable[[], Coroutine[Any, Any, Any]], timeout: float = 60) -> Any:
        unhandled: list[Any] = []

        async def proven() -> Any:
            loop = asyncio.get_running_loop()
            assert type(loop).__module__.startswith(loop_name)
            loop.set_exception_handler(lambda loop, context: unhandled.append(context))
            return await asyncio.wait_for(main(), timeout)

        with asyncio.Runner(loop_factory=new_loop) as runner:
            result = runner.run(proven())
        assert unhandled == []
        return result

    return run


# -- TLS


class Certificate(NamedTuple):
    """For 127.0.0.1 and localhost. Contexts for both sides, and files for other programs."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    cert_file: Path
    key_file: Path
    ca_file: Path


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    trustme = pytest.importorskip("trustme")
    folder = tmp_path_factory.mktemp("certificate")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued.configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    files = [folder / name for name in ("cert.pem", "key.pem", "ca.pem")]
    for blob in issued.cert_chain_pems:
        blob.write_to_path(files[0], append=True)
    issued.private_key_pem.write_to_path(files[1])
    authority.cert_pem.write_to_path(files[2])
    return Certificate(server, client, *files)


# -- servers


class Postgres(NamedTuple):
    port: int
    folder: Path  # of its unix socket
    user: str = "tester"
    password: str = "secret"


@pytest.fixture(scope="session")
def postgres(certificate: Certificate) -> Iterator[Postgres]:
    """A PostgreSQL of our own, over TCP with passwords and TLS, and over a unix socket."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
    program = installed(str(programs[-1] / "postgres") if programs else "postgres", "postgresql")
    server = Postgres(free_port(), Path(tempfile.mkdtemp(prefix="uvbind-postgres-")))
    try:
        settings = {
            "port": server.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": server.folder,
            "fsync": "off",
            "ssl": "on",
            "ssl_cert_file": _copy(certificate.cert_file, server.folder),
            "ssl_key_file": _copy(certificate.key_file, server.folder),
        }
        password = server.folder / "password"
        password.write_text(server.password)
        as_user = _not_root(server.folder)
        data, log = server.folder / "data", server.folder / "log"
        with running(
            *as_user,
            "sh",
            "-c",
            '"$0"/initdb -D "$1" -U "$2" --pwfile="$3" -A scram-sha-256 --auth-local=trust -N &&'
            ' shift 3 && exec "$0"/postgres "$@"',
            str(Path(program).parent),
            str(data),
            server.user,
            str(password),
            "-D",
            str(data),
            *(f"--{name}={value}" for name, value in settings.items()),
            package="util-linux",
            ready=says(log, "ready to accept connections"),
            log=log,
        ):
            yield server
    finally:
        shutil.rmtree(server.folder)


def _copy(file: Path, folder: Path) -> Path:
    copy = folder / file.name
    copy.touch(0o600)
    copy.write_bytes(file.read_bytes())
    return copy


def _not_root(folder: Path) -> list[str]:
    """What to put before a command that refuses to be root's, after giving the folder away."""
    if os.getuid() != 0:
        return []
    user = pwd.getpwnam("postgres")  # the package made it
    for path in (folder, *folder.iterdir()):
        os.chown(path, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


class Redis(NamedTuple):
    port: int
    tls_port: int
    socket: Path


@pytest.fixture(scope="session")
def redis_server(
    certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Redis]:
    """A Redis of our own, over TCP, TLS and a unix socket."""
    folder = tmp_path_factory.mktemp("redis")
    server, log = Redis(free_port(), free_port(), folder / "s"), folder / "log"
    settings = {
        "port": server.port,
        "bind": "127.0.0.1",
        "unixsocket": server.socket,
        "tls-port": server.tls_port,
        "tls-cert-file": certificate.cert_file,
        "tls-key-file": certificate.key_file,
        "tls-auth-clients": "no",
        "dir": folder,
        "save": "",
    }
    options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    ready = says(log, "eady to accept connections")
    with running("redis-server", *options, package="redis-server", ready=ready, log=log):
        yield server
