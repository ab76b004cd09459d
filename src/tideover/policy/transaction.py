"""What policy says in one mail transaction: to each recipient, before the body, and to the message.

Verdicts are values: None for yes, a Reply for no, an awaitable where something is waited for.
Whoever a message is for is judged by the same profile, key and filter settings: a recipient for
whom others hold is asked to come in a transaction of its own, as one reply answers a body.
"""

from collections import ChainMap
from collections.abc import Awaitable
from itertools import chain as chained
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from tideover.config.model import Domain
from tideover.config.policy import Profile
from tideover.config.values import domain_of
from tideover.events.policy_records import PolicyJudged
from tideover.message.edits import Edits
from tideover.message.envelope import Evidence, QueueId, Recipient
from tideover.policy.decision import Decision, decide, records
from tideover.policy.interface import Message, Result, Stage, Verb
from tideover.policy.marks import SealedBy
from tideover.policy.round import Outcome, Round, joined
from tideover.policy.session import SessionPolicy, close_all
from tideover.smtp.replies import Reply, reply

APART: Final = reply(452, "4.5.3", "This recipient is under other rules; send it apart")
OPEN: Final = frozenset({"postmaster", "abuse"})
"""Who is refused must be able to say so (RFC 5321 §4.5.1, RFC 2142): no check before the body
stands between these addresses and a client."""


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


