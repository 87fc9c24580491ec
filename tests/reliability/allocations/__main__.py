"""Have each allocation of a scenario fail in turn, each in a process of its own.

    python tests/reliability/allocations [--at-most N] [SCENARIO ...]

`c` fails those of the extension and of libuv (failing.c), `python` those of the interpreter
(`_testcapi.set_nomemory`). One that fails may end in success, in MemoryError, or in an error of
which MemoryError is the cause. Then everything that is left is closed, with memory again. The run
fails when a process crashes, hangs for 10 seconds, raises something else, ends without a result and
without an error, or leaves other descriptors open than before. CPython has faults of its own, which
are counted and named: a SystemError, a descriptor that `socket.socketpair` loses, and tasks of
asyncio that wait for ever, on any loop, so `asyncio_echo` may hang when Python's allocations fail.
`--at-most` tries so many allocations of each scenario, evenly spread.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import faulthandler
import gc
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from scenarios import SCENARIOS

import uvbind
from uvbind._ownership import _loops

try:
    import _testcapi
except ImportError:
    _testcapi = None

HERE = Path(__file__).resolve().parent
PATIENCE = 10  # seconds
WHILE = (
    1  # second, until one that gets no more memory counts as not succeeding: it takes milliseconds
)


def extension() -> tuple[int, int]:
    """The addresses that the extension is mapped to."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    found = [line.split()[0].split("-") for line in maps if "/_uvbind." in line]
    return int(found[0][0], 16), int(found[-1][1], 16)


def function_at(offset: int) -> str:
    """The name of the function of the extension whose code this is."""
    file = uvbind._uvbind.__file__
    symbols = subprocess.run(["nm", "-n", file], stdout=subprocess.PIPE, text=True).stdout
    name = "?"
    for line in symbols.splitlines():
        address, _, rest = line.partition(" ")
        if address and int(address, 16) <= offset and rest[:1] in "tT":
            name = rest[2:]
    return name


class Extension:
    """Allocations of the extension and of libuv."""

    library = ctypes.CDLL(None)

    def __init__(self) -> None:
        self.begin, self.end = map(ctypes.c_void_p, extension())

    def fail(self, nth: int) -> None:
        self.library.tell_aborts(self.begin)
        self.library.fail_allocation(nth, self.begin, self.end)

    def stop(self) -> int:
        return int(self.library.count_allocations())

    def total(self, scenario: Callable[[], None]) -> int:
        self.fail(0)
        scenario()
        return self.stop()


class Interpreter:
    """Allocations of Python's own."""

    def fail(self, nth: int) -> None:
        _testcapi.set_nomemory(nth, nth + 1)

    def stop(self) -> int:
        _testcapi.remove_mem_hooks()
        return 0

    def total(self, scenario: Callable[[], None]) -> int:
        """The first from which on all may fail without a consequence."""

        def succeeds(first: int) -> bool:
            pid = os.fork()
            if pid == 0:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                faulthandler.disable()
                signal.setitimer(signal.ITIMER_REAL, WHILE)
                _testcapi.set_nomemory(first, 0)
                try:
                    scenario()
                except BaseException:
                    os._exit(1)
                os._exit(0)
            return os.waitpid(pid, 0)[1] == 0

        high = 1000
        while not succeeds(high):
            high *= 2
        low = 0
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if succeeds(middle) else (middle, high)
        return high


def descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the one that listdir itself had open
            continue
    return found


def is_memory(error: BaseException | None) -> bool:
    """Tell whether MemoryError, or ENOMEM, is an exception or among its causes."""
    while error is not None:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if isinstance(error, RuntimeError) and "can't allocate lock" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def close_all() -> None:
    """Close whatever loops are left, as a program does that has memory again."""
    for loop in list(_loops):
        for _ in range(5):
            if loop._c is None:
                break
            try:
                loop.__exit__(None, None, None)
            except BaseException as error:
                if not is_memory(error):
                    raise
    left = [loop for loop in _loops if loop._c is not None]
    if left:
        raise AssertionError(f"loops that cannot be closed: {left}")


