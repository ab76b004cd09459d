"""The check own-sender."""

import pytest
from dns_asked import CLIENT, HOME, about, ended, found, services

from tideover.authentication.results import SpfResult
from tideover.policy.checks import own_sender
from tideover.policy.interface import Result, Stage
from tideover.testing.dns import FakeNames


def spf(result, *trail, scope="mfrom"):
    mechanism = trail[0] if trail else ""
    return SpfResult(result=result, domain=HOME, scope=scope, mechanism=mechanism, trail=trail)


def checked(*results, sender=f"boss@{HOME}", names=None):
    given = {"spf": Result(detail=results)} if results else {}
    check = own_sender.make(services(names or FakeNames()))
    return ended(check(about(Stage.MAIL, sender=sender, results=given)))


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (spf("pass", "ip4:192.0.2.1"), ""),
        (spf("pass", "mx"), ""),
        (spf("pass", "all"), "own-sender"),
        (spf("pass", "include:x.example", "all"), "own-sender"),
        (spf("fail", "all"), "own-sender"),
        (spf("softfail", "all"), "own-sender"),
        (spf("neutral"), "own-sender"),
        (spf("permerror"), "own-sender"),
        (spf("none"), "own-sender"),
        (spf("temperror"), "undecided"),
    ],
)
def test_spf_alone_vouches_for_our_own_senders(result, expected):
    assert found(checked(result)) == expected


def test_other_senders_are_none_of_its_business():
    for sender in ("a@elsewhere.example", "", f"a@sub.{HOME}"):
        assert found(checked(spf("fail"), sender=sender)) == ""


def test_what_counts_is_spf_of_the_sender():
    helo = spf("pass", "a", scope="helo")
    assert found(checked(helo, spf("fail", "all"))) == "own-sender"
    assert found(checked(helo)) == "undecided"


def test_i14_without_a_result_of_spf_nothing_is_known():
    assert found(checked()) == "undecided"
    late = {"spf": Result(undecided="no answer within the time for this stage")}
    check = own_sender.make(services(FakeNames()))
    result = ended(check(about(Stage.MAIL, sender=f"a@{HOME}", results=late)))
    assert found(result) == "undecided"


def test_the_mail_hosts_of_a_domain_of_which_spf_says_nothing_may_send_for_it():
    names = FakeNames(mx={HOME: [(10, "mail.example.com")]}, a={"mail.example.com": [CLIENT]})
    assert found(checked(spf("none"), names=names)) == ""
    for silent in (spf("neutral"), spf("permerror"), spf("pass", "all")):
        assert found(checked(silent, names=names)) == ""
    for no in (spf("fail", "all"), spf("softfail", "all")):
        assert found(checked(no, names=names)) == "own-sender"
    names.broken.add("mail.example.com")
    assert found(checked(spf("none"), names=names)) == "undecided"
