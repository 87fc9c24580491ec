"""The generated parts of the page docs/compatibility.md."""

from __future__ import annotations

import platform
import re
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from probing import PROBES, SECTIONS
from verdicts import NOT_HERE, WORDS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "compatibility.md"
Verdicts = dict[str, dict[str, tuple[str, str]]]  # by loop, by the probe's name


def version_of(loop: str) -> str:
    try:
        return version(loop)
    except PackageNotFoundError:  # asyncio
        return platform.python_version()


def replace_part(name: str, text: str) -> None:
    """Put text between the lines that mark a part of the page."""
    page = PAGE.read_text(encoding="utf-8")
    pattern = rf"(?s)(% {name}: begin\n).*?(% {name}: end\n)"
    found = re.search(pattern, page)
    assert found is not None, f"no part {name} in {PAGE}"
    PAGE.write_text(page[: found.end(1)] + f"\n{text}\n" + page[found.start(2) :], encoding="utf-8")


def part(name: str) -> str:
    """What stands between the lines that mark a part of the page."""
    found = re.search(
        rf"(?s)% {name}: begin\n(.*?)% {name}: end\n", PAGE.read_text(encoding="utf-8")
    )
    assert found is not None, f"no part {name} in {PAGE}"
    return found[1].strip()


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(word: str, reason: str) -> str:
    if word == NOT_HERE:
        return "\N{EM DASH}"
    if not reason:
        return word
    code = reason.replace("`", "'").replace("|", "\\|")
    return f"{word}: `{code}`"


def write_probes(verdicts: Verdicts) -> None:
    """Write how all the probes went, section by section, after the counts."""
    loops = list(verdicts)
    counts = {loop: Counter(word for word, _ in verdicts[loop].values()) for loop in loops}
    words = [word for word in WORDS if any(counts[loop][word] for loop in loops)]
    parts = [
        table(
            ["", *(f"{loop} {version_of(loop)}" for loop in loops)],
            [[word, *(str(counts[loop][word]) for loop in loops)] for word in words],
        )
    ]
    for section, title in SECTIONS.items():
        rows = [
            [probe.name, *(cell(*verdicts[loop][probe.name]) for loop in loops)]
            for probe in PROBES.values()
            if probe.section == section
        ]
        parts.append(f"### {title}\n\n" + table(["", *loops], rows))
    replace_part("probes", "\n\n".join(parts))


def write_totals(totals: dict[str, Counter[str]]) -> None:
    """Write how CPython's tests went on this Python, beside what there is of others."""
    head = ["Python", "loop", "tests", "passed", "failed", "hangs", "crashes", "skipped"]
    python = platform.python_version()
    new = {
        (python, loop): [
            python,
            f"{loop} {version_of(loop)}" if loop != "asyncio" else loop,
            str(sum(total.values())),
            *(str(total[word]) for word in head[3:]),
        ]
        for loop, total in totals.items()
    }
    kept = [line.strip("| ").split(" | ") for line in part("suite").splitlines()[2:]]
    old = {(row[0], row[1].partition(" ")[0]): row for row in kept}
    rows = {**old, **new}
    loops = list(dict.fromkeys(loop for _, loop in rows))

    def order(key: tuple[str, str]) -> tuple[list[int], int]:
        return [int(number) for number in key[0].split(".")], loops.index(key[1])

    replace_part("suite", table(head, [rows[key] for key in sorted(rows, key=order)]))


def probes_of_page() -> list[str]:
    """The names in the first column, below the counts."""
    tables = part("probes").partition("###")[2]
    rows = re.findall(r"(?m)^\| (\S.*?) \| ", tables)
    return [name for name in rows if name != "---"]
