"""Says hello to an echo server: `python tcp_hello_world.py [PORT]`."""

import sys

import uvbind

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 7000


def on_connect(client, error):
    if error is not None:
        sys.exit(f"port {PORT}: {error.strerror}")  # comes out of loop.run(), as all that is raised
    client.read_start(on_read)
    client.write(b"Hello, world!")
    client.shutdown()


def on_read(client, data, error):
    if data is not None:
        print(data.decode(), end="")
    elif error.name == "EOF":
        client.close()
    else:
        sys.exit(f"port {PORT}: {error.strerror}")


with uvbind.Loop() as loop:
    uvbind.TCP(loop).connect(("127.0.0.1", PORT), on_connect)
    loop.run()
