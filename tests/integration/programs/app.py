"""An ASGI application that tells which loop it runs on."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

served = 0


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await {"lifespan": lifespan, "http": http, "websocket": websocket}[scope["type"]](
        scope, receive, send
    )


def running_on() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


async def lifespan(scope: dict[str, Any], receive: Any, send: Any) -> None:
    for event in ("startup", "shutdown"):
        assert (await receive())["type"] == f"lifespan.{event}"
        print(f"{event} of {os.getpid()} on {running_on()}", file=sys.stderr, flush=True)
        await send({"type": f"lifespan.{event}.complete"})


async def http(scope: dict[str, Any], receive: Any, send: Any) -> None:
    global served
    start = {"type": "http.response.start", "status": 200, "headers": []}
    if scope["path"] == "/echo":  # as it comes
        await send(start)
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            part = {"body": message["body"], "more_body": message["more_body"]}
            await send({"type": "http.response.body", **part})
            if not message["more_body"]:
                return
    if scope["path"] == "/hello":
        served += 1
        body = b"Hello, world!"
    else:
        body = {"/loop": running_on(), "/served": str(served), "/pid": str(os.getpid())}[
            scope["path"]
        ].encode()
    await send({**start, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


async def websocket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": running_on()})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send({**message, "type": "websocket.send"})
