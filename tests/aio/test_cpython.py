"""CPython's own asyncio tests, those that take the loop for a black box, on our loop."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Those of futures and tasks have loops of their own.
MODULES = [
    "test_buffered_proto",
    "test_context",
    "test_eager_task_factory",
    "test_events",
    "test_locks",
    "test_pep492",
    "test_queues",
    "test_runners",
    "test_sendfile",
    "test_server",
    "test_sock_lowlevel",
    "test_ssl",
    "test_streams",
    "test_subprocess",
    "test_taskgroups",
    "test_threads",
    "test_timeouts",
    "test_waitfor",
]
EXCLUDED = dict(re.findall(r'^(\w+) = "(.*)"$', (HERE / "exclusions.toml").read_text(), re.M))


def there(name: str) -> bool:
    try:
        return importlib.util.find_spec(f"test.test_asyncio.{name}") is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("module", MODULES)
def test_module(module):
    if not there(module):
        pytest.skip(f"this Python has no test.test_asyncio.{module} (Debian: libpython3-testsuite)")
    done = subprocess.run(
        [sys.executable, str(HERE / "cpython_suite.py"), module],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout[done.stdout.rindex('{"run"') :])
    failed = {
        name: text for name, text in result["failed"].items() if name.split(".")[-1] not in EXCLUDED
    }
    assert not failed, "\n".join(failed.values())
    assert result["run"] > 0
