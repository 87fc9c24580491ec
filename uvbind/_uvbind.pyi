# The compiled extension module, made by build_ffi.py from src/_uvbind/. Its functions are
# libuv's and those of cdef/shim.h; cffi checks their arguments when they are called.
from typing import Any

ffi: Any
lib: Any
