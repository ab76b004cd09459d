"""What policy says in one mail transaction: to each recipient, before the body, and to the message.

Verdicts are values: None for yes, a Reply for no, an awaitable where something is waited for.
Whoever a message is for is judged by the same profile, key and filter settings: a recipient for
whom others hold is asked to come in a transaction of its own, as one reply answers a body.
"""

import asyncio
from collections import ChainMap
from collections.abc import Awaitable
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from tideover.config.model import Domain
from tideover.config.values import domain_of
from tideover.events.policy_records import PolicyJudged
from tideover.message.edits import Edits
from tideover.message.envelope import Evidence, QueueId, Recipient
from tideover.policy.decision import Decision, decide, records, strength
from tideover.policy.interface import Message, Result, Stage, Verb
from tideover.policy.marks import SealedBy
from tideover.policy.round import QUIET, Outcome, Round, joined
from tideover.policy.session import SessionPolicy
from tideover.smtp.replies import Reply, reply

APART: Final = reply(452, "4.5.3", "This recipient is under other rules; send it apart")
GONE: Final = reply(451, "4.4.2", "The connection was lost")
OPEN: Final = frozenset({"postmaster", "abuse"})
"""Who is refused must be able to say so (RFC 5321 §4.5.1, RFC 2142): no check before the body
refuses mail to these addresses for good; what is asked of a single recipient may defer it."""

_LOST: Final = Domain(primary=(), recipients=())
"""Settings of a domain that went away between two steps, or came after the session began."""

_NOBODY: Final = (-2, 0.0)
_ANYBODY: Final = (-1, 0.0)
"""How doubtful a recipient is: what speaks against an open one does not count where there are
others."""


class Kind(Struct, frozen=True):
    """What all recipients of a message must have in common."""

    profile: str
    rspamd_settings: str | None
    sealed_by: SealedBy


class Verdict(Struct, frozen=True, kw_only=True):
    """What becomes of a message. With a `reply` it is refused; else it is stored with `trace`
    above it and `edits` made, and held when `held` says why.
    """

    reply: Reply | None = None
    because: str = ""
    trace: bytes = b""
    edits: Edits = ()
    evidence: Evidence = Evidence()
    held: str | None = None


class _Asked(Struct, frozen=True):
    """A recipient whose turn it is."""

    recipient: Recipient
    kind: Kind
    is_open: bool


