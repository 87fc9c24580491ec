"""pyzmq's asyncio sockets, whose descriptors the loop watches."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

pytest.importorskip("zmq")
import zmq
import zmq.asyncio


@contextlib.contextmanager
def sockets(*kinds, where):
    """Sockets of these kinds, the first of which is bound and which the others connect to."""
    with zmq.asyncio.Context() as context, contextlib.ExitStack() as stack:
        made = [stack.enter_context(context.socket(kind)) for kind in kinds]
        for each in made:
            each.linger = 0
        if where == "tcp":
            address = f"tcp://127.0.0.1:{made[0].bind_to_random_port('tcp://127.0.0.1')}"
        else:
            address = where
            made[0].bind(address)
        for each in made[1:]:
            each.connect(address)
        yield made


@pytest.fixture(params=["tcp", "ipc", "inproc"])
def where(request, tmp_path):
    return {"ipc": f"ipc://{tmp_path}/s", "inproc": "inproc://here"}.get(request.param, "tcp")


def test_requests_and_answers(run, where):
    async def main():
        with sockets(zmq.REP, zmq.REQ, where=where) as (server, client):

            async def serve():
                while (message := await server.recv()) != b"":
                    await server.send(message.upper())

            serving = asyncio.create_task(serve())
            for number in range(300):
                await client.send(b"question %d" % number)
                assert await client.recv() == b"QUESTION %d" % number
            await client.send(b"")
            await serving

    run(main)


def test_a_stream_of_messages(run, where):
    count = 5000

    async def main():
        with sockets(zmq.PULL, zmq.PUSH, where=where) as (sink, source):

            async def send():
                for number in range(count):
                    await source.send_multipart([b"%d" % number, bytes(number % 100)])

            sending = asyncio.create_task(send())
            for number in range(count):
                assert await sink.recv_multipart() == [b"%d" % number, bytes(number % 100)]
            await sending

    run(main)


def test_many_clients_of_a_router(run, where):
    async def main():
        with sockets(zmq.ROUTER, *[zmq.DEALER] * 20, where=where) as (router, *dealers):

            async def serve():
                for _ in range(20 * 50):
                    await router.send_multipart(await router.recv_multipart())

            async def ask(dealer, name):
                for number in range(50):
                    await dealer.send_multipart([b"%d" % name, b"%d" % number])
                    assert await dealer.recv_multipart() == [b"%d" % name, b"%d" % number]

            asking = [ask(dealer, name) for name, dealer in enumerate(dealers)]
            await asyncio.gather(serve(), *asking)

    run(main)


def test_a_poller_and_a_wait_that_is_cancelled(run, where):
    async def main():
        with sockets(zmq.PAIR, zmq.PAIR, where=where) as (one, other):
            poller = zmq.asyncio.Poller()
            poller.register(one, zmq.POLLIN)
            assert await poller.poll(1) == []
            waiting = asyncio.ensure_future(one.recv())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await other.send(b"data")
            assert await poller.poll() == [(one, zmq.POLLIN)]
            assert await one.recv() == b"data"

    run(main)
