"""asyncpg against a PostgreSQL server."""

from __future__ import annotations

import asyncio
import io

import pytest

pytest.importorskip("asyncpg")
import asyncpg

ROWS = [(number, f"row {number}", bytes(number % 7)) for number in range(50_000)]


@pytest.fixture
def options(postgres):
    return {
        "host": "127.0.0.1",
        "port": postgres.port,
        "user": postgres.user,
        "password": postgres.password,
        "database": "postgres",
    }


@pytest.fixture(params=["tcp", "tls", "unix"])
def ways(request, options, postgres, certificate):
    """Each way to connect."""
    if request.param == "unix":
        return {**options, "host": str(postgres.folder)}
    return {**options, "ssl": certificate.client if request.param == "tls" else False}


def test_queries(run, ways, postgres):
    async def main():
        connection = await asyncpg.connect(**ways)
        over_tls = await connection.fetchval(
            "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        )
        assert over_tls == bool(ways.get("ssl"))
        assert await connection.fetchval("SELECT $1::text || $2", "a", "b") == "ab"
        numbers = await connection.fetch("SELECT generate_series(1, 100000)")
        assert [number for (number,) in numbers] == list(range(1, 100_001))
        large = bytes(range(256)) * 20_000
        assert await connection.fetchval("SELECT $1::bytea", large) == large
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.fetchval("SELECT 1 / 0")
        assert await connection.fetchval("SELECT 7") == 7
        await connection.close()

    run(main)


def test_transactions(run, options):
    async def main():
        connection = await asyncpg.connect(**options)
        await connection.execute("CREATE TEMPORARY TABLE t (n int PRIMARY KEY)")
        async with connection.transaction():
            await connection.executemany("INSERT INTO t VALUES ($1)", [(n,) for n in range(1000)])
            with pytest.raises(asyncpg.UniqueViolationError):
                async with connection.transaction():  # a savepoint
                    await connection.execute("DELETE FROM t WHERE n = 1")
                    await connection.execute("INSERT INTO t VALUES (2)")
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():
                await connection.execute("DELETE FROM t")
                raise ZeroDivisionError
        assert await connection.fetchval("SELECT count(*) FROM t") == 1000
        async with connection.transaction():
            rows = [row["n"] async for row in connection.cursor("SELECT n FROM t ORDER BY n")]
        assert rows == list(range(1000))
        await connection.close()

    run(main)


def test_copy_in_and_out(run, ways):
    async def main():
        connection = await asyncpg.connect(**ways)
        await connection.execute("CREATE TEMPORARY TABLE t (n int, name text, data bytea)")
        assert await connection.copy_records_to_table("t", records=ROWS) == f"COPY {len(ROWS)}"
        output = io.BytesIO()
        await connection.copy_from_query("SELECT * FROM t ORDER BY n", output=output, format="csv")
        assert output.getvalue().count(b"\n") == len(ROWS)
        output.seek(0)
        await connection.execute("TRUNCATE t")
        await connection.copy_to_table("t", source=output, format="csv")
        assert list(map(tuple, await connection.fetch("SELECT * FROM t ORDER BY n"))) == ROWS
        await connection.close()

    run(main)


def test_pool(run, options):
    async def main():
        async with asyncpg.create_pool(**options, min_size=2, max_size=5) as pool:

            async def query(number):
                async with pool.acquire() as connection, connection.transaction():
                    found = "SELECT $1::int AS n, pg_backend_pid() AS pid"
                    return tuple(await connection.fetchrow(found, number))

            found = await asyncio.gather(*map(query, range(500)))
            assert [number for number, pid in found] == list(range(500))
            assert len({pid for number, pid in found}) == 5
            # More want one than there are, and some no longer do.
            async with pool.acquire() as one, pool.acquire(), pool.acquire(), pool.acquire():
                pid = one.get_server_pid()
                await query(1)
                async with pool.acquire():
                    with pytest.raises(asyncio.TimeoutError):
                        await pool.acquire(timeout=0.05)
            assert (await query(3))[0] == 3 and pid in {pid for number, pid in found}

    run(main)


def test_notifications(run, options):
    async def main():
        listener, sender = await asyncpg.connect(**options), await asyncpg.connect(**options)
        heard = asyncio.Queue()
        await listener.add_listener("news", lambda *about: heard.put_nowait(about))
        for number in range(100):
            await sender.execute(f"NOTIFY news, '{number}'")
        told = [await heard.get() for _ in range(100)]
        pid = sender.get_server_pid()
        assert told == [(listener, pid, "news", str(number)) for number in range(100)]
        await sender.close()
        await listener.close()

    run(main)


def test_running_queries_are_cancelled(run, ways):
    async def main():
        connection, other = await asyncpg.connect(**ways), await asyncpg.connect(**ways)
        pid = connection.get_server_pid()

        async def runs():
            state = "SELECT state FROM pg_stat_activity WHERE pid = $1 AND query LIKE '%sleep%'"
            return await other.fetchval(state, pid) == "active"

        for _ in range(5):
            query = asyncio.create_task(connection.execute("SELECT pg_sleep(1000)"))
            while not await runs():
                assert not query.done()
            query.cancel()
            with pytest.raises(asyncio.CancelledError):
                await query
            assert await connection.fetchval("SELECT 1") == 1  # the same one, and no longer busy
            assert not await runs()
        with pytest.raises(asyncio.TimeoutError):
            await connection.execute("SELECT pg_sleep(1000)", timeout=0.05)
        assert await connection.fetchval("SELECT pg_backend_pid()") == pid
        await connection.close()
        await other.close()

    run(main)


def test_connections_that_fail(run, options):
    async def main():
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(**{**options, "password": "wrong"})
        with pytest.raises(OSError):
            await asyncpg.connect(**{**options, "port": 1})
        doomed, killer = await asyncpg.connect(**options), await asyncpg.connect(**options)
        query = asyncio.create_task(doomed.execute("SELECT pg_sleep(1000)"))
        await asyncio.sleep(0)
        await killer.execute("SELECT pg_terminate_backend($1)", doomed.get_server_pid())
        with pytest.raises((asyncpg.AdminShutdownError, asyncpg.ConnectionDoesNotExistError)):
            await query
        with pytest.raises(asyncpg.InterfaceError, match="connection is closed"):
            await doomed.execute("SELECT 1")
        assert doomed.is_closed()
        await killer.close()

    run(main)
