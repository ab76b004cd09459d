"""The check spf: which identities, findings and replies, and results that are used again."""

import asyncio
from time import perf_counter

import pytest
from dns_asked import CLIENT, US, about, ended, found, services
from msgspec.structs import replace

from tideover.config.findings import FINDINGS
from tideover.policy.checks import spf
from tideover.policy.interface import Stage
from tideover.testing.dns import FakeNames

SENDER = "joe@a.example"
HELO = "mx.b.example"


def checked(names, sender=SENDER, helo=HELO):
    return ended(spf.make(services(names))(about(Stage.MAIL, sender=sender, helo=helo)))


def records(**txt):
    """Records of a.example (the sender's) and mx.b.example (the client's HELO name)."""
    names = {"a": "a.example", "helo": HELO, "why": "why.example"}
    return {names[key]: [text] for key, text in txt.items()}


@pytest.mark.parametrize(
    ("txt", "expected", "results"),
    [
        (records(a="v=spf1 ip4:192.0.2.1 -all"), "", "pass none"),
        (records(a="v=spf1 -all"), "spf-fail", "fail none"),
        (records(a="v=spf1 ~all"), "spf-softfail", "softfail none"),
        (records(a="v=spf1 ?all"), "", "neutral none"),
        (records(a="v=spf1 bogus"), "spf-permerror", "permerror none"),
        (records(), "spf-none", "none none"),
        (records(a="v=spf1 +all", helo="v=spf1 -all"), "spf-helo-fail", "pass fail"),
        (records(a="v=spf1 -all", helo="v=spf1 -all"), "spf-fail spf-helo-fail", "fail fail"),
        (records(a="v=spf1 +all", helo="v=spf1 ~all"), "", "pass softfail"),
    ],
)
def test_findings(txt, expected, results):
    result = checked(FakeNames(txt=txt))
    assert found(result) == expected
    assert " ".join(one.result for one in result.detail) == results
    assert [one.scope for one in result.detail] == ["mfrom", "helo"]
    assert all(one.name in FINDINGS for one in result.found)


def test_the_null_sender_has_its_helo_name_only():
    result = checked(FakeNames(txt=records(helo="v=spf1 -all")), sender="")
    assert found(result) == "spf-helo-fail"
    assert [one.scope for one in result.detail] == ["helo"]
    assert found(checked(FakeNames(), sender="")) == ""
    assert found(checked(FakeNames(broken={HELO}), sender="")) == "undecided"


def test_one_domain_fails_once():
    result = checked(FakeNames(txt=records(a="v=spf1 -all")), helo="A.example")
    assert found(result) == "spf-fail"


def test_before_mail_nothing_is_known():
    assert ended(spf.make(services(FakeNames()))(about(Stage.MAIL))).detail is None


def test_dns_that_fails_leaves_it_undecided():
    assert found(checked(FakeNames(broken={"a.example"}))) == "undecided"
    result = checked(FakeNames(txt=records(a="v=spf1 -all"), broken={HELO}))
    assert found(result) == "spf-fail"


def test_the_reply_has_the_domains_words_as_its_own():
    words = 'see <http://a.example/?i=%{i}> or "ask" ' + "x" * 400
    result = checked(FakeNames(txt=records(a="v=spf1 exp=why.example -all", why=words)))
    reply = result.found[0].reply
    assert (reply.code, reply.enhanced) == (550, "5.7.23")
    assert reply.lines[0].startswith(
        f"SPF: a.example does not let {CLIENT} send for it; that domain says: "
        "\"see <http://a.example/?i=192.0.2.1> or 'ask' xxx"
    )
    assert len(reply.to_wire()) < 400
    assert US not in reply.lines[0]


def test_evidence_is_short():
    txt = {"a.example": ["v=spf1 include:" + "b." * 100 + "example -all"]}
    txt["b." * 100 + "example"] = ["v=spf1 ip4:192.0.2.0/24"]
    result = checked(FakeNames(txt=txt))
    assert result.evidence["mfrom"].startswith("pass a.example: include:b.b.")
    assert all(len(text) <= 200 for text in result.evidence.values())
    assert result.evidence["helo"] == f"none {HELO}"


