"""Root file systems of Debian's releases, made by mmdebstrap, and what runs in copies of them."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
USED = "%U and %S seconds of a processor"  # in the log, after each script
INSTALL = "apt-get install --yes --no-install-recommends"


class Failure(Exception):
    """A step did not succeed."""


class Children:
    """The processes of all threads, none of which outlives this program."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self.ended = False

    def run(self, command: list[str], log: Path, timeout: float) -> None:
        with self._lock, log.open("ab") as file:
            if self.ended:
                raise Failure("interrupted")
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
            self._processes.add(process)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failure(f"not done in {timeout:.0f} seconds") from None
        finally:
            with self._lock:
                self._kill(process)
                self._processes.discard(process)
            process.wait()
        if status:
            raise Failure(f"exit status {status}")

    def end(self) -> None:
        with self._lock:
            self.ended = True
            for process in self._processes:
                self._kill(process)

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:  # with unshare ends all that it has started
            os.killpg(process.pid, signal.SIGKILL)


CHILDREN = Children()
PRINTING = threading.Lock()


def say(text: str) -> None:
    with PRINTING:
        print(text, flush=True)


def show(log: Path, lines: int = 50) -> None:
    """Print the end of a log."""
    tail = log.read_text(errors="replace").splitlines()[-lines:]
    say("\n".join([*(f"    | {line}" for line in tail), f"    all of it: {log}"]))


# -- what the machine has and a root gets


def archive() -> tuple[str, str]:
    """The mirror of Debian that this machine uses, and the file with the keys."""
    spec = importlib.util.spec_from_file_location("uvbind_fetch", HERE / "vendor" / "fetch.py")
    assert spec is not None and spec.loader is not None
    fetch: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fetch)
    uri, signed_by = fetch.find_archive(fetch.APT)
    default = "/usr/share/keyrings/debian-archive-keyring.gpg"
    return uri, signed_by if signed_by.startswith("/") else default


def apt_options() -> list[str]:
    """How this machine's apt gets to its mirror."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True)
    kept = r"(?i)^(Acquire::(?:.*proxy.*|Check-.*|https?::(?:Ca|Verify).*) \".+\");$"
    return ['Acquire::Check-Valid-Until "false"', *re.findall(kept, dump.stdout, re.MULTILINE)]


def pip_settings() -> tuple[str, dict[str, str], list[Path]]:
    """This machine's settings of pip, as a file and as variables, and the paths that they name."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(command, capture_output=True, text=True).stdout
    lines, words = [], []
    for line in sorted(listing.splitlines()):
        key, value = line.split("=", 1)
        section, _, name = key.partition(".")
        if section != ":env:":
            text = str(ast.literal_eval(value))
            words += text.split()
            lines += [f"[{section}]"] * (f"[{section}]" not in lines)
            lines += [f"{name} = " + text.replace("\n", "\n    ")]
    wanted = r"(?i)pip_(?!cache_dir)\w+|\w+_proxy|ssl_cert_\w+|\w+_ca_bundle"
    variables = {key: text for key, text in os.environ.items() if re.fullmatch(wanted, key)}
    words += [word for text in variables.values() for word in text.split()]
    paths = {Path(word) for word in words if word.startswith("/")}
    # An index in files has the packages beside it.
    paths |= {Path(word[len("file://") :]).parent for word in words if word.startswith("file:///")}
    return "\n".join([*lines, ""]), variables, sorted(path for path in paths if path.exists())


# -- roots


