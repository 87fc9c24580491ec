"""Tasks, executors and what goes wrong in them."""

import asyncio
import contextvars
import logging
import sys
import time

from peers import raised, raises
from probing import probe


class Logged(logging.Handler):
    """What asyncio logs while this is open."""

    def __init__(self):
        super().__init__()
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())

    def __enter__(self):
        logging.getLogger("asyncio").addHandler(self)
        logging.getLogger("asyncio").propagate = False
        return self

    def __exit__(self, *about):
        logging.getLogger("asyncio").removeHandler(self)


async def nothing(result=None):
    await asyncio.sleep(0)
    return result


@probe("loop.create_future", "is the loop's, and can be awaited")
async def create_future(loop):
    future = loop.create_future()
    loop.call_soon(future.set_result, 5)
    return asyncio.isfuture(future), future.get_loop() is loop, await future


@probe("loop.create_task", "`name=`")
async def create_task(loop):
    task = loop.create_task(nothing(5), name="five")
    return isinstance(task, asyncio.Task), task.get_name(), await task


@probe("loop.create_task", "`context=`")
async def task_in_context(loop):
    variable = contextvars.ContextVar("variable")
    context = contextvars.copy_context()

    async def main():
        variable.set(5)

    await loop.create_task(main(), context=context)
    return context[variable], variable.get(None)


@probe("loop.create_task", "on a closed loop")
def task_of_closed(new_loop):
    loop = new_loop()
    loop.close()
    coroutine = nothing()
    seen = raised(loop.create_task, coroutine)
    coroutine.close()
    return seen


@probe("loop.set_task_factory", "is asked for each task")
async def task_factory(loop):
    made = []

    def factory(loop, coroutine, **options):
        made.append(sorted(options))
        return asyncio.Task(coroutine, loop=loop)

    loop.set_task_factory(factory)
    seen = loop.get_task_factory() is factory
    await loop.create_task(nothing())
    await asyncio.gather(nothing(), nothing())
    loop.set_task_factory(None)
    return seen, len(made), loop.get_task_factory(), raised(loop.set_task_factory, 5)


@probe("loop.get_task_factory", "is None at first")
async def no_task_factory(loop):
    return loop.get_task_factory()


@probe("asyncio.eager_task_factory", "tasks begin at once", since=(3, 12))
async def eager_tasks(loop):
    async def at_once():
        order.append("task")
        return asyncio.current_task() is not None

    order = []
    loop.set_task_factory(asyncio.eager_task_factory)
    task = loop.create_task(at_once())
    order.append("maker")
    later = loop.create_task(nothing(5))
    return order, task.done(), await task, later.done(), await later


@probe("loop.call_exception_handler", "the handler that is set, and what it is told")
def exception_handler(new_loop):
    loop, seen = new_loop(), []

    def handler(loop, context):
        seen.append((sorted(context), str(context["exception"])))
        loop.stop()

    loop.set_exception_handler(handler)
    loop.call_soon(lambda: 1 / 0)
    loop.run_forever()
    loop.call_exception_handler({"message": "mine", "exception": KeyError("own")})
    loop.close()
    return seen


@probe("loop.default_exception_handler", "logs, with the traceback")
def default_exception_handler(new_loop):
    loop = new_loop()
    loop.set_exception_handler(None)
    with Logged() as log:
        loop.call_soon(lambda: 1 / 0)
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.default_exception_handler({"message": "mine"})
    loop.close()
    return [text.partition("callback")[0] for text in log.texts]


@probe("loop.set_exception_handler", "one that fails itself is logged; no function is refused")
def failing_handler(new_loop):
    loop = new_loop()
    loop.set_exception_handler(lambda loop, context: 1 / 0)
    with Logged() as log:
        loop.call_soon(lambda: {}["key"])
        loop.call_soon(loop.stop)
        loop.run_forever()
    seen = raised(loop.set_exception_handler, 5)
    loop.close()
    return [text.split("\n")[0] for text in log.texts], seen


@probe("loop.get_exception_handler", "is what was set")
def get_exception_handler(new_loop):
    loop = new_loop()
    loop.set_exception_handler(print)
    seen = [loop.get_exception_handler() is print]
    loop.set_exception_handler(None)
    seen.append(loop.get_exception_handler())
    loop.close()
    return seen


@probe("loop.set_debug", "slow callbacks are logged")
def slow_callbacks(new_loop):
    loop = new_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    with Logged() as log:
        loop.call_soon(time.sleep, 0.02)
        loop.call_later(0.001, time.sleep, 0.02)
        loop.run_until_complete(asyncio.sleep(0.1))
    loop.close()
    return sum("took" in text and "sleep" in text for text in log.texts) >= 2


@probe("loop.get_debug", "asyncio's debug mode, and where coroutines were made")
async def get_debug(loop):
    seen = [loop.get_debug()]
    loop.set_debug(True)
    await asyncio.sleep(0)
    seen += [loop.get_debug(), sys.get_coroutine_origin_tracking_depth() > 0]
    loop.set_debug(False)
    await asyncio.sleep(0)
    return [*seen, loop.get_debug(), sys.get_coroutine_origin_tracking_depth()]


@probe("loop.get_debug", "a handle knows where it was made")
async def source_of_handle(loop):
    loop.set_debug(True)
    made = loop.call_soon(print), loop.call_later(9, print)
    seen = []
    for handle in made:
        handle.cancel()
        seen.append("tasks.py" in repr(handle))
    return seen


@probe("asyncio.timeout", "ends what takes too long, and no more")
async def timeout(loop):
    seen = []
    try:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(9)
    except TimeoutError:
        seen.append("timeout")
    async with asyncio.timeout(9) as scope:
        await asyncio.sleep(0)
        scope.reschedule(loop.time() + 5)
    return seen, scope.expired()


@probe("asyncio.wait_for", "ends what takes too long")
async def wait_for(loop):
    seen = [await asyncio.wait_for(nothing(5), 5)]
    return [*seen, await raises(asyncio.wait_for(asyncio.sleep(9), 0.01))]


@probe("asyncio.TaskGroup", "cancels the others when one fails")
async def task_group(loop):
    async def fails():
        await asyncio.sleep(0.001)
        raise KeyError

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            other = group.create_task(asyncio.sleep(9))
    except BaseException as error:
        return [type(inner).__name__ for inner in error.exceptions], other.cancelled()
