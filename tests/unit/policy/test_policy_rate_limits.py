"""Rate limits: what counts for whom, and that nobody can use up another's."""

from types import SimpleNamespace

from rcpt_facts import NOW, about, at_once, names, services, spf

from tideover.config.policy import Limits
from tideover.config.policy_values import RateLimit
from tideover.policy.buckets import Buckets
from tideover.policy.checks import rate_limits
from tideover.policy.interface import NOTHING

TWO = RateLimit(2, 3600.0)


def asking(**limits):
    memory = SimpleNamespace(buckets=Buckets())
    check = rate_limits.make(services(memory, limits=Limits(**limits)))

    def ask(now=NOW, **facts):
        return names(at_once(check(about(now, **facts))))

    return ask


def test_without_limits_nothing_is_counted():
    memory = SimpleNamespace(buckets=Buckets())
    check = rate_limits.make(services(memory))
    assert all(at_once(check(about())) == NOTHING for _ in range(10))
    assert not memory.buckets._kinds


def test_a_client_network():
    ask = asking(client=TWO)
    assert ask() == ask(address="192.0.2.99", to="b@example.org") == []
    assert ask(sender="") == ["rate-client"]
    assert ask(address="198.51.100.1") == []
    assert ask(NOW + 1800) == []
    assert ask(NOW + 1800) == ["rate-client"]


def test_the_reason_says_what_is_over_which_limit():
    memory = SimpleNamespace(buckets=Buckets())
    check = rate_limits.make(services(memory, limits=Limits(client=TWO)))
    for _ in range(3):
        result = at_once(check(about()))
    assert result.found[0].reason == "192.0.2.0/24: more than 2/1h; room again in 1800 s"


def test_a_recipient_whatever_the_detail():
    ask = asking(recipient=TWO)
    assert ask(to="user+1@example.com") == ask(to="USER+2@example.com") == []
    assert ask(to="user@example.com") == ["rate-recipient"]
    assert ask(to="other@example.com") == []


def test_a_domain_of_ours():
    ask = asking(domain=TWO)
    assert ask(to="a@example.com") == ask(to="b@example.com", address="198.51.100.1") == []
    assert ask(to="c@example.com") == ["rate-domain"]
    assert ask(to="c@example.org") == []


def test_a_proven_sender_domain_counts_as_a_whole():
    ask = asking(sender=TWO)
    assert ask(results=spf()) == ask(address="198.51.100.1", results=spf()) == []
    assert ask(address="203.0.113.1", results=spf()) == ["rate-sender"]


def test_senders_without_a_domain_are_counted_by_network():
    ask = asking(sender=TWO)
    assert ask(sender="a@") == ask(sender="b@") == []
    assert ask(sender="c@") == ["rate-sender"]
    assert ask(sender="c@", address="198.51.100.1") == []
    assert ask(sender="") == []


def test_a_forger_uses_up_nobodys_limit_but_his_own():
    ask = asking(sender=TWO)
    for address in ("198.51.100.1", "203.0.113.1"):
        assert ask(address=address) == ask(address=address, results=spf("fail")) == []
        assert ask(address=address, results=spf("none")) == ["rate-sender"]
        assert ask(address=address, results=spf(mechanism="all")) == ["rate-sender"]
    assert ask(results=spf()) == []


def test_the_null_sender_is_no_sender_domain():
    ask = asking(sender=TWO)
    assert [ask(sender="") for _ in range(5)] == [[]] * 5


def test_who_is_over_one_limit_does_not_use_up_the_next():
    ask = asking(client=TWO, recipient=RateLimit(3, 3600.0))
    assert [ask() for _ in range(5)] == [[], [], *[["rate-client"]] * 3]
    assert ask(address="198.51.100.1") == []
    assert ask(address="198.51.100.1") == ["rate-recipient"]


def test_without_a_recipient_there_is_nothing_to_count():
    assert asking(client=RateLimit(1, 60.0))(to="") == []
