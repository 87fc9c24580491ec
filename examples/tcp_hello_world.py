"""Says hello to an echo server: `python tcp_hello_world.py [PORT]`."""

import sys

import uvbind


def on_connect(client, error):
    if error is not None:
        client.close()
        raise error
    client.read_start(on_read)
    client.write(b"Hello, world!")
    client.shutdown()


def on_read(client, data, error):
    if data is None:
        client.close()
    else:
        print(data.decode(), end="")


with uvbind.Loop() as loop:
    uvbind.TCP(loop).connect(
        ("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 7000), on_connect
    )
    loop.run()
