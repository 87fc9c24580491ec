"""`loop.uv`, the low-level loop below: its handles in an asyncio program."""

from __future__ import annotations

import asyncio

import pytest

import uvbind
from uvbind import RunMode


def test_low_level_handles_live_in_an_asyncio_program():
    async def main():
        loop = asyncio.get_running_loop()
        batch = loop.create_future()
        receiver, sender = uvbind.UDP(loop.uv, recvmmsg=True), uvbind.UDP(loop.uv)
        receiver.bind(("127.0.0.1", 0))
        receiver.recv_batch_start(lambda udp, datagrams, error: batch.set_result(datagrams))
        sender.try_send_batch([(b"one", receiver.getsockname()), (b"two", receiver.getsockname())])
        return [data for data, *_ in await batch]  # leaving the loop closes them

    assert uvbind.run(main()) == [b"one", b"two"]


def test_what_a_low_level_callback_raises_the_exception_handler_gets():
    async def main():
        loop = asyncio.get_running_loop()
        raised, both = [], loop.create_future()

        def handler(loop, context):
            assert context["message"] == "Exception in a callback of loop.uv"
            raised.append(type(context["exception"]))
            if len(raised) == 2:
                both.set_result(None)

        def cancelled(timer):
            raise asyncio.CancelledError

        loop.set_exception_handler(handler)
        uvbind.Timer(loop.uv).start(lambda timer: 1 / 0, 1)
        uvbind.Timer(loop.uv).start(cancelled, 1)
        await both
        await asyncio.sleep(0.001)  # the loop goes on
        uvbind.Timer(loop.uv).close(lambda timer: 1 / 0)  # which the loop's end calls
        return raised

    assert uvbind.run(main()) == [ZeroDivisionError, asyncio.CancelledError, ZeroDivisionError]


@pytest.mark.parametrize("where", ["callback", "handler"])
def test_a_system_exit_of_a_low_level_callback_comes_out_of_run(where):
    def leave(*arguments):
        raise SystemExit(where)

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(leave)
        uvbind.Timer(loop.uv).start(leave if where == "callback" else lambda timer: 1 / 0, 1)
        await asyncio.sleep(30)

    with pytest.raises(SystemExit, match=where):
        uvbind.run(main())


def test_what_a_turn_itself_raises_comes_out_of_run(new_loop):
    def broken():
        raise ZeroDivisionError

    loop = new_loop()
    try:
        handle = loop.call_later(0, print)
        loop.time = broken
        with pytest.raises(ZeroDivisionError):
            loop.run_forever()
        del loop.time
        handle.cancel()
        loop.run_until_complete(asyncio.sleep(0.001))
    finally:
        loop.close()


def test_a_program_may_stop_the_low_level_loop(run):
    async def main():
        loop = asyncio.get_running_loop()
        if hasattr(loop, "uv"):
            loop.uv.stop()
            with pytest.raises(RuntimeError, match="running"):
                loop.uv.run(RunMode.NOWAIT)
        await asyncio.sleep(0.001)

    run(main)
