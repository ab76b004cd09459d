"""Where questions come in: who may ask what, how often, and the signed answer.

Who is no asker of ours learns nothing but that; an asker learns what is wrong with the question.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from tideover.agent.keys import public_text
from tideover.agent.protocol import (
    WINDOW,
    Answer,
    ProtocolError,
    Question,
    Sealed,
    asker_of,
    opened,
    parse_address,
    seal,
)
from tideover.agent.reach import Reach
from tideover.config.agent import Agent
from tideover.events.agent_records import AgentAnswered, AgentRefused
from tideover.events.event import EventSink
from tideover.message.client_address import within
from tideover.policy.buckets import Buckets

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_NONCES: Final = 50_000
_TOLD: Final = 60.0  # seconds between two events about refusals for the same reason


class Refusal(Struct, frozen=True):
    """An HTTP status and a short text."""

    status: int
    text: str


_STRANGER: Final = Refusal(403, "not for you")


class Desk:
    """Answers what comes over HTTP. `clock` gives Unix time."""

    def __init__(
        self,
        settings: Agent,
        key: "Ed25519PrivateKey",
        reach: Reach,
        sink: EventSink,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._names: Mapping[str, str] = {k: name for name, k in settings.askers.items()}
        self._key = key
        self._own = public_text(key)
        self._reach = reach
        self._sink = sink
        self._clock = clock
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._buckets = Buckets(len(settings.askers) + 1)
        self._told: dict[tuple[str, str], float] = {}

    async def answer(self, sealed: Sealed) -> Sealed | Refusal:
        """The signed answer, or why there is none. Never raises."""
        try:
            return await self._answer(sealed)
        except Exception as error:  # a bug that one question sets off must not end the agent
            self._tell("", f"a bug, please report it: {type(error).__name__}: {error}")
            return Refusal(500, "in trouble")

    async def _answer(self, sealed: Sealed) -> Sealed | Refusal:
        try:
            asker = asker_of(sealed.body)
            name = self._names.get(asker)
            if name is None:
                self._tell("", "a key that is not in askers")
                return _STRANGER
            question = opened(sealed, Question, asker)
        except ProtocolError as error:
            self._tell("", str(error))
            return _STRANGER
        refusal = self._unfit(question) or self._too_many(question)
        address = parse_address(question.address)
        if refusal is None and (address is None or not self._may_ask(address)):
            refusal = Refusal(
                422, "only public addresses, and those of allow_private, may be asked for"
            )
        if refusal is not None:
            self._tell(name, refusal.text)
            return refusal
        return await self._find(name, question, str(address))

    async def _find(self, name: str, question: Question, address: str) -> Sealed | Refusal:
        now = self._clock()
        remembered = self._reach.remembered(address)
        if remembered is None and self._buckets.take("all", "", self._settings.total_rate, now):
            self._tell(name, "too many questions of all")
            return Refusal(429, "too many questions of all")
        found = remembered or await self._reach.find(address, question.port)
        if found is None:
            self._tell(name, "too many questions at once")
            return Refusal(503, "too many questions at once")
        verdict, reason = found.judgement
        self._sink(
            AgentAnswered(
                asker=name,
                address=address,
                verdict=verdict,
                reason=reason,
                remembered=remembered is not None,
            )
        )
        said = Answer(
            verdict=verdict,
            reason=reason,
            address=question.address,
            time=found.at,
            nonce=question.nonce,
        )
        return seal(said, self._key)

    def _unfit(self, question: Question) -> Refusal | None:
        """Whether it is another's question, an old one or one that was asked before."""
        now = self._clock()
        if question.agent != self._own:
            return Refusal(421, "this question is for another agent: is agent_key right?")
        if not abs(now - question.time) <= WINDOW:
            off = f"{question.time - now:+.0f} s" if abs(question.time) < _YEAR_9999 else "far"
            return Refusal(409, f"the clocks differ too much ({off})")
        if question.port not in self._settings.ports:
            return Refusal(422, f"port {question.port} is not tried")
        while self._seen and next(iter(self._seen.values())) < now - 2 * WINDOW:
            self._seen.popitem(last=False)
        if f"{question.asker} {question.nonce}" in self._seen:
            return Refusal(409, "this question was asked before")
        return None

    def _too_many(self, question: Question) -> Refusal | None:
        now = self._clock()
        if self._buckets.take("asker", question.asker, self._settings.rate, now):
            return Refusal(429, "too many questions")
        if len(self._seen) >= _NONCES:  # none may be forgotten while it could come again
            return Refusal(429, "too many questions")
        self._seen[f"{question.asker} {question.nonce}"] = now
        return None

    def _may_ask(self, address: IPv4Address | IPv6Address) -> bool:
        if within(str(address), self._settings.allow_private):
            return True
        if isinstance(address, IPv6Address):
            behind = address.sixtofour
            if address.is_site_local or (behind is not None and not behind.is_global):
                return False
        return address.is_global and not (
            address.is_multicast or address.is_reserved or address.is_unspecified
        )

    def _tell(self, name: str, reason: str) -> None:
        """An event, but not one for each piece of rubbish."""
        now = self._clock()
        for key in [key for key, at in self._told.items() if not 0 <= now - at < _TOLD]:
            del self._told[key]
        key = (name, reason[:_SAME])
        if key not in self._told:
            self._told[key] = now
            self._sink(AgentRefused(asker=name, reason=reason))


_YEAR_9999: Final = 253_402_300_800.0
_SAME: Final = 20
