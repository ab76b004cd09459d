"""milters: any filter of the primary, asked as its own MTA would ask it. See `docs/milters.md`.

All filters are connected to at the first recipient of a transaction. Each recipient is put to them
in the order of the configuration, until one refuses it; so is the message. Evidence: what each
filter said, by its name.
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Final

from tideover.config.policy import Milter, OnFailure
from tideover.config.values import write_size
from tideover.policy.engines.inquiry import plain
from tideover.policy.engines.milter.answers import Verdict, Word
from tideover.policy.engines.milter.conversation import Conversation, Heard
from tideover.policy.engines.milter.shown import Shown
from tideover.policy.interface import About, Check, Found, Message, Result, Stage, Verb
from tideover.policy.services import Services

_NAME: Final = "milters"
_LONGEST: Final = 120
_FINDINGS: Final = {
    Word.REJECT: "milter-reject",
    Word.DEFER: "milter-defer",
    Word.DISCARD: "milter-discard",
}
_REFUSALS: Final = frozenset({Word.REJECT, Word.DEFER})


def make(services: Services) -> Check | None:
    """The check of the stages rcpt and message, or None where no milter is configured. It has to be
    run as a task.
    """
    milters, hostname = services.config.milters, services.config.hostname
    if not milters:
        return None

    async def check(about: About) -> Result:
        kept = about.transaction.get(_NAME)
        if kept is None:
            kept = about.transaction[_NAME] = Conversations(milters, hostname)
        async with kept.lock:
            if about.stage is Stage.RCPT:
                return await kept.recipient(about)
            return await kept.message(about)

    return check


class Conversations:
    """With all filters, in one transaction. One question at a time: hold `lock`."""

    def __init__(self, milters: Mapping[str, Milter], hostname: str) -> None:
        self._all = [Conversation(name, settings, hostname) for name, settings in milters.items()]
        self._begun = False
        # a question that was given up may still be on its way out when the next one comes
        self.lock = asyncio.Lock()

    async def recipient(self, about: About) -> Result:
        """What the filters say of `about.recipient`."""
        recipient = about.recipient
        if recipient is None:
            return Result()
        await self._begin(about)
        found: list[Found] = []
        evidence: dict[str, str] = {}
        for one in self._all:
            verdict = await one.recipient(recipient, about)
            found += _failure(one)
            if one.failed:
                evidence[one.name] = f"failed: {plain(one.failed)}"
            elif verdict.word in _REFUSALS:
                evidence[one.name] = str(verdict)
                found += _finding(one, verdict)
            if (one.failed and _must_not_fail(one)) or verdict.word in _REFUSALS:
                break
        return Result(found=tuple(found), evidence=_cut(evidence))

    async def message(self, about: About) -> Result:
        """What the filters say of `about.message`, and their changes to its header."""
        message = about.message
        if message is None:
            return Result()
        await self._begin(about)
        shown = Shown(message.header)
        found: list[Found] = []
        evidence: dict[str, str] = {}
        for one in self._all:
            if message.body.size > one.settings.max_size:
                limit = write_size(one.settings.max_size)
                evidence[one.name] = f"not shown: larger than {limit}"
                continue
            heard, refused = await _message(one, about, message, shown)
            found += [*_failure(one), *_finding(one, heard.verdict)]
            if heard.quarantine is not None:
                reason = f"{one.name}: {heard.quarantine}"
                found.append(Found(name="milter-quarantine", reason=reason))
            evidence[one.name] = _said(one, heard, refused)
            if (one.failed and _must_not_fail(one)) or heard.verdict.word in _REFUSALS:
                break
        return Result(found=tuple(found), evidence=_cut(evidence), edits=shown.edits() or None)

    def close(self) -> None:
        """The transaction is over, however it ended."""
        for one in self._all:
            one.close()

    async def _begin(self, about: About) -> None:
        if not self._begun:
            self._begun = True
            # all at once: those that are slow or dead cost their time together
            await asyncio.gather(*(one.begin(about) for one in self._all))


async def _message(
    one: Conversation, about: About, message: Message, shown: Shown
) -> tuple[Heard, int]:
    """Show the message to a filter; also: how many of its recipients the filter refuses.

    It may not have heard of all of them: of one that another filter had refused before, or of those
    of trusted clients, whose recipients are not checked.
    """
    verdicts = [await one.recipient(recipient, about) for recipient in message.recipients]
    refusals = [verdict for verdict in verdicts if verdict.word in _REFUSALS]
    if one.failed:
        return Heard(), 0
    if refusals and len(refusals) == len(verdicts):
        return Heard(refusals[0]), len(refusals)
    heard = await one.message(about, message.body, message.header.length, shown)
    return heard, len(refusals)


def _failure(one: Conversation) -> Iterator[Found]:
    if one.failed:
        action = Verb.DEFER if _must_not_fail(one) else 0.0
        yield Found(name="engine-failed", reason=f"{one.name}: {plain(one.failed)}", action=action)


def _must_not_fail(one: Conversation) -> bool:
    return one.settings.on_failure is OnFailure.DEFER


def _finding(one: Conversation, verdict: Verdict) -> Iterator[Found]:
    name = _FINDINGS.get(verdict.word)
    if name is not None:
        said = f": {verdict.reply}" if verdict.reply else ""
        yield Found(name=name, reason=f"{one.name}{said}", reply=verdict.reply)


def _said(one: Conversation, heard: Heard, refused: int) -> str:
    """In a few words, for people."""
    if one.failed:
        return f"failed: {plain(one.failed)}"
    parts = [str(heard.verdict)]
    if heard.quarantine is not None:
        parts.append("quarantine")
    if heard.changes:
        parts.append(f"header changes: {heard.changes}")
    if heard.not_carried:
        parts.append(f"not carried: {', '.join(sorted(heard.not_carried))}")
    if refused:
        parts.append(f"recipients refused: {refused}")
    return "; ".join(parts)


def _cut(evidence: Mapping[str, str]) -> dict[str, str]:
    return {name: text[:_LONGEST] for name, text in evidence.items()}
