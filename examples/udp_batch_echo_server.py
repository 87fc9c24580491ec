"""Sends every datagram back, many at a time: `python udp_batch_echo_server.py [PORT]`."""

import sys

import uvbind


def on_batch(server, datagrams, error):
    if error is not None:
        print("receive:", error.strerror, file=sys.stderr)
    answers = [(data, address) for data, address, flags in datagrams]
    try:
        sent = server.try_send_batch(answers)  # one system call for twenty
    except OSError:
        sent = 0  # the first one failed: on_sent() will be told why
    if answers[sent:]:
        server.recv_stop()  # until they are gone: a flood must not fill the memory
    for data, address in answers[sent:]:
        server.send(data, address, on_sent)


def on_sent(server, error):
    if error is not None:
        print(error.strerror, file=sys.stderr)
    if server.send_queue_count == 0:
        server.recv_batch_start(on_batch)


with uvbind.Loop() as loop:
    server = uvbind.UDP(loop, recvmmsg=True)
    server.bind(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 7000))
    server.recv_batch_start(on_batch)
    print("listening on port", server.getsockname()[1], flush=True)
    loop.run()
