"""Says hello to a UDP echo server: `python udp_hello_world.py [PORT]`."""

import sys

import uvbind

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 7000


def on_datagram(client, data, address, flags, error):
    if error is not None:  # the other host can say that nobody has the port
        sys.exit(f"port {PORT}: {error.strerror}")
    print(data.decode())
    client.close()
    timer.close()


def on_timeout(timer):
    sys.exit(f"port {PORT}: no answer within two seconds")  # datagrams may get lost


with uvbind.Loop() as loop:
    client = uvbind.UDP(loop)
    client.connect(("127.0.0.1", PORT))  # so that nobody else can answer
    client.recv_start(on_datagram)
    client.send(b"Hello, world!")
    timer = uvbind.Timer(loop)
    timer.start(on_timeout, 2000)
    loop.run()
