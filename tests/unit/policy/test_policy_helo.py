"""The check helo."""

import pytest
from dns_asked import CLIENT, HOME, US, about, ended, found, services

from tideover.config.model import Smtp
from tideover.config.values import Endpoint
from tideover.policy.checks import helo
from tideover.policy.interface import Stage
from tideover.testing.dns import FakeNames

HERE = Smtp(listen=(Endpoint("192.0.2.25", 25), Endpoint("2001:db8::25", 25)))
KNOWN = {"mail.sender.example": ["192.0.2.77"], "odd_host.sender.example": ["192.0.2.77"]}


def checked(text, names=None, address=CLIENT):
    names = FakeNames(a=KNOWN) if names is None else names
    check = helo.make(services(names, smtp=HERE))
    return ended(check(about(Stage.HELO, address=address, helo=text)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail.sender.example", ""),
        ("MAIL.Sender.Example.", ""),
        ("odd_host.sender.example", ""),
        (f"[{CLIENT}]", ""),
        (US, "helo-ours"),
        (US.upper() + ".", "helo-ours"),
        ("[192.0.2.25]", "helo-ours"),
        ("192.0.2.25", "helo-ours"),
        ("[IPv6:2001:db8:0::25]", "helo-ours"),
        ("[192.0.2.2]", "helo-wrong-literal"),
        ("[IPv6:2001:db8::1]", "helo-wrong-literal"),
        (CLIENT, "helo-bare-ip"),
        ("192.0.2.2", "helo-bare-ip"),
        ("2001:db8::1", "helo-bare-ip"),
        ("localhost", "helo-not-fqdn"),
        ("[]", "helo-not-fqdn"),
        ("[192.0.2.1", "helo-not-fqdn"),
        ("[mail.sender.example]", "helo-not-fqdn"),
        ("[2001:db8::1]", "helo-not-fqdn"),
        ("[IPv6:192.0.2.1]", "helo-not-fqdn"),
        ("192.0.2", "helo-not-fqdn"),
        ("-x.example", "helo-not-fqdn"),
        ("a..example", "helo-not-fqdn"),
        ("a b.example", "helo-not-fqdn"),
        ("bücher.example", "helo-not-fqdn"),
        ("", "helo-not-fqdn"),
        ("x" * 64 + ".example", "helo-not-fqdn"),
        ("a." * 200 + "example", "helo-not-fqdn"),
        ("nowhere.sender.example", "helo-unresolvable"),
    ],
)
def test_what_clients_call_themselves(text, expected):
    assert found(checked(text)) == expected


def test_an_ipv6_client_may_give_its_own_literal_in_any_spelling():
    assert found(checked("[ipv6:2001:DB8::0:1]", address="2001:db8::1")) == ""
    assert found(checked("[IPv6:::ffff:192.0.2.1]")) == ""


def test_a_client_of_our_own_address_may_be_there():
    assert found(checked("[192.0.2.25]", address="192.0.2.25")) == ""
    assert found(checked("192.0.2.25", address="192.0.2.25")) == "helo-bare-ip"


@pytest.mark.parametrize(
    "tables",
    [
        {"aaaa": {"h.example": ["2001:db8::7"]}, "a": {"h.example": []}},
        {"mx": {"h.example": [(10, "m.example")]}},
    ],
)
def test_any_address_or_mx_makes_a_name_resolve(tables):
    assert found(checked("h.example", FakeNames(**tables))) == ""


def test_a_name_with_other_records_only_does_not_resolve():
    assert found(checked("h.example", FakeNames(txt={"h.example": ["x"]}))) == "helo-unresolvable"


def test_our_domains_are_for_their_own_hosts():
    names = FakeNames(
        a={HOME: ["192.0.2.80"], "mail.example.com": ["192.0.2.44"]},
        mx={HOME: [(20, US), (10, "mail.example.com")]},
    )
    assert found(checked(HOME, names)) == "helo-ours"
    assert found(checked(HOME, names, address="192.0.2.80")) == ""
    assert found(checked(HOME, names, address="192.0.2.44")) == ""
    assert found(checked("mail.example.com", names)) == ""


def test_i14_dns_that_does_not_answer_is_no_finding():
    assert found(checked("mail.sender.example", FakeNames(broken={"."}))) == "undecided"
    assert found(checked(HOME, FakeNames(broken={"."}))) == "undecided"
    half = FakeNames(mx={HOME: [(10, "mail.example.com")]}, broken={"mail.example.com"})
    assert found(checked(HOME, half)) == "undecided"


def test_nothing_is_asked_for_what_is_wrong_by_itself():
    for text in (US, "localhost", CLIENT, "[192.0.2.2]"):
        names = FakeNames()
        checked(text, names)
        assert names.asked == []


def test_a_program_on_our_own_host_may_have_our_name():
    assert found(checked(US, address="127.0.0.1")) == ""
    assert found(checked(US, address="127.0.0.2")) == "helo-ours"
