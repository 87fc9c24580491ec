"""Storms of cancellations, in a process whose descriptors are watched from below Python.

Other connections run through each storm, whose bytes say whose they are. A storm fails when a byte
comes out of another connection, when a descriptor is left open, closed twice, used after it was
closed, or closed by who does not own it, when something hangs, and when something is logged.

The default is a short storm of everything. `pytest -m storm` has each by itself and longer;
UVBIND_STORM_ROUNDS says how much longer.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from preloading import preloaded

CC = shutil.which("cc") or shutil.which("gcc")
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD of Linux"),
    pytest.mark.skipif(CC is None, reason="no C compiler for the library that watches"),
]

# asyncio's own loop goes through these. Through the others it does not: it waits for events of a
# number's last owner, takes connections for futures that are done, forgets those that a server
# accepted in the turn it was closed in, and its sendfile() outlives the connection.
FAIR = ["connect", "start_tls", "datagrams", "names", "pipes", "forks", "subprocesses"]
FOUL = ["accept", "sendfile", "sock_connect", "sock_accept", "sock_recv", "watched", "loops"]
STORMS = {"asyncio": FAIR, "uvbind": FAIR + FOUL}
SLOW = ["forks", "subprocesses"]
ROUNDS = int(os.environ.get("UVBIND_STORM_ROUNDS", "200"))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("descriptors") / "descriptors.so"
    source = Path(__file__).parents[1] / "descriptors.c"
    subprocess.run([CC, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


class Watched:
    """Runs Python with the library before the C library."""

    def __init__(self, library: Path, folder: Path) -> None:
        self.library = library
        self.file = folder / "faults"

    def run(self, *arguments: object, timeout: float = 120, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            env={
                **preloaded(self.library),
                "DESCRIPTOR_FAULTS": str(self.file),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def faults(self) -> list[str]:
        return self.file.read_text().splitlines() if self.file.exists() else []


@pytest.fixture
def watched(library: Path, tmp_path: Path) -> Watched:
    return Watched(library, tmp_path)


def storm(watched: Watched, names: list[str], loop: str, seed: int, rounds: int, **more: str):
    program = Path(__file__).with_name("storms")
    timeout = 360 + rounds  # longer than the process takes to tell where it hangs
    out = watched.run(program, ",".join(names), loop, seed, rounds, timeout=timeout, **more)
    report = json.loads(out)
    assert report["faults"] == []
    assert watched.faults() == []
    counts = report["counts"]
    assert counts["cancelled"] and counts["finished"] and counts["echoes"], "no storm at all"


@pytest.mark.parametrize("loop", STORMS)
def test_a_storm_of_everything(watched, loop):
    names = [name for name in STORMS[loop] if name != "loops"]  # which leaves things open
    storm(watched, names, loop, 1, 100)


@pytest.mark.storm
def test_a_storm_without_io_uring(watched):
    """libuv tells the system of every descriptor by a call that the library sees."""
    names = [name for name in STORMS["uvbind"] if name != "loops"]
    storm(watched, names, "uvbind", 2, ROUNDS, DESCRIPTOR_NO_URING="1")


@pytest.mark.storm
@pytest.mark.parametrize("name", STORMS["uvbind"])
def test_storms(watched, name):
    storm(watched, [name], "uvbind", 3, ROUNDS // 10 if name in SLOW else ROUNDS)


# -- that these tests can fail

SCRIPT = """
import contextlib, ctypes, os
library = ctypes.CDLL(None)
one, two = os.pipe()
with contextlib.suppress(OSError):
    """


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("os.close(one); os.close(one)", "closed twice"),
        ("os.close(one); os.read(one, 1)", "read when it was closed"),
        ("library.descriptor_guard(one); os.close(one)", "closed by the wrong owner"),
        ("library.descriptor_guard(one); os.dup2(two, one)", "closed by the wrong owner"),
        ("library.descriptor_release(one)", "closed before its owner was told"),
    ],
)
def test_faults_are_seen(watched, script, fault):
    watched.run("-c", SCRIPT + script)
    (line,) = watched.faults()
    assert line.startswith(f"{fault}: ")


def test_libuv_is_seen_to_watch_what_is_closed(watched):
    watched.run(
        "-c",
        """
import os, socket, uvbind
loop = uvbind.Loop()
tcp = uvbind.TCP(loop)
ours, theirs = socket.socketpair()
tcp.open(ours)
os.close(tcp.fileno())
tcp.close()
loop.run()
loop.close()
""",
    )
    assert [line.split(":")[0] for line in watched.faults()] == [
        "watched when it was closed",
        "closed twice",
    ]


@pytest.mark.parametrize(
    ("breaks", "fault"),
    [
        ("world.Connection.data_received = lambda *about: None", "hangs"),
        ("ends.Echo.answer = lambda self, data: self.transport.write(data[::-1])", "through_"),
        ("world.World.gone = keep", "left open"),
    ],
)
def test_a_broken_program_is_found_out(watched, breaks, fault):
    """Such as the storms themselves, when they are tampered with."""
    program = Path(__file__).with_name("storms")
    out = watched.run(
        "-c",
        f"""
import sys, os, runpy
sys.path.insert(0, {str(program)!r})
sys.argv = ["", "names", "uvbind", "1", "8"]
import ends, world
world.LONG = 1.0
async def keep(self, sock):
    os.dup(0)
{breaks}
runpy.run_path({str(program)!r}, run_name="__main__")
""",
    )
    assert any(fault in line for line in json.loads(out)["faults"]), out
