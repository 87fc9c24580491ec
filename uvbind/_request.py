"""Requests: operations under way. Facts from libuv's manual, page "uv_req_t"."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from uvbind._callbacks import call_first, crossing, repeat
from uvbind._core import half
from uvbind._errors import check, uv_error
from uvbind._uvbind import ffi, lib

if TYPE_CHECKING:
    from uvbind._loop import Loop


class Request:
    """An operation under way. Wraps uv_req_t.

    Its loop keeps it, with all that libuv needs of it, until it is done.
    """

    _done = False

    def __init__(
        self,
        loop: Loop,
        ctype: str,
        what: Any,
        finish: Callable[..., object],
        keep: object = None,
    ) -> None:
        """`finish(error)` is called when it is done; C keeps `keep` until then."""
        self._loop = loop
        self._what = what
        self._finish = deque([finish])
        self._core = loop._core.request(self, keep)
        self._uv = half(self._core, ctype)

    def cancel(self) -> None:
        """Give the operation up if it has not begun; its callback then gets EAI_CANCELED.

        Lookups only: of the others close the handle instead. Raises UVError: EBUSY when it has
        begun, EINVAL when it is of another kind or done. Wraps uv_cancel.
        """
        self._loop._use()
        if self._done:
            raise uv_error(lib.UV_EINVAL, f"cancel: {self._describe()} is done")
        self._cancel()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._describe()} {'done' if self._done else 'pending'}>"

    # -- for the other modules

    def _describe(self) -> str:
        return str(self._what)

    def _cancel(self) -> None:
        check(lib.uv_cancel(ffi.cast("uv_req_t *", self._uv)), f"cancel: {self._describe()}")

    def _submit(self, function: Callable[..., int], *arguments: Any) -> Request:
        """Hand the request to one of libuv's functions, which takes it first."""
        self._loop._requests.add(self)  # first: Ctrl-C may come between any two steps
        error = function(self._uv, *arguments)
        if error < 0:
            self._release()
            raise uv_error(error, self._describe())
        return self

    def _release(self) -> None:
        self._done = True
        self._loop._requests.discard(self)
        self._core.release()
        self._uv = None

    def _complete(self, status: int) -> None:
        """libuv is done with it. When an exception has cut this off, C calls it once more."""
        self._release()
        self._call_back(None if status == 0 else uv_error(status, self._describe()))

    def _call_back(self, *arguments: Any) -> None:
        """Call what waits for it, if that has not been done."""
        if self._finish:
            call_first(self._finish, *arguments)

    def _give_up(self) -> None:
        """The loop is being closed: cancel what can be cancelled."""

    def _runs(self) -> bool:
        """Tell whether one of libuv's threads is at work on it."""
        return False

    def _after_fork(self) -> None:
        """This is a child process, and Loop.fork() was called."""


@crossing
def uvb_on_request(pointer: Any, status: int) -> None:
    request = ffi.from_handle(pointer)
    repeat(functools.partial(request._complete, status))
