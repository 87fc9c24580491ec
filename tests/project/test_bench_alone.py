"""What the benchmark has done without a load: name lookups and the interface query."""

from __future__ import annotations

import sys

import pytest

from uvbind._bench import interfaces
from uvbind._bench.contenders import BenchError, Server, installed
from uvbind._bench.workloads import INTERFACES, LOOKUPS

JOBS = [
    (workload, name, dict(case.values))
    for workload in (LOOKUPS, INTERFACES)
    for name in workload.contenders
    for case in workload.cases
    if installed(name)
]


@pytest.mark.parametrize(("workload", "name", "values"), JOBS)
def test_a_job_is_done_over_and_over(workload, name, values):
    with workload.server(name) as server:
        server.ready()
        first = workload.sample(None, server, values, 0.01)
        assert first["done"] > 0 and first["per_second"] > 0
        assert workload.sample(None, server, values, 0.01)["done"] > 0
        assert server.close() == 0


@pytest.mark.parametrize("name", [name for name in LOOKUPS.contenders if installed(name)])
def test_a_job_that_fails_is_an_error(name, capfd):
    with Server(name, "lookups") as server:
        server.ready()
        with pytest.raises(BenchError, match=f"^{name}: no answer"):
            server.ask({"host": 1, "at_once": 2, "seconds": 0.01}, timeout=60.0)
    assert "Error" in capfd.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_pure_python_finds_what_psutil_finds():
    psutil = pytest.importorskip("psutil")
    expected = {
        (name, one.address.partition("%")[0], one.netmask)
        for name, addresses in psutil.net_if_addrs().items()
        for one in addresses
        if one.family != psutil.AF_LINK
    }
    found = {(name, address, netmask) for name, address, netmask, _ in interfaces.with_socket()}
    assert found == expected
    assert ("lo", "127.0.0.1", "255.0.0.0") in found
