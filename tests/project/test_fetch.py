"""vendor/fetch.py with small tarballs, pins and apt folders of its own; nothing leaves loopback."""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import io
import json
import os
import socket
import socketserver
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

VENDOR = Path(__file__).resolve().parents[2] / "vendor"
if not (VENDOR / "fetch.py").exists():
    pytest.skip("an sdist has no vendor/fetch.py", allow_module_level=True)

KEPT = ["LICENSE", "include/", "src/"]
KEPT_FILES = {
    "LICENSE": b"free\n",
    "include/uv.h": b"int uv_run(void);\n",
    "src/b.c": b"",
    "src/unix/core.c": b"int uv_run(void) { return 0; }\n",
}
FILES = {
    **KEPT_FILES,
    "srcs/near.c": b"a name that only starts like a kept one\n",
    "test/run.c": b"not kept\n",
}


def load() -> Any:
    spec = importlib.util.spec_from_file_location("uvbind_fetch", VENDOR / "fetch.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fetch = load()


def make_tarball(files: dict[str, bytes], *extra: tarfile.TarInfo, top: str = "lib-1") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in extra:
            archive.addfile(member)
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# As sha256sum prints it, the names being in order above.
TREE_SHA256 = sha256("".join(f"{sha256(KEPT_FILES[n])}  {n}\n" for n in KEPT_FILES).encode())


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


class Project:
    """A vendor folder with a pin for `tarball`, whose upstream is a closed port."""

    def __init__(self, root: Path) -> None:
        self.tarball = make_tarball(FILES)
        self.tarball_file = root / "lib-1.tar.gz"
        self.tarball_file.write_bytes(self.tarball)
        self.folder = root / "vendor" / "libuv"
        self.folder.parent.mkdir()
        self.pin_file = root / "vendor" / "libuv.toml"
        self.bin = root / "bin"
        self.bin.mkdir()
        self.apt = root / "apt"
        (self.apt / "sources.list.d").mkdir(parents=True)
        self.pin = {
            "version": "1.0",
            "kept": KEPT,
            "tree_sha256": TREE_SHA256,
            "upstream_file": "lib-1.tar.gz",
            "upstream_url": f"http://127.0.0.1:{closed_port()}/lib-1.tar.gz",
            "upstream_sha256": sha256(self.tarball),
            "debian_package": "lib1",
            "debian_suite": "bullworker",
            "debian_file": "lib1_1.orig.tar.gz",
            "debian_sha256": sha256(b"another tarball"),
        }
        self.write_pin()

    def write_pin(self, **changes: Any) -> None:
        self.pin.update(changes)
        # JSON's strings and lists of strings are TOML's too.
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in self.pin.items()]
        self.pin_file.write_text("# a comment\n\n" + "".join(lines))

    def ensure(self) -> Path:
        path: Path = fetch.ensure(self.folder, self.pin_file, self.apt)
        return path

    def fails(self) -> str:
        with pytest.raises(fetch.FetchError) as caught:
            self.ensure()
        assert [path.name for path in self.folder.parent.glob(".libuv-*")] == []
        return str(caught.value)

    def tree(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file()
        }

    def fill(self, files: dict[str, bytes]) -> None:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def put_apt_get(self, script: str) -> None:
        """Put a stand-in for apt-get on PATH, which also knows a Debian archive."""
        program = self.bin / "apt-get"
        program.write_text(f"#!/bin/sh\n{script}")
        program.chmod(0o755)
        (self.apt / "sources.list").write_text(
            "deb [signed-by=/k.gpg] http://127.0.0.1/debian bullworker main\n"
        )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("UVBIND_"):
            monkeypatch.delenv(name)
    project = Project(tmp_path)
    monkeypatch.setenv("PATH", str(project.bin))
    return project


@pytest.fixture
def served(project: Project) -> Iterator[dict[str, bytes]]:
    """The paths that the project's upstream serves."""
    contents: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = contents.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    # No HTTPServer, which looks up the name of its address.
    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        port = server.server_address[1]
        project.write_pin(upstream_url=f"http://127.0.0.1:{port}/lib-1.tar.gz")
        yield contents
        server.shutdown()
        thread.join()