class TransactionPolicy:
    """From MAIL to the verdict on the message. `close` it, however it ends."""

    __slots__ = ("_about", "_before", "_chain", "_closed", "_data", "_kind", "_mail", "_memory",
                 "_only_open", "_outcomes", "_recipients", "_running", "_session",
                 "_worst")  # fmt: skip

    def __init__(self, session: SessionPolicy, *, sender: str, smtputf8: bool) -> None:
        self._chain = session.chain
        self._session = session
        self._memory: dict[str, Any] = {}
        self._recipients: list[Recipient] = []
        self._only_open = True
        self._kind = Kind("default", None, SealedBy())
        self._worst: tuple[tuple[int, float], list[Outcome]] = (_NOBODY, [])
        self._data = QUIET
        self._running: Round | None = None
        self._closed = False
        self._about = replace(
            session.about, stage=Stage.MAIL, now=self._chain.clock(), sender=sender,
            sender_domain=domain_of(sender) or "", smtputf8=smtputf8, transaction=self._memory,
        )  # fmt: skip
        self._mail: Round | None = None
        # of client and sender, once they are all there
        self._before: dict[str, Result] | None = None
        self._outcomes: list[Outcome] = []

    # Recipients

    def recipient(
        self, recipient: Recipient, local: str, honeypots: int
    ) -> Awaitable[Reply | None] | Reply | None:
        """Whether a recipient that exists may get mail of this client and sender.

        `local` is its local part, `honeypots` how many of them the session has written to.
        """
        kind = self._kind_of(recipient.domain)
        if self._recipients and kind != self._kind:
            return APART
        asked = _Asked(recipient, kind, local.lower() in OPEN)
        if honeypots != self._about.honeypots:
            self._about = replace(self._about, honeypots=honeypots)
        if self._mail is None:
            self._mail = self._begin()
        if self._before is None:
            waiting = [w for one in self._rounds if (w := one.settled()) is not None]
            if waiting:
                return self._recipient_later(waiting, asked)
            self._settle()
        return self._judge_recipient(asked)

    def _begin(self) -> Round:
        """Begin to check client and sender: there is somebody whom they want to reach."""
        self._session.begin()
        known = [one.results for one in reversed(self._session.rounds)]
        return self._round(Stage.MAIL, results=ChainMap(*known) if known else {})

    def _round(
        self, stage: Stage, profile: str | None = None, *, waited: float = 0.0, **known: object
    ) -> Round:
        """Begin the checks of a stage, by what is known now."""
        checks = self._session.checks(stage, profile)
        if not checks:
            return QUIET  # before the facts are put together for nobody
        about = replace(
            self._about, stage=stage, now=self._chain.clock(),
            pipelined=self._session.about.pipelined, **known,
        )  # fmt: skip
        return self._chain.begin(checks, about, waited=waited)

    def _settle(self) -> None:
        """All checks of client and sender have spoken."""
        self._before = joined(self._rounds)
        self._outcomes = [outcome for one in self._rounds for outcome in one.outcomes]

    async def _recipient_later(self, waiting: list[Awaitable[None]], asked: _Asked) -> Reply | None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for one in waiting:
            await one
        if self._closed:
            return GONE
        self._settle()
        verdict = self._judge_recipient(asked, waited=loop.time() - began)
        return verdict if verdict is None or isinstance(verdict, Reply) else await verdict

    def _judge_recipient(
        self, asked: _Asked, waited: float = 0.0
    ) -> Awaitable[Reply | None] | Reply | None:
        if self._outcomes and not asked.is_open:
            outcomes = self._outcomes
            decision = decide(outcomes, self._chain.profile(asked.kind.profile))
            if decision.reply is not None:
                self._tell(decision, outcomes, outcomes, asked=asked)
                return decision.reply
        self._running = one = self._round(
            Stage.RCPT, asked.kind.profile, waited=waited, recipient=asked.recipient,
            recipients=tuple(self._recipients), results=self._before or {},
        )  # fmt: skip
        waits = one.settled()
        return self._after_round(one, asked) if waits is None else self._later(waits, one, asked)

    async def _later(self, waits: Awaitable[None], one: Round, asked: _Asked) -> Reply | None:
        try:
            await waits
        finally:
            one.close()
        return GONE if self._closed else self._after_round(one, asked)

    def _after_round(self, one: Round, asked: _Asked) -> Reply | None:
        profile = self._chain.profile(asked.kind.profile)
        if one.speaks:  # else what was decided before it stands
            outcomes = [*self._outcomes, *one.outcomes]
            counted = one.outcomes if asked.is_open else outcomes
            decision = decide(counted, profile)
            if decision.reply is not None and not (asked.is_open and decision.verb is Verb.REJECT):
                self._tell(decision, outcomes, counted, asked=asked)
                return decision.reply
        self._kind = asked.kind
        self._recipients.append(asked.recipient)
        self._only_open = self._only_open and asked.is_open
        self._memory["rspamd_settings"] = asked.kind.rspamd_settings
        # one verdict is given for all of them: by what speaks against the most doubtful
        alone = decide(one.outcomes, profile)
        weight = _ANYBODY if asked.is_open else (strength(alone.verb), alone.score)
        if weight > self._worst[0]:
            self._worst = weight, one.outcomes
        return None

    # The body

    def data(self) -> Awaitable[Reply | None] | Reply | None:
        """Whether the body may come. Without recipients (all of them swallowed) it may."""
        if not self._recipients:
            return None
        self._data = one = self._round(
            Stage.DATA, self._kind.profile,
            recipients=tuple(self._recipients), results=self._before or {},
        )  # fmt: skip
        waits = one.settled()
        return self._judge_data(one) if waits is None else self._judge_data_later(waits, one)

    async def _judge_data_later(self, waits: Awaitable[None], one: Round) -> Reply | None:
        await waits
        return self._judge_data(one)

    def _judge_data(self, one: Round) -> Reply | None:
        if self._only_open or not one.speaks:
            return None
        outcomes = self._so_far
        decision = decide(outcomes, self._chain.profile(self._kind.profile))
        if decision.reply is not None:
            self._tell(decision, outcomes, outcomes)
        return decision.reply

    async def message(self, message: Message) -> Verdict:
        """What becomes of the message."""
        earlier = {**(self._before or {}), **self._data.results}
        self._running = last = self._round(
            Stage.MESSAGE, self._kind.profile, message=message, results=earlier,
            recipients=tuple(self._recipients),
        )  # fmt: skip
        try:
            if (waits := last.settled()) is not None:
                await waits
        finally:
            last.close()
        if self._closed:
            return Verdict(reply=GONE, because="the client has gone")
        profile = self._chain.profile(self._kind.profile)
        outcomes = [*self._so_far, *last.outcomes]
        counted = last.outcomes if self._only_open else outcomes
        decision = decide(counted, profile)
        self._tell(decision, outcomes, counted, message=message.queue_id)
        if decision.reply is not None:
            return Verdict(reply=decision.reply, because=decision.because)
        marks = await self._chain.marker.mark(
            replace(self._about, now=self._chain.clock(), results={**earlier, **last.results}),
            message,
            outcomes,
            profile,
            self._kind.sealed_by,
        )
        held = None
        if decision.verb is Verb.HOLD:
            held = f"policy: {decision.because}: {decision.reason}"[:300]
        return Verdict(trace=marks.trace, edits=marks.edits, evidence=marks.evidence, held=held)

    def taken(self) -> None:
        """The message is in our custody: who sent it is known from now on."""
        self._chain.took(self._about.client)

    def close(self) -> None:
        """The transaction is over."""
        self._closed = True
        for one in (self._mail, self._data, self._running):
            if one is not None:
                one.close()
        if self._memory:
            close_all(self._memory)

    # What has been said

    @property
    def _rounds(self) -> list[Round]:
        mail = [] if self._mail is None or self._mail is QUIET else [self._mail]
        return [*self._session.rounds, *mail]

    @property
    def _so_far(self) -> list[Outcome]:
        return [*self._outcomes, *self._worst[1], *self._data.outcomes]

    def _kind_of(self, domain: str) -> Kind:
        config = self._chain.config
        settings = config.domains.get(domain, _LOST)
        return Kind(
            settings.profile,
            settings.rspamd_settings or config.rspamd.settings,
            self._chain.marker.sealed_by(domain, settings),
        )

    def _tell(
        self,
        decision: Decision,
        outcomes: list[Outcome],
        counted: list[Outcome],
        *,
        asked: _Asked | None = None,
        message: QueueId | None = None,
    ) -> None:
        named = (asked.kind if asked is not None else self._kind).profile
        profile = self._chain.profile(named)
        checks = records(outcomes, profile)
        if not checks:
            return
        dry = decide(counted, profile, dry=True) if profile.dry_run else decision
        about = self._about
        self._chain.emit(
            PolicyJudged(
                session=about.client.session,
                client=about.client.address,
                message=message or "",
                sender=about.sender or "",
                recipient=asked.recipient.address if asked is not None else None,
                verdict=decision.verb.value,
                because=decision.because,
                reason=decision.reason,
                score=decision.score,
                profile=named,
                dry_run="" if dry.verb is decision.verb else f"{dry.verb.value}: {dry.because}",
                checks=checks,
            )
        )


def close_all(memory: dict[str, Any]) -> None:
    """Let checks let go of what they keep for a transaction."""
    for kept in memory.values():
        close = getattr(kept, "close", None)
        if close is not None:
            close()
    memory.clear()
