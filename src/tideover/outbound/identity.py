"""Telling a server whose mail follows: XCLIENT where it is offered, else XFORWARD, else nothing.

By XCLIENT the server takes all that follows for that client's, so it holds until the connection
ends: Postfix takes no second one, as the client it was told has no right to it. By XFORWARD it
holds for one transaction.

Invariant: nothing is ever said in the name of another client than the one given last; where that
can't be, the connection is not used any more.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

from tideover.dns.client_names import LookUp
from tideover.message.envelope import Client
from tideover.smtp.capabilities import Capabilities
from tideover.smtp.client_values import Command
from tideover.smtp.replies import Reply
from tideover.smtp.xclient import Identity, hello_name, xclient_line, xforward_lines

_RSET: Final = (Command.RSET, b"RSET\r\n")

# Our line is not understood, or we have no right: that says nothing about the client.
_OF_OURS: Final = frozenset((500, 501, 502, 503, 504, 530))

# Of those: what we say of this client is not understood, as an IPv6 address by a Postfix without
# IPv6. Of others we may tell all the same.
_OF_THIS: Final = frozenset((501, 504))


class Link(Protocol):
    """What is needed of a connection."""

    @property
    def capabilities(self) -> Capabilities:
        """What the server offers."""

    @property
    def needs_reset(self) -> bool:
        """Whether a transaction is open at the server."""

    @property
    def xclient_again(self) -> bool:
        """Whether XCLIENT is still offered after the last one."""

    async def converse(self, commands: Sequence[tuple[Command, bytes]]) -> list[Reply]:
        """Say single commands; raises ConnectionFailed."""


class WrongClient(Exception):  # noqa: N818 - says what happened
    """The server took us for another client before and won't hear of this one."""


class Speaker:
    """In whose name a connection speaks. `hostname` is our own name in EHLO.

    `told`: how the server learnt of the client given last: "XCLIENT", "XFORWARD" or "". `preface`:
    lines of XFORWARD for the next transaction. `spent`: the server refused that client, so nothing
    more may be said. `trouble`: its refusal to be told although it offered it, which says nothing
    about a client.
    """

    __slots__ = (
        "_forwards", "_hostname", "_said", "_tells", "preface", "spent", "told", "trouble",
    )  # fmt: skip

    def __init__(self, hostname: str) -> None:
        self.told = ""
        self.preface: tuple[tuple[Command, bytes], ...] = ()
        self.spent = False
        self.trouble: Reply | None = None
        self._hostname = hostname
        self._said: Identity | None = None  # by XCLIENT
        self._tells = True
        self._forwards = True

    def may_tell(self, link: Link, client: Client | None) -> bool:
        """Whether `identify` can do its work; if not, this client needs another connection."""
        if self._said is None:
            return True
        identity = _identity(client)
        return identity == self._said or (identity is not None and link.xclient_again)

    async def identify(
        self, link: Link, client: Client | None, *, look_up: LookUp | None, pipelined: bool
    ) -> Reply | None:
        """Tell whose mail follows, once before each transaction. None: go on.

        A `Reply` is the server's own refusal of that client. `look_up` is asked what DNS calls it,
        if the server wants to know. `pipelined`: XFORWARD may wait for the next transaction, as its
        `preface`.

        Raises:
            WrongClient: not on this connection.
            ConnectionFailed: it has ended.
        """
        identity = _identity(client)
        self.preface = ()
        if not self.may_tell(link, client):
            raise WrongClient("the server takes us for another client")
        if self._said is not None and identity == self._said:
            return None
        self.told = ""
        if identity is None:
            return None  # what XFORWARD said before has ended with its transaction
        offered = link.capabilities
        named = identity
        if look_up is not None and "NAME" in offered.xclient | offered.xforward:
            found = await look_up(identity.address)
            named = replace(identity, name=found.name, reverse_name=found.reverse)
        line = xclient_line(named, offered.xclient) if self._tells else None
        if line is not None:
            reply = await self._xclient(link, identity, line)
            if reply is not None or self.told:
                return reply
        await self._xforward(link, named, pipelined=pipelined)
        return None

    def forwarded(self, reply: Reply) -> None:
        """The server's answer to a line of the `preface`."""
        if not reply.positive:
            self._no_forwarding(reply)

    # Parts

    async def _xclient(self, link: Link, identity: Identity, line: bytes) -> Reply | None:
        reply = await _say(link, [(Command.XCLIENT, line)])
        if reply.positive:
            self._said = identity
            self.told = Command.XCLIENT.name
            hello = b"EHLO %b\r\n" % hello_name(identity, self._hostname)
            (reply,) = await link.converse([(Command.EHLO, hello)])
            self.spent = not reply.positive
            return reply if self.spent else None
        if reply.code not in _OF_OURS and (reply.code, reply.enhanced) != (550, "5.7.0"):
            self.spent = True
            return reply
        self.trouble = reply
        self._tells = reply.code in _OF_THIS
        if self._said is not None:
            self.spent = True
            raise WrongClient(f"the server takes us for another client: {reply}")
        return None

    async def _xforward(self, link: Link, identity: Identity, *, pipelined: bool) -> None:
        offered = link.capabilities.xforward
        if not offered or not self._forwards:
            return
        lines = [(Command.XFORWARD, line) for line in xforward_lines(identity, offered)]
        self.told = Command.XFORWARD.name
        if pipelined:
            self.preface = tuple(lines)
        else:
            self.forwarded(await _say(link, lines))

    def _no_forwarding(self, reply: Reply) -> None:
        self._forwards = reply.code in _OF_THIS
        self.trouble = self.trouble or reply
        self.told = ""
        self.preface = ()


async def _say(link: Link, lines: list[tuple[Command, bytes]]) -> Reply:
    """The first refusal, or the last reply. Neither command may stand within a transaction."""
    first = [_RSET] if link.needs_reset else []
    replies = (await link.converse([*first, *lines]))[len(first) :]
    return next((reply for reply in replies if not reply.positive), replies[-1])


def _identity(client: Client | None) -> Identity | None:
    """As it came to us; what DNS says makes no other client of it."""
    if client is None or not client.address:
        return None
    return Identity(client.address, client.port, client.helo, extended=client.protocol != "SMTP")
