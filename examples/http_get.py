"""Fetches a page over HTTP and prints it: `python http_get.py http://NAME[:PORT]/PATH`."""

import http.client
import io
import socket
import sys
import urllib.parse

import uvbind


def on_addresses(request, results, error):
    if error is not None:
        sys.exit(error.strerror)
    connect_to_next([address for *_, address in results])


def connect_to_next(addresses):
    address = addresses.pop(0)

    def on_connect(client, error):
        if error is None:
            path = urllib.parse.urlunsplit(("", "", url.path or "/", url.query, ""))
            head = f"GET {path} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n\r\n"
            client.write(head.encode())
            client.read_start(on_read)
        elif addresses:
            client.close()
            connect_to_next(addresses)
        else:
            sys.exit(f"{url.netloc}: {error.strerror}")

    uvbind.TCP(loop).connect(address, on_connect)


def on_read(client, data, error):
    if data is not None:
        received.write(data)
    elif error.name == "EOF":
        client.close()
    else:
        sys.exit(f"{url.netloc}: {error.strerror}")


class Received(io.BytesIO):
    """All that came. Python's own parser of HTTP reads it as if it were a socket."""

    def makefile(self, mode):
        self.seek(0)
        return self


url = urllib.parse.urlsplit(sys.argv[1] if len(sys.argv) == 2 else "")
if url.scheme != "http" or not url.hostname:
    sys.exit(__doc__)
received = Received()
with uvbind.Loop() as loop:
    try:
        uvbind.getaddrinfo(
            loop, url.hostname, url.port or 80, type=socket.SOCK_STREAM, callback=on_addresses
        )
    except OSError as error:  # what is no name at all
        sys.exit(error.strerror)
    loop.run()
with http.client.HTTPResponse(received) as response:
    try:
        response.begin()
        body = response.read()
    except http.client.HTTPException as error:
        sys.exit(f"{url.netloc}: {error!r}")
if response.status != 200:
    sys.exit(f"{sys.argv[1]}: {response.status} {response.reason}")
sys.stdout.buffer.write(body)
