"""Child processes."""

import asyncio
import os
import subprocess
import sys
import threading
from asyncio.subprocess import DEVNULL, PIPE, STDOUT

from peers import raises
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


@probe("loop.subprocess_exec", "output, errors, exit status, in order")
async def subprocess_exec(loop):
    transport, protocol = await loop.subprocess_exec(
        Process, "sh", "-c", "echo out; echo err >&2; exit 3"
    )
    await protocol.lost
    seen = protocol.out, transport.get_returncode(), protocol.exited.done()
    return seen, sorted(protocol.calls), protocol.calls[-1]


@probe("loop.subprocess_shell", "what it is given at its input comes back")
async def subprocess_shell(loop):
    transport, protocol = await loop.subprocess_shell(Process, "cat", stderr=None)
    pipe = transport.get_pipe_transport(0)
    pipe.write(b"data")
    pipe.close()
    await protocol.lost
    return protocol.out[1], transport.get_returncode()


@probe("loop.subprocess_shell", "a list, and options there are none of, are refused")
async def shell_refuses(loop):
    refused = {"universal_newlines": True}, {"bufsize": 9}, {"shell": False}, {"text": True}
    seen = [await raises(loop.subprocess_shell(Process, "true", **options)) for options in refused]
    return [*seen, await raises(loop.subprocess_shell(Process, ["ls", "-l"]))]


@probe("loop.subprocess_exec", "no such program, no such folder")
async def no_such_program(loop):
    seen = [await raises(asyncio.create_subprocess_exec("/no/such/program"))]
    seen.append(await raises(asyncio.create_subprocess_exec("true", cwd="/no/such/folder")))
    return [*seen, await raises(loop.subprocess_exec(Process, 5))]


@probe("loop.subprocess_exec", "a program whose name is bytes, and a Path as argument")
async def kinds_of_arguments(loop):
    from pathlib import Path

    process = await asyncio.create_subprocess_exec(b"/bin/echo", Path("/tmp"), stdout=PIPE)
    return await process.communicate()


@probe("asyncio.create_subprocess_exec", "communicate() with much data")
async def communicate(loop):
    data = bytes(range(256)) * 4096
    process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    out, _ = await process.communicate(data)
    assert out == data, "other data"
    return process.returncode


@probe("asyncio.create_subprocess_exec", "communicate() with one that does not read")
async def communicate_unread(loop):
    process = await asyncio.create_subprocess_exec("true", stdin=PIPE, stdout=PIPE)
    return await process.communicate(bytes(1_000_000)), process.returncode


@probe("asyncio.create_subprocess_exec", "input, output to files, to nowhere, to each other")
async def redirected(loop):
    import tempfile

    with tempfile.TemporaryFile() as file:
        seen = [await shell("echo out; echo err >&2", stderr=STDOUT)]
        seen.append(await shell("cat; echo err >&2", stdin=DEVNULL, stderr=DEVNULL))
        process = await asyncio.create_subprocess_exec("echo", "file", stdout=file)
        await process.wait()
        file.seek(0)
        return [*seen, file.read()]


@probe("asyncio.create_subprocess_exec", "a socket as its input and output")
async def socket_as_input(loop):
    import socket

    one, other = socket.socketpair()
    with one:
        with other:
            process = await asyncio.create_subprocess_exec("cat", stdin=other, stdout=other)
        one.sendall(b"data")
        one.shutdown(socket.SHUT_WR)
        await process.wait()
        return one.recv(9), process.returncode


@probe("asyncio.create_subprocess_exec", "a pipe from one process to the next")
async def chained(loop):
    read, write = os.pipe()
    one = await asyncio.create_subprocess_exec("echo", "data", stdout=write)
    os.close(write)
    two = await asyncio.create_subprocess_exec("tr", "a", "o", stdin=read, stdout=PIPE)
    os.close(read)
    await one.wait()
    return (await two.communicate())[0]


@probe("asyncio.create_subprocess_exec", "`/dev/stdin` can be opened by the child")
async def dev_stdin(loop):
    process = await asyncio.create_subprocess_exec("cat", "/dev/stdin", stdin=PIPE, stdout=PIPE)
    return await process.communicate(b"data")


@probe("asyncio.create_subprocess_exec", "`cwd=`, `env=`")
async def environment(loop):
    return await shell("pwd; echo $NAME", cwd="/", env={"NAME": "value"})


