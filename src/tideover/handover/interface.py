"""What the texts are made of and what they are made into: values only."""

from ipaddress import IPv4Address, IPv6Address

from msgspec import Struct

Address = IPv4Address | IPv6Address


class Us(Struct, frozen=True, kw_only=True):
    """This server, as the primary has to know it.

    Names are host and domain names in A-labels as the configuration checks them, so nothing in
    them can end a line, a string or a list. `sealers` are the domains of our ARC seals (d=),
    `max_size` is the largest message that we take, in octets.
    """

    hostname: str
    addresses: tuple[Address, ...]
    domains: tuple[str, ...]
    sealers: tuple[str, ...]
    max_size: int

    @property
    def ipv4(self) -> tuple[IPv4Address, ...]:
        """Our addresses of the old kind."""
        return tuple(one for one in self.addresses if isinstance(one, IPv4Address))

    @property
    def ipv6(self) -> tuple[IPv6Address, ...]:
        """Our addresses of the new kind."""
        return tuple(one for one in self.addresses if isinstance(one, IPv6Address))


class Part(Struct, frozen=True, kw_only=True):
    """One text to paste: the file it goes into, and where in it ("" for a file of its own)."""

    file: str
    how: str
    text: str


class Handover(Struct, frozen=True, kw_only=True):
    """All that one server is told. `then`: commands that check it and take it into use; `notes`:
    what a person has to know or to look at, a sentence or two each.
    """

    parts: tuple[Part, ...]
    then: tuple[str, ...]
    notes: tuple[str, ...] = ()


def listed(values: tuple[object, ...], *, quote: str = "", joint: str = ", ") -> str:
    """Values as a list in some language: each within `quote`."""
    return joint.join(f"{quote}{value}{quote}" for value in values)
