"""Sends every datagram back: `python udp_echo_server.py [PORT]`."""

import sys

import uvbind


def on_datagram(server, data, address, flags, error):
    if error is not None:
        print("receive:", error.strerror, file=sys.stderr)
    else:
        server.send(data, address, on_sent)


def on_sent(server, error):
    # An answer that cannot be sent, as to port 0, is no reason to end the server.
    if error is not None:
        print(error.strerror, file=sys.stderr)


with uvbind.Loop() as loop:
    server = uvbind.UDP(loop)
    server.bind(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 7000))
    server.recv_start(on_datagram)
    print("listening on port", server.getsockname()[1], flush=True)
    loop.run()
