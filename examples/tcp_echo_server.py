"""Sends back what it receives. Run it as `python tcp_echo_server.py [PORT]`, then talk to it."""

import sys

import uvbind


def on_read(client, data, error):
    if data is not None:
        client.write(data)
    elif error.name == "EOF":  # close when all is sent
        client.shutdown(lambda client, error: client.close())
    else:
        client.close()


def on_connection(server, error):
    if error is not None:
        print("new connection:", error, file=sys.stderr)
    else:
        server.accept().read_start(on_read)


loop = uvbind.Loop()
server = uvbind.TCP(loop)
server.bind(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 7000))
server.listen(on_connection, backlog=128)
print("listening on port", server.getsockname()[1], flush=True)
loop.run()
