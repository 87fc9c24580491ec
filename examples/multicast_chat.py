"""Talks to everybody in a multicast group: `python multicast_chat.py [INTERFACE]`.

Each line of the standard input goes to the group, Ctrl-D ends the chat. INTERFACE is the address
of the one to use; without it the chat stays on this computer. Start it in two terminals.
"""

import os
import sys

import uvbind

GROUP = ("239.77.86.66", 7086)
INTERFACE = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"


def on_message(receiver, data, address, flags, error):
    if error is not None:
        print("receive:", error.strerror, file=sys.stderr)
    elif address != sender.getsockname():  # what we say comes back as well
        print(*address, data.decode(errors="replace"), flush=True)


def on_typed(keyboard, events, error):
    if error is not None:
        sys.exit(f"standard input: {error.strerror}")
    chunk = os.read(0, 65536)
    *lines, typed[:] = (typed + chunk).split(b"\n")  # the last line has not ended yet
    if not chunk:  # the end: send what is left, and go
        lines = [typed] if typed else []
        keyboard.close()
        receiver.close()
    for line in lines:
        sender.send(line, GROUP, on_sent)


def on_sent(sender, error):
    if error is not None:
        print(error.strerror, file=sys.stderr)


typed = bytearray()
with uvbind.Loop() as loop:
    try:
        receiver = uvbind.UDP(loop)
        receiver.bind(("0.0.0.0", GROUP[1]), reuseaddr=True)  # as the others on this computer
        receiver.set_membership(GROUP[0], INTERFACE)
        sender = uvbind.UDP(loop)  # a socket of its own tells us from them
        sender.bind((INTERFACE, 0))
        sender.set_multicast_interface(INTERFACE)
        keyboard = uvbind.Poll(loop, 0)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    os.set_blocking(0, True)  # a Poll is content with that, and the shell needs it
    receiver.recv_start(on_message)
    keyboard.start(uvbind.PollEvent.READABLE, on_typed)
    print("joined", *GROUP, "as", *sender.getsockname(), flush=True)
    loop.run()
