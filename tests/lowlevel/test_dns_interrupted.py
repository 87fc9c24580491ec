"""Lookups and Ctrl-C, which may come between any two lines."""

from __future__ import annotations

import linecache
import sys
from pathlib import Path

import pytest
from helpers import Oops, ignore

import uvbind
from uvbind import getaddrinfo


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="PyPy traces another set of lines")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # interrupted in making
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_ctrl_c_anywhere_strands_no_lookup(host):
    """An exception at each line of ours in turn, as a signal handler would raise it there."""
    folder = str(Path(uvbind.__file__).parent)
    left, hit = 0, True

    def tracer(frame, event, argument):
        nonlocal left, hit
        if not frame.f_code.co_filename.startswith(folder) or frame.f_code.co_name == "__del__":
            return None  # of a __del__ Python itself swallows it
        # A lock's with block is left alone: a signal does not come between it and its lock.
        if event == "line" and "claiming" not in linecache.getline(
            frame.f_code.co_filename, frame.f_lineno
        ):
            left -= 1
            if left == 0:
                sys.settrace(None)
                hit = True
                raise Oops
        return tracer

    nth = 0
    before = sys.gettrace()
    while hit:
        nth += 1
        left, hit = nth, False
        with uvbind.Loop() as loop:
            try:
                sys.settrace(tracer)
                for _ in range(3):
                    getaddrinfo(loop, host, 80, callback=ignore)
                loop.run()
            except Oops:
                pass
            finally:
                sys.settrace(before)
            for _ in range(5):
                loop.run(uvbind.RunMode.NOWAIT)
            stranded = len(loop._later)
            loop._later.clear()  # or the loop could not be left
            assert stranded == 0, nth
    assert nth > 50
