"""message.xtext: what of ENVID and ORCPT may be shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.message.xtext import decode_orcpt, decode_xtext


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("abc", "abc"),
        ("a+2Bb+3Dc", "a+b=c"),
        ("a+20b", "a b"),
        ("+C3+BC", "ü"),
        ("+C3", None),
        ("a+0D+0AX-Evil: 1", None),
        ("+00", None),
        ("+7F", None),
        ("+E2+80+A8", None),  # U+2028, a line separator
        ("+zz", "+zz"),
        ("", ""),
    ],
)
def test_decode(text: str, decoded: str | None) -> None:
    assert decode_xtext(text) == decoded


@pytest.mark.parametrize(
    ("orcpt", "decoded"),
    [
        ("rfc822;user+40example.com", ("rfc822", "user@example.com")),
        ("RFC822;user@example.com", ("rfc822", "user@example.com")),
        ("utf-8;j\\x{F6}rg@example.com", ("utf-8", "jörg@example.com")),
        ("utf-8;jörg@example.com", ("utf-8", "jörg@example.com")),
        ("utf-8;a\\x{0D}\\x{0A}b", None),
        ("utf-8;\\x{D800}", None),
        ("utf-8;\\x{FFFFFF}", None),
        ("rfc822;a+0D+0Ab", None),
        (";a", None),
    ],
)
def test_decode_orcpt(orcpt: str, decoded: tuple[str, str] | None) -> None:
    assert decode_orcpt(orcpt) == decoded


@given(st.text())
def test_nothing_unprintable_comes_out(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    assert (decode_xtext(text) or "").isprintable()
    assert all(map(str.isprintable, decode_orcpt(f"utf-8;{text}") or ()))
