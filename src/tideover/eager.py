"""Running a coroutine at once, without a task unless it has to wait.

Most checks find what they need in a cache: then a task, and a turn of the event loop, would cost
several times what the check does.
"""

import asyncio
from collections.abc import Coroutine, Generator, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def run(coro: Coroutine[Any, Any, T]) -> "T | asyncio.Task[T]":
    """The coroutine's value if it gets there without waiting, else a task that goes on with it.

    Raises:
        Exception: what the coroutine raised before it had to wait.
    """
    try:
        waits_for = coro.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    return asyncio.get_running_loop().create_task(_go_on(coro, waits_for))


async def together(coros: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Their values, in order. Each runs at once as far as it gets; those that then have to wait
    wait together. When one raises, the others are cancelled.
    """
    started: list[T | asyncio.Task[T]] = []
    try:
        started += map(run, coros)
        tasks = [each for each in started if isinstance(each, asyncio.Task)]
        if tasks:
            await asyncio.gather(*tasks)
    except BaseException:
        for each in started:
            if isinstance(each, asyncio.Task):
                each.cancel()
        raise
    return [each.result() if isinstance(each, asyncio.Task) else each for each in started]


async def _go_on(coro: Coroutine[Any, Any, T], waits_for: object) -> T:
    value: T = await _Rest(coro, waits_for)
    return value


class _Rest:
    """The rest of a started coroutine. `await` takes no coroutine that stands in an await itself,
    so it is driven by hand, as PEP 380 spells `yield from` out.
    """

    __slots__ = ("_coro", "_waits_for")

    def __init__(self, coro: Coroutine[Any, Any, T], waits_for: object) -> None:
        self._coro = coro
        self._waits_for = waits_for

    def __await__(self) -> Generator[object, Any, Any]:
        coro, waits_for = self._coro, self._waits_for
        try:
            while True:
                try:
                    got = yield waits_for
                except BaseException as error:
                    waits_for = coro.throw(error)
                else:
                    waits_for = coro.send(got)
        except StopIteration as end:
            return end.value
