"""`learn`: what the primary itself accepted or refused of the mail that we brought it.

A delivery renews its recipients, and so does what passed through; a refusal counts only when it
answered RCPT and speaks of the mailbox: a message refused for its content says nothing of whom it
was for. Who passes through is a stranger whom the primary may see: of refusals of his only those
count that say "mailbox" by their enhanced code, since a bare 550 may be about him.

What is seen also helps `callout`: a recipient of a delivery is worth asking for, one that was
refused is refused.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final

from tideover.events.delivery_records import Delivered, DeliveryRefused
from tideover.events.event import Event
from tideover.events.pass_records import PassedRefused, PassedThrough
from tideover.recipients.facts import GOOD_FOR, Fact, Facts, State
from tideover.recipients.interface import Confidence, Match
from tideover.recipients.names import a_label, local_key
from tideover.recipients.sources.callout import REFUSED_FOR as CALLOUT_REFUSED_FOR
from tideover.recipients.sources.callout import SOURCE as CALLOUT
from tideover.recipients.sources.mailbox import refuses_mailbox
from tideover.smtp.address import PathError, parse_path

SOURCE: Final = "learn"
REFUSED_FOR: Final = 3 * 86400.0
"""Seconds that a refusal counts, unless a later delivery says better."""


class LearnAsker:
    """The source. It answers from memory, and is never in trouble."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    async def ask(self, domain: str, names: Sequence[str]) -> Match | None:
        """What was learned of the address as it stands; else, if it is good, without its detail."""
        known = await self._facts.get(domain, names, SOURCE)
        for name, fact in zip(names, known, strict=True):
            if fact is None:
                continue
            if fact.state is State.GOOD:
                return Match(Confidence.LEARNED, name, at=fact.at)
            if name == names[0]:
                return Match(Confidence.REFUSED, fact.text, at=fact.at)
        return None

    async def close(self) -> None:
        """The memory is not ours."""


class Learning:
    """A sink of the event stream that fills the memory.

    `sources_of` gives the sources of a domain, () for one that is not ours. For a domain with
    neither `learn` nor `callout` nothing is kept. `is_primary` says of a domain and a host, as
    events name it, whether that is its primary: what another backup takes proves nothing.
    """

    def __init__(
        self,
        facts: Facts,
        sources_of: Callable[[str], Collection[str]],
        is_primary: Callable[[str, str], bool] = lambda _domain, _host: True,
    ) -> None:
        self._facts = facts
        self._sources_of = sources_of
        self._is_primary = is_primary

    def take(self, event: Event, line: bytes) -> None:
        """Learn from one event."""
        match event:
            case Delivered(domain=domain):
                self._took(event, domain, event.recipients)
            case PassedThrough():
                for domain, recipients in _by_domain(event.recipients).items():
                    self._took(event, domain, recipients)
            case DeliveryRefused(stage="RCPT", reply=reply) if refuses_mailbox(reply):
                self._refused(event)
            case PassedRefused(stage="RCPT", reply=reply) if (
                refuses_mailbox(reply) and reply[4:8] == "5.1."
            ):
                self._refused(event)
            case _:
                pass

    def flush(self) -> None:
        """The memory writes by itself."""

    def close(self) -> None:
        """The memory is not ours."""

    def _took(
        self, event: Delivered | PassedThrough, domain: str, recipients: Sequence[str]
    ) -> None:
        if not self._counts(domain, event.host):
            return
        at = event.time
        good = Fact(state=State.GOOD, at=at, until=at + GOOD_FOR, text=event.reply)
        seed = Fact(state=State.SEED, at=at, until=at + GOOD_FOR, due=at)
        self._note(domain, recipients, good, seed)

    def _refused(self, event: DeliveryRefused | PassedRefused) -> None:
        if not self._counts(event.domain, event.host):
            return
        at, text = event.time, event.reply
        learned = Fact(state=State.REFUSED, at=at, until=at + REFUSED_FOR, text=text)
        asked = Fact(state=State.REFUSED, at=at, until=at + CALLOUT_REFUSED_FOR, text=text)
        self._note(event.domain, event.recipients, learned, asked)

    def _counts(self, domain: str, host: str) -> bool:
        return bool(self._sources_of(domain)) and self._is_primary(domain, host)

    def _note(self, domain: str, addresses: Sequence[str], learned: Fact, asked: Fact) -> None:
        sources = self._sources_of(domain)
        for source, fact in ((SOURCE, learned), (CALLOUT, asked)):
            if source not in sources:
                continue
            for address in addresses:
                if (name := _name_of(address)) is not None:
                    self._facts.note(domain, name, source, fact)


def _by_domain(recipients: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for address in recipients:
        if (domain := a_label(address.rpartition("@")[2])) is not None:
            found.setdefault(domain, []).append(address)
    return found


def _name_of(address: str) -> str | None:
    """The local part of an address as a client wrote it, as a key."""
    try:
        mailbox, _ = parse_path(f"<{address}>".encode())
    except (PathError, UnicodeEncodeError):
        return None
    return local_key(mailbox.local) if mailbox is not None else None
