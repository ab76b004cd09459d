"""bounce.scrub: replies lose what would tell strangers about the primary."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.bounce.scrub import scrub

HOST = "mail.int.example.com[192.0.2.7]:25"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("550 5.1.1 No such user", "550 5.1.1 No such user"),
        ("550 MAIL.int.example.com: no", "550 (host): no"),
        ("550 by mail.int.example.com.", "550 by (host)."),
        ("550 at [192.0.2.7]:25 busy", "550 at [(host)]:25 busy"),
        ("550 client 198.51.100.9 is listed", "550 client (host) is listed"),
        ("550 2001:db8::7 and [IPv6:2001:DB8::8]", "550 (host) and [(host)]"),
        ("550 ::ffff:192.0.2.7", "550 ::ffff:(host)"),
        ("450 4.7.1 try after 12:34:56", "450 4.7.1 try after 12:34:56"),
        ("550 version 1.2.3.4.5", "550 version 1.2.3.4.5"),
        ("550 notmail.int.example.com", "550 notmail.int.example.com"),
        ("550 user@example.com unknown", "550 user@example.com unknown"),
    ],
)
def test_scrub(text: str, left: str) -> None:
    assert scrub(text, [HOST]) == left


@pytest.mark.parametrize("host", ["[192.0.2.7]:25", "192.0.2.7", "", ":25", "[2001:db8::7]:25"])
def test_hosts_without_a_name_take_nothing_else(host: str) -> None:
    assert scrub("550 25 messages at 25:00", [host]) == "550 25 messages at 25:00"


def test_the_recipient_s_own_domain_stays() -> None:
    text = "550 user@example.com unknown"
    assert scrub(text, ["example.com[192.0.2.1]:25"], {"example.com"}) == text
    assert scrub(text, ["example.com[192.0.2.1]:25"]) == "550 user@(host) unknown"


@given(text=st.text(), host=st.text())
def test_scrub_never_fails(text: str, host: str) -> None:
    scrub(text, [host])
    assert "203.0.113.77" not in scrub(f"{text} 203.0.113.77 {text}", [host])
