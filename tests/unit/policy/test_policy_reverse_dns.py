"""The check reverse-dns."""

import pytest
from dns_asked import CLIENT, about, ended, found, services

from tideover.policy.checks import reverse_dns
from tideover.policy.interface import Stage
from tideover.testing.dns import FakeNames

HOST = "mail.sender.example"


def checked(names, address=CLIENT):
    return ended(reverse_dns.make(services(names))(about(Stage.CONNECT, address=address)))


def test_a_name_that_leads_back_is_evidence():
    result = checked(FakeNames(ptr={CLIENT: [HOST]}, a={HOST: ["192.0.2.9", CLIENT]}))
    assert (result.found, result.undecided, result.evidence) == ((), "", {"name": HOST})


def test_ipv6_is_confirmed_by_aaaa_however_it_is_written():
    names = FakeNames(ptr={"2001:db8::1": [HOST]}, aaaa={HOST: ["2001:DB8:0::1"]})
    assert checked(names, "2001:db8::1").evidence == {"name": HOST}
    assert names.asked == ["ptr 2001:db8::1", f"aaaa {HOST}"]


def test_an_address_without_a_name():
    assert found(checked(FakeNames())) == "rdns-none"
    assert found(checked(FakeNames(ptr={CLIENT: []}))) == "rdns-none"
    for private in ("10.0.0.1", "127.0.0.1", "fd00::1"):
        assert found(checked(FakeNames(), private)) == ""
        assert found(checked(FakeNames(ptr={private: []}), private)) == ""


@pytest.mark.parametrize("records", [{}, {HOST: []}, {HOST: ["192.0.2.9"]}])
def test_a_name_that_does_not_lead_back(records):
    result = checked(FakeNames(ptr={CLIENT: [HOST]}, a=records))
    assert found(result) == "rdns-unconfirmed"
    assert result.evidence == {"ptr": HOST}
    assert HOST in result.found[0].reason


def test_one_of_several_names_suffices():
    names = FakeNames(ptr={CLIENT: ["no.example", "slow.example", HOST]}, a={HOST: [CLIENT]})
    names.broken.add("slow.example")
    assert checked(names).evidence == {"name": HOST}


def test_only_ten_names_are_looked_at():
    many = [f"n{n}.example" for n in range(100)]
    names = FakeNames(ptr={CLIENT: many}, a={many[10]: [CLIENT]})
    assert found(checked(names)) == "rdns-unconfirmed"
    assert len(names.asked) == 11
    names.tables["a"] = {many[9]: [CLIENT]}
    assert found(checked(names)) == ""


@pytest.mark.parametrize("broken", [CLIENT, HOST])
def test_i14_dns_that_does_not_answer_is_no_finding(broken):
    names = FakeNames(ptr={CLIENT: ["other.example", HOST]}, broken={broken})
    assert found(checked(names)) == "undecided"


def test_a_monstrous_name_stays_small_in_the_evidence():
    names = FakeNames(ptr={CLIENT: ["\\000" * 250]})
    assert len(checked(names).evidence["ptr"]) == 255
