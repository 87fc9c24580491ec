"""The benchmark: its servers, and the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from uvbind._bench import contenders, workloads
from uvbind._bench.contenders import BenchError, Child, Server
from uvbind._bench.workloads import NAMES, WORKLOADS
from uvbind._cli import main

# Far more than needed, far less than for ever.
TIMEOUT = 300.0


def test_child_that_dies_is_named() -> None:
    with (
        Server("no.such.module", "tcp_servers") as server,
        pytest.raises(BenchError, match=r"^no\.such\.module:"),
    ):
        server.ready()


def test_server_tells_its_cpu_time_and_ends_with_stdin() -> None:
    with Server("selectors", "tcp_servers") as server:
        server.ready()
        first, second = server.tally(), server.tally()
        assert 0 < first["cpu_ns"] <= second["cpu_ns"]
        assert server.close() == 0


@pytest.mark.parametrize(
    ("module", "name"),
    [("tcp_servers", "selectors"), ("tcp_servers", "uvbind"), ("lookups", "asyncio")],
)
def test_server_without_a_parent_ends_without_a_word(module: str, name: str) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", f"uvbind._bench.{module}", name]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=write, stderr=subprocess.PIPE
        )
    finally:
        os.close(write)
    with process:
        _, error = process.communicate(timeout=TIMEOUT)
    assert error == b""
    assert process.returncode == 1


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "uvbind", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)


def cases(names: Sequence[str]) -> list[tuple[object, ...]]:
    """What a run of all workloads has to report."""
    return [
        (workload.name, name, *case.values.values())
        for workload in WORKLOADS.values()
        for case in workload.cases
        for name in workload.contenders
        if name in names
    ]


def case_of(row: dict[str, Any]) -> tuple[object, ...]:
    varied = WORKLOADS[row["workload"]].cases[0].values
    return (row["workload"], row["contender"], *(row[key] for key in varied))


def test_command(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    names = [name for name in NAMES if contenders.installed(name)]
    missing = [name for name in NAMES if name not in names]
    process = bench("--quick", "--seconds", "0.002", "--json", str(output))
    assert process.returncode == 0, process.stderr
    data: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    assert data["not_installed"] == missing
    assert data["plan"]["workloads"] == list(WORKLOADS)
    assert data["plan"]["contenders"] == names
    assert [case_of(row) for row in data["results"]] == cases(names)
    measured = [case_of(sample) for sample in data["samples"]]
    assert Counter(measured) == dict.fromkeys(cases(names), data["plan"]["rounds"])
    for row in data["results"]:
        workload = WORKLOADS[row["workload"]]
        for figure in workload.figures:
            if figure.compared:
                assert row[figure.key] > 0
                assert row["ratios"][row["contender"]][figure.key] == 1
                if workload.reference in workload.contenders:  # not on PyPy
                    assert row["ratios"][workload.reference][figure.key] > 0
    for name in missing:
        assert f"{name}: not installed" in process.stdout
    compared = [f"{ours} : uvloop" for ours in ("uvbind", "uvbind.aio") if "uvloop" in names]
    for text in ("tcp-echo, 1 KiB messages", "udp-sink, 1200-byte datagrams", *names, *compared):
        assert text in process.stdout


def test_command_with_one_workload_and_without_the_reference(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    command = ["tcp-echo", "--quick", "--seconds", "0.001", "--only", "selectors"]
    process = bench(*command, "--json", str(output))
    assert process.returncode == 0, process.stderr
    rows = json.loads(output.read_text(encoding="utf-8"))["results"]
    assert {(row["workload"], row["contender"]) for row in rows} == {("tcp-echo", "selectors")}
    assert {tuple(row["ratios"]) for row in rows} == {("selectors",)}


LIAR = """
from uvbind._bench import tcp_servers
tcp_servers.EchoProtocol.data_received = lambda self, data: self.transport.write(bytes(len(data)))
tcp_servers.serve_protocol("asyncio")
"""


class Liar(Server):
    def __init__(self, name: str, module: str, tool: Sequence[str]) -> None:
        Child.__init__(self, name, [sys.executable, "-c", LIAR])


def test_wrong_echo_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workloads, "Server", Liar)
    assert main(["bench", "tcp-echo", "--quick", "--only", "selectors"]) == 1
    assert "selectors: " in (error := capsys.readouterr().err)
    assert "reads did not hold what was sent" in error


def test_interrupt_ends_all_processes() -> None:
    psutil = pytest.importorskip("psutil")
    command = [sys.executable, "-m", "uvbind", "bench", "--only", "asyncio,selectors"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        children: list[Any] = []
        deadline = time.monotonic() + TIMEOUT
        while len(children) < 3 and time.monotonic() < deadline:
            children = psutil.Process(process.pid).children()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=TIMEOUT)
    assert error == "interrupted\n"
    assert process.returncode == 130
    assert psutil.wait_procs(children, timeout=TIMEOUT)[1] == []


def test_the_asyncio_layer_is_measured_wherever_asyncio_is() -> None:
    for workload in WORKLOADS.values():
        assert ("uvbind.aio" in workload.contenders) == ("asyncio" in workload.contenders)
    assert contenders.installed("uvbind.aio")


@pytest.mark.parametrize("arguments", [["--only", "asyncio,nonsense"], ["nonsense"]])
def test_unknown_names_are_refused(arguments: list[str]) -> None:
    process = bench(*arguments)
    assert process.returncode == 2
    assert "nonsense" in process.stderr
