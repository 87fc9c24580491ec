"""Dask distributed: a cluster of this machine, whose comms tornado carries over the loop."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("distributed")

PROGRAM = Path(__file__).parent / "programs" / "dask_cluster.py"


@pytest.mark.parametrize("workers, protocol", [("threads", "tcp://"), ("processes", "tls://")])
def test_a_cluster_computes(loop_name, workers, protocol):
    done = subprocess.run(
        [sys.executable, str(PROGRAM), loop_name, workers, protocol],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    said = done.stdout.splitlines()
    everywhere = f"client {loop_name} scheduler {loop_name} workers {loop_name} {loop_name}"
    assert [line for line in said if line.startswith("client")] == [everywhere], done.stdout
    assert {"an error came back", "done"} <= set(said), done.stdout