def in_child(source: Extension | Interpreter, scenario: Callable[[], None], nth: int) -> str:
    """The child's part: what came of the scenario, in a word or as a fault."""
    before = descriptors()
    result, told = "success", ""
    kept: object = None
    source.fail(nth)
    try:
        try:
            scenario()
        finally:
            source.stop()
    except BaseException as error:
        result, told = "MemoryError", "".join(traceback.format_exception(error))
        inside = traceback.extract_tb(error.__traceback__)[-1].filename
        if isinstance(error, SystemError) and "uvbind" not in inside:
            return "SystemError of CPython's"
        if not is_memory(error):
            return f"fault: {told}"
        kept = error  # and with it the loops that its frames have, which can be closed again
    close_all()
    del kept
    gc.collect()
    after = descriptors()
    if after != before:
        if "in socketpair" in told and len(after) == len(before) + 1:
            return "lost in CPython's socket.socketpair()"
        changed = dict(set(after.items()) ^ set(before.items()))
        return f"fault: {told}\ndescriptors {changed}"
    return result


def try_one(name: str, kind: str, source: Extension | Interpreter, nth: int) -> str:
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as words:
        pid = os.fork()
        if pid == 0:
            try:
                os.close(reader)
                os.dup2(words.fileno(), 2)
                faulthandler.enable(2)
                faulthandler.dump_traceback_later(PATIENCE, exit=True)
                result = in_child(source, SCENARIOS[name], nth)
            except BaseException as error:
                result = f"fault: {error!r} while closing"
            faulthandler.cancel_dump_traceback_later()
            os.write(writer, result.encode(errors="replace")[:60000])
            os._exit(0)
        os.close(writer)
        with open(reader, "rb") as pipe:
            result = pipe.read().decode()
        status = os.waitpid(pid, 0)[1]
        if status != 0 or not result:
            words.seek(0)
            told = words.read().decode(errors="replace")
            place = re.search(r"failed at \+(\w+)", told)
            if place:
                told += f"in {function_at(int(place[1], 16))}"
            hung = not status & 127 and "Timeout (" in told
            if hung and (name, kind) == ("asyncio_echo", "python"):
                return "hang, as on asyncio's loop"
            ended = f"signal {status & 127}" if status & 127 else "did not end in time"
            result = f"fault: {ended}\n{told}"
    return result


def run(at_most: int | None, only: str | None, names: list[str]) -> int:
    sources: dict[str, Extension | Interpreter] = {"c": Extension()}
    if hasattr(_testcapi, "set_nomemory"):
        sources["python"] = Interpreter()
    faults = 0
    for name in names:
        for kind, source in sources.items():
            if only not in (None, kind):
                continue
            SCENARIOS[name]()  # what is made on first use is made
            gc.collect()
            gc.freeze()  # a child's collection looks at, and copies, only what it has made
            total = source.total(SCENARIOS[name])
            step = max(1, -(-total // at_most)) if at_most else 1
            results: Counter[str] = Counter()
            for nth in range(1, total + 1, step):
                result = try_one(name, kind, source, nth)
                results[result.split(":")[0]] += 1
                if result.startswith("fault"):
                    print(f"{name}, {kind}, allocation {nth}: {result}", flush=True)
            faults += results["fault"]
            print(f"{name}, {kind}: {total} allocations, {dict(results)}", flush=True)
    return 1 if faults else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--at-most", type=int)
    parser.add_argument("--only", choices=["c", "python"])
    parser.add_argument("scenario", nargs="*", default=list(SCENARIOS))
    arguments = parser.parse_args()
    if "failing.so" in os.environ.get("LD_PRELOAD", ""):
        warnings.simplefilter("ignore")
        return run(arguments.at_most, arguments.only, arguments.scenario)
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SystemExit("no C compiler for the library that has allocations fail")
    with tempfile.TemporaryDirectory() as folder:
        library = f"{folder}/failing.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "failing.c"])
        environment = {**os.environ, "LD_PRELOAD": library}
        return subprocess.run([sys.executable, *sys.argv], env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
