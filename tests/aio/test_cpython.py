"""CPython's own asyncio tests, those that take the loop for a black box, on our loop."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from aio import cpython_suite

SUITE = Path(__file__).with_name("cpython_suite.py")
MODULES = cpython_suite.modules()


@pytest.mark.skipif(not MODULES, reason="no test.test_asyncio (Debian: libpython3-testsuite)")
@pytest.mark.parametrize(
    ("loop", "module"),
    [*(("uvbind", module) for module in MODULES), (cpython_suite.STREAMS, "test_streams")],
)
def test_module(loop, module):
    done = subprocess.run(
        [sys.executable, str(SUITE), "--loop", loop, "--verbose", module],
        stdout=subprocess.PIPE,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout
    if re.search(r"run +0,", done.stdout):
        pytest.skip("its loops are all its own")


@pytest.mark.skipif(not MODULES, reason="no test.test_asyncio (Debian: libpython3-testsuite)")
def test_a_test_that_fails_hangs_or_crashes_takes_no_other_with_it(tmp_path, monkeypatch):
    """The counting itself."""
    package = tmp_path / "test" / "test_asyncio"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").touch()
    (package / "test_made_up.py").write_text(
        """
import asyncio, os, time, unittest

class Tests(unittest.TestCase):
    def setUp(self):
        self.loop = asyncio.new_event_loop()
        self.addCleanup(self.loop.close)

    def test_a(self):
        self.assertIn("uvbind", type(self.loop).__mro__[1].__module__)

    def test_b(self):
        self.fail("told")

    def test_c(self):
        os.abort()

    def test_d(self):
        with self.subTest(1):
            self.fail("one")
        with self.subTest(2):
            pass

    def test_e(self):
        time.sleep(60)

    @unittest.skip("why")
    def test_f(self):
        pass

    def test_g(self):
        pass

class Others(unittest.TestCase):
    def test_h(self):
        pass
"""
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    results = cpython_suite.run_module("uvbind", "test_made_up", patience=5)
    outcomes = {name.split(".")[-1]: outcome for name, (outcome, _) in results.items()}
    assert outcomes == {
        "test_a": "passed",
        "test_b": "failed",
        "test_c": "crashes",
        "test_d": "failed",
        "test_e": "hangs",
        "test_f": "skipped",
        "test_g": "passed",
        "test_h": "no loop",
    }
    assert "told" in results["test_made_up.Tests.test_b"][1]
