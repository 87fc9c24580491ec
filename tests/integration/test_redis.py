"""redis-py's asyncio client against a Redis server."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

pytest.importorskip("redis.asyncio")
from redis import asyncio as redis


@contextlib.asynccontextmanager
async def emptied(**options):
    """A client of a server with no keys."""
    async with redis.Redis(**options, single_connection_client=False) as client:
        await client.flushall()
        yield client


@pytest.fixture(params=["tcp", "tls", "unix"])
def ways(request, redis_server, certificate):
    """Each way to connect."""
    tls = {"ssl": True, "ssl_ca_certs": str(certificate.ca_file)}
    return {
        "tcp": {"port": redis_server.port},
        "tls": {"host": "localhost", "port": redis_server.tls_port, **tls},
        "unix": {"unix_socket_path": str(redis_server.socket)},
    }[request.param]


@pytest.fixture
def options(redis_server):
    return {"port": redis_server.port}


def test_commands_and_large_values(run, ways):
    async def main():
        async with emptied(**ways) as client:
            large = bytes(range(256)) * 40_000
            await client.set("large", large)
            assert await client.get("large") == large
            await client.rpush("list", *range(5_000))
            assert await client.lrange("list", 0, -1) == [b"%d" % n for n in range(5_000)]
            counts = await asyncio.gather(*[client.incr("count") for _ in range(8)])
            assert sorted(counts) == list(range(1, 9))
            with pytest.raises(redis.ResponseError):
                await client.incr("large")

    run(main)


def test_pipelines_and_transactions(run, options):
    async def main():
        async with emptied(**options) as client:
            async with client.pipeline(transaction=False) as pipe:
                for number in range(2_000):
                    pipe.set(f"key {number}", number).get(f"key {number}")
                results = await pipe.execute()
            assert results == [each for n in range(2_000) for each in (True, b"%d" % n)]

            async def add_one(pipe):
                value = int(await pipe.get("n"))
                pipe.multi()
                pipe.set("n", value + 1)

            await client.set("n", 0)
            await asyncio.gather(*[client.transaction(add_one, "n") for _ in range(8)])
            assert await client.get("n") == b"8"

    run(main)


def test_published_messages(run, ways):
    async def main():
        async with emptied(**ways) as client, client.pubsub() as pubsub:
            await pubsub.subscribe("news")
            await pubsub.psubscribe("weather.*")
            for _ in range(2):
                assert (await pubsub.get_message(timeout=30))["type"].endswith("subscribe")
            assert await pubsub.get_message(timeout=0.05) is None
            for number in range(500):
                assert await client.publish("news", number) == 1
            await client.publish("weather.today", "rain")
            heard = []
            async for message in pubsub.listen():
                heard.append(message["data"])
                if message["type"] == "pmessage":
                    break
            assert heard == [b"%d" % number for number in range(500)] + [b"rain"]
            await pubsub.unsubscribe("news")

    run(main)


def test_blocking_pops_and_cancelled_ones(run, options):
    async def main():
        async with emptied(**options) as client:

            async def blocked(count):
                while (await client.info("clients"))["blocked_clients"] != count:
                    await asyncio.sleep(0.01)

            pops = [asyncio.create_task(client.blpop(["jobs"], timeout=0)) for _ in range(50)]
            await blocked(50)
            for pop in pops[::2]:
                pop.cancel()
            results = await asyncio.gather(*pops[::2], return_exceptions=True)
            assert {type(result) for result in results} == {asyncio.CancelledError}
            await blocked(25)
            await client.rpush("jobs", *range(25))
            results = await asyncio.gather(*pops[1::2])
            assert {int(job) for _, job in results} == set(range(25))
            assert await client.blpop(["jobs"], timeout=0.1) is None
            # No answer goes to whom it is not for.
            await asyncio.gather(*[client.set(f"key {n}", n) for n in range(40)])
            values = await asyncio.gather(*[client.get(f"key {n}") for n in range(40)])
            assert values == [b"%d" % n for n in range(40)]

    run(main)


def test_a_lock(run, options):
    async def main():
        async with emptied(**options) as client:
            inside = []

            async def enter(number):
                async with client.lock("lock", sleep=0.001):
                    inside.append(number)
                    assert len(inside) == 1
                    await client.ping()
                    inside.pop()

            await asyncio.gather(*map(enter, range(20)))

    run(main)


def test_connections_that_fail(run, options, redis_server, certificate):
    async def main():
        async with redis.Redis(port=1, retry=None) as client:
            with pytest.raises(redis.ConnectionError):
                await client.ping()
        async with redis.Redis(port=redis_server.tls_port, ssl=True, retry=None) as client:
            with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.ping()
        async with redis.Redis(**options, client_name="doomed") as client, emptied(**options) as to:
            await client.ping()
            (doomed,) = [one for one in await to.client_list() if one["name"] == "doomed"]
            await to.client_kill(doomed["addr"])
            assert await client.ping()  # on a new connection

    run(main)
