"""The check dns-lists."""

import asyncio

import pytest
from dns_asked import CLIENT, about, ended, found, services

from tideover.config.policy import DnsList, ListOf
from tideover.config.policy_values import parse_list_codes
from tideover.policy.checks import dns_lists
from tideover.policy.checks.list_texts import quote, shown_zone
from tideover.policy.interface import Stage
from tideover.testing.dns import FakeNames

BL = "bl.example"
LISTED = f"1.2.0.192.{BL}"


def checking(names, lists=None):
    return dns_lists.make(services(names, dns_lists=lists or {BL: DnsList()}))


def checked(names, lists=None, stage=Stage.CONNECT, **facts):
    return ended(checking(names, lists)(about(stage, **facts)))


def answering(*codes, **tables):
    return FakeNames(a={LISTED: list(codes)}, **tables)


def test_who_is_listed_is_told_by_whom_and_why():
    names = answering("127.0.0.2", txt={LISTED: ['see https://bl.example/?"1"', "more"]})
    result = checked(names)
    assert found(result) == "dns-listed"
    assert result.found[0].action == 5.0
    assert result.found[0].reason == f"{BL} names {CLIENT}: 127.0.0.2"
    assert str(result.found[0].reply) == (
        "554 5.7.1 Your address 192.0.2.1 is listed by bl.example; "
        "it says: \"see https://bl.example/?'1'\""
    )
    assert result.evidence == {BL: "127.0.0.2"}
    assert result.detail == 5.0


def test_the_reply_goes_without_a_text_that_is_not_to_be_had():
    names = answering("127.0.0.2")
    assert str(checked(names).found[0].reply).endswith("is listed by bl.example")


def test_who_is_not_listed():
    for names in (FakeNames(), FakeNames(txt={LISTED: ["x"]})):
        result = checked(names)
        assert (found(result), result.evidence, result.detail) == ("", {}, 0.0)
        assert names.asked == [f"a {LISTED}"]


def test_ipv6_is_asked_by_nibbles():
    names = FakeNames()
    checked(names, address="2001:db8::1")
    assert names.asked == [
        "a 1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example"
    ]


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("127.0.0.2", True),
        ("198.51.100.7", True),
        ("10.0.0.1", False),
        ("172.31.0.1", False),
        ("192.168.1.1", False),
        ("169.254.1.1", False),
        ("100.64.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
    ],
)
def test_addresses_of_private_networks_are_not_asked_for(address, asked):
    names = FakeNames()
    assert found(checked(names, address=address)) == ""
    assert bool(names.asked) is asked


@pytest.mark.parametrize(
    ("codes", "answers", "weight"),
    [
        ((), ["127.0.0.9"], 5.0),
        (("127.0.0.2=8",), ["127.0.0.2"], 8.0),
        (("127.0.0.2=8",), ["127.0.0.3"], 5.0),
        (("127.0.0.2=8", "*=1"), ["127.0.0.3"], 1.0),
        (("127.0.0.8/30=2", "*=0"), ["127.0.0.11"], 2.0),
        (("127.0.0.8/30=2", "*=0"), ["127.0.0.12"], 0.0),
        (("&4=3", "*=0"), ["127.0.0.6"], 3.0),
        (("&4=3", "*=0"), ["127.0.0.2"], 0.0),
        (("127.0.0.2=8", "127.0.0.4=2"), ["127.0.0.4", "127.0.0.2"], 8.0),
        (("127.0.0.2=-8", "*=2"), ["127.0.0.4", "127.0.0.2"], -8.0),
    ],
)
def test_codes_have_weights(codes, answers, weight):
    lists = {BL: DnsList(codes=parse_list_codes(list(codes)))}
    result = checked(answering(*answers), lists)
    assert result.detail == weight
    assert [one.action for one in result.found] == ([weight] if weight else [])
    assert result.evidence == {BL: " ".join(answers)}


def test_a_welcome_list():
    result = checked(answering("127.0.9.3"), {BL: DnsList(weight=-4.0)})
    assert found(result) == "dns-welcome"
    assert (result.found[0].action, result.found[0].reply, result.detail) == (-4.0, None, -4.0)


@pytest.mark.parametrize("code", ["127.255.255.254", "203.0.113.7", "0.0.0.0"])
def test_i14_an_answer_that_is_no_code_says_nothing(code):
    for answers in ([code], ["127.0.0.2", code]):
        result = checked(answering(*answers))
        assert found(result) == "undecided"
        assert code in result.undecided
        assert result.detail == 0.0


def test_i14_a_list_that_names_everything_says_nothing():
    names = answering("127.0.0.2")
    names.tables["a"][f"1.0.0.127.{BL}"] = ["127.0.0.2"]
    assert found(checked(names)) == "undecided"
    lists = {"names.example": DnsList(of=ListOf.SENDER)}
    names = FakeNames(a={"x.example.names.example": ["127.0.0.2"]})
    assert found(checked(names, lists, Stage.MAIL, sender="a@x.example")) == "dns-listed"
    names.tables["a"]["invalid.names.example"] = ["127.0.0.2"]
    assert found(checked(names, lists, Stage.MAIL, sender="a@x.example")) == "undecided"


