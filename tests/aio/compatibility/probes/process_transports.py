"""Transports of child processes."""

import asyncio
import os
import signal
import subprocess
from asyncio.subprocess import PIPE

from peers import raised
from probing import probe


class Process(asyncio.SubprocessProtocol):
    """Keeps what it is called with."""

    def __init__(self):
        self.out, self.calls = {1: b"", 2: b""}, []
        self.exited = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.calls.append("made")

    def pipe_data_received(self, fd, data):
        self.out[fd] += data

    def pipe_connection_lost(self, fd, exc):
        self.calls.append(f"lost {fd}")

    def process_exited(self):
        self.exited.set_result(None)

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost.set_result(exc)


async def shell(command, **options):
    process = await asyncio.create_subprocess_shell(command, stdout=PIPE, **options)
    return (await process.communicate())[0], process.returncode


@probe("SubprocessTransport.get_pid", "is a process")
async def get_pid(loop):
    transport, protocol = await loop.subprocess_exec(Process, "cat")
    seen = os.path.exists(f"/proc/{transport.get_pid()}")
    transport.close()
    await protocol.lost
    return seen


@probe("SubprocessTransport", "is an `asyncio.SubprocessTransport`, and so are its pipes asyncio's")
async def kinds(loop):
    transport, protocol = await loop.subprocess_exec(Process, "cat")
    pipes = transport.get_pipe_transport(0), transport.get_pipe_transport(1)
    seen = isinstance(pipes[0], asyncio.WriteTransport), isinstance(pipes[1], asyncio.ReadTransport)
    transport.close()
    await protocol.lost
    return isinstance(transport, asyncio.SubprocessTransport), seen


@probe("SubprocessTransport.get_pipe_transport", "of what it has one for")
async def get_pipe_transport(loop):
    transport, protocol = await loop.subprocess_exec(Process, "cat", stderr=None)
    pipes = [transport.get_pipe_transport(number) for number in range(3)]
    pipes[0].write(b"data")
    pipes[0].close()
    await protocol.lost
    return protocol.out[1], pipes[1] is not None, pipes[2]


@probe("SubprocessTransport.get_returncode", "None, then the status, or the signal's")
async def get_returncode(loop):
    transport, protocol = await loop.subprocess_exec(Process, "cat")
    seen = [transport.get_returncode()]
    transport.kill()
    await protocol.exited
    seen.append(transport.get_returncode())
    transport.close()
    await protocol.lost
    return [*seen, raised(transport.kill), raised(transport.send_signal, 9)]


@probe("SubprocessTransport.kill", "SIGKILL; terminate() and send_signal()")
async def kill(loop):
    seen = []
    for end in (
        lambda process: process.kill(),
        lambda process: process.terminate(),
        lambda process: process.send_signal(signal.SIGUSR1),
    ):
        process = await asyncio.create_subprocess_exec("sleep", "60")
        end(process)
        seen.append(await process.wait())
    return seen


@probe("SubprocessTransport.terminate", "SIGTERM")
async def terminate(loop):
    transport, protocol = await loop.subprocess_exec(Process, "sleep", "60")
    transport.terminate()
    await protocol.exited
    seen = transport.get_returncode()
    transport.close()
    return seen


@probe("SubprocessTransport.send_signal", "any; one there is none of is refused")
async def send_signal(loop):
    transport, protocol = await loop.subprocess_exec(Process, "sleep", "60")
    seen = raised(transport.send_signal, 10_000)
    transport.send_signal(signal.SIGINT)
    await protocol.exited
    seen = seen, transport.get_returncode()
    transport.close()
    return seen


@probe("SubprocessTransport.close", "ends the process")
async def close(loop):
    transport, protocol = await loop.subprocess_exec(Process, "sleep", "60")
    pid = transport.get_pid()
    transport.close()
    await protocol.lost
    seen = transport.is_closing()
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        seen = seen, "reaped"
    return seen


@probe("BaseTransport.get_extra_info", "processes: `subprocess` is a Popen")
async def extra_info(loop):
    transport, protocol = await loop.subprocess_exec(Process, "true")
    seen = isinstance(transport.get_extra_info("subprocess"), subprocess.Popen)
    await protocol.lost
    return seen
