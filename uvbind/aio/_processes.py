"""Child processes: asyncio's transport on Popen, and a descriptor that tells when the child ends.

On Python before 3.12 asyncio has a thread for every child. A pidfd is one more descriptor to watch,
in any thread, and the one child is waited for that it is of. A program that has set a child watcher
of its own keeps it, and where there are no pidfds it is asyncio's turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from asyncio import events, unix_events
from asyncio.log import logger
from collections.abc import Callable
from typing import Any

_Transport: Any = unix_events._UnixSubprocessTransport  # type: ignore[attr-defined]


class Processes:
    """What EventLoop inherits for child processes."""

    _add_reader: Callable[..., Any]
    _child_watcher_callback: Callable[..., None]
    _watcher: Any  # asyncio's, from Python 3.14 on
    _remove_reader: Callable[[Any], bool]
    call_soon_threadsafe: Callable[..., Any]
    create_future: Callable[[], Any]

    def __init__(self, *arguments: Any) -> None:
        self._children: dict[int, Any] = {}  # Popen objects, by pidfd
        super().__init__(*arguments)

    def close(self) -> None:
        """Close the loop; for each child that still runs a thread waits, so that it can end."""
        super().close()  # type: ignore[misc]
        while self._children:
            pidfd, process = self._children.popitem()
            os.close(pidfd)
            if process.poll() is None:
                _in_thread(process.wait, process)

    async def _make_subprocess_transport(self, *arguments: Any, **options: Any) -> Any:
        if not _has_pidfds() or self._has_own_watcher():
            make: Any = super()
            return await make._make_subprocess_transport(*arguments, **options)
        waiter = self.create_future()
        transport = _Transport(self, *arguments, waiter=waiter, **options)
        self._watch_child(transport, transport._proc)
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:  # cancelled, or a pipe failed: the child is not left running
            transport.close()
            await transport._wait()
            raise
        return transport

    def _watch_child(self, transport: Any, process: Any) -> None:
        try:
            pidfd = os.pidfd_open(process.pid)
        except OSError:  # there is no room for another descriptor
            _in_thread(self._wait_in_thread, process, transport)
        else:
            self._children[pidfd] = process
            self._add_reader(pidfd, self._on_pidfd, pidfd, transport)

    def _on_pidfd(self, pidfd: int, transport: Any) -> None:
        process = self._children.pop(pidfd)
        self._remove_reader(pidfd)
        os.close(pidfd)
        self._ended(process, transport)

    def _wait_in_thread(self, process: Any, transport: Any) -> None:
        """Wait for the end; the loop's thread takes the exit code, so that until then no other
        process can have the number, which kill() may be asked to use."""
        code = None
        if hasattr(os, "waitid"):
            with contextlib.suppress(ChildProcessError):  # waited for elsewhere
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        else:  # some PyPy
            code = _exit_code(process)
        try:
            self.call_soon_threadsafe(self._ended, process, transport, code)
        except RuntimeError:
            process.wait()
            logger.warning("process %d has ended after its loop %r", process.pid, self)

    def _ended(self, process: Any, transport: Any, code: int | None = None) -> None:
        code = _exit_code(process) if code is None else code
        self._child_watcher_callback(process.pid, code, transport)

    def _has_own_watcher(self) -> bool:
        """Tell whether asyncio uses another child watcher than it would for this system."""
        if sys.version_info >= (3, 14):  # the loop has it, and has chosen it
            return not isinstance(self._watcher, unix_events._PidfdChildWatcher)
        kept = events.AbstractEventLoopPolicy, unix_events._UnixDefaultEventLoopPolicy
        policy = asyncio.get_event_loop_policy()
        if type(policy).get_child_watcher not in [each.get_child_watcher for each in kept]:
            return True
        default = unix_events.ThreadedChildWatcher
        if sys.version_info >= (3, 12):
            default = unix_events.PidfdChildWatcher
        return type(getattr(policy, "_watcher", None)) not in (type(None), default)


def _exit_code(process: Any) -> int:
    """Wait for a child that has ended, or in a thread."""
    try:
        status = os.waitpid(process.pid, 0)[1]
    except ChildProcessError:  # somebody has already, with any luck the Popen object
        if process.returncode is not None:
            return int(process.returncode)
        logger.warning("process %d was waited for elsewhere: return code 255", process.pid)
        return 255
    return os.waitstatus_to_exitcode(status)


def _in_thread(function: Callable[..., Any], process: Any, *arguments: Any) -> None:
    arguments = (process, *arguments) if arguments else ()
    name = f"uvbind-waitpid-{process.pid}"
    threading.Thread(target=function, args=arguments, name=name, daemon=True).start()


def _has_pidfds() -> bool:
    """Tell whether the system has them, and lets us."""
    global _pidfds
    if _pidfds is None:
        try:
            os.close(os.pidfd_open(os.getpid()))
            _pidfds = True
        except (AttributeError, OSError):
            _pidfds = False
    return _pidfds


_pidfds = None  # type: bool | None  # PyPy takes no annotation here
