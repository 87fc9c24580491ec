"""Put the libuv sources pinned in libuv.toml into vendor/libuv."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

VENDOR = Path(__file__).resolve().parent
APT = Path("/etc/apt")

# Read after the machine's own settings: its proxies stay, while its hooks, which may clean or
# refresh the machine's own apt folders, do not run. Without Error-Mode, an update that got
# nothing succeeds.
APT_CONF = """
Dir::Etc::sourcelist "{home}/debian.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "{home}/lists";
Dir::Cache "{home}/cache";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
APT::Update::Error-Mode "any";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""

# uri, suites, components and signed-by (empty when there is none) of an entry in apt's sources
Entry = tuple[str, list[str], list[str], str]


class FetchError(SystemExit):
    """A failure that ends the build with its message alone, where a traceback would bury it."""


class Pin(NamedTuple):
    """What libuv.toml says."""

    version: str
    kept: list[str]
    tree_sha256: str
    upstream_file: str
    upstream_url: str
    upstream_sha256: str
    debian_package: str
    debian_suite: str
    debian_file: str
    debian_sha256: str

    def keeps(self, path: str) -> bool:
        """Tell whether a path inside the tarball's top folder belongs to the kept tree."""
        folders = tuple(name for name in self.kept if name.endswith("/"))
        return path in self.kept or f"{path}/".startswith(folders)


def ensure(
    folder: Path = VENDOR / "libuv", pin_file: Path = VENDOR / "libuv.toml", apt: Path = APT
) -> Path:
    """Return the folder with the pinned libuv, fetching it unless it is there already."""
    pin = read_pin(pin_file)
    try:
        with alone(folder.parent):
            if tree_digest(folder, pin) != pin.tree_sha256:
                fetch(folder, pin, apt)
    except OSError as error:
        raise FetchError(f"libuv could not be put into {folder}: {error}") from error
    return folder


def read_pin(path: Path) -> Pin:
    """Read a pin file."""
    return Pin(**tomllib.loads(path.read_text(encoding="utf-8")))


def tree_digest(folder: Path, pin: Pin) -> str:
    """Return the digest of the kept files in a folder, as `sha256sum | sha256sum` gives it."""
    files = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    digest = hashlib.sha256()
    for name in sorted(filter(pin.keeps, files), key=os.fsencode):
        sha256 = hashlib.sha256(files[name].read_bytes()).hexdigest()
        digest.update(os.fsencode(f"{sha256}  {name}\n"))
    return digest.hexdigest()


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one process at a time work in a folder, on systems that can lock one."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no such lock
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def fetch(folder: Path, pin: Pin, apt: Path) -> None:
    """Replace a folder by the kept files of a tarball that has the pinned hash."""
    if os.path.lexists(folder):
        say(f"{folder} does not hold libuv {pin.version} as pinned and will be replaced")
    origin, tarball = find_tarball(pin, apt)
    check_tarball(origin, tarball, pin)
    # The tree is made beside its place, on the same file system, and then renamed: whatever
    # interrupts us, vendor/libuv is either whole or absent.
    with tempfile.TemporaryDirectory(prefix=".libuv-", dir=folder.parent) as scratch:
        fresh = Path(scratch, "fresh")
        extract(origin, tarball, fresh, pin)
        found = tree_digest(fresh, pin)
        if found != pin.tree_sha256:
            raise FetchError(
                f"The files kept from {origin} are not those of the pinned libuv {pin.version}.\n"
                f"  expected tree digest: {pin.tree_sha256}\n"
                f"  found tree digest:    {found}"
            )
        try:
            if os.path.lexists(folder) and tree_digest(folder, pin) != pin.tree_sha256:
                folder.rename(Path(scratch, "replaced"))
            fresh.rename(folder)
        except OSError:  # without a lock another process may have been faster
            if tree_digest(folder, pin) != pin.tree_sha256:
                raise
    say(f"libuv {pin.version} is now in {folder}")


def find_tarball(pin: Pin, apt: Path) -> tuple[str, bytes]:
    """Return a name and the bytes of the first tarball within reach, hash not checked yet."""
    supplied = os.environ.get("UVBIND_LIBUV_TARBALL")
    if supplied:
        path = os.path.abspath(supplied)
        try:
            return path, Path(path).read_bytes()
        except OSError as error:
            message = f"UVBIND_LIBUV_TARBALL names {path}, which cannot be read: {error.strerror}."
            raise FetchError(message) from error
    sources: dict[str, Callable[[], bytes]] = {
        pin.upstream_url: lambda: from_upstream(pin),
        f"Debian source package {pin.debian_package}": lambda: from_debian(pin, apt),
    }
    tried = []
    for origin, source in sources.items():
        say(f"fetching libuv {pin.version}: {origin}")
        try:
            return origin, source()
        except (OSError, http.client.HTTPException, subprocess.TimeoutExpired) as error:
            tried.append(f"  - {origin}: {error}")
    raise FetchError(
        f"uvbind is built with libuv {pin.version}, and no source of it is in reach:\n"
        + "\n".join(tried)
        + f"\nTo supply the tarball yourself, set UVBIND_LIBUV_TARBALL=/path/to/{pin.upstream_file}"
        + f" (sha256 {pin.upstream_sha256}).\n"
        + "To link the system's libuv instead, set UVBIND_SYSTEM_LIBUV=1."
    )


