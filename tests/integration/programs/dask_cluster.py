"""A program that computes on a Dask cluster; `uvbind.install()` is all that makes it ours.

python dask_cluster.py asyncio|uvbind threads|processes tcp://|tls://
"""

import asyncio
import os
import sys

loop_name, workers, protocol = sys.argv[1:]
if loop_name == "uvbind":  # here, where the processes of the workers come by too
    import uvbind

    uvbind.install()
else:
    assert loop_name == "asyncio", loop_name

from distributed import Client, LocalCluster, Security, get_worker, wait


def running_on(dask_worker=None, dask_scheduler=None):
    """The loop that a scheduler or worker serves from."""
    loop = (dask_worker or dask_scheduler).loop.asyncio_loop
    return type(loop).__module__.partition(".")[0], os.getpid()


def large(number):
    return bytes([number]) * 1_000_000


def join(*parts):
    return b"".join(parts), get_worker().address


def main():
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            processes=workers == "processes",
            protocol=protocol,
            security=Security.temporary() if protocol == "tls://" else None,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # or it would be a port that others may want
            worker_dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster) as client,
    ):
        assert cluster.scheduler_address.startswith(protocol)
        on_scheduler = client.run_on_scheduler(running_on)
        on_workers = client.run(running_on)
        here = type(client.loop.asyncio_loop).__module__.partition(".")[0]
        print("client", here, "scheduler", on_scheduler[0], end=" ")
        print("workers", *[name for name, _ in on_workers.values()])
        processes = {pid for _, pid in on_workers.values()}
        assert len(processes) == (2 if workers == "processes" else 1)
        assert (os.getpid() in processes) == (workers == "threads")

        assert client.submit(sum, client.map(pow, range(1000), [2] * 1000)).result() == 332833500
        # Much goes from one worker to the other, and here.
        first, second = on_workers
        parts = [
            client.submit(large, n, workers=[first if n % 2 else second], pure=False)
            for n in range(10)
        ]
        wait(parts)
        joined = [client.submit(join, *parts, workers=[each], pure=False) for each in on_workers]
        whole = b"".join(map(large, range(10)))
        assert client.gather(joined) == [(whole, first), (whole, second)]
        assert client.gather(client.scatter(whole, broadcast=True)) == whole
        try:
            client.submit(divmod, 1, 0).result()
        except ZeroDivisionError:
            print("an error came back")
        hanging = client.submit(asyncio.Event().wait)  # a coroutine, in the loop of a worker
        assert hanging.status == "pending"
        hanging.cancel()
        assert hanging.cancelled()
        print("done")


if __name__ == "__main__":
    main()
