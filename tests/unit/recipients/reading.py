"""What the tests of formats share: a text read in a format, and what came of it."""

from io import BytesIO

import pytest

from tideover.config.model import Source, SourceFormat
from tideover.recipients.formats.reading import read_list
from tideover.recipients.interface import Terms
from tideover.recipients.listing import ANY_DOMAIN, NameList
from tideover.recipients.sources.interface import Load, SourceError

DOMAIN = "example.com"


def load(text: str | bytes, form: str = "plain", **settings: object) -> Load:
    """As a source of example.com alone."""
    data = text if isinstance(text, bytes) else text.encode()
    source = Source(format=SourceFormat(form), **settings)  # type: ignore[arg-type]
    return read_list(BytesIO(data), "list", source, wanted=DOMAIN.__eq__, domain=DOMAIN)


def refused(text: str | bytes, form: str = "plain", **settings: object) -> str:
    with pytest.raises(SourceError) as caught:
        load(text, form, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def both(found: Load) -> list[NameList]:
    lists = [found.lists.get(domain, NameList(frozenset())) for domain in (DOMAIN, ANY_DOMAIN)]
    assert all(isinstance(listing, NameList) for listing in lists)
    return lists  # type: ignore[return-value]


def names(text: str | bytes, form: str = "plain", **settings: object) -> set[str]:
    """All local parts; there must be no mistake."""
    found = load(text, form, **settings)
    assert found.bad == 0, found.mistakes
    return set().union(*(listing.names() for listing in both(found)))


def terms(text: str, name: str, form: str = "plain") -> Terms | None:
    """Those of one name; None when it is not there."""
    for listing in both(load(text, form)):
        if (match := listing.find(name, None)) is not None:
            return match.terms
    return None


def mistakes(line: str | bytes, form: str = "plain", good: str = "good", **settings: object) -> str:
    """What is said of one bad line among good ones, which stay."""
    data = line if isinstance(line, bytes) else line.encode()
    found = load(f"{good}\n".encode() + data + f"\n{good}2\n".encode(), form, **settings)
    assert found.bad == 1, found.mistakes
    assert found.mistakes[0].startswith("list:2: ")
    assert found.mistakes[0].isprintable()
    return found.mistakes[0]
