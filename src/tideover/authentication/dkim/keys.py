"""Public keys fetched from DNS for the signatures of one message."""

from collections.abc import Iterable, Mapping
from math import inf
from time import monotonic
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from tideover.authentication.dkim.key import KeyRefused, SignerKey, choose_key
from tideover.dns.names import Names
from tideover.dns.resolver import DnsUnavailable, NoSuchName
from tideover.eager import together


class NoKey(Struct, frozen=True):
    """Why there is none; `result` is a word of RFC 8601 §2.7.1."""

    result: str
    reason: str


AT_ONCE: Final = 4
"""Keys that are asked for at the same time: one message whose author has let his DNS hang must not
take the turns of all others.
"""

_TOO_LATE: Final = NoKey("temperror", "the keys of this message take too long")

Keys = Mapping[str, SignerKey | NoKey]
"""By the name in DNS."""


async def fetch_keys(wanted: Iterable[str], names: Names, *, patience: float = inf) -> Keys:
    """The keys at these names, each asked for once, `AT_ONCE` together; after `patience` seconds no
    more are asked for. Does not suspend when all are in the cache.
    """
    began = monotonic()
    distinct = list(dict.fromkeys(wanted))
    if len(distinct) == 1:
        return MappingProxyType({distinct[0]: await _fetch(distinct[0], names)})
    found: list[SignerKey | NoKey] = []
    for start in range(0, len(distinct), AT_ONCE):
        some = distinct[start : start + AT_ONCE]
        if start and monotonic() - began >= patience:
            found += [_TOO_LATE] * len(some)
            continue
        found += await together(_fetch(name, names) for name in some)
    return MappingProxyType(dict(zip(distinct, found, strict=True)))


async def _fetch(name: str, names: Names) -> SignerKey | NoKey:
    try:
        return choose_key(await names.txt(name))
    except NoSuchName:
        return NoKey("permerror", "no key in DNS")
    except DnsUnavailable:
        return NoKey("temperror", "DNS does not answer for the key")
    except KeyRefused as refused:
        return NoKey(refused.result, str(refused))
