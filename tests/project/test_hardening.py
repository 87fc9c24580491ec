"""The extension as it was built: what makes faults harder to exploit, and what it exports."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest
from elf import Elf, read_elf

import uvbind._uvbind

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="flags of Linux's linkers")


@pytest.fixture(scope="module")
def extension() -> Elf:
    path = uvbind._uvbind.__file__
    assert path is not None
    return read_elf(Path(path))


@pytest.fixture
def plain(extension: Elf) -> Elf:
    """The extension, unless it was built to look for faults."""
    if ".debug_info" in extension.sections and any("san_" in name for name in extension.imported):
        pytest.skip("built for a sanitizer")
    return extension


def test_it_exports_its_init_function_only(extension):
    pypy = sys.implementation.name == "pypy"
    init = "_cffi_pypyinit__uvbind" if pypy else "PyInit__uvbind"
    assert extension.exported == [init]


def test_addresses_of_functions_are_read_only_once_it_is_loaded(extension):
    assert extension.has_relro and extension.binds_now


def test_its_stack_is_not_executable(extension):
    assert not extension.stack_is_executable


def test_it_notices_when_its_stack_was_overwritten(extension):
    assert "__stack_chk_fail" in extension.imported


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the checks are glibc's")
def test_the_c_library_checks_sizes_of_buffers(plain):
    assert any(name.endswith("_chk") for name in plain.imported)


def test_it_carries_no_debug_information(plain):
    """Which would triple its size."""
    assert not [name for name in plain.sections if name.startswith((".debug", ".zdebug"))]
