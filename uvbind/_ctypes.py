"""The C types that the other modules ask cffi for by name: each is parsed here, when uvbind is
imported.

PyPy's cffi parses into memory that all threads share, and lets go of the GIL meanwhile: two threads
that ask for a type at the same time, each for the first time, may get one another's.
"""

from __future__ import annotations

from uvbind._uvbind import ffi, lib

# An array of these turns into the pointer that libuv's functions take, without a cast.
SOCKADDR = f"struct sockaddr[{lib.UVB_SOCKADDR_SIZE // ffi.sizeof('struct sockaddr')}]"
NAMES = (
    "char[]",
    "int *",
    "size_t *",
    "struct addrinfo **",
    "struct sockaddr *[]",
    "uintptr_t",
    "unsigned char[]",
    "unsigned int *",
    "uv_async_t *",
    "uv_buf_t[1]",
    "uv_buf_t[]",
    "uv_check_t *",
    "uv_connect_t *",
    "uv_getaddrinfo_t *",
    "uv_getnameinfo_t *",
    "uv_handle_t *",
    "uv_idle_t *",
    "uv_metrics_t *",
    "uv_os_fd_t *",
    "uv_os_fd_t[2]",
    "uv_os_sock_t[2]",
    "uv_pipe_t *",
    "uv_poll_t *",
    "uv_prepare_t *",
    "uv_req_t *",
    "uv_shutdown_t *",
    "uv_signal_t *",
    "uv_stream_t *",
    "uv_tcp_t *",
    "uv_timer_t *",
    "uv_udp_send_t *",
    "uv_udp_t *",
    "uv_write_t *",
    "uvb_found[]",
    "uvb_metrics *",
    "void *",
)
for name in (SOCKADDR, *NAMES):
    ffi.typeof(name)
