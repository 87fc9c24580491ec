"""Network namespaces of a test's own: nothing outside of them sees what happens inside.

They need no root where the kernel lets users make user namespaces; where it does not, the test is
skipped. A namespace lives as long as the process that holds it, so none is ever left behind.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest


class Namespace:
    """A network namespace, with the loopback interface up; a context manager.

    It has mounts of its own, too, so a file of its own can lie over /etc/resolv.conf.

    `beside`: another namespace, whose interfaces can then be moved into this one.
    """

    def __init__(self, beside: Namespace | None = None) -> None:
        for tool in ("unshare", "nsenter", "ip"):
            if shutil.which(tool) is None:
                pytest.skip(f"network namespaces need {tool} (Debian: util-linux, iproute2)")
        hold = ["sh", "-c", "ip link set lo up && echo ready && exec cat"]
        if beside is None:
            command = ["unshare", "--map-root-user", "--net", "--mount", "--", *hold]
        else:
            command = beside.command("unshare", "--net", "--mount", "--", *hold)
        self._holder = subprocess.Popen(
            command, stdin=-1, stdout=-1, stderr=subprocess.STDOUT, text=True
        )
        self._started: list[subprocess.Popen[str]] = []
        assert self._holder.stdout is not None
        said = self._holder.stdout.readline()
        if said != "ready\n":
            self.close()
            pytest.skip(f"network namespaces are not allowed here: {said.strip()}")

    @property
    def pid(self) -> int:
        """The process that holds the namespace, for `ip link set DEVICE netns PID`."""
        return self._holder.pid

    def command(self, *command: str) -> list[str]:
        """What to run for a command to run inside, with all rights over the namespace."""
        enter = ["nsenter", f"--target={self.pid}", "--user", "--net", "--mount"]
        return [*enter, "--preserve-credentials", "--", *command]

    def run(self, *command: str) -> str:
        """Run a command inside and return what it printed, errors included."""
        done = subprocess.run(
            self.command(*command), stdout=-1, stderr=subprocess.STDOUT, text=True, timeout=180
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def ip(self, *commands: str) -> None:
        """Run `ip` for each command, given as one string."""
        for command in commands:
            self.run("ip", *command.split())

    def python(self, script: str, *arguments: str) -> str:
        """Run a Python script inside and return what it printed, errors included."""
        return self.run(sys.executable, "-c", script, *arguments)

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command inside, with pipes to its standard input and output.

        nsenter becomes the command, so the process is its own. It ends with the namespace.
        """
        process = subprocess.Popen(self.command(*command), stdin=-1, stdout=-1, text=True)
        self._started.append(process)
        return process

    def start_python(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a Python script inside, see start()."""
        return self.start(sys.executable, "-c", script, *arguments)

    def close(self) -> None:
        for process in self._started:
            process.kill()  # nothing, if it is gone
            process.communicate()
        self._holder.communicate()  # its `cat` sees the end of the file

    def __enter__(self) -> Namespace:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()


@contextlib.contextmanager
def linked() -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces with a cable between: `left` in one, `right` in the other.

    They have the addresses fe80::1 and fe80::2, and no IPv4.
    """
    with Namespace() as left, Namespace(beside=left) as right:
        left.ip("link add left type veth peer name right", f"link set right netns {right.pid}")
        for namespace, device, address in ((left, "left", "fe80::1"), (right, "right", "fe80::2")):
            namespace.ip(
                f"link set {device} addrgenmode none up",
                f"address add {address}/64 dev {device} nodad",  # usable at once
            )
        wait_until_running(left, "left")
        wait_until_running(right, "right")
        yield left, right


def wait_until_running(namespace: Namespace, device: str) -> None:
    """The kernel takes its time to find that both ends of a cable are up."""
    for _ in range(500):
        (link,) = json.loads(namespace.run("ip", "-j", "link", "show", "dev", device))
        if link["operstate"] == "UP":
            return
        time.sleep(0.02)
    raise AssertionError(f"{device} does not come up: {link}")
