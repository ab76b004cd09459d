"""Who comes again long enough is cut off from the primary; who only insists never is."""

import pytest
from rcpt_facts import NOW, config, recipient, with_memory

from tideover.config.primaries import CutOff
from tideover.policy import cut_off
from tideover.policy import memory as memory_module
from tideover.policy.cut_off import CutOffs
from tideover.policy.memory import OVERRUN
from tideover.testing.dns import FakeNames

AFTER, REMEMBER = 600.0, 86_400.0
NAMES = FakeNames(
    txt={
        "pool.example": ["v=spf1 ip4:198.51.100.0/24 ip4:203.0.113.0/24 -all"],
        "anybody.example": ["v=spf1 +all"],
    }
)
ONE, OTHER, STRANGER = "198.51.100.7", "203.0.113.7", "192.0.2.1"


def run(path, scenario, **options):
    """`scenario(ask, memory)`; `ask(now, **facts)` is why the client is cut off, or None."""
    settings = options.pop("settings", CutOff(after=AFTER, remember=REMEMBER))

    async def with_rule(memory):
        rule = CutOffs(memory, config(cut_off=settings), NAMES)

        def ask(now=NOW, *, address="192.0.2.1", sender="a@example.net", to="user@example.com"):
            return rule.deferred(address, sender, recipient(to), now)

        return await scenario(ask, memory)

    return with_memory(path, with_rule, **options)


def test_who_comes_again_later_is_cut_off(tmp_path):
    async def scenario(ask, _):
        assert ask() is None
        assert ask(NOW + AFTER - 0.1) is None
        assert ask(NOW + 840.7) == "deferred first 14m ago, and it tries again"

    run(tmp_path, scenario)


def test_its_next_mails_need_not_wait_until_it_has_to_show_it_again(tmp_path):
    async def scenario(ask, _):
        shown = NOW + 3600
        assert ask() is None
        assert ask(shown)
        other = {"address": "192.0.2.77", "sender": "b@example.net", "to": "other@example.org"}
        assert ask(shown + 1, **other) == cut_off.REMEMBERED
        assert ask(shown + REMEMBER - 1, **other) == cut_off.REMEMBERED
        assert ask(shown + REMEMBER + 1, **other) is None

    run(tmp_path, scenario)


def test_a_bot_that_insists_at_once_never_passes(tmp_path):
    async def scenario(ask, _):
        for round_ in range(10):  # each day anew, for nearly as long as it takes
            start = NOW + round_ * (REMEMBER + 1)
            for try_ in range(100):
                assert ask(start + try_ * (AFTER - 1) / 99) is None

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    "other",
    [
        {"address": "198.51.100.1"},
        {"address": "2001:db8::1"},
        {"sender": "b@example.net"},
        {"sender": "a@example.org"},
        {"sender": ""},
        {"to": "other@example.com"},
        {"to": "user@example.org"},
    ],
    ids=str,
)
def test_another_network_sender_or_recipient_has_to_come_again_itself(tmp_path, other):
    async def scenario(ask, _):
        assert ask() is None
        assert ask(NOW + AFTER, **other) is None
        assert ask(NOW + 2 * AFTER, **other)

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    "same",
    [
        {"address": "192.0.2.254"},
        {"sender": "A@EXAMPLE.net"},
        {"to": "User@example.com"},
        {"sender": "bounce-12345@example.net", "first": {"sender": "bounce-67890@example.net"}},
        {"sender": "", "first": {"sender": ""}},
        {"address": "2001:db8::2", "first": {"address": "2001:db8::1"}},
    ],
    ids=str,
)
def test_the_same_network_and_mail_in_other_words(tmp_path, same):
    first = same.pop("first", {})

    async def scenario(ask, _):
        assert ask(**first) is None
        assert ask(NOW + AFTER, **same)

    run(tmp_path, scenario)


def test_a_network_is_let_in_for_that_sender_domain_only(tmp_path):
    async def scenario(ask, _):
        assert ask() is None
        assert ask(NOW + AFTER)
        assert ask(NOW + AFTER, sender="b@example.net") == cut_off.REMEMBERED
        assert ask(NOW + AFTER, sender="b@example.org") is None
        assert ask(NOW + AFTER, sender="") is None
        assert ask(NOW + AFTER, address="198.51.100.1") is None

    run(tmp_path, scenario)


