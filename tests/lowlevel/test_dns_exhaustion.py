"""Lookups where the system has too little room for threads, or none."""

from __future__ import annotations

import sys

import pytest


def test_a_system_without_room_for_so_many_threads(run_with_resolver):
    run_with_resolver("""
import resource
from pathlib import Path
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 150 * 2**20  # a thread takes 8 MiB
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
with uvbind.Loop() as loop:
    for n in range(20):
        getaddrinfo(loop, f"slow.{n}", 80, callback=callback)
    began(1)
    leave(20)
    loop.run()
    assert len(done) == 20
""")


def test_a_system_without_room_for_any_thread(run_with_resolver):
    run_with_resolver("""
import resource
from pathlib import Path
pages = int(Path("/proc/self/statm").read_text().split()[0])
with uvbind.Loop() as loop:
    limit = pages * resource.getpagesize() + 4 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        getaddrinfo(loop, "slow.1", 80, callback=callback)
        raise AssertionError("started")
    except UVError as error:
        assert error.name == "EAGAIN" and "threads" in str(error), error
    assert not loop.alive() and not done
""")


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="garbage comes and goes there")
def test_a_lookup_that_gets_no_thread_leaves_no_memory_behind(run_with_resolver):
    run_with_resolver("""
import resource
from pathlib import Path

def pages():
    return int(Path("/proc/self/statm").read_text().split()[0])

def fail(count):
    for _ in range(count):
        try:
            getaddrinfo(loop, "localhost", 80, callback=callback)
            raise AssertionError("started")
        except UVError as error:
            assert error.name == "EAGAIN", error

with uvbind.Loop() as loop:
    limit = pages() * resource.getpagesize() + 4 * 2**20  # a thread takes 8 MiB
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    fail(100)
    before = pages()
    fail(5000)
    assert pages() - before < 100
""")
