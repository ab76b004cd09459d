"""What the writer thread does for a caller: one piece of work, its result and its waiter."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from sqlite3 import Connection
from typing import ClassVar, Generic, Self, TypeVar

from tideover.events.event import Event

T = TypeVar("T")


class Transaction:
    """The open transaction of a batch. `events` are told when it is durable."""

    __slots__ = ("conn", "events")

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.events: list[Event] = []

    def execute(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> int:
        """Run a statement that gives no rows. Returns how many rows it changed."""
        return self.conn.execute(sql, values).rowcount

    def value(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> object:
        """The first column of the first row, or None."""
        row = self.conn.execute(sql, values).fetchone()
        return None if row is None else row[0]


class Work(ABC, Generic[T]):
    """One thing to do in the writer's transaction.

    Of a batch, all work of one class is applied together, classes in the order of `rank`, and
    equal ones as they came. `result` counts only after the commit.
    """

    __slots__ = ("error", "future", "result")

    rank: ClassVar[int] = 9
    result: T

    def __init__(self, future: asyncio.Future[T]) -> None:
        self.future = future
        self.error: Exception | None = None

    @classmethod
    @abstractmethod
    def apply(cls, tx: Transaction, works: Sequence[Self]) -> None:
        """Do all of these and set their results."""

    @classmethod
    def single_statement(cls, works: Sequence[Self]) -> tuple[str, list[object]] | None:
        """SQL and values that do all of these in one statement; None when it takes several."""
        return None

    def resolve(self) -> None:
        """Tell the waiter, if it still waits. Runs in the loop's thread."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Call(Work[T]):
    """Work that is rare: a function of the transaction."""

    __slots__ = ("function",)

    def __init__(self, future: asyncio.Future[T], function: Callable[[Transaction], T]) -> None:
        super().__init__(future)
        self.function = function

    @classmethod
    def apply(cls, tx: Transaction, works: Sequence[Self]) -> None:
        """Call each."""
        for work in works:
            work.result = work.function(tx)