def test_it_survives_a_restart(tmp_path):
    async def first(ask, _):
        assert ask() is None
        assert ask(sender="shown@example.org") is None
        assert ask(NOW + AFTER, sender="shown@example.org")

    async def second(ask, _):
        assert ask(NOW + AFTER - 1) is None
        assert ask(NOW + AFTER)
        assert ask(NOW + AFTER, sender="x@example.org") == cut_off.REMEMBERED

    run(tmp_path, first)
    run(tmp_path, second)


def test_who_comes_again_too_late_begins_anew(tmp_path):
    async def scenario(ask, _):
        assert ask() is None
        assert ask(NOW + REMEMBER + 1) is None
        assert ask(NOW + REMEMBER + 1 + AFTER)

    run(tmp_path, scenario)


def test_a_clock_that_was_set_back_begins_anew(tmp_path):
    async def scenario(ask, _):
        assert ask(NOW + 10_000) is None
        assert ask(NOW) is None
        assert ask(NOW + AFTER)

    run(tmp_path, scenario)


def test_memory_in_trouble_takes_whom_it_may_have_forgotten(tmp_path):
    async def scenario(ask, memory):
        assert ask() is None
        memory._failing = "disk I/O error"
        assert ask(NOW + 1) is None  # it is known, and early
        assert ask(NOW + 1, sender="b@example.net") == "the memory of clients: disk I/O error"

    run(tmp_path, scenario)


def test_what_strangers_say_is_not_kept_in_words(tmp_path):
    async def scenario(ask, _):
        ask(sender="geheim@example.net", to="user@example.com")

    run(tmp_path, scenario)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("clients.sqlite*"))
    assert b"deferred" in kept
    assert b"geheim" not in kept
    assert b"user@" not in kept


def test_senders_that_are_no_text_at_all(tmp_path):
    async def scenario(ask, _):
        for sender in ("\udc80@\udc80", "@", "a@b@c", "x" * 10_000, "\0"):
            assert ask(sender=sender) is None
            assert ask(NOW + AFTER, sender=sender)

    run(tmp_path, scenario)


def pool(path, scenario):
    """As `run`, with `ask` of a rule that asks SPF, too."""

    async def with_rule(memory):
        rule = CutOffs(memory, config(cut_off=CutOff(after=AFTER, remember=REMEMBER)), NAMES)

        async def ask(now=NOW, address=ONE, *, sender="a@pool.example", to="user@example.com"):
            facts = address, sender, recipient(to), now
            return rule.deferred(*facts) or await rule.of_a_pool(*facts)

        return await scenario(ask)

    with_memory(path, with_rule)


def test_who_comes_again_from_another_network_is_known_by_spf(tmp_path):
    async def scenario(ask):
        assert await ask(NOW) is None
        assert await ask(NOW + AFTER - 1, OTHER) is None
        assert await ask(NOW + AFTER, STRANGER) is None
        assert "another server" in await ask(NOW + AFTER + 1, "203.0.113.9")
        more = {"sender": "b@pool.example", "to": "other@example.org"}
        assert await ask(NOW + AFTER + 2, "198.51.100.99", **more) == cut_off.OF_A_POOL
        assert await ask(NOW + AFTER + 2, STRANGER, **more) is None
        assert await ask(NOW + 2 * REMEMBER, OTHER, **more) is None

    pool(tmp_path, scenario)


@pytest.mark.parametrize("sender", ["a@anybody.example", "a@nobody.example", "", "a@[192.0.2.1]"])
def test_who_proves_nothing_has_to_come_again_from_its_own_network(tmp_path, sender):
    async def scenario(ask):
        assert await ask(NOW, ONE, sender=sender) is None
        assert await ask(NOW + AFTER, OTHER, sender=sender) is None
        assert await ask(NOW + 2 * AFTER, ONE, sender=sender)

    pool(tmp_path, scenario)


def test_a_flood_that_makes_us_forget_keeps_nobody_out(tmp_path, monkeypatch):
    monkeypatch.setattr(memory_module, "HELD", 50)

    async def scenario(ask, _):
        for number in range(50):
            assert (
                ask(NOW, to=f"user{chr(97 + number % 26)}{'x' * (number // 26)}@example.com")
                is None
            )
        assert ask(NOW, sender="honest@example.net") is None
        assert ask(NOW + AFTER, to="first.forgotten@example.com") == cut_off.TOO_MANY
        assert ask(NOW + OVERRUN, to="later@example.com") is None

    run(tmp_path, scenario)