def supply(project: Project, monkeypatch: pytest.MonkeyPatch, tarball: bytes | None = None) -> None:
    if tarball is not None:
        project.tarball_file.write_bytes(tarball)
    monkeypatch.setenv("UVBIND_LIBUV_TARBALL", str(project.tarball_file))


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


# UVBIND_LIBUV_TARBALL


def test_the_supplied_tarball_is_used(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    supply(project, monkeypatch)
    assert project.ensure() == project.folder
    assert project.tree() == KEPT_FILES
    assert sorted(path.name for path in project.folder.parent.iterdir()) == ["libuv", "libuv.toml"]


def test_debians_tarball_may_be_supplied_too(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    repacked = make_tarball(FILES, top="lib1-1")
    project.write_pin(debian_sha256=sha256(repacked))
    supply(project, monkeypatch, repacked)
    project.ensure()
    assert project.tree() == KEPT_FILES


def test_a_wrong_tarball_stops_with_both_hashes(
    project: Project, monkeypatch: pytest.MonkeyPatch, served: dict[str, bytes]
) -> None:
    served["/lib-1.tar.gz"] = project.tarball  # in reach, and yet not the next source
    supply(project, monkeypatch, b"no tarball")
    assert project.fails() == (
        f"{project.tarball_file} is not a tarball of libuv 1.0 as pinned.\n"
        f"  expected sha256: {project.pin['upstream_sha256']} (lib-1.tar.gz)\n"
        f"               or: {project.pin['debian_sha256']} (lib1_1.orig.tar.gz)\n"
        f"  found sha256:    {sha256(b'no tarball')}"
    )
    assert not project.folder.exists()


def test_a_missing_tarball_stops(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.tarball_file.unlink()
    supply(project, monkeypatch)
    expected = f"UVBIND_LIBUV_TARBALL names {project.tarball_file}, which cannot be read: "
    assert project.fails().startswith(expected)


def test_a_folder_for_a_tarball_stops(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UVBIND_LIBUV_TARBALL", str(project.bin))
    assert f"UVBIND_LIBUV_TARBALL names {project.bin}, which cannot be read" in project.fails()


def test_a_tree_other_than_the_pinned_one_stops(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write_pin(tree_sha256="0" * 64)
    supply(project, monkeypatch)
    message = project.fails()
    assert f"The files kept from {project.tarball_file} are not those" in message
    assert f"expected tree digest: {'0' * 64}" in message
    assert f"found tree digest:    {TREE_SHA256}" in message
    assert not project.folder.exists()


# Members


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "bad",
    [
        member("/etc/evil"),
        member("../evil"),
        member("lib-1/../../evil"),
        member("lib-1/src/../../../evil"),
        member("lib-1/src\\..\\..\\evil"),
        member("lib-1/src/evil", tarfile.SYMTYPE, "/etc/passwd"),
        member("lib-1/src/evil", tarfile.SYMTYPE, "b.c"),
        member("lib-1/src/evil", tarfile.LNKTYPE, "lib-1/src/b.c"),
        member("lib-1/src/evil", tarfile.FIFOTYPE),
        member("lib-1/src", tarfile.SYMTYPE, "/tmp"),
    ],
    ids=lambda info: f"{info.name}-{info.type.decode()}",
)
def test_a_member_that_could_leave_the_folder_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bad: tarfile.TarInfo
) -> None:
    tarball = make_tarball(FILES, bad)
    project.write_pin(upstream_sha256=sha256(tarball))
    supply(project, monkeypatch, tarball)
    before = sorted(tmp_path.iterdir())
    message = project.fails()
    assert message.startswith(f"{project.tarball_file} has a member ")
    assert message.endswith(f": {bad.name}")
    assert not project.folder.exists()
    assert sorted(tmp_path.iterdir()) == before


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


# apt, through a stand-in that does what apt-get would with the files it is given

posix = pytest.mark.skipif(os.name != "posix", reason="the stand-in for apt-get is a shell script")


@posix
def test_debians_tarball_is_fetched_with_apt(project: Project) -> None:
    project.write_pin(debian_sha256=project.pin["upstream_sha256"], upstream_sha256="0" * 64)
    log = project.bin / "log"
    project.put_apt_get(
        f"""
PATH=/usr/bin:/bin
echo "$3 $4 $5 $6" >> {log}
[ "$1" = -c ] && cat "$2" "${{2%apt.conf}}debian.sources" > {log}.files
[ "$3" = update ] || cp {project.tarball_file} lib1_1.orig.tar.gz
"""
    )
    project.ensure()
    assert project.tree() == KEPT_FILES
    assert [line.split() for line in log.read_text().splitlines()] == [
        ["update"],
        ["source", "--download-only", "--tar-only", "lib1"],
    ]
    files = Path(f"{log}.files").read_text()
    assert files.endswith(
        "Types: deb-src\nURIs: http://127.0.0.1/debian\nSuites: bullworker\nComponents: main\n"
        "Signed-By: /k.gpg\n"
    )


@posix
def test_a_wrong_tarball_from_apt_stops(project: Project) -> None:
    project.put_apt_get('[ "$3" = update ] || echo other > lib1_1.orig.tar.gz')
    message = project.fails()
    assert message.startswith("Debian source package lib1 is not a tarball of libuv 1.0 as pinned")
    assert sha256(b"other\n") in message


@posix
def test_another_version_in_debian_is_out_of_reach(project: Project) -> None:
    project.put_apt_get('[ "$3" = update ] || echo other > lib1_2.orig.tar.xz')
    expected = "lib1: Debian has now lib1_2.orig.tar.xz, not lib1_1.orig.tar.gz\n"
    assert expected in project.fails()


@posix
def test_what_apt_says_is_told(project: Project) -> None:
    project.put_apt_get("echo 'W: it is\nE: like this' >&2; exit 100")
    assert "lib1: apt-get update failed: W: it is E: like this\n" in project.fails()


@posix
def test_an_apt_without_a_debian_archive_is_out_of_reach(project: Project) -> None:
    project.put_apt_get("exit 1")
    (project.apt / "sources.list").unlink()
    expected = f"lib1: the apt sources in {project.apt} name no Debian main archive\n"
    assert expected in project.fails()


# apt's sources

ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb cdrom:[Debian GNU/Linux 12 _Bookworm_ - Official amd64]/ bookworm main
deb http://vendor.example/apt stable main
deb http://security.example/debian-security bookworm-security main
deb http://one.example/debian-debug bookworm-debug main
deb http://one.example/debian bookworm contrib
deb\thttp://one.example/debian  bookworm-updates main
deb http://one.example/debian bookworm main contrib # the one
deb http://two.example/debian bookworm main
"""
DEB822 = """\
# A comment
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: http://one.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /security.gpg
 \t
types: deb deb-src
# a comment inside
uris: http://one.example/debian
  http://two.example/debian
SUITES: bookworm bookworm-updates
Components:
 contrib
 main
Signed-By: /one.gpg
"""
KEY = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEY865\n -----END PGP PUBLIC KEY BLOCK-----"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("sources.list", ONE_LINE, ("http://one.example/debian", "")),
        ("sources.list.d/a.list", ONE_LINE, ("http://one.example/debian", "")),
        ("sources.list.d/debian.sources", DEB822, ("http://one.example/debian", "/one.gpg")),
        (
            "sources.list",
            "deb-src [ arch=amd64,arm64 signed-by=/a.gpg,/b.gpg ] http://x/debian/ sid main",
            ("http://x/debian/", "/a.gpg,/b.gpg"),
        ),
        (
            "sources.list.d/debian.sources",
            f"Types: deb\nURIs: mirror+file:///debian.list\nSigned-By:{KEY}\n"
            "Suites: sid\nComponents: main",
            ("mirror+file:///debian.list", KEY),
        ),
    ],
)
def test_the_debian_archive_is_found(
    tmp_path: Path, name: str, text: str, expected: tuple[str, str]
) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "a.list.save").write_text("deb http://no/debian sid main\n")
    (tmp_path / name).write_text(text)
    assert fetch.find_archive(tmp_path) == expected


def test_sources_list_comes_first_and_then_the_others_by_name(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (parts / "b.list").write_text("deb http://b/debian sid main\n")
    assert fetch.find_archive(tmp_path)[0] == "http://b/debian"
    (parts / "a.sources").write_text("URIs: http://a/debian\nSuites: sid\nComponents: main\n")
    assert fetch.find_archive(tmp_path)[0] == "http://a/debian"
    (tmp_path / "sources.list").write_text("deb http://first/debian sid main\n")
    assert fetch.find_archive(tmp_path)[0] == "http://first/debian"


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
