"""vendor/fetch.py: Debian's tarball, by apt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fetching import KEPT_FILES, Project, fetch, needs_fetch, sha256

pytestmark = needs_fetch


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
