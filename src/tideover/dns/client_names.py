"""What DNS calls a client, for a server that is told of it by XCLIENT or XFORWARD.

Postfix refuses, where so configured, whom it takes to have no name; so that is said only when DNS
says it, and what can't be found out is said to be that.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from tideover.dns.names import Names
from tideover.dns.resolver import DnsUnavailable, NoSuchName
from tideover.message.client_address import plain_address

MAX_NAMES: Final = 3
"""Names of one address that are looked at."""

PATIENCE: Final = 5.0
"""Seconds for all look-ups together; somebody waits to send."""


class ClientNames(NamedTuple):
    """`name` leads back to the address, `reverse` is what the address is called. None: there is
    none; "": it can't be found out now.
    """

    name: str | None
    reverse: str | None


UNKNOWN: Final = ClientNames("", "")

LookUp = Callable[[str], Awaitable[ClientNames]]
"""From an address to its names. Never raises."""


async def client_names(names: Names, address: str) -> ClientNames:
    """What an address is called. Never raises, and takes a few seconds at most."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await _look_up(names, address)
    except TimeoutError:
        return UNKNOWN


async def _look_up(names: Names, address: str) -> ClientNames:
    try:
        found = (await names.ptr(address))[:MAX_NAMES]
    except (NoSuchName, ValueError):
        found = ()
    except DnsUnavailable:
        return UNKNOWN
    if not found:
        return ClientNames(None, None)
    forward = names.aaaa if ":" in address else names.a
    otherwise: str | None = None
    for name in found:
        try:
            if plain_address(address) in map(plain_address, await forward(name)):
                return ClientNames(name, name)
        except NoSuchName:
            continue
        except DnsUnavailable:
            otherwise = ""
    return ClientNames(otherwise, found[0])
