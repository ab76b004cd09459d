"""SpamAssassin: spamd is asked by the protocol of spamc (1.5), with SYMBOLS: score, and why."""

import re
from collections.abc import AsyncIterator
from typing import Final

from msgspec import Struct

from tideover.config.policy import Spamassassin
from tideover.policy.engines.dialogue import dialogue
from tideover.policy.engines.inquiry import EngineError, Inquiries, plain, shown, shown_size
from tideover.policy.interface import About, Check, Found, Message, Result
from tideover.policy.services import Services

_STATUS: Final = re.compile(rb"SPAMD/[0-9.]{1,8} ([0-9]{1,4}) ?([ -~]{0,200})")
_SPAM: Final = re.compile(
    rb"(True|False|Yes|No) ; (-?[0-9]{1,9}(?:\.[0-9]{1,9})?) / (-?[0-9]{1,9}(?:\.[0-9]{1,9})?)"
)
_SYMBOLS: Final = 400
"""Octets of symbol names that are kept."""


class Verdict(Struct, frozen=True):
    """What spamd says: whether it is spam, its score, the score from which on it is, and the names
    of the tests that hit.
    """

    spam: bool
    score: float
    required: float
    symbols: str


def make(services: Services) -> Check | None:
    """The check, or None where no spamd is configured."""
    settings = services.config.spamassassin
    if settings.socket is None:
        return None
    address, inquiries = settings.socket, Inquiries("spamassassin", settings)

    async def ask(about: About, message: Message) -> Result:
        question = _question(about, message, settings.user)
        return _result(parse(await dialogue(address, question, half_close=True)), settings)

    async def check(about: About) -> Result:
        return await inquiries.make(about, ask)

    return check


async def _question(about: About, message: Message, user: str | None) -> AsyncIterator[bytes]:
    # tests of the envelope sender (SPF) look for it in this field
    path = f"Return-Path: <{plain(about.sender or '', 1000)}>\r\n".encode()
    head = f"SYMBOLS SPAMC/1.5\r\nContent-length: {len(path) + shown_size(message)}\r\n"
    if user is not None:
        head += f"User: {plain(user)}\r\n"
    yield head.encode() + b"\r\n" + path
    async for piece in shown(message):
        yield piece


def parse(answer: bytes) -> Verdict:
    """Read an answer of spamd.

    Raises:
        EngineError: it is none, not whole, or says that something went wrong.
    """
    head, found, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    said = _STATUS.fullmatch(status)
    if said is None:
        raise EngineError("its answer is none of spamd" if answer else "no answer")
    if int(said[1]) != 0:
        raise EngineError(f"answers: {int(said[1])} {plain(said[2].decode())}")
    fields = {name.strip().lower(): value.strip()
              for name, _, value in (line.partition(b":") for line in lines)}  # fmt: skip
    spam = _SPAM.fullmatch(fields.get(b"spam", b""))
    length = fields.get(b"content-length", b"0")
    if not found or spam is None or not length.isdigit() or len(length) > 9:
        raise EngineError("its answer is not whole")
    if len(body) < int(length):
        raise EngineError("its answer is not whole")
    names = plain(body[: int(length)].decode("utf-8", "replace"), _SYMBOLS)
    return Verdict(spam[1] in (b"True", b"Yes"), float(spam[2]), float(spam[3]), names)


def _result(verdict: Verdict, settings: Spamassassin) -> Result:
    required = verdict.required if settings.reject_score is None else settings.reject_score
    spam = verdict.spam if settings.reject_score is None else verdict.score >= required
    summary = f"{verdict.score:.1f} of {required:.1f}"
    evidence = {"spamassassin": summary}
    if verdict.symbols:
        evidence["spamassassin-symbols"] = verdict.symbols
    reason = f"{summary}: {verdict.symbols[:200]}"
    found = (Found(name="spamassassin-spam", reason=reason),) if spam else ()
    return Result(found=found, evidence=evidence)
