"""Which servers there is a text for, and the text as it is printed."""

from collections.abc import Callable, Iterator, Mapping
from textwrap import wrap
from typing import Final

from msgspec import Struct

from tideover.handover.exim import exim
from tideover.handover.interface import Handover, Us, listed
from tideover.handover.microsoft365 import microsoft365
from tideover.handover.opensmtpd import opensmtpd
from tideover.handover.postfix import postfix
from tideover.handover.rspamd import rspamd
from tideover.handover.spamassassin import spamassassin
from tideover.handover.stalwart import stalwart

_WIDTH: Final = 96


class Target(Struct, frozen=True):
    """A server at the primary: how people call it, what it is told, and by what. `by_domain`: the
    text names the domains.
    """

    title: str
    about: str
    make: Callable[[Us], Handover]
    by_domain: bool = False


TARGETS: Final[Mapping[str, Target]] = {
    "postfix": Target("Postfix", "XCLIENT and XFORWARD, postscreen, limits, restrictions", postfix),
    "exim": Target("Exim", "an ACL entry, and XCLIENT where it is built in", exim, True),
    "opensmtpd": Target("OpenSMTPD", "a rule, and passing its filters", opensmtpd, True),
    "stalwart": Target("Stalwart", "allowed addresses, no SPF on us", stalwart),
    "microsoft365": Target("Microsoft 365", "connector and trusted ARC sealer", microsoft365),
    "rspamd": Target("rspamd", "the client from our Received field, trusted ARC sealer", rspamd),
    "spamassassin": Target("SpamAssassin", "trusted and internal networks", spamassassin),
}


def text(target: Target, us: Us) -> Iterator[str]:
    """The lines that are printed: all but what is to be pasted are comments."""
    told = target.make(us)
    yield f"# {target.title} hears of {us.hostname} ({listed(us.addresses)})"
    for part in told.parts:
        place = part.file or part.how
        yield ""
        yield from _comment(f"--- {place}", "--- ")
        if part.file and part.how:
            yield from _comment(part.how, "")
        yield part.text.rstrip("\n")
    yield ""
    yield "# --- then:"
    for command in told.then:
        yield f"#     {command}"
    if told.notes:
        yield "#"
        for note in told.notes:
            yield from _comment(f"- {note}", "  ")


def _comment(words: str, margin: str) -> list[str]:
    space = " " * len(margin)
    lines = wrap(words, _WIDTH, subsequent_indent=space, break_long_words=False,
                 break_on_hyphens=False)  # fmt: skip
    return [f"# {line}" for line in lines]
