"""What works on asyncio's own loop works on ours: every probe, and the page that shows them."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).with_name("compatibility")


def probes(*arguments: str) -> str:
    """What the script prints."""
    done = subprocess.run(
        [sys.executable, str(FOLDER), *arguments], stdout=subprocess.PIPE, text=True, timeout=900
    )
    assert done.returncode == 0
    return done.stdout


@functools.cache
def names() -> list[str]:
    return probes("--list").splitlines()


def module(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module(name)


def test_what_works_on_asyncio_works_on_uvbind(monkeypatch):
    verdicts = json.loads(probes("--json", "--loop", "uvbind", "--patience", "60"))
    not_here = {name for name, (word, _) in verdicts["asyncio"].items() if word == "not here"}
    works = {name for name, (word, _) in verdicts["asyncio"].items() if word == "works"}
    assert len(works) > 250
    differs = {
        name: verdict
        for name, verdict in verdicts["uvbind"].items()
        if name in works and verdict[0] != "works"
    }
    known = module("known", monkeypatch).KNOWN
    assert differs.keys() - known.keys() == set(), differs
    assert known.keys() - differs.keys() - not_here == set(), "these work by now"


def test_the_page_shows_every_probe_and_every_known_difference(monkeypatch):
    page = module("page", monkeypatch)
    assert sorted(page.probes_of_page()) == sorted(names())
    text = page.PAGE.read_text(encoding="utf-8")
    for name, reason in module("known", monkeypatch).KNOWN.items():
        assert f"- {name}: {reason}" in " ".join(text.split()).replace(" - ", "\n- "), name


KINDS = {
    "loop": asyncio.AbstractEventLoop,
    "BaseTransport": asyncio.BaseTransport,
    "ReadTransport": asyncio.ReadTransport,
    "WriteTransport": asyncio.WriteTransport,
    "DatagramTransport": asyncio.DatagramTransport,
    "SubprocessTransport": asyncio.SubprocessTransport,
    "Server": asyncio.Server,
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_public_method_is_probed(kind):
    methods = {f"{kind}.{name}" for name in vars(KINDS[kind]) if not name.startswith("_")}
    subjects = {line.split(":")[0].split(",")[0] for line in names()}
    assert methods - subjects == set()


def reference(returned: str, *unhandled: str) -> dict[str, object]:
    return {"returned": returned, "unhandled": list(unhandled)}


@pytest.mark.parametrize(
    ("outcome", "asyncios", "expected"),
    [
        (reference("5"), reference("5"), ("works", "")),
        (reference("[1, (2, 3)]"), reference("[1, (2, 4)]"), ("differs", "3, not 4")),
        (reference("<a>"), reference("<b>"), ("differs", "<a>, not <b>")),
        (reference("5", "KeyError"), reference("5"), "KeyError, not nothing"),
        ({"ended": "hangs"}, reference("5"), ("hangs", "")),
        ({"ended": "crashes: SIGABRT"}, reference("5"), ("crashes", "SIGABRT")),
        ({"raised": "KeyError", "text": "'a'"}, reference("5"), ("fails", "KeyError: 'a'")),
        ({"raised": "NotImplementedError", "text": ""}, reference("5"), ("missing", "")),
        (
            {"raised": "TypeError", "text": "f() got an unexpected keyword argument 'size'"},
            reference("5"),
            ("missing", "size"),
        ),
        (reference("5"), {"raised": "KeyError", "text": ""}, ("works", "")),
        (None, None, ("not here", "")),
    ],
)
def test_verdicts(monkeypatch, outcome, asyncios, expected):
    found = module("verdicts", monkeypatch).verdict(outcome, asyncios)
    if isinstance(expected, str):
        assert expected in " ".join(found)
    else:
        assert found[0] == expected[0] and found[1].startswith(expected[1])


def test_a_probe_that_crashes_hangs_or_exits_is_told_as_such(monkeypatch):
    """The running itself."""
    probing = module("probing", monkeypatch)

    def outcome(function, patience=60.0) -> dict[str, object]:
        made = probing.Probe("", "", "", function, (3, 9), (4, 0))
        return probing.run_apart(made, asyncio.new_event_loop, patience, False)

    def abort(new_loop):
        import faulthandler
        import os

        faulthandler.disable()
        os.abort()

    def hang(new_loop):
        import time

        time.sleep(600)

    async def unhandled(loop):
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(0.001)

    assert outcome(abort) == {"ended": "crashes: SIGABRT"}
    assert outcome(hang, 2.0) == {"ended": "hangs"}
    assert outcome(unhandled) == {"returned": "None", "unhandled": ["ZeroDivisionError"]}
    assert outcome(lambda new_loop: sys.exit(3))["raised"] == "SystemExit"
