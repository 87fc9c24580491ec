"""zeroconf: two hosts find each other by multicast, over a network of the test's own."""

from __future__ import annotations

import pytest
from namespaces import linked

pytest.importorskip("zeroconf")

BOTH = """
import asyncio, sys, uvbind
from zeroconf import IPVersion, ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

loop, version = sys.argv[1:]
KIND = "_greeting._tcp.local."
new_zeroconf = lambda: AsyncZeroconf(ip_version=getattr(IPVersion, version))
run = {"asyncio": asyncio.run, "uvbind": uvbind.run}[loop]

def prove():
    assert type(asyncio.get_running_loop()).__module__.startswith(loop)

async def lines():
    "Standard input."
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    async for line in reader:
        yield line.decode().strip()
    transport.close()
"""

OFFERS = """
async def main():
    prove()
    address = "10.0.0.2" if version == "V4Only" else "fe80::2"
    services = {}
    async with new_zeroconf() as zeroconf:
        async for line in lines():
            verb, name, *text = line.split()
            service = AsyncServiceInfo(
                KIND, f"{name}.{KIND}", 7000, 0, 0, {"text": " ".join(text)},
                server="right.local.", parsed_addresses=[address],
            )
            done = await getattr(zeroconf, f"async_{verb}_service")(service)
            await done

run(main())
"""

LOOKS = """
async def main():
    prove()
    changes = asyncio.Queue()
    async with new_zeroconf() as zeroconf:
        browser = AsyncServiceBrowser(
            zeroconf.zeroconf, KIND,
            handlers=[lambda zeroconf, service_type, name, state_change:
                      changes.put_nowait((name, state_change))],
        )
        print("looking", flush=True)
        for _ in range(4):
            name, change = await changes.get()
            text = addresses = port = None
            if change is not ServiceStateChange.Removed:
                service = AsyncServiceInfo(KIND, name)
                assert await service.async_request(zeroconf.zeroconf, 30_000)
                addresses, port = service.parsed_addresses(), service.port
                text = service.properties[b"text"].decode()
            print((change.name, name, text, addresses, port), flush=True)
        assert await zeroconf.async_get_service_info(KIND, f"nobody.{KIND}", 100) is None

run(main())
"""


@pytest.mark.parametrize("version", ["V4Only", "V6Only"])
def test_services_come_change_and_go(loop_name, version):
    with linked() as (left, right):
        left.ip("address add 10.0.0.1/24 dev left")
        right.ip("address add 10.0.0.2/24 dev right")
        looking = left.start_python(BOTH + LOOKS, loop_name, version)
        assert looking.stdout.readline() == "looking\n"
        offering = right.start_python(BOTH + OFFERS, loop_name, version)

        def tell(line):
            offering.stdin.write(line + "\n")
            offering.stdin.flush()
            return looking.stdout.readline().strip()

        where = (["10.0.0.2" if version == "V4Only" else "fe80::2"], 7000)
        one, two = "one._greeting._tcp.local.", "two._greeting._tcp.local."
        assert tell("register one good morning") == repr(("Added", one, "good morning", *where))
        assert tell("register two hello") == repr(("Added", two, "hello", *where))
        assert tell("update one good night") == repr(("Updated", one, "good night", *where))
        assert tell("unregister one") == repr(("Removed", one, None, None, None))
        assert looking.wait(60) == 0
        offering.communicate(timeout=60)
        assert offering.returncode == 0
