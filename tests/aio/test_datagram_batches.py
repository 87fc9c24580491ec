"""Datagram endpoints: what only our loop has, whole batches both ways."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys

import pytest
from endpoints import HOSTS, Recorder, close, endpoint

import uvbind


class Batches(Recorder):
    """Gets all that was received at once."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def datagram_received(self, data, addr):
        raise AssertionError

    def datagrams_received(self, datagrams):
        self.batches.append(datagrams)
        self.received += datagrams
        self._news.set()


class EchoesBatches(Batches):
    def datagrams_received(self, datagrams):
        super().datagrams_received(datagrams)
        self.transport.sendto_many(datagrams)


ONLY_OURS = pytest.mark.parametrize("new_loop", [uvbind.new_event_loop], ids=["uvbind"])


@ONLY_OURS
@pytest.mark.parametrize("host", HOSTS)
def test_batches(run, host):
    async def main():
        server, asked, address = await endpoint(EchoesBatches, local_addr=(host, 0))
        client, answers, ours = await endpoint(remote_addr=address[:2])
        data = [b"%d" % number for number in range(100)]
        client.sendto_many([(each, None) for each in data[:50]])
        client.sendto_many((each, address) for each in data[50:])
        assert await answers.got(100) == data
        assert asked.received == [(each, ours) for each in data]
        assert answers.received == [(each, address) for each in data]
        assert 5 <= len(asked.batches) < 100
        with pytest.raises(ValueError, match="Invalid address: must be None or"):
            client.sendto_many([(b"x", None), (b"x", ours)])
        server.sendto_many([])
        await close(server, client)

    run(main)


@ONLY_OURS
def test_a_batch_of_all_kinds(run):
    async def main():
        transport, protocol, address = await endpoint(Batches)
        name = "localhost", address[1]
        datagrams = [
            (b"1", address),
            (b"", address),
            (bytearray(b"2"), address),
            (memoryview(b"3"), address),
            (b"4", name),
            (b"5", address),
        ]
        transport.sendto_many(datagrams)
        expected = [bytes(data) for data, _ in datagrams]
        if sys.version_info < (3, 13):
            expected.remove(b"")  # as sendto() does there
        assert await protocol.got(len(expected)) == expected
        with pytest.raises(TypeError, match="data argument must be a bytes-like object"):
            transport.sendto_many([(b"6", address), ("text", address)])
        assert (await protocol.got(len(expected) + 1))[-1] == b"6"
        await close(transport)

    run(main)


@ONLY_OURS
def test_a_batch_to_nobody(run):
    async def main():
        transport, _, address = await endpoint()
        client, protocol, _ = await endpoint(remote_addr=address)
        await close(transport)
        client.sendto(b"to nobody")
        await protocol.until(lambda protocol: protocol.errors)
        client.sendto(b"again")
        client.sendto_many([(b"not sent", None)])
        assert [type(error) for error in protocol.errors] == [ConnectionRefusedError] * 2
        transport, received, _ = await endpoint(Batches, local_addr=address)
        client.sendto_many(
            [(bytes(70_000), None), (b"1", None), (bytes(70_000), None), (b"2", None)]
        )
        assert await received.got(2) == [b"1", b"2"]
        assert [error.errno for error in protocol.errors[2:]] == [errno.EMSGSIZE] * 2
        client.close()
        client.sendto_many([(b"x", None)])
        await protocol.lost
        await close(transport)

    run(main)


@ONLY_OURS
def test_batches_that_are_refused(new_loop):
    contexts = []

    class Raises(Batches):
        def datagrams_received(self, datagrams):
            super().datagrams_received(datagrams)
            raise {b"1": ZeroDivisionError, b"2": KeyboardInterrupt}[datagrams[0][0]]

    loop = new_loop()
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    transport, protocol, address = loop.run_until_complete(endpoint(Raises))
    transport.sendto_many([(b"1", address), (b"and more", address)])
    loop.run_until_complete(protocol.got(2))
    assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError]
    transport.sendto_many([(b"2", address)])
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    loop.run_until_complete(close(transport))
    loop.close()


@ONLY_OURS
def test_batches_begin_with_a_new_protocol(run):
    class Hands(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            self.transport.set_protocol(self.next)

    async def main():
        transport, first, address = await endpoint(Hands)
        first.next = Batches()
        transport.sendto_many([(b"%d" % number, address) for number in range(5)])
        assert await first.next.got(4) == [b"1", b"2", b"3", b"4"]
        assert await first.got(1) == [b"0"]
        await close(transport)

    run(main)


@ONLY_OURS
def test_a_socket_has_one_endpoint(run):
    async def main():
        transport, _, _ = await endpoint()
        sock = transport.get_extra_info("socket")
        with pytest.raises(RuntimeError, match="is used by transport"):
            await endpoint(sock=transport._sock)
        with pytest.raises(RuntimeError, match="is used by transport"):
            asyncio.get_running_loop().add_reader(sock.fileno(), print)
        with socket.socket(fileno=os.dup(sock.fileno())) as other:
            second, _, _ = await endpoint(sock=other)
            await close(second)
        await close(transport)

    run(main)
