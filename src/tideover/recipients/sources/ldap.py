"""LDAP directories, OpenLDAP and Active Directory alike: loaded whole, or asked for an address."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from tideover.config.model import Source
from tideover.recipients.interface import Confidence, Match
from tideover.recipients.sources.entries import Entries
from tideover.recipients.sources.interface import Load, SourceError
from tideover.recipients.sources.ldap_connection import LdapConnection, LostError
from tideover.recipients.sources.ldap_opening import connect
from tideover.recipients.sources.ldap_query import (
    address_in,
    attributes_of,
    base_of,
    full_filter,
    lookup_filter,
    server_of,
)
from tideover.recipients.sources.secret import read_password

_SHOWN: Final = 200


class LdapLoader:
    """A directory that is loaded whole."""

    __slots__ = ("_domain", "_settings", "_wanted", "source")

    def __init__(
        self,
        source: str,
        settings: Source,
        *,
        wanted: Callable[[str], bool] | None = None,
        domain: str | None = None,
    ) -> None:
        self.source = source
        self._settings = settings
        self._wanted = wanted
        self._domain = domain

    async def load(self, version: str | None, progress: Callable[[int], None]) -> Load:
        """As `Loader.load`. Directories have no version that could be compared."""
        del version
        settings = self._settings
        entries = Entries(settings, wanted=self._wanted, domain=self._domain, progress=progress)
        expression = full_filter(settings, self._domain)
        attributes = attributes_of(settings)
        async with await _opened(settings) as connection:
            async for entry in connection.search(
                base_of(settings, self._domain),
                expression,
                attributes,
                page_size=settings.page_size,
                time_limit=settings.timeout,
            ):
                for attribute in entry.attributes:
                    where = f"{entry.object_name[:_SHOWN]}: {attribute.name[:_SHOWN]}"
                    for value in attribute.values:
                        _take(entries, where, value)
        return entries.load()

    async def close(self) -> None:
        """Nothing stays open between two loads."""


def _take(entries: Entries, where: str, value: bytes) -> None:
    try:
        text = address_in(value.decode())
    except UnicodeDecodeError:
        entries.spoiled(where, "not UTF-8")
        return
    if text is not None:
        entries.take(where, text)


class LdapAsker:
    """A directory that is asked for each address, on kept connections: one for each question that
    runs, at most `max_lookups` of them kept.
    """

    def __init__(self, source: str, settings: Source) -> None:
        self.source = source
        self._settings = settings
        self._idle: list[LdapConnection] = []
        self._closed = False

    async def ask(self, domain: str, names: Sequence[str]) -> Match | None:
        """As `Asker.ask`."""
        reused = self._idle.pop() if self._idle else None
        if reused is not None:
            try:
                return await self._ask(reused, domain, names)
            except LostError:
                pass  # closed while it was idle, as servers do
        return await self._ask(await _opened(self._settings), domain, names)

    async def _ask(
        self, connection: LdapConnection, domain: str, names: Sequence[str]
    ) -> Match | None:
        settings = self._settings
        keep = False
        try:
            base = base_of(settings, domain)
            for name in names:
                found = await connection.exists(
                    base,
                    lookup_filter(settings, name, domain),
                    time_limit=settings.lookup_timeout,
                )
                if found:
                    keep = True
                    return Match(Confidence.LISTED, name)
            keep = True
            return None
        finally:
            if keep and not self._closed and len(self._idle) < settings.max_lookups:
                self._idle.append(connection)
            else:
                connection.usable = connection.usable and keep
                await connection.close()

    async def close(self) -> None:
        """Close what is kept."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()


async def _opened(settings: Source) -> LdapConnection:
    """A connection that has said who it is, within the time of one lookup."""
    server = server_of(settings)
    try:
        async with asyncio.timeout(settings.lookup_timeout):
            password = await asyncio.to_thread(read_password, settings.password_file)
            connection = await connect(server, settings.ca_file)
            if settings.bind_dn is not None:
                try:
                    await connection.bind(settings.bind_dn, password or "")
                except BaseException:
                    connection.usable = False
                    await connection.close()
                    raise
            return connection
    except TimeoutError:
        raise SourceError(f"{server}: no answer within {settings.lookup_timeout:g} s") from None
