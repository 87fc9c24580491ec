"""psycopg's asynchronous connections, which wait with add_reader, against a PostgreSQL server."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("psycopg", exc_type=ImportError)
import psycopg


@pytest.fixture
def options(postgres):
    return {
        "host": "127.0.0.1",
        "port": postgres.port,
        "user": postgres.user,
        "password": postgres.password,
        "dbname": "postgres",
        "autocommit": True,
    }


@pytest.fixture(params=["tcp", "tls", "unix"])
def ways(request, options, postgres, certificate):
    """Each way to connect."""
    if request.param == "unix":
        return {**options, "host": str(postgres.folder)}
    if request.param == "tls":
        return {**options, "sslmode": "verify-full", "sslrootcert": str(certificate.ca_file)}
    return {**options, "sslmode": "disable"}


async def value(connection, query, *arguments):
    cursor = await connection.execute(query, arguments)
    (found,) = await cursor.fetchone()
    return found


def test_queries(run, ways):
    async def main():
        async with await psycopg.AsyncConnection.connect(**ways) as connection:
            over_tls = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            assert await value(connection, over_tls) == (ways.get("sslmode") == "verify-full")
            assert await value(connection, "SELECT %s::text || %s", "a", "b") == "ab"
            cursor = await connection.execute("SELECT generate_series(1, 100000)")
            assert [number for (number,) in await cursor.fetchall()] == list(range(1, 100_001))
            large = bytes(range(256)) * 20_000
            assert await value(connection, "SELECT %b::bytea", large) == large
            with pytest.raises(psycopg.errors.DivisionByZero):
                await connection.execute("SELECT 1 / 0")
            assert await value(connection, "SELECT 7") == 7

    run(main)


def test_many_connections_at_once(run, options):
    async def main():
        async def query(number):
            async with await psycopg.AsyncConnection.connect(**options) as connection:
                return [await value(connection, "SELECT %s::int", number + n) for n in range(50)]

        found = await asyncio.gather(*map(query, range(20)))
        assert found == [list(range(number, number + 50)) for number in range(20)]

    run(main)


def test_copy_in_and_out(run, ways):
    rows = [(number, f"row {number}") for number in range(20_000)]

    async def main():
        async with await psycopg.AsyncConnection.connect(**ways) as connection:
            await connection.execute("CREATE TEMPORARY TABLE t (n int, name text)")
            async with connection.cursor() as cursor:
                async with cursor.copy("COPY t FROM STDIN") as copy:
                    for row in rows:
                        await copy.write_row(row)
                async with cursor.copy("COPY (SELECT * FROM t ORDER BY n) TO STDOUT") as copy:
                    copy.set_types(["int4", "text"])
                    assert [row async for row in copy.rows()] == rows

    run(main)


def test_pipelines(run, options):
    async def main():
        async with await psycopg.AsyncConnection.connect(**options) as connection:
            async with connection.pipeline():
                cursors = [await connection.execute("SELECT %s::int", (n,)) for n in range(500)]
            assert [await cursor.fetchone() for cursor in cursors] == [(n,) for n in range(500)]

    run(main)


def test_notifications(run, options):
    async def main():
        listener = await psycopg.AsyncConnection.connect(**options)
        sender = await psycopg.AsyncConnection.connect(**options)
        async with listener, sender:
            await listener.execute("LISTEN news")
            for number in range(100):
                await sender.execute(f"NOTIFY news, '{number}'")
            told = [notify.payload async for notify in listener.notifies(stop_after=100)]
            assert told[:100] == [str(number) for number in range(100)]

    run(main)


def test_a_query_is_cancelled(run, ways):
    async def main():
        one = await psycopg.AsyncConnection.connect(**ways)
        other = await psycopg.AsyncConnection.connect(**ways)
        async with one, other:
            state = "SELECT state FROM pg_stat_activity WHERE pid = %s AND query LIKE '%%sleep%%'"
            query = asyncio.create_task(one.execute("SELECT pg_sleep(1000)"))
            while True:
                found = await (await other.execute(state, (one.info.backend_pid,))).fetchone()
                if found == ("active",):
                    break
                assert not query.done()
            query.cancel()
            with pytest.raises(asyncio.CancelledError):
                await query
            assert await value(one, "SELECT 1") == 1  # the same one, and no longer busy

    run(main)


def test_connections_that_end(run, options):
    async def main():
        with pytest.raises(psycopg.OperationalError, match="password"):
            await psycopg.AsyncConnection.connect(**{**options, "password": "wrong"})
        with pytest.raises(psycopg.OperationalError):
            await psycopg.AsyncConnection.connect(**{**options, "port": 1})
        doomed = await psycopg.AsyncConnection.connect(**options)
        killer = await psycopg.AsyncConnection.connect(**options)
        query = asyncio.create_task(doomed.execute("SELECT pg_sleep(1000)"))
        await asyncio.sleep(0)
        await killer.execute("SELECT pg_terminate_backend(%s)", (doomed.info.backend_pid,))
        with pytest.raises(psycopg.OperationalError):
            await query
        assert doomed.closed
        await doomed.close()
        await killer.close()

    run(main)
