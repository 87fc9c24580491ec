"""The benchmark that counts instructions: its table, its file, its verdicts and its loads."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import instructions
import loads
import pytest
import ratios
from ratios import Record

from uvbind._bench.contenders import BenchError

COMMITTED = Path(instructions.__file__).with_suffix(".json")
VERSIONS = {"CPython": "3.11", "uvloop": "0.23.0"}


def record(ratio: float | None, *, name: str = "echo", **versions: str) -> Record:
    """Of one workload, in which ours takes so many times what uvloop does."""
    counts = {"uvloop": 4000.0} | ({} if ratio is None else {"uvbind.aio": 4000.0 * ratio})
    return Record({name: counts}, {**VERSIONS, **versions})


def test_table_has_counts_and_multiples_of_uvloop():
    counts = {
        "echo": {"uvbind.aio": 3000.0, "uvloop": 4000.0},
        "alone": {"uvbind.aio": 1234.5},
    }
    table = ratios.table(counts, {"echo": "TCP", "alone": "UDP"}, ["uvbind.aio", "uvloop"])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert rows == [
        ["", "uvbind.aio", "uvloop"],
        ["---", "--:", "--:"],
        ["echo: TCP", "3,000 (0.75)", "4,000"],
        ["alone: UDP", "1,234", ""],
    ]


def test_spread_names_the_counts_that_differ():
    runs = [
        {"echo": {"uvloop": 1000.0, "rloop": 500.0}},
        {"echo": {"uvloop": 1010.0, "rloop": 500.0}},
    ]
    lines = ratios.spread(runs).splitlines()
    assert lines[0] == "echo, uvloop: 2 runs differ by 1.00%"
    assert len(lines) == 2 and "2 were counted" in lines[1]


@pytest.mark.parametrize("after", [0.8, 0.76, 0.84])
def test_ratio_within_the_bound_passes(after):
    assert ratios.verdicts(record(after), record(0.8), ["echo"]) == ([], [])


def test_ratio_beyond_the_bound_is_wrong():
    wrong, better = ratios.verdicts(record(0.88), record(0.8), ["echo"])
    assert wrong == ["echo: 0.880 times uvloop's, +10.0% from 0.800"]
    assert better == []


def test_ratio_that_got_better_is_told():
    wrong, better = ratios.verdicts(record(0.7), record(0.8), ["echo"])
    assert wrong == []
    assert better == ["echo: 0.700 times uvloop's, -12.5% from 0.800"]


@pytest.mark.parametrize(
    ("now", "committed", "text"),
    [
        (record(0.8), record(0.8, name="other"), "echo: not in the file"),
        (record(0.8), record(None), "echo: not in the file"),
        (record(None), record(0.8), "echo: not counted for both uvbind.aio and uvloop"),
        (
            record(0.8, uvloop="0.24.0"),
            record(0.8),
            "uvloop: the file is for version 0.23.0, this is 0.24.0",
        ),
        (
            record(0.8, CPython="3.14"),
            record(0.8),
            "CPython: the file is for version 3.11, this is 3.14",
        ),
    ],
)
def test_nothing_to_compare_with_is_wrong(now, committed, text):
    assert ratios.verdicts(now, committed, ["echo"]) == ([text], [])


def test_what_is_worse_is_counted_again_and_the_least_count_stands():
    assert ratios.worse(record(0.88), record(0.8), ["echo", "other"]) == ["echo"]
    assert ratios.worse(record(0.83), record(0.8), ["echo"]) == []
    runs = [
        {"echo": {"uvloop": 4.0, "rloop": 7.0}},
        {"echo": {"uvloop": 5.0}, "new": {"rloop": 1.0}},
    ]
    assert ratios.least(runs) == {"echo": {"uvloop": 4.0, "rloop": 7.0}, "new": {"rloop": 1.0}}


@pytest.mark.parametrize(("after", "status"), [(0.7, 0), (0.8, 0), (0.9, 1)])
def test_check_returns_the_exit_status(after, status, capsys):
    assert ratios.check(record(after), record(0.8), ["echo"], Path("file.json")) == status
    printed = capsys.readouterr().out
    assert ("WRONG: echo" in printed) == (after > 0.8)
    assert ("--update file.json" in printed) == (after < 0.8)


def test_record_is_read_as_it_was_written(tmp_path):
    record(0.8).write(tmp_path / "file.json")
    assert Record.read(tmp_path / "file.json") == record(0.8)
    assert json.loads((tmp_path / "file.json").read_text())[
        "uvbind.aio as a multiple of uvloop"
    ] == {"echo": 0.8}


def test_update_keeps_what_was_not_counted(tmp_path):
    path = tmp_path / "file.json"
    assert record(0.8).added_to(path) == record(0.8)  # there is none yet
    Record({"echo": {"rloop": 2.0, "uvloop": 1.0}, "old": {"uvloop": 5.0}}, VERSIONS).write(path)
    updated = record(0.8).added_to(path)
    assert updated.counts == {
        "echo": {"rloop": 2.0, "uvloop": 4000.0, "uvbind.aio": 3200.0},
        "old": {"uvloop": 5.0},
    }


def test_committed_file_has_a_ratio_for_each_workload():
    committed = Record.read(COMMITTED)
    assert set(committed.ratios) == set(instructions.WORKLOADS)
    assert set(ratios.COMPARED) <= set(committed.versions)


def test_contender_may_run_a_program_of_its_own():
    workload = instructions.WORKLOADS["own-streams"]
    assert workload.of("uvbind.aio").program == ("own-streams",)
    assert workload.of("uvloop") == workload.of("asyncio") == workload
    assert workload.program == instructions.WORKLOADS["streams"].program


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(30)
        yield sock


def test_load_is_complete_when_each_connection_has_its_message_back(listener):
    load = loads.TCP(2, 1000)
    load.open(listener.getsockname()[1])
    clients = [listener.accept()[0] for _ in range(2)]
    assert load.complete()  # nothing was sent
    load.send()
    messages = [client.recv(1000, socket.MSG_WAITALL) for client in clients]
    assert messages[0] != messages[1]
    clients[0].sendall(messages[0])
    clients[1].sendall(messages[1][:999])
    assert not load.complete()
    clients[1].sendall(messages[1][999:])
    assert load.complete()
    for client in clients:
        client.close()
    load.close()


@pytest.mark.parametrize("answer", [b"", b"x" * 1000])
def test_load_finds_a_wrong_answer(listener, answer):
    load = loads.TCP(1, 1000)
    load.open(listener.getsockname()[1])
    client = listener.accept()[0]
    load.send()
    client.recv(1000, socket.MSG_WAITALL)
    client.sendall(answer)
    client.close()
    with pytest.raises(BenchError, match=r"closed a connection|not come back as it was sent"):
        load.complete()
    load.close()


def test_load_of_connections_closes_each_when_its_message_is_back(listener):
    load = loads.Connections(2, 64)
    load.open(listener.getsockname()[1])
    for _ in range(2):
        load.send()
        for _ in range(2):
            client = listener.accept()[0]
            client.sendall(client.recv(64, socket.MSG_WAITALL))
            client.settimeout(30)
            with client:
                load.complete()
        assert load.complete()
        assert all(sock.fileno() == -1 for sock in load.sockets)


def test_load_of_datagrams_counts_copies():
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(30)
        load = loads.UDP(1, 64, 2)
        load.open(server.getsockname()[1])
        load.send()
        data, address = server.recvfrom(100)
        server.sendto(data, address)
        assert not load.complete()
        server.sendto(data, address)
        assert load.complete()
        load.send()
        server.sendto(data, address)  # that of the last batch
        with pytest.raises(BenchError, match="not come back as it was sent"):
            load.complete()
        load.close()
