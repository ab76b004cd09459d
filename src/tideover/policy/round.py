"""The checks of one stage: begun together, each as soon as what it needs is there.

I14: a check that fails, or has no answer when the stage's time is up, is undecided. Engines are
not: of a message that they have not judged their silence says what follows.
"""

import asyncio
from collections import ChainMap
from collections.abc import Awaitable, Iterable, Mapping, MutableMapping, Sequence
from functools import partial
from time import perf_counter
from typing import Final, cast

from msgspec import Struct
from msgspec.structs import replace

from tideover.eager import run
from tideover.events.event import EventSink
from tideover.events.policy_records import CheckFailed
from tideover.message.envelope import Client, SessionId
from tideover.policy.interface import About, Entry, Result, Stage

TOO_LATE: Final = "no answer within the time for this stage"


class Outcome(Struct, frozen=True):
    """What a check said, and how long it took in seconds."""

    check: str
    stage: Stage
    result: Result
    seconds: float


class Round:
    """One stage for one session, transaction or recipient.

    `results` are those of this stage by check; checks are given them together with earlier ones.
    """

    __slots__ = (
        "_began",
        "_emit",
        "_ends",
        "_pending",
        "_silence",
        "_stage",
        "outcomes",
        "results",
    )

    def __init__(
        self,
        entries: Sequence[Entry],
        about: About,
        *,
        timeout: float,
        emit: EventSink,
    ) -> None:
        """Begin. `entries` are in an order in which needs come first; `about.results` are those of
        earlier stages.
        """
        self.outcomes: list[Outcome] = []
        self._stage = about.stage
        self.results: dict[str, Result] = {}
        about = replace(
            about,
            results=ChainMap(self.results, cast("MutableMapping[str, Result]", about.results)),
        )
        self._began = perf_counter()
        self._emit = emit
        judging = about.stage is Stage.MESSAGE
        self._silence = {one.name: one.silence for one in entries if one.silence and judging}
        self._pending: dict[str, asyncio.Task[Result]] = {}
        for entry in entries:
            self._begin(entry, about)
        self._ends = asyncio.get_running_loop().time() + timeout if self._pending else 0.0

    def _begin(self, entry: Entry, about: About) -> None:
        needed = [self._pending[name] for name in entry.needs if name in self._pending]
        work = _after(needed, entry, about) if needed else entry.run(about)
        began = perf_counter()
        try:
            said = asyncio.get_running_loop().create_task(work) if entry.waits else run(work)
        except Exception as error:  # whatever a check does, the client is served
            said = self._failed(entry.name, error)
        if isinstance(said, asyncio.Task):
            self._pending[entry.name] = said
            said.add_done_callback(partial(self._done, entry.name, began))
        else:
            self._note(entry.name, said, perf_counter() - began)

    def _done(self, name: str, began: float, task: "asyncio.Task[Result]") -> None:
        if self._pending.pop(name, None) is None:
            return  # it was too late
        if task.cancelled():
            result = self._silent(name, TOO_LATE)
        elif (error := task.exception()) is not None:
            result = self._failed(name, error)
        else:
            result = task.result()
        self._note(name, result, perf_counter() - began)

    def _note(self, name: str, result: Result, seconds: float) -> None:
        self.outcomes.append(Outcome(name, self._stage, result, seconds))
        self.results[name] = result

    @property
    def speaks(self) -> bool:
        """Whether any check has found something."""
        return any(one.result.found for one in self.outcomes)

    def _failed(self, name: str, error: BaseException) -> Result:
        text = f"{type(error).__name__}: {error}"[:200]
        self._emit(CheckFailed(check=name, reason=text))
        return self._silent(name, f"a bug: {type(error).__name__}")

    def _silent(self, name: str, why: str) -> Result:
        return self._silence.get(name) or Result(undecided=why)

    def settled(self) -> Awaitable[None] | None:
        """What to await until all checks have said something; None: they have."""
        return self._settle() if self._pending else None

    async def _settle(self) -> None:
        if not self._pending:
            return  # done while another round was waited for
        left = self._ends - asyncio.get_running_loop().time()
        await asyncio.wait(self._pending.values(), timeout=max(0.0, left))
        await asyncio.sleep(0)  # the callbacks of those that have just ended
        for name, task in list(self._pending.items()):
            del self._pending[name]
            task.cancel()
            self._note(name, self._silent(name, TOO_LATE), perf_counter() - self._began)

    def close(self) -> None:
        """Nobody waits for it any more."""
        if not self._pending:
            return
        for task in self._pending.values():
            task.cancel()
        self._pending.clear()


_NOBODY: Final = Client(session=SessionId(""), address="", port=0, helo="", protocol="SMTP")

QUIET: Final = Round(
    (), About(stage=Stage.CONNECT, client=_NOBODY, now=0.0), timeout=0.0, emit=lambda _: None
)
"""The round of every stage that has no checks: as most have none, it must not cost anything."""


async def _after(needed: Sequence["asyncio.Task[Result]"], entry: Entry, about: About) -> Result:
    """What a check says when those that it needs have spoken."""
    await asyncio.wait(needed)
    return await entry.run(about)


def joined(rounds: Iterable["Round"]) -> dict[str, Result]:
    """The results of several stages by check."""
    results: dict[str, Result] = {}
    for one in rounds:
        for name, result in one.results.items():
            before = results.get(name)
            results[name] = result if before is None else _joined(before, result)
    return results


def _joined(before: Result, after: Result) -> Result:
    """What a check of several stages has said so far. Numbers in `detail` add up."""
    evidence: Mapping[str, str] = {**before.evidence, **after.evidence}
    detail = after.detail if after.detail is not None else before.detail
    if isinstance(before.detail, float) and isinstance(after.detail, float):
        detail = before.detail + after.detail
    return replace(after, found=before.found + after.found, evidence=evidence, detail=detail)
