"""Requests: operations under way. Facts from libuv's manual, page "uv_req_t"."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from uvbind._callbacks import crossing
from uvbind._errors import UVError, check, uv_error
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
        what: str,
        finish: Callable[[UVError | None], object],
        keep: object = None,
    ) -> None:
        """`finish(error)` is called when it is done; `keep` is what must not go away till then."""
        self._loop = loop
        self._what = what
        self._finish = finish
        self._keep = keep
        self._pin = ffi.new_handle(self)
        self._c = lib.uvb_request_new(self._pin)
        if self._c == ffi.NULL:
            raise MemoryError
        self._uv = ffi.cast(ctype, lib.uvb_request_uv(self._c))

    def cancel(self) -> None:
        """Give the operation up if it has not begun; its callback then gets ECANCELED.

        Raises UVError: EBUSY when it has begun, EINVAL when it is of a kind that cannot be
        cancelled (connect, write, shutdown: close the handle instead) or is done. Wraps
        uv_cancel.
        """
        self._loop._use()
        if self._done:
            raise uv_error(lib.UV_EINVAL, f"cancel: this {self._what} is done")
        check(lib.uv_cancel(ffi.cast("uv_req_t *", self._uv)), f"cancel: {self._what}")

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._what} {'done' if self._done else 'pending'}>"

    # -- for the other modules

    def _submit(self, function: Callable[..., int], *arguments: Any) -> Request:
        """Hand the request to one of libuv's functions, which takes it first."""
        self._loop._requests.add(self)  # first: Ctrl-C may come between any two steps
        error = function(self._uv, *arguments)
        if error < 0:
            self._release()
            raise uv_error(error, self._what)
        return self

    def _release(self) -> None:
        self._done = True
        self._loop._requests.discard(self)
        lib.uvb_request_free(self._c)
        self._c = self._uv = self._keep = None

    def _complete(self, status: int) -> None:
        try:
            self._release()
        finally:
            self._finish(None if status == 0 else uv_error(status, self._what))


@crossing
def uvb_on_request(pointer: Any, status: int) -> None:
    ffi.from_handle(pointer)._complete(status)
