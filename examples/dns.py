"""Looks up a name, connects and prints what the server says: `python dns.py NAME [PORT]`.

Without a port it is that of IRC, whose servers greet whoever connects.
"""

import socket
import sys

import uvbind


def on_addresses(request, results, error):
    if error is not None:
        sys.exit(error.strerror)
    addresses = [address for family, type, proto, canonname, address in results]
    connect_to_next(addresses)


def connect_to_next(addresses):
    address = addresses.pop(0)

    def on_connect(client, error):
        if error is None:
            print("connected to", *address[:2], flush=True)
            client.read_start(on_read)
            return
        print(*address[:2], error.strerror, file=sys.stderr)
        client.close()
        if not addresses:
            sys.exit(f"{name}: no address answers on port {port}")
        connect_to_next(addresses)

    uvbind.TCP(loop).connect(address, on_connect)


def on_read(client, data, error):
    if data is not None:
        print(data.decode(errors="replace"), end="", flush=True)
    elif error.name == "EOF":
        client.close()
    else:
        sys.exit(f"{name}: {error.strerror}")


if len(sys.argv) not in (2, 3):
    sys.exit(__doc__)
name, port = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "6667"
with uvbind.Loop() as loop:
    try:
        uvbind.getaddrinfo(loop, name, port, type=socket.SOCK_STREAM, callback=on_addresses)
    except OSError as error:  # what is no name at all
        sys.exit(error.strerror)
    loop.run()
