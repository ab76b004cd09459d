"""What contacts say of a client, and which names are forged."""

from pathlib import Path

import pytest

from tideover.config.model import Config
from tideover.trap.dialogue import Deed
from tideover.trap.evidence import Contact, is_strong, reasons
from tideover.trap.forged import Forged

CONFIG = Config(hostname="mx9.example.org", data_dir=Path("/nonexistent"))


def contact(deeds: Deed, *, hung_up: bool) -> Contact:
    return Contact(
        client="192.0.2.1", began=1.0, ended=2.0, helo="a.example", deeds=deeds, hung_up=hung_up
    )


@pytest.mark.parametrize(
    ("deeds", "hung_up", "more", "strong"),
    [
        (Deed(0), True, (), False),
        (Deed.TRIED | Deed.QUIT, False, (), False),
        (Deed.TRIED | Deed.QUIT, True, (), False),
        (Deed.TRIED, False, (), False),  # we, or the network, ended it
        (Deed.TRIED, True, ("no-quit",), True),
        (Deed.FORGED | Deed.QUIT, False, ("forged-helo",), True),
        (Deed.EARLY, False, ("early-talker",), True),
        (Deed.TRIED | Deed.QUIT | Deed.MANY, False, ("many-recipients",), False),
    ],
)
def test_only_what_no_honest_sender_does_is_strong(deeds, hung_up, more, strong):
    why = reasons(contact(deeds, hung_up=hung_up))
    assert why == ("last-mx-first", *more)
    assert is_strong(why) is strong


@pytest.mark.parametrize(
    ("helo", "forged"),
    [
        ("MX9.example.org", True),
        ("mx9.example.org.", True),
        ("example.com", True),
        ("EXAMPLE.com", True),
        ("8.8.8.8", True),
        ("[8.8.8.8]", True),
        ("[IPv6:2001:4860:4860::8888]", True),
        ("[192.0.2.1]", False),
        ("192.0.2.1", False),
        ("[10.0.0.5]", False),  # an honest host behind a NAT
        ("[127.0.0.1]", False),
        ("mail.example.com.example.net", False),
        ("localhost", False),
        ("", False),
        ("[", False),
        ("a b\x00\xff", False),
    ],
)
def test_names_that_are_not_the_clients(helo, forged):
    assert Forged(CONFIG, {"example.com"}.__contains__)(helo, "192.0.2.1") is forged