def from_upstream(pin: Pin) -> bytes:
    """Download the release tarball."""
    try:
        with urllib.request.urlopen(pin.upstream_url, timeout=20) as response:
            content: bytes = response.read()
    except urllib.error.HTTPError as error:
        error.close()  # it holds the response
        raise
    return content


def from_debian(pin: Pin, apt: Path) -> bytes:
    """Download the source package's tarball with apt-get, in a private folder and without root."""
    program = shutil.which("apt-get")
    if program is None:
        raise OSError("there is no apt-get on this machine")
    uri, signed_by = find_archive(apt)
    with tempfile.TemporaryDirectory(prefix="uvbind-apt-") as private:
        home = Path(private)
        home.chmod(0o755)  # apt-get run by root downloads as a user of its own
        for name in ("lists", "cache", "package"):
            (home / name).mkdir()
        (home / "apt.conf").write_text(APT_CONF.format(home=home), "utf-8")
        (home / "debian.sources").write_text(
            f"Types: deb-src\nURIs: {uri}\nSuites: {pin.debian_suite}\nComponents: main\n"
            + (f"Signed-By: {signed_by}\n" if signed_by else ""),
            "utf-8",
        )
        for command in ("update", f"source --download-only --tar-only {pin.debian_package}"):
            run = subprocess.run(
                [program, "-c", str(home / "apt.conf"), *command.split()],
                cwd=home / "package",
                env={**os.environ, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=300,
            )
            if run.returncode:
                reason = " ".join(run.stderr.decode(errors="replace").split())
                raise OSError(f"apt-get {command} failed: {reason}")
        names = sorted(path.name for path in (home / "package").iterdir())
        if pin.debian_file not in names:
            raise OSError(f"Debian has now {', '.join(names)}, not {pin.debian_file}")
        return (home / "package" / pin.debian_file).read_bytes()


def find_archive(apt: Path) -> tuple[str, str]:
    """Return URI and signed-by of the first Debian main archive among apt's sources."""
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        parse = {".list": read_list, ".sources": read_deb822}.get(path.suffix)
        if parse is None or not os.access(path, os.R_OK):
            continue
        for uri, suites, components, signed_by in parse(path.read_text("utf-8", "replace")):
            # The suite of a release is one word, unlike its -security and -debug suites.
            release = any(suite.isalpha() for suite in suites)
            if "debian" in uri and "security" not in uri and release and "main" in components:
                return uri, signed_by
    raise OSError(f"the apt sources in {apt} name no Debian main archive")


def read_list(text: str) -> Iterator[Entry]:
    """Yield the entries of a file in apt's one-line form."""
    line = r"^[ \t]*deb(?:-src)?[ \t]+(?:\[(.*?)\][ \t]+)?(\S+)[ \t]+(\S+)[ \t]+([^#\n]+)"
    for options, uri, suite, components in re.findall(line, text, re.MULTILINE):
        signed_by = re.search(r"\bsigned-by=(\S+)", options)
        yield uri, [suite], components.split(), signed_by[1] if signed_by else ""


def read_deb822(text: str) -> Iterator[Entry]:
    """Yield the entries of a file in apt's deb822 form."""
    text = re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)
    for paragraph in re.split(r"\n(?:[ \t]*\n)+", text):
        # A value runs on in indented lines, such as those of a key written out in Signed-By.
        found = re.findall(r"^([\w-]+):(.*(?:\n[ \t].*)*)", paragraph, re.MULTILINE)
        field = dict.fromkeys(("uris", "suites", "components", "signed-by", "enabled"), "")
        field.update((name.lower(), value.strip(" \t")) for name, value in found)
        if field["enabled"].lower() not in ("no", "false", "off", "0"):
            for uri in field["uris"].split():
                yield uri, field["suites"].split(), field["components"].split(), field["signed-by"]


def check_tarball(origin: str, tarball: bytes, pin: Pin) -> None:
    """Stop unless the tarball is one of the pinned ones."""
    found = hashlib.sha256(tarball).hexdigest()
    if found not in (pin.upstream_sha256, pin.debian_sha256):
        raise FetchError(
            f"{origin} is not a tarball of libuv {pin.version} as pinned.\n"
            f"  expected sha256: {pin.upstream_sha256} ({pin.upstream_file})\n"
            f"               or: {pin.debian_sha256} ({pin.debian_file})\n"
            f"  found sha256:    {found}"
        )


def extract(origin: str, tarball: bytes, folder: Path, pin: Pin) -> None:
    """Write the kept files of a tarball, without its top folder, into a new folder."""
    folder.mkdir()
    with tarfile.open(fileobj=io.BytesIO(tarball)) as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts or "\\" in member.name:
                raise FetchError(f"{origin} has a member outside its folder: {member.name}")
            name = "/".join(path.parts[1:])
            if member.isdir() or not pin.keeps(name):
                continue
            # Read and written by ourselves: extractall() is safe only since its `filter`.
            content = archive.extractfile(member) if member.isreg() else None
            if content is None:
                raise FetchError(f"{origin} has a member that is no plain file: {member.name}")
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.read())


def say(text: str) -> None:
    """Report progress."""
    print(f"uvbind: {text}", file=sys.stderr)


if __name__ == "__main__":
    print(ensure())
