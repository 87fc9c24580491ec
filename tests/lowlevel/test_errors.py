"""Errors: libuv's codes, Python's classes."""

from __future__ import annotations

import errno
import pickle
import socket

import pytest
from helpers import run_python

import uvbind
from uvbind._errors import check, uv_error


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("ECONNREFUSED", ConnectionRefusedError),
        ("ECONNRESET", ConnectionResetError),
        ("ECONNABORTED", ConnectionAbortedError),
        ("EPIPE", BrokenPipeError),
        ("EAGAIN", BlockingIOError),
        ("ETIMEDOUT", TimeoutError),
        ("EACCES", PermissionError),
        ("EPERM", PermissionError),
        ("ENOENT", FileNotFoundError),
        ("EEXIST", FileExistsError),
        ("EINTR", InterruptedError),
        ("EADDRINUSE", OSError),
    ],
)
def test_an_error_is_of_pythons_class_too(name, base):
    number = getattr(errno, name)
    code = uvbind.translate_sys_error(number)
    error = uv_error(code, "what failed")
    assert isinstance(error, base) and isinstance(error, uvbind.UVError)
    assert (error.errno, error.code, error.name) == (number, code, name)
    assert error.strerror == f"what failed: {uvbind.strerror(code)}"
    assert uvbind.err_name(code) == name


def test_lookup_errors_are_gaierrors():
    error = uv_error(-3008, "getaddrinfo")  # UV_EAI_NONAME on every platform
    assert isinstance(error, socket.gaierror)
    assert error.errno == socket.EAI_NONAME and error.name == "EAI_NONAME"


def test_codes_that_no_platform_has_keep_libuvs_number():
    eof = uv_error(-4095, "read")
    assert isinstance(eof, EOFError) and eof.errno == eof.code == -4095 and eof.name == "EOF"
    unknown = uv_error(-12345, "anything")
    assert unknown.errno == -12345 and "Unknown system error" in str(unknown)


@pytest.mark.parametrize("code", [-111, -4095, -3008, -98])
def test_errors_survive_pickling(code):
    error = uv_error(code, "read")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and str(copy) == str(error)
    assert (copy.code, copy.name) == (error.code, error.name)


def test_check_raises_negative_codes_only():
    assert check(0, "x") == 0 and check(17, "x") == 17
    with pytest.raises(ConnectionRefusedError):
        check(uvbind.translate_sys_error(errno.ECONNREFUSED), "x")


def test_codes_that_libuv_does_not_know_leave_no_memory_behind():
    grown = run_python(
        """
import resource, uvbind

def describe(count):
    for code in range(-count, 0):
        uvbind.strerror(code - 10_000), uvbind.err_name(code - 10_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

print(-describe(20_000) + describe(100_000))
"""
    )
    assert int(grown) < 4_000  # KiB
