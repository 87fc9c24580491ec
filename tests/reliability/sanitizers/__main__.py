"""Run the tests on a build that watches its memory, its threads or its arithmetic.

    python tests/reliability/sanitizers [asan|tsan|valgrind] [ARGUMENTS FOR PYTEST]

`asan` compiles libuv, with its assertions, and the extension with AddressSanitizer and
UndefinedBehaviorSanitizer of GCC. `tsan` compiles them with ThreadSanitizer, `valgrind` with
assertions only, and runs Python under memcheck. Without arguments `asan` runs the whole test-suite,
the others run the tests named in CHOSEN. The build is made from the files of the checkout, in
build/sanitizers/, with a virtual environment of its own, and made again when a file of it changes.

Each process of the run, whoever starts it, writes its findings into a folder. The exit status is 1
when a test fails or when that folder holds a finding at the end.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

# Without arguments. For `tsan` and `valgrind`, which make Python some ten times slower.
CHOSEN = {
    "asan": ["-n", "2"],
    "tsan": [
        *("tests/lowlevel/test_async.py", "tests/lowlevel/test_dns.py"),
        *("tests/lowlevel/test_dns_threads.py", "tests/lowlevel/test_dns_interrupted.py"),
        *("tests/lowlevel/test_ownership.py", "tests/lowlevel/test_wakeup.py"),
        *("tests/lowlevel/test_signal.py", "tests/aio/test_threads.py", "tests/aio/test_names.py"),
        *("tests/aio/sockets", "tests/aio/test_transports.py"),
        # ThreadSanitizer does not survive threads of a forked child.
        "--deselect=tests/lowlevel/test_dns.py::test_lookups_work_in_a_child",
    ],
    "valgrind": [
        *("tests/lowlevel/test_handle.py", "tests/lowlevel/test_loop.py"),
        *("tests/lowlevel/test_stream.py", "tests/lowlevel/test_writing.py"),
        *("tests/lowlevel/test_udp.py", "tests/lowlevel/test_udp_batches.py"),
        *("tests/lowlevel/test_pipe.py", "tests/lowlevel/test_poll.py"),
        *("tests/aio/test_buffered.py", "tests/aio/test_datagrams.py"),
    ],
}
# These limit the address space, of which AddressSanitizer takes terabytes.
NO_MEMORY = ["tests/lowlevel/test_dns_exhaustion.py"]
# These preload a malloc that fails; AddressSanitizer's own comes before it.
OWN_MALLOC = [
    "tests/lowlevel/test_loop_faults.py::test_a_loop_that_cannot_be_made_takes_no_descriptor_of_others",
    "tests/lowlevel/test_network_faults.py",
]
# These fork while a thread looks a name up and go on in the child. AddressSanitizer's malloc may be
# locked by that thread then, and stays so in the child; the C library's malloc is freed by fork().
FORKING = [
    f"tests/aio/test_forks.py::test_whatever_else_the_loop_has[names-{way}]"
    for way in ("exit", "return")
]
SANITIZERS = {"asan": "address,undefined", "tsan": "thread", "valgrind": "none"}


def library(name: str) -> str:
    found = subprocess.check_output(["gcc", f"-print-file-name=lib{name}.so"], text=True).strip()
    if not Path(found).is_absolute():
        raise SystemExit(f"gcc has no lib{name}.so: install the package lib{name} of its version")
    return os.path.realpath(found)


def tracked() -> list[Path]:
    """The files that make the package and its tests, without what a build has left."""
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT
    )
    paths = [ROOT / name for name in listed.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def install(mode: str) -> Path:
    """Copy the checkout, build it with the sanitizers, and return the folder of both."""
    folder = ROOT / "build" / "sanitizers" / mode
    source = folder / "source"
    shutil.rmtree(source, ignore_errors=True)
    built = hashlib.sha256(sys.version.encode())
    for path in tracked():
        name = path.relative_to(ROOT)
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, source / name)
        if name.parts[0] not in ("tests", "benchmarks", "docs", "examples", ".ci"):
            built.update(str(name).encode() + b"\0" + path.read_bytes())
    stamp = folder / "built"
    if stamp.exists() and stamp.read_text() == built.hexdigest():
        return folder
    if (ROOT / "vendor" / "libuv").is_dir():  # fetched before, and checked by the build again
        shutil.copytree(ROOT / "vendor" / "libuv", source / "vendor" / "libuv")
    environment = {**os.environ, "UVBIND_SANITIZE": SANITIZERS[mode]}
    subprocess.check_call([sys.executable, "-m", "venv", "--clear", folder / "venv"])
    pip: list[str | Path] = [
        folder / "venv" / "bin" / "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
    ]
    subprocess.check_call([*pip, f"{source}[test]", "pytest-xdist"], env=environment)
    stamp.write_text(built.hexdigest())
    return folder


def environment(mode: str, reports: Path) -> dict[str, str]:
    """The environment of the processes of a run."""
    found = {
        **os.environ,
        "PYTHONMALLOC": "malloc",  # Python's objects are blocks that the sanitizer knows
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(Path(__file__).parent),  # for `leaks`
    }
    log = f"log_path={reports}/found"
    if mode == "asan":
        found["LD_PRELOAD"] = f"{library('asan')} {library('ubsan')}"
        found["ASAN_OPTIONS"] = f"{log}:detect_stack_use_after_return=1"
        found["ASAN_OPTIONS"] += ":strict_string_checks=1:allocator_may_return_null=1"
        found["UBSAN_OPTIONS"] = f"{log}:print_stacktrace=1"
        suppressed = Path(__file__).with_name("leaks.supp")
        found["LSAN_OPTIONS"] = f"leak_check_at_exit=0:suppressions={suppressed}"
    elif mode == "tsan":
        found["LD_PRELOAD"] = library("tsan")
        found["TSAN_OPTIONS"] = f"{log}:second_deadlock_stack=1"
    return found


def is_ours(report: str) -> bool:
    """Tell whether a report of memcheck is about our code.

    It takes what optimised code of CPython and of the C library does for faults. So a report counts
    that has a function of the extension or of libuv above any frame of Python, or where one of
    these allocated or freed the memory.
    """
    above = report.partition("_PyEval_EvalFrameDefault")[0] + report.partition("Address 0x")[2]
    return "_uvbind" in above or "/libuv/" in above


def findings(reports: Path) -> list[str]:
    """The reports of the processes, without the interpreter's own leaks and false alarms."""
    found = []
    for path in sorted(reports.iterdir()):
        text = path.read_text(errors="replace").strip()
        leaks = re.split(r"\n(?=(?:Direct|Indirect) leak of )", text)
        if len(leaks) > 1 and "ERROR: LeakSanitizer" in leaks[0]:
            text = "\n".join(leak for leak in leaks[1:] if "_uvbind" in leak)
        elif text.startswith("=="):
            text = "\n".join(filter(is_ours, re.split(r"(?m)^==\d+== \n", text)))
        if text:
            found.append(f"--- {path.name}\n{text}")
    return found


