"""Interfaces when there is no memory for them."""

from __future__ import annotations

from faults import needs_compiled_libuv


@needs_compiled_libuv
def test_interfaces_without_memory_raise(run_failing):
    run_failing("""
uvbind.interface_addresses()
for number in range(1, 1000):
    faults.fail_allocation(number)
    try:
        found = uvbind.interface_addresses()
    except (MemoryError, OSError) as error:
        assert isinstance(error, MemoryError) or error.errno == errno.ENOMEM
    else:
        faults.fail_allocation(0)
        break
assert number > 2 and found == uvbind.interface_addresses()
""")
