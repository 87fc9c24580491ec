"""vendor/fetch.py: the folder it fills, upstream's download, several at once, and the real pin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fetching import KEPT_FILES, VENDOR, Project, fetch, needs_fetch, sha256, supply

pytestmark = needs_fetch


# The folder


def test_the_right_folder_is_left_untouched(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.fill({**KEPT_FILES, "README": b"beside the kept files\n"})
    before = {path: path.stat().st_mtime_ns for path in project.folder.rglob("*")}
    monkeypatch.setenv("UVBIND_LIBUV_TARBALL", str(project.folder / "missing"))
    assert project.ensure() == project.folder
    assert {path: path.stat().st_mtime_ns for path in project.folder.rglob("*")} == before
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "wrong",
    [
        {**KEPT_FILES, "src/b.c": b"changed"},
        {**KEPT_FILES, "src/new.c": b"added"},
        {"LICENSE": KEPT_FILES["LICENSE"]},
    ],
)
def test_a_wrong_folder_is_replaced_and_said_to_be(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wrong: dict[str, bytes],
) -> None:
    project.fill(wrong)
    supply(project, monkeypatch)
    assert project.ensure() == project.folder
    assert project.tree() == KEPT_FILES
    assert "does not hold libuv 1.0 as pinned and will be replaced" in capsys.readouterr().err


def test_a_file_or_a_link_in_the_folders_place_is_replaced(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    supply(project, monkeypatch)
    project.folder.write_text("a file")
    project.ensure()
    assert project.tree() == KEPT_FILES
    elsewhere = tmp_path / "elsewhere"
    project.folder.rename(elsewhere)
    (elsewhere / "LICENSE").write_text("changed")
    project.folder.symlink_to(elsewhere)
    project.ensure()
    assert project.tree() == KEPT_FILES
    assert (elsewhere / "LICENSE").read_text() == "changed"


def test_a_failed_fetch_leaves_a_wrong_folder_as_it_was(project: Project) -> None:
    project.fill({"LICENSE": b"mine"})
    project.fails()
    assert project.tree() == {"LICENSE": b"mine"}


def test_an_interrupted_fetch_leaves_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    supply(project, monkeypatch)
    write_bytes = Path.write_bytes

    def write_or_interrupt(path: Path, content: bytes) -> int:
        if path.name == "core.c":
            raise KeyboardInterrupt
        return write_bytes(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_or_interrupt)
        with pytest.raises(KeyboardInterrupt):
            project.ensure()
    assert [path.name for path in project.folder.parent.iterdir()] == ["libuv.toml"]
    project.ensure()
    assert project.tree() == KEPT_FILES


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0,
    reason="needs a folder that cannot be written to",
)
def test_a_folder_that_cannot_be_written_to(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    supply(project, monkeypatch)
    project.folder.parent.chmod(0o555)
    try:
        message = project.fails()
    finally:
        project.folder.parent.chmod(0o755)
    assert message.startswith(f"libuv could not be put into {project.folder}: ")


# Sources


def test_upstreams_tarball_is_downloaded(project: Project, served: dict[str, bytes]) -> None:
    served["/lib-1.tar.gz"] = project.tarball
    project.ensure()
    assert project.tree() == KEPT_FILES


def test_a_wrong_download_stops(project: Project, served: dict[str, bytes]) -> None:
    served["/lib-1.tar.gz"] = b"<html>"
    project.put_apt_get("echo must not be run >&2; exit 1")
    message = project.fails()
    assert message.startswith(f"{project.pin['upstream_url']} is not a tarball of libuv 1.0")
    assert str(project.pin["upstream_sha256"]) in message
    assert sha256(b"<html>") in message


def test_all_sources_out_of_reach(project: Project) -> None:
    lines = project.fails().splitlines()
    assert lines[0] == "uvbind is built with libuv 1.0, and no source of it is in reach:"
    assert lines[1].startswith(f"  - {project.pin['upstream_url']}: <urlopen error ")
    assert lines[2] == "  - Debian source package lib1: there is no apt-get on this machine"
    assert "UVBIND_LIBUV_TARBALL=/path/to/lib-1.tar.gz" in lines[3]
    assert "UVBIND_SYSTEM_LIBUV=1" in lines[4]
    assert len(lines) == 5


def test_what_upstream_answers_is_named(project: Project, served: dict[str, bytes]) -> None:
    assert f"{project.pin['upstream_url']}: HTTP Error 404" in project.fails()


def command(project: Project, before: str = "") -> list[str]:
    """Return the command of a process that runs ensure() after some other lines."""
    script = f"""
import contextlib, pathlib, sys
sys.path.insert(0, {str(VENDOR)!r})
import fetch
{before}
print(fetch.ensure(*map(pathlib.Path, sys.argv[1:])))
"""
    arguments = [str(project.folder), str(project.pin_file), str(project.apt)]
    return [sys.executable, "-B", "-W", "error", "-c", script, *arguments]


def test_the_error_is_all_that_a_build_prints(project: Project) -> None:
    run = subprocess.run(command(project), capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (1, "")
    assert "Traceback" not in run.stderr
    assert run.stderr.endswith("set UVBIND_SYSTEM_LIBUV=1.\n")


WAIT = "print('ready', flush=True); sys.stdin.readline()"
NO_LOCK = "fetch.alone = contextlib.nullcontext"


@pytest.mark.parametrize(
    ("before", "wrong"),
    [(WAIT, {}), (WAIT, {"src/b.c": b"wrong"}), (f"{NO_LOCK}\n{WAIT}", {})],
    ids=["absent", "wrong", "absent-without-lock"],
)
def test_concurrent_fetches_all_succeed(
    project: Project, monkeypatch: pytest.MonkeyPatch, before: str, wrong: dict[str, bytes]
) -> None:
    project.fill(wrong)
    supply(project, monkeypatch)
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(command(project, before), stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, f"{project.folder}\n"), errors
    assert project.tree() == KEPT_FILES
    assert sorted(path.name for path in project.folder.parent.iterdir()) == ["libuv", "libuv.toml"]


# The real pin


def test_the_pin_file_is_toml() -> None:
    tomllib = pytest.importorskip("tomllib")
    path = VENDOR / "libuv.toml"
    assert fetch.read_pin(path)._asdict() == tomllib.loads(path.read_text("utf-8"))


def test_the_real_folder_is_the_pinned_one() -> None:
    if not (VENDOR / "libuv").exists():
        pytest.skip("vendor/libuv is not fetched yet")
    pin = fetch.read_pin(VENDOR / "libuv.toml")
    assert fetch.tree_digest(VENDOR / "libuv", pin) == pin.tree_sha256
    assert f"AC_INIT([libuv], [{pin.version}]" in (VENDOR / "libuv" / "configure.ac").read_text()
