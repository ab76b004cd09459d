"""One connection to a directory (RFC 4511): simple bind, and searches one at a time.

The messages are sansldap's, which does no I/O; ours are the waits. Invariants:
    A search is whole or it fails: a limit that cut it short, a referral, a lost connection and an
    answer that can't be read are each an error.
    After any error the connection is closed and not used again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from tideover.recipients.sources.interface import SourceError
from tideover.recipients.sources.ldap_message import (
    next_page,
    one_line,
    parse_filter,
    read_message,
    reason,
)
from tideover.recipients.sources.ldap_query import Server, leaves_gap

if TYPE_CHECKING:
    import sansldap

_BURST: Final = 50
"""Messages that are read before others get a turn: 60 µs each, measured."""
_GOODBYE: Final = 1.0


class LostError(SourceError):
    """The server closed the connection."""


class LdapConnection:
    """An open connection. As a context manager: closed at the end."""

    def __init__(
        self,
        server: Server,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        session: "sansldap.LDAPClient",
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._session = session
        self.usable = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self.usable = False
        await self.close()

    async def bind(self, name: str, password: str) -> None:
        """Say who we are (RFC 4513 §5.1.3).

        Raises:
            SourceError: refused, or not to be understood.
        """
        self._session.bind_simple(name, password)
        await self._send()
        answer = await self._receive()
        result = getattr(answer, "result", None)
        if result is None or result.result_code != 0:
            self.usable = False
            raise SourceError(f"{self._server}: bind as {name}: {reason(result)}")

    async def search(
        self,
        base: str,
        expression: str,
        attributes: Sequence[str],
        *,
        page_size: int,
        time_limit: float,
    ) -> AsyncIterator["sansldap.SearchResultEntry"]:
        """All entries below `base`, page by page (RFC 2696). `time_limit`: the server's, seconds.

        Raises:
            SourceError: the answer is not whole.
        """
        import sansldap

        cookie = b""
        while True:
            page = sansldap.PagedResultControl(critical=False, size=page_size, cookie=cookie)
            done = None
            async for message in self._answers(
                base, expression, attributes, time_limit=time_limit, control=page
            ):
                if isinstance(message, sansldap.SearchResultEntry):
                    yield message
                else:
                    done = message
            cookie = next_page(done)
            if not cookie:
                return

    async def exists(self, base: str, expression: str, *, time_limit: float) -> bool:
        """Whether any entry below `base` matches.

        Raises:
            SourceError: the server can't say.
        """
        import sansldap

        found = False
        answers = self._answers(base, expression, ["1.1"], time_limit=time_limit, size_limit=1)
        async for message in answers:
            found = found or isinstance(message, sansldap.SearchResultEntry)
        return found

    async def close(self) -> None:
        """Say goodbye (RFC 4511 §4.3) and close; at once when it is of no use any more."""
        if self.usable:
            self.usable = False
            with contextlib.suppress(OSError, TimeoutError, SourceError):
                async with asyncio.timeout(_GOODBYE):
                    self._session.unbind()
                    await self._send()
                    self._writer.close()
                    await self._writer.wait_closed()
                    return
        self._writer.transport.abort()

    async def _answers(
        self,
        base: str,
        expression: str,
        attributes: Sequence[str],
        *,
        time_limit: float,
        size_limit: int = 0,
        control: "sansldap.LDAPControl | None" = None,
    ) -> AsyncIterator["sansldap.LDAPMessage"]:
        """Entries, then the end of the search. Who does not read to the end closes."""
        import sansldap

        filter_ = parse_filter(expression)
        self._session.search_request(
            base,
            filter=filter_,
            attributes=list(attributes),
            size_limit=size_limit,
            time_limit=max(1, round(time_limit)),
            controls=[control] if control else None,
        )
        await self._send()
        gap: str | None = None
        count = 0
        while True:
            message = await self._receive()
            if isinstance(message, sansldap.SearchResultEntry):
                count += 1
                yield message
                if count % _BURST == 0:
                    await asyncio.sleep(0)
            elif isinstance(message, sansldap.SearchResultReference):
                gap = gap or next(filter(leaves_gap, message.uris), None)
            elif isinstance(message, sansldap.SearchResultDone):
                self._judge(message.result, base, gap, enough=0 < size_limit <= count)
                yield message
                return
            else:
                raise self._broken("an answer to something else")

    def _judge(
        self, result: "sansldap.LDAPResult", base: str, gap: str | None, *, enough: bool
    ) -> None:
        """Whether a search that ended was whole, or brought `enough`."""
        import sansldap

        code = result.result_code
        if enough and code in (sansldap.LDAPResultCode.SUCCESS, 4):  # sizeLimitExceeded
            return
        if code == sansldap.LDAPResultCode.REFERRAL or gap:
            to = gap or next(iter(result.referrals or ()), "another server")
            raise SourceError(
                f"{self._server}: refers to {one_line(to)} for {base}; referrals are not followed"
            )
        if code != sansldap.LDAPResultCode.SUCCESS:
            raise SourceError(f"{self._server}: search in {base}: {reason(result)}")

    async def _send(self) -> None:
        self._writer.write(self._session.data_to_send())
        try:
            await self._writer.drain()
        except OSError as error:
            raise self._lost(error) from None

    async def _receive(self) -> "sansldap.LDAPMessage":
        try:
            return await read_message(self._session, self._reader.readexactly)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise self._lost(error) from None
        except ValueError as error:
            raise self._broken(str(error)) from None

    def _lost(self, error: Exception) -> LostError:
        self.usable = False
        why = error.strerror if isinstance(error, OSError) and error.strerror else "end of file"
        return LostError(f"{self._server}: the connection was lost: {why}")

    def _broken(self, what: str) -> SourceError:
        self.usable = False
        return SourceError(f"{self._server}: can't understand the server: {one_line(what)}")
