"""Datagram endpoints: what protocols see of them, on asyncio's loop and on ours."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import os
import socket
import sys

import pytest
from endpoints import HOSTS, Echo, Recorder, close, endpoint

PYPY = sys.implementation.name == "pypy"
needs_pauses = pytest.mark.skipif(
    asyncio.selector_events._SelectorDatagramTransport.pause_reading
    is asyncio.ReadTransport.pause_reading,
    reason="this Python's datagram transports do not pause",  # 3.11.2's
)


@pytest.mark.parametrize("host", HOSTS)
def test_questions_and_answers(run, host):
    async def main():
        server, asked, address = await endpoint(Echo, local_addr=(host, 0))
        client, answers, ours = await endpoint(local_addr=(host, 0))
        data = [b"%d" % number for number in range(100)]
        for each in data:
            client.sendto(each, address)
        await answers.got(100)
        assert asked.received == [(each, ours) for each in data]
        assert answers.received == [(each, address) for each in data]
        assert not answers.errors and not asked.errors
        await close(server, client)

    run(main)


@pytest.mark.parametrize("host", HOSTS)
def test_a_connected_endpoint(run, host):
    async def main():
        server, _, address = await endpoint(Echo, local_addr=(host, 0))
        other, _, _ = await endpoint(local_addr=(host, 0))
        client, answers, ours = await endpoint(remote_addr=address[:2])
        assert client.get_extra_info("peername") == address
        assert server.get_extra_info("peername") is None
        other.sendto(b"from a stranger", ours)
        client.sendto(b"one")
        client.sendto(b"two", address)
        client.sendto(b"three", None)
        with pytest.raises(ValueError, match="Invalid address: must be None or"):
            client.sendto(b"x", other.get_extra_info("sockname"))
        await answers.got(3)
        assert answers.received == [(each, address) for each in (b"one", b"two", b"three")]
        await close(server, other, client)

    run(main)


def test_a_socket_of_ones_own(run):
    async def main():
        server, _, address = await endpoint(Echo)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect(address)
        client, answers, ours = await endpoint(sock=sock)
        seen = client.get_extra_info("socket")
        assert seen.fileno() == sock.fileno() and seen.getsockname() == ours
        assert client.get_extra_info("peername") == address
        assert client.get_extra_info("nothing", 7) == 7
        client.sendto(b"no address")
        client.sendto(b"one that is not looked at", ("127.0.0.2", 9))
        await answers.got(2)
        await close(server, client)
        assert sock.fileno() == seen.fileno() == -1

    run(main)


def test_empty_datagrams(run):
    async def main():
        transport, protocol, address = await endpoint()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for data in (b"", b"x", b""):
                sock.sendto(data, address)
        assert await protocol.got(3) == [b"", b"x", b""]
        for empty in (b"", bytearray(), memoryview(b"")):
            transport.sendto(empty, address)
        transport.sendto(b"end", address)
        sent = 3 if sys.version_info >= (3, 13) else 0
        assert (await protocol.got(4 + sent))[3:] == [b""] * sent + [b"end"]
        await close(transport)

    run(main)


@pytest.mark.parametrize("host, size", [("127.0.0.1", 65507), ("::1", 65527)])
def test_the_largest_datagrams(run, host, size):
    async def main():
        transport, protocol, address = await endpoint(Echo, local_addr=(host, 0))
        client, answers, _ = await endpoint(remote_addr=address[:2])
        data = os.urandom(size)
        client.sendto(data)
        assert await answers.got(1) == [data]
        client.sendto(bytes(size + 1))
        transport.sendto(bytearray(70_000), address)
        assert [error.errno for error in answers.errors + protocol.errors] == [errno.EMSGSIZE] * 2
        await close(transport, client)

    run(main)


def test_what_can_be_sent(run):
    async def main():
        transport, protocol, address = await endpoint()
        data = memoryview(b"abc")[1:]
        for each in (b"bytes", bytearray(b"bytearray"), data):
            transport.sendto(each, address)
        assert await protocol.got(3) == [b"bytes", b"bytearray", b"bc"]
        for wrong in ("text", None, 7, [b"x"]):
            with pytest.raises(TypeError, match="data argument must be a bytes-like object"):
                transport.sendto(wrong, address)
        await close(transport)

    run(main)


def test_nobody_there(run):
    async def main():
        other, _, address = await endpoint()
        client, protocol, _ = await endpoint(remote_addr=address)
        await close(other)
        client.sendto(b"to nobody")
        await protocol.until(lambda protocol: protocol.errors)
        client.sendto(b"again")
        # The answer is there, and the next to use the socket gets it: that one is not sent.
        client.sendto(b"not sent")
        errors = protocol.errors
        assert [type(error) for error in errors] == [ConnectionRefusedError] * 2
        refused = os.strerror(errno.ECONNREFUSED)
        assert [error.args for error in errors] == [(errno.ECONNREFUSED, refused)] * 2
        again, received, _ = await endpoint(local_addr=address)
        client.sendto(b"somebody")
        assert await received.got(1) == [b"somebody"]
        await close(client, again)

    run(main)


def test_a_protocol_that_raises_goes_on(new_loop):
    contexts = []

    class Raises(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if data == b"1":
                raise ZeroDivisionError

        def error_received(self, exc):
            super().error_received(exc)
            raise LookupError

    async def main():
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: contexts.append(context)
        )
        transport, protocol, address = await endpoint(Raises)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in range(5):
                sock.sendto(b"%d" % number, address)
        assert await protocol.got(5) == [b"0", b"1", b"2", b"3", b"4"]
        await close(transport)

        other, _, address = await endpoint()
        client, protocol, _ = await endpoint(Raises, remote_addr=address)
        await close(other)
        client.sendto(b"to nobody")
        await protocol.until(lambda protocol: protocol.errors)
        client.sendto(b"again")
        with pytest.raises(LookupError):
            client.sendto(b"not sent")
        await close(client)

    loop = new_loop()
    loop.run_until_complete(main())
    loop.close()
    assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError, LookupError]
    assert all(context["message"].startswith("Exception in callback") for context in contexts)


@pytest.mark.parametrize("verb", ["close", "abort"])
def test_nothing_is_received_after_closing(run, verb):
    class Closes(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            getattr(self.transport, verb)()

    async def main():
        transport, protocol, address = await endpoint(Closes)
        fd = transport.get_extra_info("socket").fileno()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in range(5):
                sock.sendto(b"%d" % number, address)
        assert await protocol.lost is None
        await asyncio.sleep(0)
        assert protocol.received == [(b"0", sock_address(protocol))]
        assert protocol.calls == ["made", "lost"]
        with pytest.raises(OSError):
            os.fstat(fd)
        again, _, same = await endpoint(local_addr=address)
        assert same == address
        await close(again)

    def sock_address(protocol):
        return protocol.received[0][1]

    run(main)


@needs_pauses
def test_reading_can_pause(run):
    class Pauses(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if data == b"1":
                self.transport.pause_reading()
            elif data == b"3":  # twice in a turn
                self.transport.pause_reading()
                self.transport.resume_reading()

    async def main():
        transport, protocol, address = await endpoint(Pauses)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in range(5):
                sock.sendto(b"%d" % number, address)
            await protocol.got(2)
            assert not transport.is_reading()
            for number in range(5, 8):
                sock.sendto(b"%d" % number, address)
            await asyncio.sleep(0.01)
            assert len(protocol.received) == 2
            transport.resume_reading()
            transport.pause_reading()
            transport.resume_reading()
            assert await protocol.got(8) == [b"%d" % number for number in range(8)]
            transport.pause_reading()
        await close(transport)

    run(main)


@needs_pauses
def test_reading_can_pause_at_once(run):
    class Hesitates(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            for _ in range(2):
                transport.pause_reading()
                transport.resume_reading()

    async def main():
        transport, protocol, address = await endpoint(Hesitates)
        transport.sendto(b"x", address)
        assert await protocol.got(1) == [b"x"]
        await close(transport)

    run(main)


def test_what_ends_the_loop_loses_no_datagram(new_loop):
    class Ends(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if data == b"1":
                raise KeyboardInterrupt

    loop = new_loop()
    transport, protocol, address = loop.run_until_complete(endpoint(Ends))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(5):
            sock.sendto(b"%d" % number, address)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert len(protocol.received) == 2
    loop.run_until_complete(protocol.got(5))
    assert [data for data, _ in protocol.received] == [b"0", b"1", b"2", b"3", b"4"]
    loop.run_until_complete(close(transport))
    loop.close()


def test_the_protocol_can_be_changed(run):
    async def main():
        transport, first, address = await endpoint()

        class Hands(Recorder):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                transport.set_protocol(first)

        second = Hands()
        second.transport = transport
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in range(5):
                sock.sendto(b"%d" % number, address)
        assert await first.got(4) == [b"1", b"2", b"3", b"4"]
        assert await second.got(1) == [b"0"]
        replaced = []
        first.datagram_received = lambda data, addr: replaced.append(data) or first._news.set()
        transport.sendto(b"x", address)
        await first.until(lambda protocol: replaced)
        assert replaced == [b"x"]
        await close(transport)

    run(main)


def test_the_context_of_a_protocol(run):
    variable = contextvars.ContextVar("variable", default="none")
    seen = []

    class Looks(Recorder):
        def datagram_received(self, data, addr):
            seen.append(variable.get())
            variable.set("set by the protocol")
            super().datagram_received(data, addr)

    async def main():
        variable.set("ours")
        transport, protocol, address = await endpoint(Looks)
        variable.set("later")
        for count in (1, 2):
            transport.sendto(b"x", address)
            await protocol.got(count)
        assert variable.get() == "later"
        await close(transport)

    run(main)
    assert seen == ["ours", "set by the protocol"]


def test_sending_after_the_end(run, caplog):
    async def main():
        transport, _, address = await endpoint()
        client, _, _ = await endpoint(remote_addr=address)
        client.close()
        for _ in range(10):
            client.sendto(b"x")
        client.close()
        client.abort()
        await client.get_protocol().lost
        transport.close()
        transport.sendto(b"x", address)  # the socket is open, and takes it
        await transport.get_protocol().lost

    run(main)
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert {record.message for record in warnings} == {"socket.send() raised exception."}


def test_an_endpoint_left_open_keeps_its_socket_when_the_loop_closes(new_loop):
    if PYPY:
        pytest.skip("PyPy collects when it likes")
    loop = new_loop()
    transport, _, address = loop.run_until_complete(endpoint())
    fd = transport.get_extra_info("socket").fileno()
    loop.close()
    os.fstat(fd)
    transport.sendto(b"to nobody", address)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        transport.close()
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        transport.__del__()
    with pytest.raises(OSError):
        os.fstat(fd)
    transport._sock = None
