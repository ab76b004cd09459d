"""One attempt: the recipients of one claim, on one connection, to one outcome for each.

Splits recipients over transactions where the server takes fewer at a time, and tells whether the
next hop can take the message at all. Decides nothing about retries; see `settle`.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final

from msgspec.structs import replace

from tideover.dns.client_names import UNKNOWN, ClientNames, LookUp
from tideover.message.envelope import Client
from tideover.outbound.answer import QUARRELS
from tideover.outbound.connection import Connection, ConnectionFailed
from tideover.outbound.outcome import Deferred, Delivered, Outcome, Refused, Unknown
from tideover.smtp.capabilities import Capabilities
from tideover.smtp.client_commands import unmet_need
from tideover.smtp.client_values import Command, Declined, Mail, Postponed, Taken, Verdict
from tideover.smtp.replies import Reply
from tideover.spool.interface import CHUNK, Claim, MessageDamaged, Spool, SpoolError

RECIPIENTS = 100
"""Recipients in one transaction, the number that every server must take (RFC 5321 §4.5.3.1.8)."""

NAMES: Final = 0.5
"""Seconds to wait for what DNS calls a client: the first message goes home within 2 s of the
primary's return, also when DNS is dead, and those of clients with a dead DNS hold up no others.
"""

Outcomes = list[tuple[int, Outcome]]
"""Index of the recipient in the envelope, and what became of it."""


async def attempt(
    connection: Connection,
    claim: Claim,
    spool: Spool,
    *,
    tell: bool = False,
    look_up: LookUp | None = None,
) -> Outcomes:
    """Send a claim's message to all its leased recipients.

    `tell`: the next hop hears who its client was, where it wants to know (XCLIENT, XFORWARD), and
    what DNS calls it, if there is a `look_up`.

    A recipient without an outcome: the message is no longer in the spool (quarantined as damaged,
    or removed). When the spool can't be read now, or by a fault of ours, the rest is put off; what
    was delivered before stays so.
    """
    outcomes: Outcomes = []
    try:
        if tell:
            names = partial(_soon, look_up) if look_up is not None else None
            refusal = await connection.identify(teller(claim), look_up=names, pipelined=True)
            if refusal is not None:
                trouble = outcome_of(Declined(refusal, Command.XCLIENT), dsn=False)
                return [(index, trouble) for index in claim.indexes]
        await _send(connection, claim, spool, outcomes)
    except (MessageDamaged, KeyError):
        pass  # the spool has told; what was delivered before is in the outcomes
    except ConnectionFailed as error:
        outcomes += [(index, Deferred(str(error))) for index in claim.indexes]
    except SpoolError as error:
        _put_off(claim, outcomes, f"the spool can't be read: {error}")
    except Exception as error:
        connection.abort("internal error")
        _put_off(claim, outcomes, f"internal error: {type(error).__name__}: {error}")
    return outcomes


def teller(claim: Claim) -> Client:
    """Who gave us the message. Not by which port: the connection is long gone, and what came on
    several of them may go home on one.
    """
    return replace(claim.message.client, port=0)


async def _soon(look_up: LookUp, address: str) -> ClientNames:
    """The names of a client, if DNS has them soon; what is asked goes on, for the next attempt."""
    try:
        async with asyncio.timeout(NAMES):
            return await look_up(address)
    except TimeoutError:
        return UNKNOWN


def _put_off(claim: Claim, outcomes: Outcomes, text: str) -> None:
    """Defer the recipients that have no outcome yet."""
    done = {index for index, _ in outcomes}
    trouble = Deferred(text, message_specific=True)
    outcomes += [(index, trouble) for index in claim.indexes if index not in done]


async def _send(connection: Connection, claim: Claim, spool: Spool, outcomes: Outcomes) -> None:
    message, offered = claim.message, connection.capabilities
    whole = len(claim.head) == message.size
    whole_lines = eight_bit = True
    # Both are asked only where they matter, as a large body has to be read for the answer.
    if offered.chunking:
        whole_lines = await _ends_with_crlf(claim, spool)
    if message.envelope.body == "8BITMIME" and not offered.eight_bit_mime:
        eight_bit = await _is_eight_bit(claim, spool)
    content = message.trace + claim.head if whole else b""
    left = claim.indexes
    limit = min(offered.rcpt_max or RECIPIENTS, RECIPIENTS)
    while left:
        if not connection.usable():
            text = connection.ended.text if connection.ended else "connection lost"
            outcomes += [(index, Deferred(text)) for index in left]
            break
        now, left = left[:limit], left[limit:]
        mail = _describe(claim, now, whole_lines=whole_lines)
        refusal = unmet_need(mail, offered, eight_bit=eight_bit)
        if refusal is not None:
            outcomes += [(index, _unmet(refusal, connection)) for index in now]
            continue
        if whole:
            verdicts = await connection.transact(mail, content)
        else:
            verdicts = await connection.transact_pieces(mail, _pieces(claim, spool))
        postponed = _note(now, verdicts, offered, outcomes)
        if postponed:
            limit = len(now) - len(postponed)
            left = postponed + left


def _unmet(refusal: Reply, connection: Connection) -> Outcome:
    """What our own refusal means. What another backup lacks, the primary may have when it is back.

    The text must not begin as a reply: a report would quote it as the primary's.
    """
    if connection.hop.intermediate:
        text = f"{connection.host} is another backup: {refusal}"
        return Deferred(text, message_specific=True)
    return Refused(refusal, ours=True)


def _note(
    indexes: tuple[int, ...],
    verdicts: Sequence[Verdict],
    offered: Capabilities,
    outcomes: Outcomes,
) -> tuple[int, ...]:
    """Write the outcomes down; returns those that were put off to the next transaction."""
    postponed = []
    for index, verdict in zip(indexes, verdicts, strict=True):
        if isinstance(verdict, Postponed):
            postponed.append(index)
        else:
            outcomes.append((index, outcome_of(verdict, dsn=offered.dsn)))
    return tuple(postponed)


def outcome_of(verdict: Verdict, *, dsn: bool) -> Outcome:
    """What a verdict means for the recipient. `dsn`: the next hop offered DSN."""
    if isinstance(verdict, Taken):
        return Delivered(verdict.reply, dsn_passed_on=dsn)
    if isinstance(verdict, (Declined, Postponed)):
        reply = verdict.reply
        stage = Command.RCPT.name
        if isinstance(verdict, Declined):
            stage = verdict.command.name
            if _about_the_host(verdict):
                return Deferred(str(reply), reply)
            if _is_quarrel(verdict):
                return Deferred(str(reply), reply, message_specific=True)
        if reply.permanent:
            return Refused(reply, stage=stage)
        return Deferred(str(reply), reply, message_specific=True)
    if verdict.after_dot:
        return Unknown(verdict.text)
    return Deferred(verdict.text)


def _about_the_host(declined: Declined) -> bool:
    """Whether a refusal tells about the next hop's state, not about this message.

    421 closes the connection; but as an answer to the message it may well be about its content.
    530 asks for TLS or authentication that we could not give. X.3.1 and X.3.2 are a full and a
    closed system (RFC 3463 §3.4), X.3.0 to MAIL is trouble before the message is known.
    """
    reply = declined.reply
    if reply.code == 421:
        return declined.command is not Command.BODY
    if reply.code == 530:
        return True
    if not reply.temporary or reply.enhanced is None:
        return False
    return reply.enhanced in ("4.3.1", "4.3.2") or (
        declined.command is Command.MAIL and reply.enhanced.startswith("4.3.")
    )


def _is_quarrel(declined: Declined) -> bool:
    """Whether a refusal is about our commands, and so no word on this message or recipient.

    Passed through it is none either (`answer`), and what went into the queue for it must not be
    given up by it. With a status that is not of the protocol (RFC 3463 §3.6) it is some policy's.
    """
    reply = declined.reply
    return (
        reply.code in QUARRELS
        and declined.command is not Command.BODY
        and (reply.enhanced or "5.5.").startswith("5.5.")
    )


# The message


def _describe(claim: Claim, indexes: tuple[int, ...], *, whole_lines: bool) -> Mail:
    envelope = claim.message.envelope
    recipients = envelope.recipients
    return Mail(
        envelope.sender,
        [recipients[index] for index in indexes],
        len(claim.message.trace) + claim.message.size,
        envelope.body,
        envelope.smtputf8,
        envelope.ret,
        envelope.envid,
        whole_lines,
    )


async def _ends_with_crlf(claim: Claim, spool: Spool) -> bool:
    """Whether DATA can express the body."""
    size = claim.message.size
    if len(claim.head) == size:
        return size == 0 or claim.head.endswith(b"\r\n")
    end = b""
    async for piece in spool.read(claim.message.queue_id, (size - 2) // CHUNK * CHUNK):
        end = (end + piece)[-2:]
    return end == b"\r\n"


async def _is_eight_bit(claim: Claim, spool: Spool) -> bool:
    """Whether the content has octets over 127."""
    if not (claim.message.trace.isascii() and claim.head.isascii()):
        return True
    if len(claim.head) == claim.message.size:
        return False
    async for piece in spool.read(claim.message.queue_id, len(claim.head)):
        if not piece.isascii():
            return True
    return False


async def _pieces(claim: Claim, spool: Spool) -> AsyncIterator[bytes]:
    """The content of a message too large for the claim to hold."""
    yield claim.message.trace + claim.head
    async for piece in spool.read(claim.message.queue_id, len(claim.head)):
        yield piece
