"""A network that delays, loses, doubles and reorders packets: a relay between two TUN devices.

    python impaired.py LEFT RIGHT --loss 0.05 --duplication 0.02 --delay 1 --jitter 3 --seed 9

makes the two devices and says "ready"; when its standard input ends it removes them and prints how
many packets it had, as JSON. A device may be moved to another network namespace meanwhile. Only
IPv4 is carried. Percents are fractions of 1, times are in milliseconds; packets to --hole never
arrive. A generator of random numbers with a seed decides over each packet, in the order in which
the packets come.
"""

from __future__ import annotations

import argparse
import fcntl
import heapq
import json
import os
import random
import select
import socket
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
DESTINATION = slice(16, 20)  # of an IPv4 header


def make_device(name: str) -> int:
    """Make a TUN device and return the descriptor that has its packets."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return fd


class Relay:
    """Takes packets from each device and gives them to the other one, late or not at all."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._random = random.Random(options.seed)
        left, right = make_device(options.left), make_device(options.right)
        self._across = {left: right, right: left}
        self._hole = socket.inet_aton(options.hole) if options.hole else None
        self._waiting: list[tuple[float, int, int, bytes]] = []  # when due, its number, where to
        self._newest = dict.fromkeys(self._across, -1)  # by destination
        self.counts = dict.fromkeys(
            ("relayed", "lost", "duplicated", "reordered", "in the hole", "refused"), 0
        )
        self._number = 0

    def run(self) -> None:
        """Relay until standard input ends."""
        poll = select.poll()
        for fd in (sys.stdin.fileno(), *self._across):
            poll.register(fd, select.POLLIN)
        while True:
            timeout = None
            if self._waiting:
                timeout = max(0.0, self._waiting[0][0] - time.monotonic()) * 1000
            ready = [fd for fd, _ in poll.poll(timeout)]
            if sys.stdin.fileno() in ready:
                for fd in self._across:  # what came before the end counts
                    while self._take(fd):
                        pass
                self._give()
                return
            for fd in ready:
                self._take(fd)
            self._give()

    def _take(self, fd: int) -> bool:
        """Take a packet that a device sends, and decide what becomes of it; tell whether one was
        there."""
        try:
            packet = os.read(fd, 1 << 16)
        except OSError:  # the device has none, or is down
            return False
        if packet[0] >> 4 != 4:
            return True  # what the kernel sends unasked, over IPv6
        options, chance = self._options, self._random
        lost, twice = chance.random() < options.loss, chance.random() < options.duplication
        late = [options.delay + chance.random() * options.jitter for _ in range(2)]
        if packet[DESTINATION] == self._hole:
            self.counts["in the hole"] += 1
        elif lost and not is_reset(packet):
            self.counts["lost"] += 1
        else:
            self.counts["duplicated"] += twice
            for milliseconds in late[: 1 + twice]:
                due = time.monotonic() + milliseconds / 1000
                heapq.heappush(self._waiting, (due, self._number, self._across[fd], packet))
        self._number += 1
        return True

    def _give(self) -> None:
        """Give those packets to their devices that are due."""
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            _, number, fd, packet = heapq.heappop(self._waiting)
            try:
                os.write(fd, packet)
            except OSError:  # its device is down, or has no room
                self.counts["refused"] += 1
                continue
            self.counts["relayed"] += 1
            self.counts["reordered"] += number < self._newest[fd]
            self._newest[fd] = max(number, self._newest[fd])


def is_reset(packet: bytes) -> bool:
    """Tell whether a packet resets a connection: nobody sends it again, so none is lost here.

    A peer that waits for data never hears of a lost one, on any network.
    """
    flags = (packet[0] & 15) * 4 + 13  # behind the header of IPv4
    return packet[9] == socket.IPPROTO_TCP and len(packet) > flags and bool(packet[flags] & 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("left")
    parser.add_argument("right")
    for name in ("loss", "duplication", "delay", "jitter"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    parser.add_argument("--hole", help="an IPv4 address")
    parser.add_argument("--seed", type=int, default=0)
    relay = Relay(parser.parse_args())
    print("ready", flush=True)
    relay.run()
    print(json.dumps(relay.counts), flush=True)


if __name__ == "__main__":
    main()
