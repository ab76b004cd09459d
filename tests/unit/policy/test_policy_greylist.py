"""Greylisting: who is new comes again, who was here is let in, and nobody is kept out for good."""

import sqlite3

import pytest
from rcpt_facts import NOW, Clock, about, at_once, names, services, spf, with_memory

from tideover.config.policy import Greylist
from tideover.policy.checks import greylist
from tideover.policy.interface import NOTHING, Result
from tideover.policy.memory import Kind, Memory
from tideover.smtp.replies import reply

DAY = 86_400.0
AGAIN = NOW + 300


def run(path, scenario, **options):
    """`scenario(ask, memory)`; `ask(now, **facts)` is the check's answer."""
    settings = options.pop("settings", Greylist())

    async def with_check(memory):
        check = greylist.make(services(memory, greylist=settings))

        def ask(now=NOW, **facts):
            return at_once(check(about(now, **facts)))

        return await scenario(ask, memory)

    return with_memory(path, with_check, **options)


def is_greylisted(result):
    assert not result.undecided
    return names(result) == ["greylisted"]


def test_a_newcomer_comes_again_after_the_delay(tmp_path):
    async def scenario(ask, _):
        first = ask()
        assert is_greylisted(first)
        assert first.found[0].reply == reply(
            450, "4.7.1", "Greylisted; please try again in 300 seconds"
        )
        early = ask(NOW + 120.5)
        assert str(early.found[0].reply).endswith("again in 180 seconds")
        assert is_greylisted(ask(NOW + 299.9))
        assert ask(AGAIN).found == ()

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    "other",
    [
        {"address": "198.51.100.1"},
        {"sender": "b@example.net"},
        {"sender": "a@example.org"},
        {"sender": ""},
        {"to": "other@example.com"},
        {"to": "user@example.org"},
    ],
    ids=str,
)
def test_another_network_sender_or_recipient_is_another_newcomer(tmp_path, other):
    async def scenario(ask, _):
        assert is_greylisted(ask())
        assert is_greylisted(ask(AGAIN, **other))

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    "same",
    [
        {"address": "192.0.2.200"},
        {"sender": "A@EXAMPLE.NET"},
        {"sender": "prvs=0123abcdef=a@example.net"},
        {"to": "User+detail@example.com"},
    ],
    ids=str,
)
def test_the_same_written_differently_is_no_newcomer(tmp_path, same):
    async def scenario(ask, _):
        assert is_greylisted(ask())
        assert not is_greylisted(ask(AGAIN, **same))

    run(tmp_path, scenario)


def test_ipv6_counts_by_64_bits(tmp_path):
    async def scenario(ask, _):
        assert is_greylisted(ask(address="2001:db8:0:1::1"))
        assert is_greylisted(ask(AGAIN, address="2001:db8:0:2::1"))
        assert not is_greylisted(ask(AGAIN, address="2001:db8:0:1:ffff::2"))

    run(tmp_path, scenario)


def test_a_null_sender_is_a_sender_like_others(tmp_path):
    async def scenario(ask, _):
        assert is_greylisted(ask(sender=""))
        assert not is_greylisted(ask(AGAIN, sender=""))

    run(tmp_path, scenario)


def test_who_comes_too_late_begins_anew(tmp_path):
    async def scenario(ask, _):
        assert is_greylisted(ask())
        late = ask(NOW + 2 * DAY)
        assert late.found[0].reply.lines == ("Greylisted; please try again in 300 seconds",)
        assert not is_greylisted(ask(NOW + 2 * DAY + 300))

    run(tmp_path, scenario)


def test_a_network_that_came_again_is_let_in_for_a_while_that_grows_with_use(tmp_path):
    async def scenario(ask, _):
        ask()
        ask(AGAIN)
        other = {"sender": "x@example.org", "to": "z@example.org", "address": "192.0.2.9"}
        assert ask(AGAIN, **other).evidence == {"let in": "its network came again before"}
        assert not is_greylisted(ask(AGAIN + 20 * DAY, **other))
        assert not is_greylisted(ask(AGAIN + 50 * DAY, **other))
        assert is_greylisted(ask(AGAIN + 90 * DAY, **other))

    run(tmp_path, scenario)


def test_a_known_client_is_let_in(tmp_path):
    async def scenario(ask, memory):
        memory.met("192.0.2.0/24", NOW)
        assert ask().evidence == {"let in": "a known client"}
        assert memory.get(Kind.PASSED, b"192.0.2.0/24", NOW) is None

    run(tmp_path, scenario)


