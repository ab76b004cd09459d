"""The check sender-domain."""

import pytest
from dns_asked import about, ended, found, services

from tideover.dns.resolver import NoSuchName
from tideover.policy.checks import sender_domain
from tideover.policy.interface import Stage
from tideover.testing.dns import FakeNames

D = "sender.example"
M = "mx.sender.example"


def checked(names, sender=f"a@{D}"):
    return ended(sender_domain.make(services(names))(about(Stage.MAIL, sender=sender)))


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"a": {D: ["192.0.2.1"]}}, ""),
        ({"aaaa": {D: ["2001:db8::1"]}}, ""),
        ({"mx": {D: [(10, M)]}, "a": {M: ["192.0.2.1"]}}, ""),
        ({"mx": {D: [(10, M)]}, "aaaa": {M: ["2001:db8::1"]}}, ""),
        ({"mx": {D: [(10, "gone.example"), (20, M)]}, "a": {M: ["192.0.2.1"]}}, ""),
        ({"mx": {D: [(0, ""), (20, M)]}, "a": {M: ["192.0.2.1"]}}, ""),
        ({}, "sender-domain-missing"),
        ({"txt": {D: ["x"]}}, "sender-domain-no-mail"),
        ({"mx": {D: [(0, "")]}, "a": {D: ["192.0.2.1"]}}, "sender-null-mx"),
        ({"mx": {D: [(10, "gone.example")]}}, "sender-domain-no-mail"),
        # an address of its own does not count where there are MX records (RFC 5321 §5.1)
        ({"mx": {D: [(10, "gone.example")]}, "a": {D: ["192.0.2.1"]}}, "sender-domain-no-mail"),
        ({"a": {D: ["127.0.0.1"]}}, "sender-domain-no-mail"),
        ({"mx": {D: [(10, "localhost")]}, "a": {"localhost": ["127.0.0.1"]}},
         "sender-domain-no-mail"),
        ({"mx": {D: [(10, M)]}, "a": {M: ["10.1.2.3"]}}, "sender-domain-no-mail"),
        ({"mx": {D: [(10, M)]}, "a": {M: ["10.1.2.3"]}, "aaaa": {M: ["fd00::1", "2001:db8::1"]}},
         ""),
        ({"mx": {D: [(10, M)]}, "aaaa": {M: ["::ffff:10.0.0.1", "fe80::1", "::1", "::"]}},
         "sender-domain-no-mail"),
    ],
)  # fmt: skip
def test_where_an_answer_could_go(tables, expected):
    assert found(checked(FakeNames(**tables))) == expected


def test_the_null_sender_passes_without_a_look_up():
    names = FakeNames()
    assert found(checked(names, sender="")) == ""
    assert found(checked(names, sender=None)) == ""
    assert names.asked == []


@pytest.mark.parametrize("sender", ["a@[192.0.2.1]", "postmaster@"])
def test_a_domain_that_dns_could_not_know(sender):
    assert found(checked(FakeNames(), sender=sender)) == "sender-domain-invalid"


@pytest.mark.parametrize(
    ("tables", "broken"),
    [
        ({}, D),
        ({"mx": {D: [(10, M)]}}, M),
        ({"mx": {D: [(10, "gone.example"), (20, M)]}}, M),
        ({"mx": {D: [(10, M), (20, "home.example")]}, "a": {"home.example": ["10.0.0.1"]}}, M),
    ],
)
def test_i14_dns_that_does_not_answer_is_no_finding(tables, broken):
    assert found(checked(FakeNames(**tables, broken={broken}))) == "undecided"


def test_what_is_known_may_settle_it_all_the_same():
    names = FakeNames(
        mx={D: [(10, "slow.example"), (20, M)]}, a={M: ["192.0.2.1"]}, broken={"slow.example"}
    )
    assert found(checked(names)) == ""


class Denies(FakeNames):
    """Says "no such name" for one kind of records, whatever the name has."""

    def __init__(self, kind, **tables):
        super().__init__(**tables)
        self.kind = kind

    async def _ask(self, kind, name):
        if kind == self.kind:
            raise NoSuchName(f"{name} does not exist in DNS", 60.0)
        return await super()._ask(kind, name)


def test_a_server_that_denies_a_name_for_one_kind_of_records_refuses_nobody():
    assert found(checked(Denies("mx", a={D: ["192.0.2.1"]}))) == ""
    assert found(checked(Denies("mx", a={D: []}))) == "sender-domain-missing"
    assert found(checked(Denies("mx", broken={D}))) == "undecided"
    assert found(checked(Denies("aaaa", mx={D: [(10, M)]}, broken={M}))) == "undecided"


def test_only_the_ten_best_hosts_are_looked_at():
    hosts = [(n, f"n{n}.example") for n in range(50)]
    names = FakeNames(mx={D: hosts[::-1]}, a={"n10.example": ["192.0.2.1"]})
    assert found(checked(names)) == "sender-domain-no-mail"
    names.tables["a"] = {"n9.example": ["192.0.2.1"]}
    assert found(checked(names)) == ""