def test_i14_one_list_that_does_not_answer_leaves_the_others():
    lists = {BL: DnsList(), "dead.example": DnsList(), "other.example": DnsList(weight=1.0)}
    names = answering("127.0.0.2", broken={"1.2.0.192.dead.example"})
    names.tables["a"]["1.2.0.192.other.example"] = ["127.0.0.2"]
    result = checked(names, lists)
    assert [one.action for one in result.found] == [5.0, 1.0]
    assert result.undecided == "dead.example: no answer"
    assert (result.detail, result.evidence["dead.example"]) == (6.0, "no answer")


def test_each_kind_of_list_has_its_stage():
    lists = {
        BL: DnsList(),
        "helo.example": DnsList(of=ListOf.HELO),
        "from.example": DnsList(of=ListOf.SENDER),
    }
    names = FakeNames()
    for stage in (Stage.CONNECT, Stage.HELO, Stage.MAIL):
        checked(names, lists, stage, helo="Mail.Sender.Example", sender="a@x.example")
    assert names.asked == [
        f"a {LISTED}", "a mail.sender.example.helo.example", "a x.example.from.example"
    ]  # fmt: skip
    for helo in ("[192.0.2.1]", "localhost", "192.0.2.1", "a..b", "bücher.example"):
        checked(names, lists, Stage.HELO, helo=helo)
    for sender in ("", "a@[192.0.2.1]"):
        checked(names, lists, Stage.MAIL, sender=sender)
    assert len(names.asked) == 3


def test_without_lists_of_a_kind_nothing_is_said():
    result = checked(FakeNames(), stage=Stage.HELO)
    assert (result.detail, result.evidence) == (None, {})


def test_all_lists_are_asked_at_once():
    async def run():
        names = FakeNames(gate=asyncio.Event())
        zones = [f"l{n}.example" for n in range(5)]
        names.tables["a"] = {f"1.2.0.192.{zone}": ["127.0.0.2"] for zone in zones}
        check = checking(names, {zone: DnsList() for zone in zones})
        task = asyncio.create_task(check(about(Stage.CONNECT)))
        await asyncio.sleep(0)
        assert len(names.asked) == 5
        names.gate.set()
        result = await task
        assert [one.reason.split()[0] for one in result.found] == zones
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def test_a_listing_counts_though_its_text_does_not_come(monkeypatch):
    class NoText(FakeNames):
        async def txt(self, name):
            await asyncio.Event().wait()

    async def run():
        names = NoText(a={LISTED: ["127.0.0.2"]})
        result = await checking(names)(about(Stage.CONNECT))
        assert str(result.found[0].reply).endswith("is listed by bl.example")
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    monkeypatch.setattr(dns_lists, "_MOMENT", 0.01)
    asyncio.run(run())


def test_a_check_that_is_cancelled_leaves_no_tasks():
    async def run():
        names = FakeNames(gate=asyncio.Event())
        task = asyncio.create_task(checking(names)(about(Stage.CONNECT)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


KEY = "q7k2m9x4v1c8b5n3z6l0pasdfg"


def test_a_key_in_the_zone_is_told_to_nobody():
    zone = f"{KEY}.zen.dq.example"
    query = f"1.2.0.192.{zone}"
    names = FakeNames(a={query: ["127.0.0.2"]}, txt={query: [f"see {query} or {KEY}"]})
    result = checked(names, {zone: DnsList()})
    assert f"a {query}" in names.asked
    assert KEY not in repr(result)
    assert str(result.found[0].reply).endswith(
        'listed by zen.dq.example; it says: "see 1.2.0.192.zen.dq.example or ..."'
    )
    names.broken.add(query)
    assert checked(names, {zone: DnsList()}).undecided == "zen.dq.example: no answer"


@pytest.mark.parametrize("zone", ["bl.example", "dnsbl-1.uceprotect.example", f"{KEY}.example"])
def test_zones_without_a_key_are_shown_whole(zone):
    assert shown_zone(zone) == zone


def test_texts_of_strangers_are_made_harmless():
    assert quote(b'a\r\n"b"\xff\x1b[0m', BL) == "a??'b'??[0m"
    assert len(quote(b"x" * 70_000, BL)) == 200


def test_a_name_too_long_to_be_asked_for_hides_nobody():
    long = "x." * 120 + "spam.example"
    names = FakeNames(a={f"spam.example.{BL}": ["127.0.0.2"]})
    lists = {BL: DnsList(of=ListOf.SENDER)}
    ended(checking(names, lists)(about(Stage.MAIL, sender=f"a@{long}")))
    (asked,) = names.asked
    name = asked.removeprefix("a ")
    assert 250 < len(name) <= 253
    assert name.endswith(f".spam.example.{BL}")
