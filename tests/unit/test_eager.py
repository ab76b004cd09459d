"""Coroutines that are run at once, and those that have to wait."""

import asyncio

import pytest
import uvloop

from tideover.eager import run

BOTH = pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])


@BOTH
def test_what_does_not_wait_needs_no_task(runner):
    async def inner():
        return 7

    async def outer():
        return await inner() + 1

    async def main():
        assert run(outer()) == 8
        assert len(asyncio.all_tasks()) == 1

    runner(main())


@BOTH
def test_what_waits_goes_on_in_a_task_however_deep_it_waits(runner):
    async def deep(future):
        first = await future
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await asyncio.sleep(0.001)
        return first

    async def outer(future):
        return await deep(future) + await deep(future)

    async def main():
        future = asyncio.get_running_loop().create_future()
        task = run(outer(future))
        assert isinstance(task, asyncio.Task)
        future.set_result(4)
        assert await task == 8

    runner(main())


@BOTH
def test_errors_come_out_at_once_or_from_the_task(runner):
    async def fails(future):
        if future is not None:
            await future
        raise LookupError("no")

    async def main():
        with pytest.raises(LookupError):
            run(fails(None))
        future = asyncio.get_running_loop().create_future()
        task = run(fails(future))
        future.set_result(None)
        with pytest.raises(LookupError):
            await task
        future = asyncio.get_running_loop().create_future()
        task = run(fails(future))
        future.set_exception(OSError("broken"))
        with pytest.raises(OSError, match="broken"):
            await task

    runner(main())


@BOTH
def test_a_cancellation_reaches_the_coroutine(runner):
    seen = []

    async def waits():
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            seen.append("finally")

    async def main():
        task = run(waits())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    runner(main())
    assert seen == ["cancelled", "finally"]


@BOTH
def test_async_generators_can_be_left_early(runner):
    async def pieces():
        for n in range(3):
            await asyncio.to_thread(lambda: None)
            yield n

    async def reads():
        async for n in pieces():
            if n == 1:
                break
        return n

    async def main():
        assert await run(reads()) == 1

    runner(main())
