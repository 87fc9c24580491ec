"""What of asyncio works on which event loop: `python tests/aio/compatibility`.

Tries small things, one by one and each in a process of its own, on asyncio's loop and on those that
are installed of uvloop, rloop and uvbind, and prints what does not work there as it does on
asyncio's. With `--page` it writes all results into docs/compatibility.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys

from page import Verdicts, version_of, write_probes
from probing import PATIENCE, PROBES, Probe, load, run_all
from verdicts import NOT_HERE, WORDS, WORKS, verdict

LOOPS = ("asyncio", "uvloop", "rloop", "uvbind")


def outcomes_of(loops: list[str], arguments: argparse.Namespace) -> dict[str, dict[str, object]]:
    """Have one process for each loop run the probes, side by side."""
    options = ["--patience", str(arguments.patience), *(["--verbose"] * arguments.verbose)]
    running = {
        loop: subprocess.Popen(
            [sys.executable, __file__, "--outcomes", "--loop", loop, *options, *arguments.patterns],
            stdout=subprocess.PIPE,
        )
        for loop in loops
    }
    return {loop: json.loads(process.communicate()[0]) for loop, process in running.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--loop", action="append", choices=LOOPS, help="default: all there are")
    parser.add_argument("--page", action="store_true", help="write docs/compatibility.md")
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    parser.add_argument("--list", action="store_true", help="print the names of the probes")
    parser.add_argument("--verbose", action="store_true", help="show tracebacks")
    parser.add_argument("--patience", type=float, default=PATIENCE, metavar="SECONDS")
    parser.add_argument("--outcomes", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("patterns", nargs="*", help="run only what has one of these in its name")
    arguments = parser.parse_args()
    load()

    def wanted(probe: Probe) -> bool:
        return not arguments.patterns or any(
            pattern in (probe.section, probe.subject) or pattern in probe.name
            for pattern in arguments.patterns
        )

    if arguments.outcomes:
        (loop,) = arguments.loop
        json.dump(dict(run_all(loop, wanted, arguments.patience, arguments.verbose)), sys.stdout)
        return 0
    if arguments.list:
        print("\n".join(PROBES))
        return 0
    chosen = arguments.loop or [name for name in LOOPS if importlib.util.find_spec(name)]
    loops = ["asyncio", *(name for name in LOOPS[1:] if name in chosen)]
    outcomes = outcomes_of(loops, arguments)
    verdicts: Verdicts = {
        loop: {
            name: verdict(outcomes[loop].get(name), outcomes["asyncio"].get(name))
            for name, probe in PROBES.items()
            if wanted(probe)
        }
        for loop in loops
    }
    if arguments.json:
        json.dump(verdicts, sys.stdout, indent=1)
    else:
        report(verdicts)
    if arguments.page:
        write_probes(verdicts)
    return 0


def report(verdicts: Verdicts) -> None:
    for loop, results in verdicts.items():
        words = [word for word, _ in results.values()]
        counts = ", ".join(f"{words.count(word)} {word}" for word in WORDS if word in words)
        print(f"{loop} {version_of(loop)}: {counts}")
        for name, (word, reason) in results.items():
            if word not in (WORKS, NOT_HERE):
                print(f"    {name}\n        {word}: {reason}")


if __name__ == "__main__":
    sys.exit(main())
