"""What a contact with the trap says about a client. Pure.

Only what no honest sender does makes a strong mark: it hung up without QUIT after a reply that it
had got, gave a name that can't be its own, or spoke before the greeting. Who only came, is a
newcomer everywhere else, and went as it should, gets a weak one.
"""

from typing import Final

from msgspec import Struct

from tideover.trap.dialogue import Deed

_STRONG: Final = frozenset({"no-quit", "forged-helo", "early-talker"})


class Contact(Struct, frozen=True, kw_only=True):
    """A connection that is over. `began` and `ended` are Unix times. `hung_up`: the client closed
    it, and had received all that we said; not so when we closed it, or the network lost it.
    """

    client: str
    began: float
    ended: float
    helo: str
    deeds: Deed
    hung_up: bool


def reasons(contact: Contact) -> tuple[str, ...]:
    """What the client did, in the words of the event `client-trapped`."""
    deeds = contact.deeds
    no_quit = contact.hung_up and Deed.TRIED in deeds and Deed.QUIT not in deeds
    said = (
        ("no-quit", no_quit),
        ("forged-helo", Deed.FORGED in deeds),
        ("early-talker", Deed.EARLY in deeds),
        ("many-recipients", Deed.MANY in deeds),
    )
    return ("last-mx-first", *(word for word, is_so in said if is_so))


def is_strong(why: tuple[str, ...]) -> bool:
    """Whether no honest sender does that."""
    return not _STRONG.isdisjoint(why)
