"""Counts the user-space instructions of a program between two points of its run, with callgrind.

The program runs under valgrind with lockstep.c preloaded, which turns counting on and off.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import scheduling
from loads import Load
from ratios import OURS

from uvbind._bench.contenders import BenchError, Child

HERE = Path(__file__).parent
# Under valgrind a start takes seconds.
TIMEOUT = 120.0
# Of the server's loop for a batch, at most; one is enough unless the kernel's buffers are full.
MOST_TURNS = 100
# By then whatever is made on first use is made, and CPython has specialised its code.
FIRST_BATCHES = 100


@dataclass(frozen=True)
class Workload:
    """A program, who runs it, how many messages or callbacks are counted, and the load, if any."""

    title: str
    program: tuple[str, ...]
    contenders: tuple[str, ...]
    messages: int
    load: Callable[[], Load] | None = None
    our_program: tuple[str, ...] = ()  # where it is another for the loop of ours
    # Each has other addresses of objects. CPython's cache of methods is indexed by addresses: in
    # some layouts two methods that a message needs take the same place there, over and over.
    layout: int = 0

    def of(self, contender: str) -> Workload:
        """Return the workload as a contender runs it."""
        if contender == OURS and self.our_program:
            return dataclasses.replace(self, program=self.our_program)
        return self


class Counter:
    """Runs programs in a folder of its own, where lockstep.c is compiled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.library = folder / "lockstep.so"
        compile_library(self.library)
        self.certificate = folder / "certificate.pem"
        make_certificate(self.certificate)

    def count(self, workload: Workload, contender: str) -> float:
        """Return the instructions of one message or callback."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            if workload.load is None:
                return self.count_alone(Path(folder), workload, contender)
            return self.count_served(Path(folder), workload, contender, workload.load())

    def count_alone(self, folder: Path, workload: Workload, contender: str) -> float:
        (name,) = workload.program
        tool = self.tool(
            folder, workload, *(["UVBIND_CLOCK=1"] if name != "call-soon-threadsafe" else [])
        )
        program = [sys.executable, scheduling.__file__, contender, name, str(workload.messages)]
        try:
            subprocess.run([*tool, *program], timeout=TIMEOUT, check=True)
        except subprocess.SubprocessError as error:
            raise BenchError(f"{contender}, {workload.title}: {error}") from error
        first, both = (total(folder, contender, number) for number in (1, 2))
        return (both - first) / workload.messages

    def count_served(self, folder: Path, workload: Workload, contender: str, load: Load) -> float:
        program = [sys.executable, str(HERE / "echo_servers.py"), contender, *workload.program]
        program += [str(self.certificate)] if "tls" in workload.program else load.arguments
        batches = max(1, workload.messages // load.batch)
        with contextlib.closing(load), contextlib.closing(Lockstep(folder)) as step:
            tool = self.tool(
                folder, workload, *(f"{name}={path}" for name, path in step.pipes.items())
            )
            with Child(contender, [*tool, *program]) as server:
                port = server.receive(TIMEOUT)["port"]
                try:
                    step.go(".")
                    load.open(port)
                    step.until_complete(load)
                    for number in range(FIRST_BATCHES + batches):
                        load.send()
                        step.go("+" if number == FIRST_BATCHES else ".")
                        step.until_complete(load)
                    step.go("-")
                except (OSError, BenchError) as error:
                    raise BenchError(f"{contender}, {workload.title}: {error}") from error
                if server.close(TIMEOUT) != 0:
                    raise BenchError(f"{contender}, {workload.title}: did not end in order")
        return total(folder, contender, 1) / (batches * load.batch)

    def tool(self, folder: Path, workload: Workload, *variables: str) -> list[str]:
        """Return the command that runs another one under callgrind."""
        return [
            "env",
            f"LD_PRELOAD={self.library}",
            "PYTHONHASHSEED=0",
            *variables,
            *(f"UVBIND_LAYOUT_{number}=" for number in range(workload.layout)),
            "valgrind",
            "--tool=callgrind",
            "--instr-atstart=no",
            f"--callgrind-out-file={folder}/callgrind.out",
            f"--log-file={folder}/log",  # it warns of system calls it does not know
        ]


class Lockstep:
    """The load's end of the pipes to a server; see lockstep.c."""

    def __init__(self, folder: Path) -> None:
        self.pipes = {f"UVBIND_{name}": folder / name for name in ("IDLE", "GO")}
        for path in self.pipes.values():
            os.mkfifo(path)
        # With an end of each kind neither opening nor reading ever ends for want of the other.
        self.idle_fd, self.go_fd = (os.open(path, os.O_RDWR) for path in self.pipes.values())

    def go(self, word: str) -> None:
        """Let the server have what was sent, until it waits; "+" begins to count, "-" ends it."""
        os.write(self.go_fd, word.encode())
        if not select.select([self.idle_fd], [], [], TIMEOUT)[0]:
            raise BenchError(f"the server is busy for more than {TIMEOUT:g} s")
        os.read(self.idle_fd, 1)

    def until_complete(self, load: Load) -> None:
        """Let the server have turns until the load's batch has come back."""
        for _ in range(MOST_TURNS):
            if load.complete():
                return
            self.go(".")
        raise BenchError("the server waits, and has not answered")

    def close(self) -> None:
        os.close(self.idle_fd)
        os.close(self.go_fd)


def total(folder: Path, contender: str, number: int) -> int:
    """Return what callgrind counted for the so many-th time."""
    try:
        text = (folder / f"callgrind.out.{number}").read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    totals = re.search(r"^totals: (\d+)", text, re.MULTILINE)
    if totals is None:
        raise BenchError(f"{contender}: callgrind wrote no total")
    return int(totals.group(1))


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"{' '.join(command)}\n{done.stderr}")


def compile_library(library: Path) -> None:
    source = HERE / "lockstep.c"
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-shared", "-fPIC"]
    run(["cc", *flags, "-o", str(library), str(source)])


def make_certificate(certificate: Path) -> None:
    """Write a key and a certificate that nobody else has."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1"
    files = ["-subj", "/CN=localhost", "-keyout", f"{certificate}.key", "-out", str(certificate)]
    run([*command.split(), *files])
    with certificate.open("a") as both:
        both.write(Path(f"{certificate}.key").read_text())
