"""What an answer of rspamd to /checkv2 means. Pure."""

from typing import Any, Final

import msgspec
from msgspec import Struct

from tideover.message.edits import Add, Edits
from tideover.policy.engines.inquiry import EngineError, plain
from tideover.policy.engines.rspamd_edits import header_edits, subject_edits
from tideover.policy.interface import Found, Message, Result
from tideover.smtp.replies import reply

_SYMBOLS: Final = 30
"""Symbols that are kept: those that weigh most."""

_EVIDENCE: Final = 700
"""Octets of them."""

_FINDINGS: Final = {
    "reject": "rspamd-reject",
    "soft reject": "rspamd-defer",
    "quarantine": "rspamd-quarantine",
    "discard": "rspamd-quarantine",  # nothing is dropped here
    "add header": "rspamd-spam",
    "rewrite subject": "rspamd-spam",
}
"""What actions lead to. Others are noted only, "greylist" among them: rspamd says "soft reject"
when it wants a message to come again; "greylist" alone is a range of scores in which its own
greylisting (switched off, without Redis, or content) did not ask for that.
"""

_SPAM: Final = Add(b"X-Spam", b"Yes")
"""What rspamd's own milter adds for "add header"."""


class _Symbol(Struct):
    score: float = 0.0


class _Answer(Struct):
    action: str
    score: float = 0.0
    required_score: float | None = None
    symbols: dict[str, _Symbol] = {}
    messages: dict[str, Any] = {}
    subject: str | None = None
    milter: dict[str, Any] = {}


_DECODER: Final = msgspec.json.Decoder(_Answer)


def result_of(raw: bytes, message: Message, *, smtputf8: bool) -> Result:
    """What is found, and the header edits to carry.

    Raises:
        EngineError: it is no such answer.
    """
    try:
        answer = _DECODER.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EngineError(f"its answer can't be read: {error}") from None
    symbols = _heaviest(answer)
    evidence = {"rspamd": _summary(answer)}
    if symbols:
        evidence["rspamd-symbols"] = symbols
    return Result(
        found=_found(answer, symbols),
        evidence=evidence,
        edits=_edits(answer, message, smtputf8) or None,
    )


def _found(answer: _Answer, symbols: str) -> tuple[Found, ...]:
    name = _FINDINGS.get(answer.action)
    if name is None:
        return ()
    text = answer.messages.get("smtp_message")
    said = None
    if isinstance(text, str) and (text := plain(text)):
        if name == "rspamd-reject":
            said = reply(554, "5.7.1", text)
        elif name == "rspamd-defer":
            said = reply(451, "4.7.1", text)
    reason = f"{_summary(answer)}: {symbols[:200]}"
    return (Found(name=name, reason=reason, reply=said),)


def _summary(answer: _Answer) -> str:
    of = "" if answer.required_score is None else f" of {answer.required_score:.2f}"
    return f"{plain(answer.action, 40)}, {answer.score:.2f}{of}"


def _heaviest(answer: _Answer) -> str:
    ranked = sorted(answer.symbols.items(), key=lambda item: -abs(item[1].score))
    text = ""
    for name, symbol in ranked[:_SYMBOLS]:
        more = f"{plain(name, 64)}({symbol.score:.2f}) "
        if len(text) + len(more) > _EVIDENCE:
            break
        text += more
    return text.rstrip()


def _edits(answer: _Answer, message: Message, smtputf8: bool) -> Edits:
    edits = header_edits(answer.milter, message.header, smtputf8=smtputf8)
    if answer.action == "rewrite subject" and answer.subject is not None:
        edits += subject_edits(answer.subject, message.header, smtputf8=smtputf8)
    if answer.action == "add header":
        edits += (_SPAM,)
    return edits
