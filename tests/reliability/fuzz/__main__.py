"""Fuzz the conversion of arguments and addresses, guided by the coverage of uvbind's Python.

    pip install atheris
    python tests/reliability/fuzz [--seconds N] [TARGET ...]

Each target of targets.py runs for N seconds (20 unless told otherwise) in a process of its own,
from the inputs in corpus/, in a network namespace of its own, so that no datagram leaves. An
exception that is no refusal of an argument, a crash and a call of more than 10 seconds are faults;
the input is kept in build/fuzz/. `--keep` adds the 40 shortest inputs that reached something new to
corpus/.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
FAULTS = HERE.parents[2] / "build" / "fuzz"
TARGETS = ["addresses", "names", "verbs"]


def fuzz(name: str, options: list[str]) -> None:
    """The work of a process that fuzzes."""
    import atheris  # not among what the tests need

    with atheris.instrument_imports(include=["uvbind"]):
        import targets

    function = targets.TARGETS[name]

    def one(raw: bytes) -> None:
        function(atheris.FuzzedDataProvider(raw))

    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


def apart(name: str, options: list[str], folder: str) -> tuple[int, str]:
    command = [sys.executable, str(HERE), "--child", name, *options]
    if shutil.which("unshare") is None:
        raise SystemExit("fuzzing needs `unshare`, of the package util-linux")
    done = subprocess.run(
        ["unshare", "--map-root-user", "--net", *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    return done.returncode, done.stdout


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        fuzz(sys.argv[2], sys.argv[3:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("target", nargs="*", default=TARGETS)
    arguments = parser.parse_args()
    FAULTS.mkdir(parents=True, exist_ok=True)
    faults = 0
    for name in arguments.target:
        corpus = HERE / "corpus" / name
        corpus.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as new, tempfile.TemporaryDirectory() as folder:
            options = [f"-max_total_time={arguments.seconds}", "-timeout=10", "-max_len=400"]
            options += [f"-artifact_prefix={FAULTS}/{name}-", "-print_final_stats=1"]
            code, told = apart(name, [*options, new, str(corpus)], folder)
            tried = re.search(r"number_of_executed_units: (\d+)", told)
            edges = re.findall(r"ft: (\d+)", told)
            if code != 0 or tried is None:
                faults += 1
                print(told[-6000:])
            print(f"{name}: {tried and tried[1]} inputs, {edges[-1:]} features, exit code {code}")
            if arguments.keep:
                for path in sorted(Path(new).iterdir(), key=lambda path: path.stat().st_size)[:40]:
                    shutil.copy(path, corpus)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
