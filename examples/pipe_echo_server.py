"""Sends back what it receives, over a unix domain socket: `python pipe_echo_server.py PATH`."""

import signal
import sys

import uvbind


def on_connection(server, error):
    if error is not None:
        print("new connection:", error.strerror, file=sys.stderr)
    else:
        server.accept().read_start(on_read)


def on_read(client, data, error):
    if data is not None:
        client.write(data)
    elif error.name == "EOF":  # close when all is sent
        client.shutdown(lambda client, error: client.close())
    else:
        client.close()


def on_signal(watcher, signum):
    loop.stop()


if len(sys.argv) != 2:
    sys.exit(__doc__)
with uvbind.Loop() as loop:  # leaving it closes the server, and that removes the path
    for signum in (signal.SIGINT, signal.SIGTERM):
        uvbind.Signal(loop).start(on_signal, signum)
    server = uvbind.Pipe(loop)
    try:
        server.bind(sys.argv[1])
        server.listen(on_connection)
    except OSError as error:
        sys.exit(error.strerror)
    print("listening at", server.getsockname(), flush=True)
    loop.run()
