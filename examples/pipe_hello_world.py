"""Says hello to an echo server at a unix domain socket: `python pipe_hello_world.py PATH`."""

import sys

import uvbind


def on_connect(client, error):
    if error is not None:
        sys.exit(f"{sys.argv[1]}: {error.strerror}")
    client.read_start(on_read)
    client.write(b"Hello, world!")
    client.shutdown()


def on_read(client, data, error):
    if data is not None:
        print(data.decode(), end="")
    elif error.name == "EOF":
        client.close()
    else:
        sys.exit(f"{sys.argv[1]}: {error.strerror}")


if len(sys.argv) != 2:
    sys.exit(__doc__)
with uvbind.Loop() as loop:
    uvbind.Pipe(loop).connect(sys.argv[1], on_connect)
    loop.run()
