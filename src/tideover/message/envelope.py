"""What we know of a message besides its bytes: envelope, client, evidence. Values only.

Records are msgspec structs: they cross the spool, the event log and the control socket as JSON.
"""

from typing import NewType

from msgspec import Struct

QueueId = NewType("QueueId", str)
"""Names a message everywhere: Received header, 250 reply, log, spool. Sorts by arrival."""

SessionId = NewType("SessionId", str)
"""Names one inbound connection in the log."""


class Recipient(Struct, frozen=True, kw_only=True):
    """One RCPT that was accepted.

    `address` is the mailbox as the client wrote it (source route removed), UTF-8 text; `domain` is
    its lower-case A-label form, the key for routing. `notify` holds upper-case NOTIFY keywords and
    `orcpt` the ORCPT value still in xtext, both as received (RFC 3461 §4.1, §4.2).
    """

    address: str
    domain: str
    notify: tuple[str, ...] = ()
    orcpt: str | None = None


class Envelope(Struct, frozen=True, kw_only=True):
    """The envelope of RFC 5321 §2.3.1 with the parameters that must be passed on.

    `sender` is "" for the null reverse path. `body` is the BODY parameter ("7BIT", "8BITMIME")
    or None when the client gave none. `ret` is "FULL" or "HDRS" and `envid` xtext (RFC 3461).
    """

    sender: str
    recipients: tuple[Recipient, ...]
    body: str | None = None
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None


class Client(Struct, frozen=True, kw_only=True):
    """Who gave us the message. `protocol` is the "with" keyword of RFC 3848 (ESMTP, ESMTPS…);
    `tls` names version and cipher, or is None in clear.
    """

    session: SessionId
    address: str
    port: int
    helo: str
    protocol: str
    tls: str | None = None


class Evidence(Struct, frozen=True, kw_only=True):
    """What later decides whether a DSN may go to the sender (see bounce.decide).

    `sender_authenticated` is True only when SPF or DKIM proved that the reverse path's owner sent
    the message and DMARC did not fail (`authentication.reverse_path`). None: nobody looked, which
    counts as no. `authentication` says in a few words why, or why not.
    """

    sender_authenticated: bool | None = None
    notes: tuple[str, ...] = ()
    authentication: str = ""


class NewMessage(Struct, frozen=True, kw_only=True):
    """All of a message but its body: what the spool stores in one transaction with it.

    With `held` (a reason) it is stored, but not sent home until somebody releases it.
    `received_at` is Unix time in seconds. `trace` holds the header lines that we prepend, each
    ended by CRLF; the body itself is never touched.
    """

    queue_id: QueueId
    received_at: float
    envelope: Envelope
    client: Client
    trace: bytes
    evidence: Evidence = Evidence()
    held: str | None = None