class TransactionPolicy:
    """From MAIL to the verdict on the message. `close` it, however it ends."""

    __slots__ = ("_about", "_before", "_chain", "_data", "_kind", "_mail", "_memory", "_profile",
                 "_recipients", "_running", "_session", "_worst")  # fmt: skip

    def __init__(self, session: SessionPolicy, *, sender: str, smtputf8: bool) -> None:
        self._chain = session.chain
        self._session = session
        self._memory: dict[str, Any] = {}
        self._recipients: list[Recipient] = []
        self._kind: Kind | None = None
        self._profile = Profile()
        self._worst: tuple[float, list[Outcome]] = (float("-inf"), [])
        self._data: Round | None = None
        self._running: Round | None = None
        self._about = replace(
            session.about, stage=Stage.MAIL, now=self._chain.clock(), sender=sender,
            sender_domain=domain_of(sender) or "", smtputf8=smtputf8,
            results=ChainMap(*(one.results for one in reversed(session.rounds))),
            transaction=self._memory,
        )  # fmt: skip
        self._mail = self._chain.begin(self._about)
        self._before: dict[str, Result] | None = None

    # Recipients

    def recipient(
        self, recipient: Recipient, local: str, settings: Domain, honeypots: int
    ) -> Awaitable[Reply | None] | Reply | None:
        """Whether a recipient that exists may get mail of this client and sender.

        `local` is its local part, `settings` those of its domain, `honeypots` how many of them the
        session has written to.
        """
        kind = self._kind_of(recipient.domain, settings)
        if self._kind is not None and kind != self._kind:
            return APART
        self._about = replace(self._about, honeypots=honeypots)
        if self._before is None:
            waiting = [w for one in self._rounds if (w := one.settled()) is not None]
            if waiting:
                return self._recipient_later(waiting, recipient, local, settings, kind)
            self._before = joined(self._rounds)
        return self._judge_recipient(recipient, local, settings, kind)

    async def _recipient_later(
        self, waiting: list[Awaitable[None]], recipient: Recipient, local: str, settings: Domain,
        kind: Kind,
    ) -> Reply | None:  # fmt: skip
        for one in waiting:
            await one
        self._before = joined(self._rounds)
        verdict = self._judge_recipient(recipient, local, settings, kind)
        return verdict if verdict is None or isinstance(verdict, Reply) else await verdict

    def _judge_recipient(
        self, recipient: Recipient, local: str, settings: Domain, kind: Kind
    ) -> Awaitable[Reply | None] | Reply | None:
        profile = self._chain.profile(settings)
        is_open = local.lower() in OPEN
        if not is_open:
            decision = decide(self._outcomes, profile)
            if decision.reply is not None:
                self._tell(decision, self._outcomes, profile, named=kind.profile,
                           recipient=recipient.address)  # fmt: skip
                return decision.reply
        one = self._chain.begin(
            replace(
                self._about, stage=Stage.RCPT, recipient=recipient, now=self._chain.clock(),
                recipients=tuple(self._recipients), results=self._before or {},
            )
        )  # fmt: skip
        self._running = one
        waits = one.settled()
        if waits is None:
            return self._after_round(one, recipient, settings, kind, is_open=is_open)
        return self._after_waiting(waits, one, recipient, settings, kind, is_open=is_open)

    async def _after_waiting(
        self, waits: Awaitable[None], one: Round, recipient: Recipient, settings: Domain,
        kind: Kind, *, is_open: bool,
    ) -> Reply | None:  # fmt: skip
        try:
            await waits
        finally:
            one.close()
        return self._after_round(one, recipient, settings, kind, is_open=is_open)

    def _after_round(
        self, one: Round, recipient: Recipient, settings: Domain, kind: Kind, *, is_open: bool
    ) -> Reply | None:
        profile = self._chain.profile(settings)
        outcomes = [*self._outcomes, *one.outcomes]
        decision = decide(one.outcomes if is_open else outcomes, profile)
        if decision.reply is not None and not (is_open and decision.verb is Verb.REJECT):
            self._tell(decision, outcomes, profile, named=kind.profile,
                       recipient=recipient.address)  # fmt: skip
            return decision.reply
        self._kind, self._profile = kind, profile
        self._recipients.append(recipient)
        self._memory["rspamd_settings"] = kind.rspamd_settings
        # one verdict is given for all of them: by what speaks against the most doubtful
        alone = decide(one.outcomes, profile).score
        if alone > self._worst[0]:
            self._worst = (alone, one.outcomes)
        return None

    # The body

    def data(self) -> Awaitable[Reply | None] | Reply | None:
        """Whether the body may come. Without recipients (all of them swallowed) it may."""
        if not self._recipients:
            return None
        about = replace(
            self._about, stage=Stage.DATA, now=self._chain.clock(), results=self._before or {},
            recipients=tuple(self._recipients),
        )  # fmt: skip
        self._data = self._chain.begin(about)
        waits = self._data.settled()
        return self._judge_data() if waits is None else self._judge_data_later(waits)

    async def _judge_data_later(self, waits: Awaitable[None]) -> Reply | None:
        await waits
        return self._judge_data()

    def _judge_data(self) -> Reply | None:
        if self._only_open:
            return None
        outcomes = self._so_far
        decision = decide(outcomes, self._profile)
        if decision.reply is not None:
            self._tell(decision, outcomes, self._profile)
        return decision.reply

    async def message(self, message: Message) -> Verdict:
        """What becomes of the message."""
        earlier = {**(self._before or {}), **(self._data.results if self._data else {})}
        about = replace(
            self._about, stage=Stage.MESSAGE, now=self._chain.clock(), message=message,
            pipelined=self._session.about.pipelined, recipients=tuple(self._recipients),
            results=earlier,
        )  # fmt: skip
        self._running = last = self._chain.begin(about)
        try:
            if (waits := last.settled()) is not None:
                await waits
        finally:
            last.close()
        outcomes = [*self._so_far, *last.outcomes]
        counted = last.outcomes if self._only_open else outcomes
        decision = decide(counted, self._profile)
        self._tell(decision, outcomes, self._profile, message=message.queue_id)
        if decision.reply is not None:
            return Verdict(reply=decision.reply, because=decision.because)
        marks = await self._chain.marker.mark(
            replace(about, results={**earlier, **last.results}), message, outcomes,
            self._profile, self._kind.sealed_by if self._kind is not None else SealedBy(),
        )  # fmt: skip
        held = None
        if decision.verb is Verb.HOLD:
            held = f"policy: {decision.because}: {decision.reason}"[:300]
        return Verdict(trace=marks.trace, edits=marks.edits, evidence=marks.evidence, held=held)

    def taken(self) -> None:
        """The message is in our custody: who sent it is known from now on."""
        self._chain.took(self._about.client)

    def close(self) -> None:
        """The transaction is over."""
        for one in (self._mail, self._data, self._running):
            if one is not None:
                one.close()
        close_all(self._memory)

    # What has been said

    @property
    def _rounds(self) -> list[Round]:
        return [*self._session.rounds, self._mail]

    @property
    def _outcomes(self) -> list[Outcome]:
        return list(chained.from_iterable(one.outcomes for one in self._rounds))

    @property
    def _so_far(self) -> list[Outcome]:
        data = self._data.outcomes if self._data is not None else []
        return [*self._outcomes, *self._worst[1], *data]

    @property
    def _only_open(self) -> bool:
        locals_ = (one.address.rpartition("@")[0].lower() for one in self._recipients)
        return all(local in OPEN for local in locals_)

    def _kind_of(self, domain: str, settings: Domain) -> Kind:
        return Kind(
            settings.profile,
            settings.rspamd_settings or self._chain.config.rspamd.settings,
            self._chain.marker.sealed_by(domain, settings),
        )

    def _tell(
        self,
        decision: Decision,
        outcomes: list[Outcome],
        profile: Profile,
        *,
        named: str | None = None,
        recipient: str | None = None,
        message: QueueId | None = None,
    ) -> None:
        checks = records(outcomes, profile)
        if not checks:
            return
        dry = decide(outcomes, profile, dry=True) if profile.dry_run else decision
        about = self._about
        self._chain.emit(
            PolicyJudged(
                session=about.client.session,
                client=about.client.address,
                message=message or "",
                sender=about.sender or "",
                recipient=recipient,
                verdict=decision.verb.value,
                because=decision.because,
                reason=decision.reason,
                score=decision.score,
                profile=named or (self._kind.profile if self._kind is not None else ""),
                dry_run="" if dry.verb is decision.verb else f"{dry.verb.value}: {dry.because}",
                checks=checks,
            )
        )
