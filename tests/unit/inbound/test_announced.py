"""What we promise is what at least one primary takes, and what the recipient's own does."""

from dataclasses import replace

import pytest

from tideover.inbound.announced import NO_SMTPUTF8, OURS, TOO_LARGE, announced, unmet
from tideover.smtp.capabilities import Capabilities
from tideover.smtp.offer import ServerOptions
from tideover.smtp.parameters import MailParameters

MINE = ServerOptions(hostname="mx2.example.org", max_size=50_000_000, max_recipients=100, tls=True)
FULL = Capabilities(size_offered=True, eight_bit_mime=True, smtputf8=True)
SMALL = Capabilities(size_offered=True, size=10_240_000, eight_bit_mime=True, rcpt_max=20)
LARGE = Capabilities(size_offered=True, size=20_480_000, rcpt_max=50)
OLD = Capabilities()


@pytest.mark.parametrize(
    ("offers", "changed"),
    [
        ([], {}),
        ([None], {}),
        ([SMALL, None], {}),
        ([FULL], {}),
        ([FULL, OLD], {}),
        ([OLD], {"eight_bit_mime": False, "smtputf8": False}),
        ([SMALL], {"max_size": 10_240_000 - OURS, "smtputf8": False, "max_recipients": 20}),
        ([SMALL, LARGE], {"max_size": 20_480_000 - OURS, "smtputf8": False, "max_recipients": 50}),
        ([SMALL, FULL], {}),
        ([replace(FULL, size=99_000_000, rcpt_max=1000)], {}),
        ([replace(FULL, size=1000)], {"max_size": 500}),
    ],
)
def test_no_more_is_announced_than_one_of_them_takes(offers, changed):
    assert announced(MINE, offers) == replace(MINE, **changed)


def test_what_is_not_offered_anyway_stays_so():
    without = replace(MINE, eight_bit_mime=False, smtputf8=False)
    assert announced(without, [FULL]) == without


@pytest.mark.parametrize(
    ("offered", "parameters", "answer"),
    [
        (None, MailParameters(smtputf8=True, size=2**60), None),
        (FULL, MailParameters(smtputf8=True, size=2**60), None),
        (SMALL, MailParameters(smtputf8=True), NO_SMTPUTF8),
        (SMALL, MailParameters(size=10_240_000 - OURS), None),
        (SMALL, MailParameters(size=10_240_001 - OURS), TOO_LARGE),
        (OLD, MailParameters(body="8BITMIME", size=2**60), None),
        (OLD, MailParameters(), None),
    ],
)
def test_a_recipient_whose_primary_lacks_it(offered, parameters, answer):
    assert unmet(offered, parameters) == answer
