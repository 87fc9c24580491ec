"""asyncssh, client and server on one loop."""

from __future__ import annotations

import asyncio
import contextlib
import sys

import pytest
from helpers import MEGABYTES

pytest.importorskip("asyncssh")
import asyncssh

LARGE = MEGABYTES[:3_000_000]


async def command(process):
    """What the server does for a client: a few commands of its own."""
    if process.command == "hang":
        await asyncio.get_running_loop().create_future()
    elif process.command == "shell":  # a real one
        shell = await asyncio.create_subprocess_exec(
            *[sys.executable, "-c", "import sys; print(sys.stdin.read()[::-1], end='')"],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        await process.redirect(stdin=shell.stdin, stdout=shell.stdout)
        await shell.wait()
        await process.stdout.drain()
        process.exit(0)
        await process.wait_closed()
    else:
        while data := await process.stdin.read(65536):
            process.stdout.write(data)
            await process.stdout.drain()
        process.stderr.write(b"said")
        process.exit(3)


class Server(asyncssh.SSHServer):
    def connection_requested(self, *about):
        return True  # for the forwarding of ports

    server_requested = connection_requested


@pytest.fixture(scope="module")
def keys():
    return asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-rsa")


@pytest.fixture
def connected(keys, tmp_path):
    """A context manager: a connection to a server."""
    host_key, user_key = keys
    (tmp_path / "authorized").write_bytes(user_key.export_public_key())
    served = tmp_path / "served"
    served.mkdir()

    @contextlib.asynccontextmanager
    async def connected():
        async with (
            asyncssh.listen(
                "127.0.0.1",
                0,
                server_factory=Server,
                server_host_keys=[host_key],
                authorized_client_keys=str(tmp_path / "authorized"),
                process_factory=command,
                encoding=None,
                sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(served)),
            ) as server,
            asyncssh.connect(
                "127.0.0.1",
                server.get_port(),
                config=None,
                username="somebody",
                client_keys=[user_key],
                known_hosts=([host_key.convert_to_public()], [], []),
            ) as connection,
        ):
            yield connection

    return connected


def test_commands(run, connected):
    async def main():
        async with connected() as connection:
            done = await connection.run("cat", input=LARGE, encoding=None)
            assert (done.exit_status, done.stderr) == (3, b"said")
            assert done.stdout == LARGE
            many = await asyncio.gather(
                *[connection.run("cat", input=b"%d" % n, encoding=None) for n in range(20)]
            )
            assert [one.stdout for one in many] == [b"%d" % n for n in range(20)]
            done = await connection.run("shell", input="abc" * 10_000)
            assert done.stdout == "cba" * 10_000
            with pytest.raises(asyncio.TimeoutError):
                await connection.run("hang", timeout=0.05)
            hanging = asyncio.create_task(connection.run("hang"))
            await asyncio.sleep(0)
            hanging.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hanging
            assert (await connection.run("cat", input="still there")).stdout == "still there"

    run(main)


def test_files(run, connected, tmp_path):
    (tmp_path / "here").write_bytes(LARGE)

    async def main():
        async with connected() as connection, connection.start_sftp_client() as client:
            await client.put(tmp_path / "here", "there")
            assert (tmp_path / "served" / "there").read_bytes() == LARGE
            await client.get("there", tmp_path / "back")
            assert (tmp_path / "back").read_bytes() == LARGE
            assert (await client.stat("there")).size == len(LARGE)
            async with client.open("there", "rb") as file:
                await file.seek(1000)
                assert await file.read(1000) == LARGE[1000:2000]
            await client.rename("there", "elsewhere")
            assert set(await client.listdir("/")) - {".", ".."} == {"elsewhere"}
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await client.open("there")

    run(main)


@pytest.mark.parametrize("remote", [False, True], ids=["local", "remote"])
def test_forwarded_ports(run, connected, remote):
    async def echo(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        async with connected() as connection:
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            forward = connection.forward_remote_port if remote else connection.forward_local_port
            listener = await forward("127.0.0.1", 0, *address)

            async def exchange():
                reader, writer = await asyncio.open_connection("127.0.0.1", listener.get_port())
                writer.write(LARGE[:500_000])
                writer.write_eof()
                assert await reader.read() == LARGE[:500_000]
                writer.close()
                await writer.wait_closed()

            await asyncio.gather(*[exchange() for _ in range(5)])
            listener.close()
            await listener.wait_closed()
            server.close()
            await server.wait_closed()

    run(main)


def test_who_is_let_in(run, connected, keys):
    user_key = keys[1]

    async def main():
        async with connected() as connection:
            port = connection.get_extra_info("peername")[1]
            options = {"config": None, "username": "somebody", "known_hosts": None}
            stranger = asyncssh.generate_private_key("ssh-ed25519")
            with pytest.raises(asyncssh.PermissionDenied):
                await asyncssh.connect("127.0.0.1", port, client_keys=[stranger], **options)
            options["known_hosts"] = ([stranger.convert_to_public()], [], [])
            with pytest.raises(asyncssh.HostKeyNotVerifiable):
                await asyncssh.connect("127.0.0.1", port, client_keys=[user_key], **options)

    run(main)


def test_a_connection_that_breaks(run, connected):
    async def main():
        async with connected() as connection:
            hanging = asyncio.create_task(connection.run("hang"))
            await connection.run("cat", input="x")
            connection.abort()
            done = await hanging
            assert done.exit_status is None and done.stdout == ""
            await connection.wait_closed()
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.run("cat", input="x")

    run(main)
