"""A small project for vendor/fetch.py: tarballs, pins and apt folders of its own."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import socket
import tarfile
from pathlib import Path
from typing import Any

import pytest

VENDOR = Path(__file__).resolve().parents[1] / "vendor"

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


fetch = load() if (VENDOR / "fetch.py").exists() else None
needs_fetch = pytest.mark.skipif(fetch is None, reason="an sdist has no vendor/fetch.py")


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


def supply(project: Project, monkeypatch: pytest.MonkeyPatch, tarball: bytes | None = None) -> None:
    if tarball is not None:
        project.tarball_file.write_bytes(tarball)
    monkeypatch.setenv("UVBIND_LIBUV_TARBALL", str(project.tarball_file))
