"""libuv itself, in Python: its handles and verbs for networking.

Names are libuv's without the prefix: uv_tcp_t is TCP, uv_read_start is Stream.read_start.
"""

from typing import TYPE_CHECKING, Any

try:
    import uvbind._uvbind  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "uvbind._uvbind":
        raise
    raise ImportError(
        f"{__file__} is the source of uvbind without its compiled extension: run Python from "
        "another folder to get the installed package, or install this one with pip install -e ."
    ) from None

from uvbind import _ctypes  # noqa: F401
from uvbind._address import Address
from uvbind._async import Async
from uvbind._dns import getaddrinfo, getnameinfo
from uvbind._dns_requests import AddressInfo
from uvbind._errors import UVError, err_name, strerror, translate_sys_error
from uvbind._handle import Handle
from uvbind._loop import Loop, RunMode
from uvbind._metrics import Metrics, MetricsInfo
from uvbind._network import (
    HandleType,
    InterfaceAddress,
    guess_handle,
    if_indextoiid,
    if_indextoname,
    inet_ntop,
    inet_pton,
    interface_addresses,
    ip_name,
    os_gethostname,
)
from uvbind._pipe import Pipe, pipe
from uvbind._poll import Poll, PollEvent
from uvbind._request import Request
from uvbind._signal import Signal
from uvbind._stream import Stream
from uvbind._tcp import TCP
from uvbind._timer import Timer
from uvbind._udp import UDP
from uvbind._udp_options import Membership
from uvbind._version import __version__, features, version, version_string
from uvbind._watchers import Check, Idle, Prepare

if TYPE_CHECKING:
    from uvbind.aio import EventLoop as EventLoop
    from uvbind.aio import EventLoopMetrics as EventLoopMetrics
    from uvbind.aio import EventLoopPolicy as EventLoopPolicy
    from uvbind.aio import StreamReader as StreamReader
    from uvbind.aio import StreamWriter as StreamWriter
    from uvbind.aio import install as install
    from uvbind.aio import new_event_loop as new_event_loop
    from uvbind.aio import open_connection as open_connection
    from uvbind.aio import open_unix_connection as open_unix_connection
    from uvbind.aio import run as run
    from uvbind.aio import start_server as start_server
    from uvbind.aio import start_unix_server as start_unix_server

__all__ = [
    "TCP",
    "UDP",
    "Address",
    "AddressInfo",
    "Async",
    "Check",
    "Handle",
    "HandleType",
    "Idle",
    "InterfaceAddress",
    "Loop",
    "Membership",
    "Metrics",
    "MetricsInfo",
    "Pipe",
    "Poll",
    "PollEvent",
    "Prepare",
    "Request",
    "RunMode",
    "Signal",
    "Stream",
    "Timer",
    "UVError",
    "__version__",
    "err_name",
    "features",
    "getaddrinfo",
    "getnameinfo",
    "guess_handle",
    "if_indextoiid",
    "if_indextoname",
    "inet_ntop",
    "inet_pton",
    "interface_addresses",
    "ip_name",
    "os_gethostname",
    "pipe",
    "strerror",
    "translate_sys_error",
    "version",
    "version_string",
]

_AIO = (
    "EventLoop",
    "EventLoopMetrics",
    "EventLoopPolicy",
    "StreamReader",
    "StreamWriter",
    "install",
    "new_event_loop",
    "open_connection",
    "open_unix_connection",
    "run",
    "start_server",
    "start_unix_server",
)


def __getattr__(name: str) -> Any:
    """The asyncio layer is imported when it is first asked for."""
    if name in _AIO:
        import uvbind.aio

        return getattr(uvbind.aio, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
