"""dns-lists: what block lists and welcome lists in DNS say (RFC 5782).

Each list is asked about the client's address, its HELO name or the sender's domain. A list that
answers with anything but 127.0.0.0/8, with one of the error codes that operators keep in
127.255.255.0/24, or that names what no list may name, says nothing: so a list that died and came
back as a parking page refuses nobody.

Evidence: for each list what it answered. `detail` is the sum of the weights of this stage.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final, TypeVar

from msgspec import Struct

from tideover.config.policy import DnsList, ListOf
from tideover.config.values import parse_domain
from tideover.dns.names import Names
from tideover.dns.resolver import DnsError, DnsUnavailable, NoSuchName
from tideover.dns.reverse import reversed_labels
from tideover.eager import run, together
from tideover.policy.checks.list_texts import quote, shown_zone
from tideover.policy.hosts import is_private
from tideover.policy.interface import NOTHING, About, Check, Found, Result, Stage
from tideover.policy.services import Services
from tideover.smtp.replies import reply

_STAGES: Final = {
    Stage.CONNECT: ListOf.ADDRESS,
    Stage.HELO: ListOf.HELO,
    Stage.MAIL: ListOf.SENDER,
}
_NEVER_LISTED: Final = {
    ListOf.ADDRESS: "1.0.0.127",
    ListOf.HELO: "invalid",
    ListOf.SENDER: "invalid",
}  # RFC 5782 §5
_WHOSE: Final = {
    ListOf.ADDRESS: "Your address",
    ListOf.HELO: "Your HELO name",
    ListOf.SENDER: "The domain of your sender address",
}
_CODES: Final = IPv4Network("127.0.0.0/8")
_TROUBLE: Final = IPv4Network("127.255.255.0/24")
_MAX_SHOWN: Final = 10
_MAX_NAME: Final = 253
_MOMENT: Final = 1.0  # seconds to wait for what is good to have beside the answer

T = TypeVar("T")


class _Asked(Struct, frozen=True, kw_only=True):
    """A list and what it is asked: `subject` as people know it, `query` the name in DNS."""

    zone: str
    settings: DnsList
    subject: str
    query: str


class _Word(Struct, frozen=True):
    """What one list said. `answer` is for `explain`; `known` is False when it said nothing."""

    zone: str
    answer: str = ""
    found: Found | None = None
    weight: float = 0.0
    known: bool = True


def make(services: Services) -> Check:
    """The check of the stages connect, helo and mail."""
    lists = services.config.dns_lists
    by_kind = {
        kind: {zone: one for zone, one in lists.items() if one.of is kind} for kind in ListOf
    }
    names = services.names

    async def check(about: About) -> Result:
        kind = _STAGES[about.stage]
        if not by_kind[kind]:
            return NOTHING
        asked = _queries(kind, about, by_kind[kind])
        return _result(await together(_ask(names, one) for one in asked))

    return check


def _queries(kind: ListOf, about: About, lists: Mapping[str, DnsList]) -> list[_Asked]:
    subject, labels = _subject(kind, about)
    if not labels:
        return []
    return [
        _Asked(zone=zone, settings=one, subject=subject, query=_query(labels, zone))
        for zone, one in lists.items()
    ]


def _query(labels: str, zone: str) -> str:
    """The name to ask for. Of one that DNS could not hold the end is asked about: lists of domains
    name whole trees, and a long name shall not hide its owner.
    """
    while labels and len(labels) + 1 + len(zone) > _MAX_NAME:
        labels = labels.partition(".")[2]
    return f"{labels}.{zone}"


def _subject(kind: ListOf, about: About) -> tuple[str, str]:
    """What lists of this kind are asked about: for people, and in labels ("" for nothing).

    127.0.0.0/8 is asked for: RFC 5782 §5 has its test entries there.
    """
    if kind is ListOf.ADDRESS:
        address = about.client.address
        local = is_private(address) or address == "::1"
        return address, "" if local else reversed_labels(address)
    if kind is ListOf.SENDER:
        return about.sender_domain, about.sender_domain
    try:
        name = parse_domain(about.client.helo) if about.client.helo.isascii() else ""
    except ValueError:
        return "", ""
    return name, name if "." in name else ""


async def _soon(coro: Coroutine[Any, Any, tuple[T, ...]]) -> tuple[T, ...]:
    """What it brings, () when that is not to be had in a moment."""
    try:
        begun = run(coro)
        if not isinstance(begun, asyncio.Task):
            return begun
        try:
            await asyncio.wait((begun,), timeout=_MOMENT)
            return begun.result() if begun.done() else ()
        finally:
            begun.cancel()
    except DnsError:
        return ()


async def _ask(names: Names, asked: _Asked) -> _Word:
    shown = shown_zone(asked.zone)
    try:
        answers = await names.a(asked.query)
    except NoSuchName:
        return _Word(shown)
    except DnsUnavailable:
        return _Word(shown, "no answer", known=False)
    if not answers:
        return _Word(shown)
    text = " ".join(answers[:_MAX_SHOWN])
    codes = [IPv4Address(answer) for answer in answers]
    if any(code not in _CODES or code in _TROUBLE for code in codes):
        return _Word(shown, text, known=False)
    weight = max((_weight(asked.settings, code) for code in codes), key=abs)
    if not weight:
        return _Word(shown, text)
    if await _soon(names.a(f"{_NEVER_LISTED[asked.settings.of]}.{asked.zone}")):
        return _Word(shown, f"{text}, but it lists everything", known=False)
    return _Word(shown, text, await _found(names, asked, text, weight), weight)


def _weight(settings: DnsList, code: IPv4Address) -> float:
    return next((one.weight for one in settings.codes if one.fits(code)), settings.weight)


async def _found(names: Names, asked: _Asked, codes: str, weight: float) -> Found:
    shown = shown_zone(asked.zone)
    reason = f"{shown} names {asked.subject}: {codes}"
    if weight < 0:
        return Found(name="dns-welcome", reason=reason, action=weight)
    text = f"{_WHOSE[asked.settings.of]} {asked.subject} is listed by {shown}"
    theirs = await _soon(names.txt(asked.query))
    if theirs:
        text += f'; it says: "{quote(theirs[0], asked.zone)}"'
    return Found(name="dns-listed", reason=reason, action=weight, reply=reply(554, "5.7.1", text))


def _result(words: Sequence[_Word]) -> Result:
    return Result(
        found=tuple(word.found for word in words if word.found is not None),
        evidence={word.zone: word.answer for word in words if word.answer},
        undecided="; ".join(f"{word.zone}: {word.answer}" for word in words if not word.known),
        detail=sum((word.weight for word in words), 0.0),
    )
