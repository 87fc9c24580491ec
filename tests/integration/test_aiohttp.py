"""aiohttp, client and server on one loop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io

import pytest
from helpers import MEGABYTES

pytest.importorskip("aiohttp")
import aiohttp
from aiohttp import web

DIGEST = hashlib.sha256(MEGABYTES).hexdigest()


@contextlib.asynccontextmanager
async def serving(*routes, ssl=None, path=None, **options):
    """The URL of a server with these routes, or its runner, if it listens at a path."""
    application = web.Application(client_max_size=0)
    application.add_routes(routes)
    runner = web.AppRunner(application, **options)
    await runner.setup()
    if path:
        await web.UnixSite(runner, path).start()
        yield "http://localhost"
    else:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl).start()
        yield f"{'https' if ssl else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def who(request):
    """Tells where the request came from, so which connection was used."""
    return web.json_response([request.transport.get_extra_info("peername")[1], request.method])


async def digest(request):
    found = hashlib.sha256()
    async for part in request.content.iter_any():
        found.update(part)
    return web.Response(text=found.hexdigest())


async def echo(request):
    """Answers while the request comes."""
    response = web.StreamResponse()
    await response.prepare(request)
    async for part in request.content.iter_any():
        await response.write(part)
    return response


async def in_parts():
    for start in range(0, len(MEGABYTES), 100_000):
        yield MEGABYTES[start : start + 100_000]


def test_connections_are_kept_and_shared(run):
    async def main():
        async with serving(web.get("/", who)) as url, aiohttp.ClientSession() as session:

            async def port():
                async with session.get(url) as response:
                    return (await response.json())[0]

            assert len({await port() for _ in range(50)}) == 1
            ports = await asyncio.gather(*[port() for _ in range(300)])
            assert 1 < len(set(ports)) <= 100  # the pool's limit
            async with session.get(url, headers={"Connection": "close"}) as response:
                closed = (await response.json())[0]
            assert closed not in [await port() for _ in range(3)]

    run(main)


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_large_bodies_up_and_down(run, certificate, secure):
    async def main():
        routes = [web.post("/digest", digest), web.post("/echo", echo)]
        async with (
            serving(*routes, ssl=certificate.server if secure else None) as url,
            aiohttp.ClientSession() as session,
        ):

            async def text(**options):
                async with session.post(url + "/digest", **options, ssl=context) as response:
                    return await response.text()

            context = certificate.client if secure else True
            assert await text(data=io.BytesIO(MEGABYTES)) == DIGEST
            assert await text(data=in_parts()) == DIGEST
            assert await text(data=in_parts(), compress="deflate") == DIGEST
            request = session.post(url + "/echo", data=in_parts(), ssl=context)
            async with request as response:
                assert await response.read() == MEGABYTES

    run(main)


def test_an_untrusted_server(run, certificate):
    async def main():
        async with (
            serving(web.get("/", who), ssl=certificate.server) as url,
            aiohttp.ClientSession() as session,
        ):
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.get(url)
            async with session.get(url, ssl=certificate.client) as response:
                assert response.status == 200

    run(main)


def test_files_and_parts_of_them(run, tmp_path):
    (tmp_path / "file").write_bytes(MEGABYTES)

    async def main():
        async with (
            serving(web.static("/", tmp_path)) as url,
            aiohttp.ClientSession() as session,
        ):
            async with session.get(url + "/file") as response:
                assert await response.read() == MEGABYTES
            part = {"Range": "bytes=1000-5999999"}
            async with session.get(url + "/file", headers=part) as response:
                assert (response.status, await response.read()) == (206, MEGABYTES[1000:6_000_000])

    run(main)


def test_websocket(run, certificate):
    async def handler(request):
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        async for message in socket:
            if message.data == "leave":
                await socket.close(code=4321, message=b"as you wish")
            elif message.type == aiohttp.WSMsgType.TEXT:
                await socket.send_str(message.data)
            else:
                await socket.send_bytes(message.data)
        return socket

    async def main():
        async with (
            serving(web.get("/", handler), ssl=certificate.server) as url,
            aiohttp.ClientSession() as session,
            session.ws_connect(url, ssl=certificate.client, max_msg_size=0, compress=15) as socket,
        ):
            for number in range(200):
                await socket.send_str(str(number))
            assert [await socket.receive_str() for _ in range(200)] == list(map(str, range(200)))
            await socket.send_bytes(MEGABYTES)
            assert await socket.receive_bytes() == MEGABYTES
            await socket.ping()
            await socket.send_str("leave")
            assert (await socket.receive()).type == aiohttp.WSMsgType.CLOSE
            assert socket.close_code == 4321

    run(main)


def test_timeouts_and_cancelled_requests(run):
    entered, ended = asyncio.Queue(), asyncio.Queue()

    async def hang(request):
        entered.put_nowait(request.query_string)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.put_nowait(request.query_string)

    async def main():
        routes = [web.get("/hang", hang), web.get("/", who)]
        async with (
            serving(*routes, handler_cancellation=True) as url,
            aiohttp.ClientSession() as session,
        ):
            numbers = set(map(str, range(50)))
            urls = [f"{url}/hang?{number}" for number in numbers]
            requests = [asyncio.create_task(session.get(url)) for url in urls]
            assert {await entered.get() for _ in requests} == numbers
            for request in requests:
                request.cancel()
            results = await asyncio.gather(*requests, return_exceptions=True)
            assert {type(result) for result in results} == {asyncio.CancelledError}
            assert {await ended.get() for _ in requests} == numbers
            with pytest.raises(asyncio.TimeoutError):
                await session.get(url + "/hang", timeout=aiohttp.ClientTimeout(total=0.1))
            async with session.get(url) as response:  # on a connection of its own
                assert response.status == 200

    run(main)


def test_names_and_refused_connections(run):
    async def main():
        async with serving(web.get("/", who)) as url, aiohttp.ClientSession() as session:
            async with session.get(url.replace("127.0.0.1", "localhost")) as response:
                assert response.status == 200
            with pytest.raises(aiohttp.ClientConnectorDNSError):
                await session.get("http://no-such-host.invalid/")
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectorError) as info:
                await session.get(url)
            assert isinstance(info.value.os_error, ConnectionRefusedError)

    run(main)


def test_a_unix_socket(run, tmp_path):
    path = str(tmp_path / "s")

    async def main():
        async with (
            serving(web.post("/", digest), path=path) as url,
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session,
            session.post(url, data=in_parts()) as response,
        ):
            assert await response.text() == DIGEST

    run(main)


def test_a_server_that_ends_lets_requests_finish(run):
    async def main():
        entered, leave = asyncio.Event(), asyncio.Event()

        async def wait(request):
            entered.set()
            await leave.wait()
            return web.Response(text="finished")

        async with aiohttp.ClientSession() as session:
            async with serving(web.get("/", wait)) as url:
                request = asyncio.create_task(session.get(url))
                await entered.wait()
                asyncio.get_running_loop().call_later(0.05, leave.set)
            async with await request as response:
                assert await response.text() == "finished"

    run(main)
