"""The cache of DNS answers, on a resolver that answers from a table and a clock of ours."""

import asyncio

import pytest

from tideover.dns import cache
from tideover.dns.cache import CachedNames
from tideover.dns.resolver import DnsUnavailable, NoSuchName, Records

N = "example.com"
DEAD = DnsUnavailable("DNS did not answer in time")


class Resolver:
    """Gives `answers` by kind and name, raising those that are exceptions."""

    def __init__(self, **answers):
        self.answers = answers
        self.asked = []
        self.gate = None

    async def records(self, name, kind):
        self.asked.append(f"{kind} {name}")
        if self.gate is not None:
            await self.gate.wait()
        answer = self.answers.get(kind, Records((), 60.0))
        if isinstance(answer, Exception):
            raise type(answer)(*answer.args, *([answer.ttl] if hasattr(answer, "ttl") else []))
        return answer


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def made(**answers):
    resolver, clock = Resolver(**answers), Clock()
    return CachedNames(resolver, clock=clock), resolver, clock


def at_once(coroutine):
    """What it gives; it must not wait."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    finally:
        coroutine.close()
    raise AssertionError("it waits")


def test_each_kind_as_plain_values():
    async def run():
        names, resolver, _ = made(
            TXT=Records((b"v=spf1",), 9),
            A=Records(("192.0.2.1",), 9),
            AAAA=Records(("2001:db8::1",), 9),
            MX=Records(((10, "m.example"),), 9),
            PTR=Records(("h.example",), 9),
        )
        for _ in range(2):
            assert await names.txt(N) == (b"v=spf1",)
            assert await names.a(N) == ("192.0.2.1",)
            assert await names.aaaa(N) == ("2001:db8::1",)
            assert await names.mx(N) == ((10, "m.example"),)
            assert await names.ptr("192.0.2.1") == ("h.example",)
        await names.ptr("2001:db8::1")
        assert resolver.asked == [
            f"TXT {N}", f"A {N}", f"AAAA {N}", f"MX {N}", "PTR 1.2.0.192.in-addr.arpa",
            "PTR 1" + ".0" * 23 + ".8.b.d.0.1.0.0.2.ip6.arpa",
        ]  # fmt: skip

    asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (Records(("192.0.2.1",), 300.0), 300.0),
        (Records(("192.0.2.1",), 1e9), 86400.0),
        (Records((), 60.0), 60.0),
        (Records((), 1e9), 3600.0),
        (NoSuchName("no", 120.0), 120.0),
        (NoSuchName("no", 1e9), 3600.0),
        (DEAD, 2.0),
    ],
)
def test_an_answer_holds_as_long_as_dns_says_within_bounds(answer, seconds):
    async def run():
        names, resolver, clock = made(A=answer)

        async def outcome():
            try:
                return await names.a(N)
            except (NoSuchName, DnsUnavailable) as error:
                return type(error)

        first = await outcome()
        clock.now += seconds - 0.1
        assert at_once(outcome()) == first
        assert len(resolver.asked) == 1
        clock.now += 0.2
        assert await outcome() == first
        assert len(resolver.asked) == 2

    asyncio.run(run())


def test_an_answer_with_a_ttl_of_0_is_asked_for_each_time():
    async def run():
        names, resolver, _ = made(A=Records(("192.0.2.1",), 0.0))
        for _ in range(3):
            await names.a(N)
        assert len(resolver.asked) == 3

    asyncio.run(run())


def test_names_are_one_in_any_spelling():
    async def run():
        names, resolver, _ = made()
        await names.a("Example.COM.")
        assert at_once(names.a(N)) == ()
        assert resolver.asked == [f"A {N}"]

    asyncio.run(run())


@pytest.mark.parametrize(
    "name",
    ["", ".", "a..b", ".a", "x" * 64 + ".example", "a." * 130 + "x", "a b.example", "a\\.b",
     "bücher.example", "a\0.example", "x" * 100_000],
)  # fmt: skip
def test_what_can_be_no_name_is_not_asked_for(name):
    names, resolver, _ = made()
    with pytest.raises(NoSuchName):
        at_once(names.a(name))
    assert resolver.asked == []


def test_askers_of_one_name_share_a_look_up_which_survives_the_first():
    async def run():
        names, resolver, _ = made(A=Records(("192.0.2.1",), 60))
        resolver.gate = asyncio.Event()
        askers = [asyncio.create_task(names.a(N)) for _ in range(3)]
        await asyncio.sleep(0)
        askers[0].cancel()
        await asyncio.sleep(0)
        resolver.gate.set()
        assert await asyncio.gather(*askers[1:]) == [("192.0.2.1",)] * 2
        assert askers[0].cancelled()
        assert resolver.asked == [f"A {N}"]
        assert names._asking == {}

    asyncio.run(run())


def test_a_look_up_that_nobody_waits_for_any_more_still_fills_the_cache():
    async def run():
        names, resolver, _ = made(A=Records(("192.0.2.1",), 60))
        resolver.gate = asyncio.Event()
        asker = asyncio.create_task(names.a(N))
        await asyncio.sleep(0)
        asker.cancel()
        resolver.gate.set()
        await asyncio.wait([asker, *names._asking.values()])
        assert at_once(names.a(N)) == ("192.0.2.1",)

    asyncio.run(run())


def test_a_name_that_failed_is_waited_for_shortly_while_the_look_up_goes_on(monkeypatch):
    monkeypatch.setattr(cache, "_GRACE", 0.01)

    async def run():
        names, resolver, clock = made(A=DEAD)
        with pytest.raises(DnsUnavailable):
            await names.a(N)
        clock.now += 3
        resolver.gate = asyncio.Event()
        resolver.answers["A"] = Records(("192.0.2.1",), 60)
        for _ in range(2):
            with pytest.raises(DnsUnavailable):
                await names.a(N)
        assert len(resolver.asked) == 2
        resolver.gate.set()
        await asyncio.wait(names._asking.values())
        assert at_once(names.a(N)) == ("192.0.2.1",)

    asyncio.run(run())


def test_after_a_failure_a_name_is_right_within_five_seconds():
    # a try takes two seconds at most, then its failure is kept for so long
    assert cache._FAILURE + 2.0 < 5.0

    async def run():
        names, resolver, clock = made(A=DEAD)
        with pytest.raises(DnsUnavailable):
            await names.a(N)
        resolver.answers["A"] = Records(("192.0.2.1",), 60)
        with pytest.raises(DnsUnavailable):
            at_once(names.a(N))
        clock.now += 2.1
        assert await names.a(N) == ("192.0.2.1",)

    asyncio.run(run())


def test_a_failure_does_not_keep_what_was_known(monkeypatch):
    async def run():
        names, resolver, clock = made(A=Records(("192.0.2.1",), 60))
        await names.a(N)
        clock.now += 61
        resolver.answers["A"] = DEAD
        with pytest.raises(DnsUnavailable):
            await names.a(N)

    asyncio.run(run())


def test_what_was_not_asked_for_longest_is_forgotten(monkeypatch):
    monkeypatch.setattr(cache, "_MAX_ENTRIES", 3)

    async def run():
        names, _, _ = made(A=Records(("192.0.2.1",), 60))
        for name in ("a.example", "b.example", "c.example", "a.example", "d.example"):
            await names.a(name)
        assert [key.name for key in names._known] == ["c.example", "a.example", "d.example"]
        assert names._octets == sum(known.octets for known in names._known.values())

    asyncio.run(run())


def test_long_records_count_for_their_length(monkeypatch):
    monkeypatch.setattr(cache, "_MAX_OCTETS", 100_000)

    async def run():
        names, _, _ = made(
            TXT=Records((b"x" * 40_000,), 60), MX=Records(((1, "m" * 250),) * 100, 60)
        )
        for n in range(10):
            await names.txt(f"n{n}.example")
        assert len(names._known) == 2
        for n in range(10):
            await names.mx(f"n{n}.example")
        assert len(names._known) == 2

    asyncio.run(run())


def test_look_ups_do_not_pile_up_without_bound(monkeypatch):
    monkeypatch.setattr(cache, "_MAX_ASKING", 2)

    async def run():
        names, resolver, _ = made()
        resolver.gate = asyncio.Event()
        askers = [asyncio.create_task(names.a(f"n{n}.example")) for n in range(4)]
        await asyncio.sleep(0)
        again = asyncio.create_task(names.a("n0.example"))
        await asyncio.sleep(0)
        resolver.gate.set()
        results = await asyncio.gather(*askers, again, return_exceptions=True)
        assert [type(one) for one in results] == [
            tuple, tuple, DnsUnavailable, DnsUnavailable, tuple
        ]  # fmt: skip
        assert await names.a("n3.example") == ()

    asyncio.run(run())


def test_closing_ends_what_is_under_way():
    async def run():
        names, resolver, _ = made()
        resolver.gate = asyncio.Event()
        asker = asyncio.create_task(names.a(N))
        await asyncio.sleep(0)
        await names.close()
        with pytest.raises(asyncio.CancelledError):
            await asker
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def test_while_dns_is_dead_nobody_waits_long():
    async def run():
        class Silent:
            async def records(self, name, kind):
                if self.dead:
                    await asyncio.sleep(self.takes)
                    raise DnsUnavailable("DNS did not answer in time")
                return Records(("192.0.2.1",), 300.0)

        resolver = Silent()
        resolver.dead, resolver.takes = True, 0.0
        clock = Clock()
        names = CachedNames(resolver, clock=clock)
        for n in range(5):
            with pytest.raises(DnsUnavailable):
                await names.a(f"n{n}.example")
        resolver.takes = 30.0
        clock.now += 3
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(DnsUnavailable, match="in time"):
            await names.a("n1.example")  # failed before: not waited for
        assert loop.time() - began < 0.3
        with pytest.raises(DnsUnavailable, match="does not answer now"):
            await names.a("new.example")
        assert loop.time() - began < 3
        resolver.dead = False
        assert await names.a("other.example") == ("192.0.2.1",)
        await names.close()

    asyncio.run(run())
