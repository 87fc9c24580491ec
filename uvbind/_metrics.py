"""What a loop measures of itself. Facts from libuv's manual, page "Metrics operations".

libuv counts in any case, and measures how long it waits when it is told to.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

from uvbind._errors import check
from uvbind._ownership import Owned
from uvbind._uvbind import ffi, lib
from uvbind._version import needs

Self = TypeVar("Self", bound="Metrics")

_ADD_UP = ("idle_time", "iterations", "events", "events_waiting")


class MetricsInfo(NamedTuple):
    """Counts since the loop was made. Wraps uv_metrics_t."""

    loop_count: int
    """Turns of the loop."""
    events: int
    """Events that were processed."""
    events_waiting: int
    """Events that were there already when the loop looked."""


class Metrics:
    """What a loop did in a time, and what it had at the end of it.

    From Loop.metrics(): in the time since measuring began. `later - earlier`, of two of one
    loop: in the time between. Seconds are those of Loop.hrtime(), which are asyncio's too.
    """

    start: float
    """When the time began, in seconds."""
    end: float
    """When it ended, in seconds."""
    duration: float
    """How long it was, in seconds."""
    idle_time: float
    """How much of it the loop waited for events, in seconds."""
    active_time: float
    """How much of it the loop did not wait, in seconds, the time outside of run() included."""
    utilisation: float
    """The share of the time that was active, from 0.0 to 1.0; of no time at all 0.0."""
    iterations: int | None
    """Turns of the loop in that time; None with libuv before 1.45."""
    events: int | None
    """Events processed in that time, timers not among them; None with libuv before 1.45."""
    events_waiting: int | None
    """Those that were there already when the loop looked; None with libuv before 1.45."""
    handles: int
    """Open handles at the end."""
    requests: int
    """Requests under way at the end: connects, writes, lookups ..."""
    queued_bytes: int
    """Bytes that waited at the end to be sent by streams and UDP handles."""

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)
        self.duration = self.end - self.start
        self.active_time = max(0.0, self.duration - self.idle_time)
        self.utilisation = self.active_time / self.duration if self.duration > 0 else 0.0

    def __sub__(self: Self, earlier: Self) -> Self:
        if type(earlier) is not type(self):
            return NotImplemented
        if earlier.start != self.start or earlier.end > self.end:
            raise ValueError(
                "subtract from what metrics() returned what it returned earlier for the same loop"
            )
        values = dict(vars(self), start=earlier.end)
        for name in _ADD_UP:
            if values[name] is not None:
                values[name] -= getattr(earlier, name)
        return type(self)(**values)

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({values})"


class Measured(Owned):
    """What Loop inherits to measure itself."""

    _measured_from: Any = None  # what C measured when measuring began

    def metrics(self) -> Metrics:
        """Return what the loop did since measuring began, and what it has now.

        The first call begins it, unless configure(metrics_idle_time=True) did, and has
        nothing to tell but a beginning to subtract. From then on the loop makes one more system
        call whenever it has to wait, and reads the clock each turn. Wraps uv_metrics_info and
        uv_metrics_idle_time.
        """
        self._use()
        now = self._measure()
        first = self._begin_measuring(now)

        def counted(name: str) -> int | None:
            if not now.counted:
                return None
            return int(getattr(now.counts, name) - getattr(first.counts, name))

        return Metrics(
            start=first.time / 1e9,
            end=now.time / 1e9,
            idle_time=(now.idle_time - first.idle_time) / 1e9,
            iterations=counted("loop_count"),
            events=counted("events"),
            events_waiting=counted("events_waiting"),
            handles=now.handles,
            requests=now.requests,
            queued_bytes=now.queued_bytes,
        )

    def metrics_idle_time(self) -> int:
        """Return how many nanoseconds the loop waited for events; 0 unless
        configure(metrics_idle_time=True) or metrics() was called. Wraps uv_metrics_idle_time."""
        self._use()
        return int(lib.uvb_loop_idle_time(self._c))

    def metrics_info(self) -> MetricsInfo:
        """Return the loop's counts; needs libuv 1.45. Wraps uv_metrics_info."""
        self._use()
        needs(1, 45, "metrics_info")
        metrics = ffi.new("uv_metrics_t *")
        check(lib.uv_metrics_info(self._uv, metrics), "uv_metrics_info")
        return MetricsInfo(metrics.loop_count, metrics.events, metrics.events_waiting)

    # -- for the other modules

    def _begin_measuring(self, now: Any) -> Any:
        """Have libuv measure how long it waits; return what had been measured before."""
        if self._measured_from is None:
            self._configure(lib.UV_METRICS_IDLE_TIME, 0, "metrics_idle_time")
            self._measured_from = now
        return self._measured_from

    def _measure(self) -> Any:
        metrics = ffi.new("uvb_metrics *")
        lib.uvb_loop_measure(self._c, metrics)
        return metrics

    def _configure(self, option: int, argument: int, what: str) -> None:
        check(lib.uvb_loop_configure(self._c, option, argument), f"configure: {what}")