def asked_again(names, *, after, sender=SENDER):
    """How many questions the second of two transactions leads to."""
    check = spf.make(services(names))
    facts = about(Stage.MAIL, sender=sender, helo=HELO)
    first = ended(check(facts))
    count = len(names.asked)
    second = ended(check(replace(facts, now=facts.now + after)))
    assert [one.result for one in second.detail] == [one.result for one in first.detail]
    return len(names.asked) - count


def test_results_are_used_again_for_a_moment():
    txt = records(a="v=spf1 -all")
    assert asked_again(FakeNames(txt=txt), after=spf.KEEP - 1) == 0
    assert asked_again(FakeNames(txt=txt), after=spf.KEEP) == 2
    assert asked_again(FakeNames(txt=txt), after=-1) == 2  # the clock was set back
    assert asked_again(FakeNames(txt=txt), after=1, sender="") == 0
    assert asked_again(FakeNames(txt=txt, broken={"a.example"}), after=1) == 2
    assert asked_again(FakeNames(txt=txt, broken={HELO}), after=1) == 2


def test_results_are_kept_by_address_sender_and_helo():
    names = FakeNames(txt=records(a="v=spf1 ip4:192.0.2.1 -all"))
    check = spf.make(services(names))
    assert found(ended(check(about(Stage.MAIL, sender=SENDER)))) == ""
    other = about(Stage.MAIL, sender=SENDER, address="192.0.2.2")
    assert found(ended(check(other))) == "spf-fail"
    assert found(ended(check(about(Stage.MAIL, sender="joe@c.example")))) == "spf-none"


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(spf, "MOST_KEPT", 2)
    names = FakeNames()
    check = spf.make(services(names))
    for sender in ("a@x.example", "b@x.example", "c@x.example"):
        ended(check(about(Stage.MAIL, sender=sender)))
    names.asked.clear()
    for sender in ("b@x.example", "c@x.example"):
        ended(check(about(Stage.MAIL, sender=sender)))
    assert names.asked == []
    ended(check(about(Stage.MAIL, sender="a@x.example")))
    assert names.asked


class SlowNames(FakeNames):
    """Questions about one name wait for a gate; `cancelled` tells whether one was given up."""

    def __init__(self, slow, **tables):
        super().__init__(**tables)
        self.slow = slow
        self.open = asyncio.Event()
        self.cancelled = False

    async def _ask(self, kind, name):
        if name == self.slow:
            try:
                await self.open.wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise
        return await super()._ask(kind, name)


def test_a_slow_helo_name_does_not_hide_what_is_known_of_the_sender(monkeypatch):
    async def scenario():
        names = SlowNames(HELO, txt=records(a="v=spf1 -all", helo="v=spf1 -all"))
        check = spf.make(services(names))
        result = await check(about(Stage.MAIL, sender=SENDER, helo=HELO))
        assert found(result) == "spf-fail"
        await asyncio.sleep(0)
        assert names.cancelled
        names.open.set()
        result = await check(about(Stage.MAIL, sender=SENDER, helo=HELO))
        assert found(result) == "spf-fail spf-helo-fail"

    monkeypatch.setattr(spf, "_MOMENT", 0.01)
    asyncio.run(scenario())


def test_both_are_asked_about_at_once():
    async def scenario():
        names = SlowNames("a.example", txt=records(a="v=spf1 -all", helo="v=spf1 -all"))
        check = spf.make(services(names))
        task = asyncio.create_task(check(about(Stage.MAIL, sender=SENDER, helo=HELO)))
        await asyncio.sleep(0)
        assert names.asked == [f"txt {HELO}"]
        names.open.set()
        assert found(await task) == "spf-fail spf-helo-fail"

    asyncio.run(scenario())


def test_giving_up_gives_up_both():
    async def scenario():
        names = SlowNames(HELO)
        check = spf.make(services(names))
        task = asyncio.create_task(check(about(Stage.MAIL, sender="", helo=HELO)))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait({task})
        await asyncio.sleep(0)
        assert names.cancelled

    asyncio.run(scenario())


def test_the_same_sender_thousands_of_times_costs_next_to_nothing():
    check = spf.make(services(FakeNames(txt=records(a="v=spf1 -all"))))
    facts = about(Stage.MAIL, sender=SENDER, helo=HELO)
    began = perf_counter()
    for _ in range(1000):
        ended(check(facts))
    assert perf_counter() - began < 0.2  # about 2 ms when nothing else runs
