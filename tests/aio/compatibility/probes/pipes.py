"""Pipes as transports."""

import asyncio
import os
import pty
import socket
import stat
import tempfile
import tty

from peers import Recorder, raised, raises
from probing import probe


def pipe_files():
    ours, theirs = os.pipe()
    return os.fdopen(ours, "rb", 0), os.fdopen(theirs, "wb", 0)


@probe("loop.connect_read_pipe", "a pipe: data and the end")
async def read_pipe(loop):
    read, write = pipe_files()
    _, protocol = await loop.connect_read_pipe(Recorder, read)
    write.write(b"data")
    seen = [await protocol.received(4)]
    write.close()
    await protocol.lost
    return seen, protocol.calls, read.closed, raised(read.fileno)


@probe("loop.connect_write_pipe", "a pipe: data before close")
async def write_pipe(loop):
    read, write = pipe_files()
    transport, protocol = await loop.connect_write_pipe(Recorder, write)
    transport.write(b"data")
    transport.writelines([b"and", b"more"])
    transport.close()
    await protocol.lost
    with read:
        return read.read(), protocol.calls


@probe("loop.connect_write_pipe", "the reader goes: connection_lost()")
async def reader_goes(loop):
    read, write = pipe_files()
    transport, protocol = await loop.connect_write_pipe(Recorder, write)
    read.close()
    return await protocol.lost, transport.is_closing()


@probe("loop.connect_write_pipe", "flow control, and write_eof()")
async def flow_control(loop):
    read, write = pipe_files()
    transport, protocol = await loop.connect_write_pipe(Recorder, write)
    transport.set_write_buffer_limits(high=1000)
    transport.write(bytes(1_000_000))
    seen = [transport.can_write_eof(), transport.get_write_buffer_size() > 0]
    transport.write_eof()
    data = await loop.run_in_executor(None, read.readall)
    await protocol.lost
    read.close()
    return seen, len(data), protocol.calls


@probe("loop.connect_read_pipe", "pause_reading() and resume_reading()")
async def pause(loop):
    read, write = pipe_files()
    transport, protocol = await loop.connect_read_pipe(Recorder, read)
    seen = [transport.is_reading()]
    transport.pause_reading()
    write.write(b"data")
    await asyncio.sleep(0.01)
    seen += [transport.is_reading(), protocol.data]
    transport.resume_reading()
    seen.append(await protocol.received(4))
    transport.close()
    write.close()
    await protocol.lost
    return seen


@probe("loop.connect_read_pipe", "a socket")
async def read_socket(loop):
    one, other = socket.socketpair()
    with other:
        transport, protocol = await loop.connect_read_pipe(Recorder, one)
        other.send(b"data")
        seen = await protocol.received(4)
        transport.close()
        await protocol.lost
        return seen


@probe("loop.connect_write_pipe", "a socket")
async def write_socket(loop):
    one, other = socket.socketpair()
    with other:
        transport, protocol = await loop.connect_write_pipe(Recorder, one)
        transport.write(b"data")
        seen = [other.recv(9)]
        other.close()
        await protocol.lost
        return seen, protocol.calls


@probe("loop.connect_read_pipe", "a FIFO")
async def read_fifo(loop):
    with tempfile.TemporaryDirectory() as folder:
        os.mkfifo(folder + "/f")
        read = os.fdopen(os.open(folder + "/f", os.O_RDONLY | os.O_NONBLOCK), "rb", 0)
        _, protocol = await loop.connect_read_pipe(Recorder, read)
        with open(folder + "/f", "wb") as write:
            write.write(b"data")
        await protocol.lost
        return protocol.data, protocol.calls


@probe("loop.connect_write_pipe", "a FIFO")
async def write_fifo(loop):
    with tempfile.TemporaryDirectory() as folder:
        os.mkfifo(folder + "/f")
        read = os.open(folder + "/f", os.O_RDONLY | os.O_NONBLOCK)
        write = os.fdopen(os.open(folder + "/f", os.O_WRONLY), "wb", 0)
        transport, protocol = await loop.connect_write_pipe(Recorder, write)
        transport.write(b"data")
        transport.close()
        await protocol.lost
        seen = os.read(read, 9)
        os.close(read)
        return seen


@probe("loop.connect_read_pipe", "a terminal")
async def read_terminal(loop):
    master, slave = pty.openpty()
    tty.setraw(slave)
    transport, protocol = await loop.connect_read_pipe(Recorder, os.fdopen(master, "rb", 0))
    os.write(slave, b"data")
    seen = await protocol.received(4)
    transport.close()
    await protocol.lost
    os.close(slave)
    return seen


@probe("loop.connect_write_pipe", "a terminal, and `/dev/null`")
async def write_devices(loop):
    master, slave = pty.openpty()
    tty.setraw(slave)
    transport, protocol = await loop.connect_write_pipe(Recorder, os.fdopen(slave, "wb", 0))
    transport.write(b"data")
    seen = [os.read(master, 9)]
    transport.close()
    await protocol.lost
    os.close(master)
    null = os.open(os.devnull, os.O_WRONLY)
    transport, protocol = await loop.connect_write_pipe(Recorder, os.fdopen(null, "wb", 0))
    transport.write(b"data")
    transport.close()
    return [*seen, await protocol.lost]


@probe("loop.connect_read_pipe", "a plain file is refused")
async def plain_file(loop):
    with tempfile.TemporaryFile() as file:
        return [
            await raises(connect(Recorder, file))
            for connect in (loop.connect_read_pipe, loop.connect_write_pipe)
        ]


@probe("BaseTransport.get_extra_info", "pipes: the file")
async def extra_info(loop):
    read, write = pipe_files()
    transport, protocol = await loop.connect_read_pipe(Recorder, read)
    file = transport.get_extra_info("pipe")
    seen = file.fileno() == read.fileno(), stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)
    transport.close()
    write.close()
    await protocol.lost
    return seen


@probe("WriteTransport.abort", "a pipe nobody reads")
async def abort(loop):
    read, write = pipe_files()
    transport, protocol = await loop.connect_write_pipe(Recorder, write)
    transport.write(bytes(1_000_000))
    transport.abort()
    seen = await protocol.lost, transport.is_closing()
    read.close()
    return seen


@probe("asyncio.StreamReader", "over a pipe, by connect_read_pipe")
async def stream(loop):
    read, write = pipe_files()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), read)
    write.write(b"line\nand more")
    write.close()
    seen = [await reader.readline(), await reader.read()]
    transport.close()
    return seen
