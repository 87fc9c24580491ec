"""vendor/fetch.py: the tarball that UVBIND_LIBUV_TARBALL names, and what members it may have."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from fetching import (
    FILES,
    KEPT_FILES,
    TREE_SHA256,
    Project,
    make_tarball,
    needs_fetch,
    sha256,
    supply,
)

pytestmark = needs_fetch


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
