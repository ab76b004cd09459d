"""Addresses that two settings want, and next hops that lead back to ourselves."""

import pytest

from tideover.config.check import warnings
from tideover.config.load import load
from tideover.config.mistakes import ConfigError

TOP = 'hostname = "mx2.example.org"\ndata_dir = "/tmp/x"\nuser = "root"\n'
DOMAIN = '[domains."example.com"]\nrecipients = ["learn"]\nprimary = ["{}"]\n'


@pytest.fixture
def check(tmp_path):
    def check(smtp, more):
        path = tmp_path / "t.toml"
        path.write_text(f"{TOP}[smtp]\nlisten = {smtp}\n{more}")
        try:
            return [], list(warnings(load(path)))
        except ConfigError as error:
            return [str(mistake) for mistake in error.mistakes], []

    return check


@pytest.mark.parametrize(
    ("smtp", "more", "said"),
    [
        ('["127.0.0.1:25", "127.0.0.1:25"]', "", "smtp.listen[1]: 127.0.0.1:25 is there twice"),
        ('["[::1]:25", "[0::1]:25"]', "", "smtp.listen[1]: [0::1]:25 is there twice"),
        (
            '["192.0.2.2:25"]',
            '[trap]\nlisten = ["192.0.2.2:25"]',
            "trap.listen[0]: 192.0.2.2:25 is there twice (smtp.listen)",
        ),
        (
            '["0.0.0.0:25"]',
            '[trap]\nlisten = ["192.0.2.9:25"]',
            "trap.listen[0]: 192.0.2.9:25 clashes with 0.0.0.0:25 (smtp.listen): 0.0.0.0 and [::]",
        ),
        (
            '["192.0.2.2:25"]',
            '[trap]\nlisten = ["0.0.0.0:25"]',
            "trap.listen[0]: 0.0.0.0:25 clashes with 192.0.2.2:25 (smtp.listen)",
        ),
        (
            '["[::]:25"]',
            '[trap]\nnolisting = ["[2001:db8::1]:25"]',
            "trap.nolisting[0]: [2001:db8::1]:25 clashes with [::]:25 (smtp.listen)",
        ),
        (
            '["127.0.0.1:2525"]',
            '[console]\nlisten = "127.0.0.1:2525"',
            "console.listen: 127.0.0.1:2525 is there twice (smtp.listen)",
        ),
    ],
)
def test_an_address_can_be_had_once(check, smtp, more, said):
    mistakes, _ = check(smtp, more)
    assert len(mistakes) == 1
    assert said in mistakes[0]


@pytest.mark.parametrize(
    ("smtp", "more"),
    [
        ('["0.0.0.0:25", "[::]:25"]', ""),  # an IPv6 socket of ours takes no IPv4
        ('["0.0.0.0:25"]', '[trap]\nlisten = ["192.0.2.9:26"]'),
        ('["127.0.0.1:0", "127.0.0.1:0"]', '[trap]\nlisten = ["127.0.0.1:0"]'),
    ],
)
def test_addresses_that_do_not_meet(check, smtp, more):
    more += "\n" + DOMAIN.format("mail.example.com")
    assert check(smtp, more) == ([], [])


@pytest.mark.parametrize(
    ("smtp", "more", "hop", "setting"),
    [
        ('["192.0.2.2:25"]', "", "192.0.2.2", "smtp.listen"),
        ('["192.0.2.2:25"]', "", "10 192.0.2.2:25", "smtp.listen"),
        ('["127.0.0.1:2525"]', "", "[::ffff:127.0.0.1]:2525", "smtp.listen"),
        ('["0.0.0.0:2525"]', "", "127.0.0.1:2525", "smtp.listen"),
        ('["[::]:2525"]', "", "[::1]:2525", "smtp.listen"),
        ('["192.0.2.2:25"]', '[trap]\nlisten = ["192.0.2.9:25"]\n', "192.0.2.9", "trap.listen"),
    ],
)
def test_a_next_hop_that_leads_to_us(check, smtp, more, hop, setting):
    mistakes, _ = check(smtp, more + DOMAIN.format(hop))
    assert len(mistakes) == 1
    assert f'"example.com".primary[0]: we listen there ourselves ({setting})' in mistakes[0]


@pytest.mark.parametrize(
    ("smtp", "hop", "why"),
    [
        ('["0.0.0.0:25"]', "mx2.example.org", "mx2.example.org is our own hostname"),
        ('["0.0.0.0:25"]', "127.0.0.1:26", None),  # a primary on the same machine
        ('["0.0.0.0:25"]', "mx2.example.org:26", None),
        ('["0.0.0.0:25"]', "192.0.2.1", None),  # no address of this machine
        ('["192.0.2.2:25"]', "mail.example.com", None),
    ],
)
def test_a_next_hop_that_may_lead_to_us(check, smtp, hop, why):
    mistakes, found = check(smtp, DOMAIN.format(hop))
    assert mistakes == []
    expected = f'domains."example.com".primary[0]: {why}: mail would go in a circle'
    assert len(found) == (why is not None)
    assert why is None or found[0].startswith(expected)


def test_a_next_hop_that_is_an_address_of_this_machine(check, monkeypatch):
    monkeypatch.setattr("tideover.config.own_addresses.is_local", lambda host: host == "192.0.2.1")
    hops = '192.0.2.1:25", "192.0.2.3:25'
    _, found = check('["0.0.0.0:25"]', DOMAIN.format(hops))
    assert len(found) == 1
    assert "192.0.2.1 is an address of this machine: mail would go in a circle" in found[0]


def test_a_trap_before_a_stranger_would_never_open(check):
    trap = '[trap]\nlisten = ["192.0.2.9:25"]\ndomains = ["example.com", "example.net"]\n'
    _, found = check('["192.0.2.2:25"]', trap + DOMAIN.format("mail.example.com"))
    assert found == ["trap.domains: example.net is no domain of ours, so the trap stays silent"]
