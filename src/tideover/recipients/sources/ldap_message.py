"""Messages of LDAP (RFC 4511): read one whole, and what people are told of one.

They are taken apart by sansldap, which does no I/O.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from tideover.recipients.sources.interface import SourceError

if TYPE_CHECKING:
    import sansldap

_MAX_MESSAGE: Final = 16 * 1024 * 1024
_SHOWN: Final = 300


async def read_message(
    session: "sansldap.LDAPClient", exactly: Callable[[int], Awaitable[bytes]]
) -> "sansldap.LDAPMessage":
    """The next message, whole. Its length is known and bounded before it is read.

    Raises:
        ValueError: it is none that can be read.
    """
    import sansldap

    data = await exactly(2)
    length = data[1]
    if length & 0x80:
        if length & 0x7F not in (1, 2, 3, 4):
            raise ValueError("no LDAP message")
        data += await exactly(length & 0x7F)
        length = int.from_bytes(data[2:], "big")
    if data[0] != 0x30 or length > _MAX_MESSAGE:  # a SEQUENCE (RFC 4511 §4.1.1)
        raise ValueError("no LDAP message, or one that is too long")
    data += await exactly(length)
    try:
        messages = session.receive(data)
    except sansldap.ProtocolError as error:
        raise ValueError(str(error)) from None
    except IndexError:  # sansldap looks behind the end of an element that is too short
        raise ValueError("an element that ends too early") from None
    if len(messages) != 1:
        raise ValueError("a message that ends too early")
    return messages[0]


def next_page(done: "sansldap.LDAPMessage | None") -> bytes:
    """What asks for the next page; empty at the end, or when the server knows no pages."""
    import sansldap

    for control in done.controls if done is not None else ():
        if isinstance(control, sansldap.PagedResultControl):
            return control.cookie
    return b""


def reason(result: "sansldap.LDAPResult | None") -> str:
    """The code of a result, and what the server says to it."""
    if result is None:
        return "no result"
    name = result.result_code.name.replace("_", " ").lower()
    said = one_line(result.diagnostics_message)
    return f"{name} ({said})" if said else name


def one_line(text: str) -> str:
    """What a server said, as one short line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:_SHOWN]).split())


def parse_filter(text: str) -> "sansldap.LDAPFilter":
    """A filter as RFC 4515 writes it.

    Raises:
        SourceError: it is not one.
    """
    import sansldap

    try:
        return sansldap.LDAPFilter.from_string(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"filter: {one_line(str(error))}") from None
