"""Looks up names and addresses, all at once: `python host.py NAME-OR-ADDRESS ...`."""

import ipaddress
import socket
import sys

import uvbind

failures = []


def ask_for_addresses(name):
    def on_addresses(request, results, error):
        if error is not None:
            failures.append(error.strerror)
            return
        for *_, address in results:
            print(name, "has", "IPv6 address" if ":" in address[0] else "address", address[0])

    uvbind.getaddrinfo(loop, name, type=socket.SOCK_STREAM, callback=on_addresses)


def ask_for_name(address):
    def on_name(request, names, error):
        if error is not None:
            failures.append(error.strerror)
        else:
            print(address, "is called", names[0])

    uvbind.getnameinfo(loop, (address, 0), socket.NI_NAMEREQD, callback=on_name)


def is_address(word):
    try:
        return bool(ipaddress.ip_address(word))
    except ValueError:
        return False


if len(sys.argv) < 2:
    sys.exit(__doc__)
with uvbind.Loop() as loop:
    for word in sys.argv[1:]:
        try:
            if is_address(word):
                ask_for_name(word)
            else:
                ask_for_addresses(word)
        except (OSError, ValueError) as error:  # what is neither a name nor an address
            failures.append(str(error))
    loop.run()
if failures:
    sys.exit("\n".join(failures))
