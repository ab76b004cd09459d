"""Passing a transaction through to the primary, as the inbound side sees it: interfaces only.

One `LiveMail` is one transaction of one client, open at the primary while the client waits. The
primary's replies come back as they are; `Gone` says that there is none to be had, so that the rules
for an outage apply.
"""

from collections.abc import Awaitable
from typing import Protocol

from msgspec import Struct

from tideover.message.envelope import Client, Envelope, Recipient
from tideover.smtp.receipt import Receipt
from tideover.smtp.replies import Reply


class Gone(Struct, frozen=True, kw_only=True):
    """The primary can't say: not reached, lost, silent, or in trouble of its own (`reply`: 421,
    4.3.x, 4.4.x, or 451 and 452 without an enhanced code).

    `after_dot`: all of the body and its end had left, so it may have been delivered.
    """

    text: str
    reply: Reply | None = None
    after_dot: bool = False


class Crowded(Struct, frozen=True):
    """The primary is up, but as many transactions pass through to it as may at once."""


class LiveMail(Protocol):
    """A transaction at the primary. Calls in the order of SMTP, one at a time; none raises.

    After `Gone` only `abandon` may be called. `host` is where it goes, as `host_text` writes it;
    `told` is how the primary learnt who the client is: "XCLIENT", "XFORWARD" or "".
    """

    host: str
    told: str

    async def recipient(self, recipient: Recipient) -> Reply | Gone:
        """RCPT, the first one after MAIL: a refusal of that is the reply to all of them."""

    async def start(self, *, chunking: bool) -> Reply | Gone:
        """The body is about to come; a 3xx when it may. `chunking`: the client uses BDAT."""

    def write(self, piece: bytes) -> Awaitable[Gone | None] | None:
        """A piece of the body, which starts with our trace fields; wait for what is returned.

        A body refused before its end is `Gone` without `after_dot`; the client still sends.
        """

    async def end(self, queue_id: str) -> Receipt | Reply | Gone:
        """The body is whole. A 2xx of the primary makes the `Receipt`, in the name of `queue_id`;
        any other reply is the primary's refusal.
        """

    def abandon(self) -> None:
        """The client gave up, or is done: leave a clean connection, or none. Again: nothing."""


class Relay(Protocol):
    """Opens transactions at primaries, on kept connections."""

    async def open(
        self, domain: str, client: Client, envelope: Envelope, *, size: int = 0
    ) -> LiveMail | Reply | Crowded | Gone:
        """A transaction for a domain of ours. `envelope` has no recipients yet; `size` is how many
        octets will be written, as far as is known (RFC 1870; 0: not at all). A `Reply` is the
        primary's own to this client (its 4xx or 5xx to XCLIENT or EHLO). Never raises.
        """
