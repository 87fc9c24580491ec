"""Child processes: asyncio's transport on Popen, and a descriptor that tells when the child ends.

On Python before 3.12 asyncio has a thread for every child. A pidfd is one more descriptor to watch,
in any thread, and the one child is waited for that it is of. A program that has set a child watcher
of its own keeps it, and where there are no pidfds it is asyncio's turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import operator
import os
import sys
import threading
from asyncio import events, unix_events
from asyncio.log import logger
from collections.abc import Callable
from typing import Any

_Base: Any = unix_events._UnixSubprocessTransport  # type: ignore[attr-defined]
_AT_ONCE = (SystemExit, KeyboardInterrupt, GeneratorExit)  # leave a coroutine without waiting


class Transport(_Base):  # type: ignore[misc]
    """asyncio's, which may be told twice of the end when a signal handler has raised meanwhile."""

    _returncode: int | None

    def _process_exited(self, returncode: int) -> None:
        if self._returncode is None:
            super()._process_exited(returncode)


class Processes:
    """What EventLoop inherits for child processes."""

    _add_reader: Callable[..., Any]
    _child_watcher_callback: Callable[..., None]
    is_closed: Callable[[], bool]
    _watcher: Any  # asyncio's, from Python 3.14 on
    _remove_reader: Callable[[Any], bool]
    call_soon: Callable[..., Any]
    call_soon_threadsafe: Callable[..., Any]
    create_future: Callable[[], Any]

    def __init__(self, *arguments: Any) -> None:
        self._children: dict[Any, int] = {}  # the pidfds of Popen objects
        self._watched: set[Any] = set()  # Popen objects whose end somebody waits for
        super().__init__(*arguments)

    def close(self) -> None:
        """Close the loop; for each child that still runs a thread waits, so that it can end."""
        super().close()  # type: ignore[misc]
        self._watched.clear()
        while self._children:
            process = next(iter(self._children))
            self._close_pidfd(process)
            if process.poll() is None:
                _in_thread(process.wait, process)

    async def _make_subprocess_transport(self, *arguments: Any, **options: Any) -> Any:
        if not _has_pidfds() or self._has_own_watcher():
            make: Any = super()
            return await make._make_subprocess_transport(*arguments, **options)
        waiter = self.create_future()
        transport = None
        try:
            transport = Transport(self, *arguments, waiter=waiter, **options)
            self._watch_child(transport, transport._proc)
            await waiter
        except BaseException as exception:  # cancelled, a pipe failed, a signal handler raised
            if transport is None:
                raise
            self._watch_child(transport, transport._proc)
            if not isinstance(exception, _AT_ONCE):
                transport.close()  # the child is not left running
                await transport._wait()
            raise
        return transport

    def _watch_child(self, transport: Any, process: Any) -> None:
        """Hear of the end of a child; a second call does nothing, or what the first left to do."""
        if process in self._watched or self.is_closed():  # close() has a thread wait
            return
        try:
            if process not in self._children:
                # In one step of C's: no signal handler comes before the descriptor has its place.
                opened = map(os.pidfd_open, (process.pid,))
                next(map(self._children.__setitem__, (process,), opened))
        except OSError:  # there is no room for another descriptor
            _in_thread(self._wait_in_thread, process, transport)
        else:
            self._add_reader(self._children[process], self._on_pidfd, process, transport)
        self._watched.add(process)

    def _on_pidfd(self, process: Any, transport: Any) -> None:
        """The child has ended; once more when a signal handler has cut this off."""
        try:
            if process in self._children:
                self._remove_reader(self._children[process])
                self._close_pidfd(process)
            self._ended(process, transport)
        except BaseException:
            if not self.is_closed():
                self.call_soon(self._on_pidfd, process, transport)
            raise

    def _close_pidfd(self, process: Any) -> None:
        next(map(os.close, map(self._children.pop, (process,))))  # in one step of C's

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
        self._watched.discard(process)
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
        if process.returncode is None:
            # In one step of C's: no signal handler comes before the code has its place.
            statuses = map(operator.itemgetter(1), map(os.waitpid, (process.pid,), (0,)))
            codes = map(os.waitstatus_to_exitcode, statuses)
            next(map(vars(process).__setitem__, ("returncode",), codes))
    except ChildProcessError:  # somebody else has
        if process.returncode is None:
            logger.warning("process %d was waited for elsewhere: return code 255", process.pid)
            return 255
    return int(process.returncode)


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