def main(arguments: list[str]) -> int:
    mode = arguments.pop(0) if arguments and arguments[0] in SANITIZERS else "asan"
    folder = install(mode)
    reports = folder / "reports"
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir()
    # Not `python -m pytest`, which lets the workers of pytest-xdist import the checkout.
    command = [str(folder / "venv" / "bin" / "pytest"), "-q"]
    command += ["-p", "no:faulthandler"]  # which would come before the sanitizer
    if mode == "tsan":
        command = ["setarch", "--addr-no-randomize", *command]
    elif mode == "valgrind":
        memcheck = [
            "valgrind",
            "-q",
            "--trace-children=no",
            "--num-callers=20",
            "--fullpath-after=",
        ]
        command = [*memcheck, f"--log-file={reports}/%p", *command]
    elif mode == "asan":
        command += ["-p", "leaks", *(f"--ignore={name}" for name in NO_MEMORY)]
        command += [f"--deselect={name}" for name in (*OWN_MALLOC, *FORKING)]
    arguments = arguments or CHOSEN[mode]
    done = subprocess.run(
        [*command, *arguments], cwd=folder / "source", env=environment(mode, reports)
    )
    found = findings(reports)
    print(*found, sep="\n")
    print(f"{mode}: {len(found)} processes with findings", flush=True)
    return 1 if found else done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