@pytest.mark.parametrize(("weight", "let_in"), [(-5.0, True), (0.0, False), (3.0, False)])
def test_a_client_on_a_welcome_list_is_let_in(tmp_path, weight, let_in):
    async def scenario(ask, _):
        result = ask(results={"dns-lists": Result(detail=weight)})
        assert is_greylisted(result) is not let_in

    run(tmp_path, scenario)


def test_undecided_or_missing_results_only_mean_that_it_comes_again(tmp_path):
    nothing = {"dns-lists": Result(undecided="DNS"), "spf": Result(undecided="DNS")}

    async def scenario(ask, _):
        assert is_greylisted(ask(results=nothing))
        assert not is_greylisted(ask(AGAIN, results=nothing))

    run(tmp_path, scenario)


def test_a_proven_sender_domain_that_came_again_is_let_in_from_everywhere(tmp_path):
    async def scenario(ask, _):
        ask(results=spf())
        assert not is_greylisted(ask(AGAIN, results=spf()))
        far = {"address": "198.51.100.1", "to": "other@example.com", "sender": "z@example.net"}
        assert ask(AGAIN, **far, results=spf()).evidence \
            == {"let in": "its sender domain was let in before"}  # fmt: skip
        assert is_greylisted(ask(AGAIN, **far, results=spf("fail")))
        assert is_greylisted(ask(AGAIN, **far, results=spf("softfail")))
        assert is_greylisted(ask(AGAIN, **far, results=spf(mechanism="all")))

    run(tmp_path, scenario)


def test_a_large_sender_may_come_again_from_another_network(tmp_path):
    async def scenario(ask, _):
        assert is_greylisted(ask(results=spf()))
        assert not is_greylisted(ask(AGAIN, address="198.51.100.1", results=spf()))

    run(tmp_path, scenario)


def test_a_forged_domain_that_passed_is_not_known_by_it(tmp_path):
    async def scenario(ask, memory):
        ask(results=spf("none"))
        ask(AGAIN, results=spf("none"))
        assert memory.get(Kind.SENDER, b"example.net", AGAIN) is None

    run(tmp_path, scenario)


def test_all_of_it_survives_a_restart(tmp_path):
    async def first(ask, _):
        ask()
        ask(address="198.51.100.1", results=spf())
        ask(AGAIN, address="198.51.100.1", results=spf())

    async def second(ask, _):
        assert is_greylisted(ask(NOW + 299))
        assert not is_greylisted(ask(AGAIN, address="198.51.100.9", sender="q@example.org"))
        assert not is_greylisted(ask(AGAIN, address="203.0.113.1", results=spf()))
        assert not is_greylisted(ask(AGAIN))

    run(tmp_path, first)
    run(tmp_path, second)


def test_trouble_with_the_memory_is_undecided(tmp_path):
    async def scenario(ask, memory):
        def broken(*_):
            raise sqlite3.OperationalError("disk I/O error")

        assert is_greylisted(ask())
        put, memory._file.put = memory._file.put, broken
        await memory.flush()
        result = ask(sender="new@example.net")
        assert result == Result(undecided="the memory of clients: disk I/O error")
        memory._file.put = put
        await memory.flush()
        assert is_greylisted(ask(sender="new@example.net"))

    run(tmp_path, scenario)


def test_a_clock_that_was_set_back_makes_nobody_wait_longer(tmp_path):
    async def scenario(ask, _):
        ask(NOW + DAY)
        assert is_greylisted(ask(NOW))
        assert not is_greylisted(ask(AGAIN))

    run(tmp_path, scenario)


def test_it_asks_the_file_when_a_flood_pushed_a_triplet_out_of_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("tideover.policy.memory.HELD", 5)

    async def with_check(memory: Memory):
        check = greylist.make(services(memory))
        assert is_greylisted(await check(about()))
        for number in range(20):
            assert is_greylisted(await check(about(sender=f"{'x' * number}@example.org")))
        await memory.flush()
        assert not is_greylisted(await check(about(AGAIN)))

    with_memory(tmp_path, with_check, clock=Clock())


def test_without_a_recipient_there_is_nothing_to_say(tmp_path):
    async def scenario(ask, _):
        assert ask(to="") == NOTHING

    run(tmp_path, scenario)
