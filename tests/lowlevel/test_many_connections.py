"""A server under load: every byte is checked by the load generator, and memory stays flat."""

from __future__ import annotations

from pathlib import Path

import pytest

from uvbind._bench.contenders import Server
from uvbind._bench.load import Load

CONNECTIONS = 1000
SIZE = 16 * 1024
MESSAGES = 2**30 // SIZE  # 1 GiB in all


@pytest.fixture
def enough_descriptors():
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < CONNECTIONS + 100:
        pytest.skip(f"the system allows {hard} descriptors only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, CONNECTIONS + 100), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident_bytes(pid: int) -> int:
    (line,) = (
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    )
    return int(line.split()[1]) * 1024


def test_a_thousand_connections_echo_a_gibibyte(enough_descriptors):
    with Server("uvbind", "tcp_servers") as server, Load() as load:
        server.ready()
        load.connect_tcp("uvbind", server.port, CONNECTIONS, SIZE, timeout=60.0)
        echoed, resident = 0, []
        for _ in range(8):
            result = load.run(seconds=60.0, messages=MESSAGES // 8)  # raises for a wrong byte
            assert result["errors"] == 0
            echoed += int(result["bytes"])
            resident.append(resident_bytes(server.process.pid))
        load.disconnect()
    assert echoed == 2**30
    # The first half warms up: malloc grows, PyPy compiles and lets garbage lie for a while.
    # After it nothing accumulates.
    assert max(resident[5:]) < 1.05 * resident[4], resident
