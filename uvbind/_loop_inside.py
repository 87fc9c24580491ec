"""Loops: their time and configuration, and what they show of their inside.

Facts from libuv's manual, page "uv_loop_t". Times are whole milliseconds.
"""

from __future__ import annotations

from typing import Any

from uvbind import _check
from uvbind._errors import check
from uvbind._metrics import Measured
from uvbind._uvbind import lib
from uvbind._version import needs


class LoopInside(Measured):
    """What Loop inherits to show its time, its settings and its inside."""

    # -- time

    def now(self) -> int:
        """Return the loop's clock in milliseconds, read once a turn. Wraps uv_now."""
        self._use()
        return int(lib.uv_now(self._uv))

    def update_time(self) -> None:
        """Read the clock anew, after a callback that took long. Wraps uv_update_time."""
        self._use()
        lib.uv_update_time(self._uv)

    @staticmethod
    def hrtime() -> int:
        """Return a monotonic clock in nanoseconds. Wraps uv_hrtime."""
        return int(lib.uv_hrtime())

    # -- configuration

    def configure(
        self,
        *,
        block_signal: int | None = None,
        metrics_idle_time: bool = False,
        use_io_uring_sqpoll: bool = False,
    ) -> None:
        """Set options, each of which is off until then; call it before the first run().

        `block_signal`: a signal not to be woken by, SIGPROF only. `metrics_idle_time`:
        measure from now on what metrics() tells. `use_io_uring_sqpoll`: needs libuv 1.49.
        Raises UVError (EINVAL, ENOSYS) for what the platform lacks. Wraps uv_loop_configure.
        """
        self._use()
        if use_io_uring_sqpoll:
            needs(1, 49, "configure(use_io_uring_sqpoll=True)")
            self._configure(lib.UV_LOOP_USE_IO_URING_SQPOLL, 0, "use_io_uring_sqpoll")
        if metrics_idle_time:
            self._begin_measuring(self._measure())
        if block_signal is not None:
            signum = _check.integer("block_signal", block_signal, 1, 2**31 - 1)
            self._configure(lib.UV_LOOP_BLOCK_SIGNAL, signum, "block_signal")

    # -- looking inside

    def backend_fd(self) -> int:
        """Return the descriptor that the loop polls with (epoll, kqueue), for embedding it
        in another loop. Wraps uv_backend_fd."""
        self._use()
        return int(lib.uv_backend_fd(self._uv))

    def backend_timeout(self) -> int:
        """Return how many milliseconds the next poll would wait, -1 for ever, 0 as well when
        a descriptor has been added since the last turn. Wraps uv_backend_timeout.
        """
        self._use()
        return int(lib.uv_backend_timeout(self._uv))

    def print_all_handles(self, file: Any = None) -> None:
        """Write a line about every handle, for debugging: [RAI] for what it is of referenced,
        active and internal, its kind, its address. Handles of uvbind's own are among them.

        `file`: a descriptor or an object with fileno(), by default the process's stderr.
        Raises UVError: EBADF, ENOSPC ... Wraps uv_print_all_handles.
        """
        self._print_handles(False, file)

    def print_active_handles(self, file: Any = None) -> None:
        """As print_all_handles(), about those that are active. Wraps
        uv_print_active_handles."""
        self._print_handles(True, file)

    def _print_handles(self, active_only: bool, file: Any) -> None:
        fd = _check.descriptor("file", 2 if file is None else file)
        self._use()
        if hasattr(file, "flush"):
            file.flush()  # what has been written to it comes first
        check(lib.uvb_loop_print_handles(self._c, active_only, fd), f"print to {fd}")
