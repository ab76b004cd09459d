"""What all answers are made of: pages of items, and domains as somebody typed them."""

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from tideover.config.values import parse_domain
from tideover.control.protocol import Failure, Item
from tideover.spool.interface import Filter

Page = Sequence[Item] | Failure
"""A part of an answer; an empty one only says that we are still at work."""

ROWS_A_PAGE: Final = 1000


def own_domain(text: str) -> str:
    """A domain as somebody typed it -> its A-labels; what is none stays as it is."""
    try:
        return parse_domain(text)
    except ValueError:
        return text


def normal(wanted: Filter) -> Filter:
    """The filter with its domain in A-labels."""
    return wanted if wanted.domain is None else replace(wanted, domain=own_domain(wanted.domain))
