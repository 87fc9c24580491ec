"""httpx against uvicorn and hypercorn, which serve in the same loop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl

import pytest
from helpers import MEGABYTES
from servers import free_port

pytest.importorskip("httpx")
pytest.importorskip("h2")
pytest.importorskip("uvicorn")
pytest.importorskip("hypercorn")
import httpx
import hypercorn.asyncio
import uvicorn

LARGE = MEGABYTES[:2_000_000]
DIGEST = hashlib.sha256(LARGE).hexdigest()


class Application:
    """An ASGI application. `left` gets one item for each client that hung up on /hang."""

    def __init__(self) -> None:
        self.left: asyncio.Queue[None] = asyncio.Queue()
        self.waiting = 0

    async def __call__(self, scope, receive, send):
        await getattr(self, scope.get("path", scope["type"]).strip("/"))(scope, receive, send)

    async def lifespan(self, scope, receive, send):
        for event in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{event}"
            await send({"type": f"lifespan.{event}.complete"})

    async def hang(self, scope, receive, send):
        self.waiting += 1
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.put_nowait(None)

    async def large(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for at in range(0, len(LARGE), 100_000):
            part = LARGE[at : at + 100_000]
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    async def digest(self, scope, receive, send):
        digest, more = hashlib.sha256(), True
        while more:
            message = await receive()
            digest.update(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": digest.hexdigest().encode()})


@pytest.fixture(params=["uvicorn", "hypercorn", "hypercorn-http2"])
def serving(request, certificate):
    """A context manager: an application that is served, and a client of it."""

    @contextlib.asynccontextmanager
    async def serving():
        application, sock = Application(), socket.create_server(("127.0.0.1", 0))
        http2 = request.param.endswith("http2")
        url = f"{'https' if http2 else 'http'}://127.0.0.1:{sock.getsockname()[1]}"
        if request.param == "uvicorn":
            server = uvicorn.Server(uvicorn.Config(application, log_level="warning"))
            task = asyncio.create_task(server.serve(sockets=[sock]))
        else:
            config, end = hypercorn.Config(), asyncio.Event()
            config.bind, config.accesslog, config.errorlog = [f"fd://{sock.detach()}"], None, None
            if http2:
                config.certfile = str(certificate.cert_file)
                config.keyfile = str(certificate.key_file)
            serve = hypercorn.asyncio.serve(application, config, shutdown_trigger=end.wait)
            task = asyncio.create_task(serve)
        limits = httpx.Limits(max_connections=20)
        trusting = ssl.create_default_context(cafile=certificate.ca_file)  # which httpx changes
        async with httpx.AsyncClient(
            base_url=url, http2=http2, verify=trusting, limits=limits, timeout=30
        ) as client:
            assert (await client.get("/digest")).http_version == f"HTTP/{'2' if http2 else '1.1'}"
            yield application, client
        if request.param == "uvicorn":
            server.should_exit = True
        else:
            end.set()
        await task

    return serving


async def in_parts():
    for start in range(0, len(LARGE), 100_000):
        yield LARGE[start : start + 100_000]


def test_large_bodies(run, serving):
    async def main():
        async with serving() as (_, client):
            assert (await client.post("/digest", content=LARGE)).text == DIGEST
            assert (await client.post("/digest", content=in_parts())).text == DIGEST
            assert (await client.get("/large")).content == LARGE
            digest = hashlib.sha256()
            async with client.stream("GET", "/large") as response:
                async for part in response.aiter_bytes():
                    digest.update(part)
            assert digest.hexdigest() == DIGEST

    run(main)


def test_many_requests_at_once(run, serving):
    async def main():
        async with serving() as (_, client):
            bodies = [str(number).encode() * 100 for number in range(100)]
            answers = await asyncio.gather(
                *[client.post("/digest", content=body) for body in bodies]
            )
            expected = [hashlib.sha256(body).hexdigest() for body in bodies]
            assert [answer.text for answer in answers] == expected

    run(main)


def test_timeouts_and_cancelled_requests(run, serving):
    async def main():
        async with serving() as (application, client):
            requests = [asyncio.create_task(client.get("/hang")) for _ in range(20)]
            while application.waiting < 20:
                await asyncio.sleep(0.01)
            for request in requests:
                request.cancel()
            results = await asyncio.gather(*requests, return_exceptions=True)
            assert {type(result) for result in results} == {asyncio.CancelledError}
            with pytest.raises(httpx.ReadTimeout):
                await client.get("/hang", timeout=httpx.Timeout(30, read=0.05))
            if (await client.get("/digest")).http_version == "HTTP/2":
                return  # where httpx leaves a stream without a word
            for _ in requests:
                await application.left.get()
            async with client.stream("GET", "/large") as response:
                async for _ in response.aiter_bytes():
                    break  # and have no more of it
            assert (await client.get("/digest")).status_code == 200

    run(main)


def test_servers_that_are_not_there(run):
    async def main():
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(f"http://127.0.0.1:{free_port()}/")
            with pytest.raises(httpx.ConnectError):
                await client.get("http://no-such-host.invalid/")

    run(main)


def test_an_untrusted_server(run, certificate):
    async def main():
        server = await asyncio.start_server(print, "127.0.0.1", 0, ssl=certificate.server)
        url = "https://{}:{}/".format(*server.sockets[0].getsockname())
        async with server, httpx.AsyncClient() as client:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get(url)

    run(main)