class Roots:
    """The roots of the releases, each made when the first trial needs it."""

    def __init__(
        self, folder: Path, logs: Path, included: dict[str, list[str]], later: dict[str, list[str]]
    ) -> None:
        """`included`: the packages of each release's root; `later`: those that trials install."""
        self._folder, self._logs = folder, logs
        self._included, self._later = included, later
        self._locks = {suite: threading.Lock() for suite in included}

    def get(self, suite: str) -> Path:
        with self._locks[suite]:
            root = self._folder / suite
            if not root.exists():
                begin, log = time.monotonic(), self._logs / f"root-{suite}.log"
                log.write_bytes(b"")
                try:
                    self._make(suite, root, log)
                except (Failure, OSError) as error:
                    show(log)
                    raise Failure(f"no root of {suite}: {error}") from None
                say(f"{'root':<11} {suite:<32} {time.monotonic() - begin:4.0f} s  ok")
            return root

    def cache(self, suite: str) -> Path:
        """Where pip keeps what it has fetched and built: for one release, and its C library."""
        return self._folder / f"{suite}.pip"

    def _make(self, suite: str, root: Path, log: Path) -> None:
        uri, keys = archive()
        fresh = root.with_name(f"{suite}.new")
        subprocess.run(["rm", "-rf", "--one-file-system", str(fresh)])
        command = ["mmdebstrap", "--quiet", "--variant=apt", f"--keyring={keys}"]
        command += [f"--aptopt={option}" for option in apt_options()]
        command += ["--include=" + ",".join(self._included[suite])]
        # Trials install more later. apt fetches it now, since its lists in a kept root grow old.
        fetch = f"{INSTALL} --download-only {' '.join(self._later[suite])}"
        command += ["--skip=cleanup/apt", f'--customize-hook=chroot "$1" {fetch}']
        CHILDREN.run([*command, suite, str(fresh), uri], log, 600)
        # The rest of what Debian's installer does, and how this machine gets to the index.
        for name in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
            if Path("/", name).exists():
                (fresh / name).unlink(missing_ok=True)
                shutil.copyfile(Path("/", name), fresh / name)
        (fresh / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost ip6-localhost\n")
        (fresh / "etc/pip.conf").write_text(pip_settings()[0])
        with (fresh / "etc/passwd").open("a") as passwd, (fresh / "etc/group").open("a") as group:
            passwd.write("stranger:x:1000:1000::/home/stranger:/bin/bash\n")
            group.write("stranger:x:1000:\n")
        (fresh / "home/stranger").mkdir()
        os.chown(fresh / "home/stranger", 1000, 1000)
        fresh.rename(root)


class Root:
    """A copy of a root, which one trial may change."""

    def __init__(self, path: Path, cache: Path, log: Path) -> None:
        self._path, self._log = path, log
        _, self._variables, paths = pip_settings()
        self._binds = {str(each): each for each in paths if not self._inside(each).exists()}
        self._binds["/home/stranger/.cache/pip"] = cache
        cache.mkdir(parents=True, exist_ok=True)
        for target, source in self._binds.items():
            inside = self._inside(target)
            (inside if source.is_dir() else inside.parent).mkdir(parents=True, exist_ok=True)
            if source.is_file():
                inside.touch()
        for owned in (cache, self._inside("/home/stranger/.cache")):
            os.chown(owned, 1000, 1000)

    def clone(self) -> None:
        target = self._inside("/home/stranger/uvbind")
        CHILDREN.run(["git", "clone", "-q", str(HERE), str(target)], self._log, 60)
        CHILDREN.run(["chown", "-R", "1000:1000", str(target)], self._log, 60)

    def run(self, script: str, user: str) -> None:
        """Run a script of bash. Its mounts and its processes end with it, however it ends."""
        mounts = [f"mount --rbind /{name} {self._inside(name)}" for name in ("dev", "sys")]
        mounts += [f"mount -t proc proc {self._inside('proc')}"]
        for target, source in self._binds.items():
            mounts += [shlex.join(["mount", "--bind", str(source), str(self._inside(target))])]
        number, home = ("0:0", "/root") if user == "root" else ("1000:1000", f"/home/{user}")
        variables = {"HOME": home, "USER": user, "LANG": "C.UTF-8", **self._variables}
        variables["PATH"] = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        command = ["chroot", f"--userspec={number}", str(self._path), "env", "-i"]
        command += [f"{key}={text}" for key, text in variables.items()]
        command += ["bash", "-euc", f"cd /home/stranger/uvbind; {script}"]
        # Without exec, since this shell is to be the init of what the script starts.
        timed = f"TIMEFORMAT='{USED}'; time {shlex.join(command)}"
        whole = "\n".join([*mounts, timed, "exit $?"])
        with self._log.open("a") as file:
            file.write(f"\n{user}$ {script}\n")
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        CHILDREN.run([*unshare, "bash", "-euc", whole], self._log, 1500)

    def _inside(self, name: str | Path) -> Path:
        return self._path / str(name).lstrip("/")