@probe("asyncio.create_subprocess_exec", "`pass_fds=`")
async def pass_fds(loop):
    read, write = os.pipe()
    command = f"echo data >/dev/fd/{write}"
    process = await asyncio.create_subprocess_shell(command, pass_fds=(write,))
    os.close(write)
    await process.wait()
    return os.read(read, 9)


@probe("asyncio.create_subprocess_exec", "`close_fds=`: inheritable descriptors are not inherited")
async def close_fds(loop):
    read, _ = os.pipe()
    os.set_inheritable(read, True)
    seen = []
    for options in ({}, {"close_fds": False}):
        process = await asyncio.create_subprocess_exec("test", "-e", f"/dev/fd/{read}", **options)
        seen.append(await process.wait())
    return seen


@probe("asyncio.create_subprocess_exec", "`preexec_fn=`")
async def preexec_fn(loop):
    return await shell("umask", preexec_fn=lambda: os.umask(0o027))


@probe("asyncio.create_subprocess_exec", "`preexec_fn=` that fails")
async def failing_preexec_fn(loop):
    return await raises(shell("true", preexec_fn=lambda: 1 / 0))


@probe("asyncio.create_subprocess_exec", "`start_new_session=`, `executable=`, `restore_signals=`")
async def other_options(loop):
    seen = [(await shell("ps -o sid= -p $$", start_new_session=True))[0] != b""]
    process = await asyncio.create_subprocess_exec(
        "myself", "-c", "echo $0", executable="/bin/sh", stdout=PIPE, restore_signals=False
    )
    return [*seen, (await process.communicate())[0]]


@probe("asyncio.create_subprocess_exec", "`umask=`, `process_group=`")
async def newer_options(loop):
    out, _ = await shell("umask; ps -o pgid= -p $$; echo $$", umask=0o027, process_group=0)
    mask, group, pid = out.split()
    return mask, group == pid


@probe("asyncio.create_subprocess_exec", "signals the parent ignores are not ignored there")
async def signals_restored(loop):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGPIPE))", stdout=PIPE
    )
    one = (await process.communicate())[0]
    out, _ = await shell("grep SigBlk /proc/self/status")
    return one, out.split()[1]


@probe("asyncio.subprocess.Process", "wait() by several, and when it has ended")
async def wait(loop):
    process = await asyncio.create_subprocess_exec("sh", "-c", "sleep 0.02; exit 3")
    seen = await asyncio.gather(process.wait(), process.wait())
    return seen, await process.wait(), process.returncode


@probe("asyncio.subprocess.Process", "lines as they come, both ways")
async def lines(loop):
    process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    seen = []
    for line in (b"one\n", b"two\n"):
        process.stdin.write(line)
        await process.stdin.drain()
        seen.append(await process.stdout.readline())
    process.stdin.close()
    return seen, await process.wait()


@probe("asyncio.create_subprocess_exec", "from a loop in another thread")
def other_thread(new_loop):
    seen = []

    def elsewhere():
        loop = new_loop()
        seen.append(loop.run_until_complete(asyncio.wait_for(shell("echo data; exit 3"), 30)))
        loop.close()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    return seen


@probe("asyncio.create_subprocess_exec", "from several loops in several threads at once")
def several_threads(new_loop):
    seen, start = [], threading.Barrier(4)

    async def main():
        start.wait()
        for number in range(5):
            seen.append(await shell(f"echo {number}; exit 3"))

    def elsewhere():
        loop = new_loop()
        loop.run_until_complete(asyncio.wait_for(main(), 30))
        loop.close()

    threads = [threading.Thread(target=elsewhere) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(seen)


@probe("asyncio.create_subprocess_exec", "many at once")
async def many(loop):
    results = await asyncio.gather(*(shell(f"echo {number}") for number in range(30)))
    return results == [(b"%d\n" % number, 0) for number in range(30)]


@probe("asyncio.create_subprocess_exec", "beside `subprocess.run`, which keeps its exit status")
async def beside_subprocess(loop):
    process = await asyncio.create_subprocess_exec("sleep", "0.1")
    done = await loop.run_in_executor(None, subprocess.run, ["sh", "-c", "exit 3"])
    return done.returncode, await process.wait()


@probe("asyncio.create_subprocess_exec", "leaves no descriptors open")
async def descriptors(loop):
    await shell("true")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        await shell("true", stdin=PIPE, stderr=PIPE)
        await raises(shell("true", cwd="/no/such/folder"))
    await asyncio.sleep(0.01)
    return len(os.listdir("/proc/self/fd")) - before
