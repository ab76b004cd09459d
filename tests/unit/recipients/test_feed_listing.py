"""recipients.feed.listing: what a feed answers, in both profiles."""

import asyncio
import inspect
from pathlib import Path

import pytest
from msgspec import structs

from feeds import FAST, SLOW, read, write
from tideover.recipients.feed import slow as slow_module
from tideover.recipients.feed.format import Cost
from tideover.recipients.feed.listing import SlowFeed
from tideover.recipients.feed.reader import Feed
from tideover.recipients.feed.slow import SlowHash
from tideover.recipients.feed.writer import FeedPlan, Recipients
from tideover.recipients.interface import Confidence, Match, Terms
from tideover.recipients.patterns import Pattern
from tideover.recipients.sources.interface import SourceError

BOTH = pytest.mark.parametrize("plan", [FAST, SLOW])


async def found(feed: Feed, key: str, base: str | None = None, now: float = 0.0) -> Match | None:
    answer = feed.find(key, base, now)
    return await answer if inspect.isawaitable(answer) else answer


def ask(feed: Feed, key: str, base: str | None = None, now: float = 0.0) -> Match | None:
    return asyncio.run(found(feed, key, base, now))


@BOTH
def test_names_are_matched_and_never_told(tmp_path: Path, plan: FeedPlan) -> None:
    write(tmp_path / "f", "ann", "änne", plan=plan)
    feed = read(tmp_path / "f")
    assert ask(feed, "ann") == Match(Confidence.HASHED)
    assert ask(feed, "änne") == Match(Confidence.HASHED)
    for nobody in ("bob", "an", "ann@example.com", "", "\ud800", "a" * 5000):
        assert ask(feed, nobody) is None
    assert list(feed.names()) == []
    assert len(feed) == 2
    assert b"ann" not in (tmp_path / "f").read_bytes()


@BOTH
def test_the_feed_itself_says_what_starts_a_detail(tmp_path: Path, plan: FeedPlan) -> None:
    write(tmp_path / "f", "ann", "x-y", plan=structs.replace(plan, delimiters="-"))
    feed = read(tmp_path / "f")
    assert ask(feed, "ann-news")
    assert ask(feed, "x-y"), "a name with the delimiter in it counts as it stands"
    assert ask(feed, "ann+news", "ann") is None, "our own delimiter is not the feed's"
    assert ask(feed, "ann-a%b") is None, "a tricky detail is none"
    write(tmp_path / "g", "ann", plan=structs.replace(plan, delimiters=""))
    assert ask(read(tmp_path / "g"), "ann+news", "ann") is None


@BOTH
def test_what_has_expired_is_as_if_it_were_not_there(tmp_path: Path, plan: FeedPlan) -> None:
    old = Terms(expires=1000)
    people = Recipients(
        names=["ann", "ann+shop", "temp", "sales-x"],
        terms={"ann+shop": old, "temp": old, "sales-x": old},
        patterns=[Pattern("sales-.*")],
        catch_all=Terms(expires=1000),
    )
    write(tmp_path / "f", recipients=people, plan=plan)
    feed = read(tmp_path / "f")
    assert ask(feed, "temp", now=999) == Match(Confidence.HASHED, "", old)
    assert ask(feed, "temp", now=1000) is None
    assert ask(feed, "ann+shop", now=1000) == Match(Confidence.HASHED)
    assert ask(feed, "sales-x", now=1000) == Match(Confidence.PATTERN, "/sales-.*/")


@BOTH
def test_terms_patterns_and_the_catch_all_come_with_it(tmp_path: Path, plan: FeedPlan) -> None:
    gone = Terms(reject="gone; see https://example.com/")
    limited = Terms(max_size=1000, expires=2e9)
    recipients = Recipients(
        names=["ann", "bob", "trap"],
        terms={"trap": Terms(honeypot=True), "bob": gone},
        patterns=[Pattern("List-[a-z]+", limited), Pattern("ann.*")],
    )
    write(tmp_path / "f", plan=plan, recipients=recipients)
    feed = read(tmp_path / "f")
    assert ask(feed, "trap") == Match(Confidence.HASHED, "", Terms(honeypot=True))
    assert ask(feed, "bob+x") == Match(Confidence.HASHED, "", gone)
    assert ask(feed, "ann") == Match(Confidence.HASHED), "an exact name goes before patterns"
    assert ask(feed, "list-a") == Match(Confidence.PATTERN, "/List-[a-z]+/", limited)
    assert ask(feed, "list-a+x") == Match(Confidence.PATTERN, "/List-[a-z]+/", limited)
    assert ask(feed, "list-1") is None
    assert len(feed) == 5
    write(
        tmp_path / "g",
        plan=plan,
        recipients=structs.replace(recipients, catch_all=Terms(max_size=5)),
    )
    match = ask(read(tmp_path / "g"), "whoever")
    assert match == Match(Confidence.CATCH_ALL, "the catch-all", Terms(max_size=5))


@BOTH
def test_hashes_of_two_feeds_have_nothing_in_common(tmp_path: Path, plan: FeedPlan) -> None:
    names = [f"user{n}" for n in range(50)]
    seen: set[int] = set()
    keyed = structs.replace(plan, key=bytes(32))
    for number, each in enumerate((plan, plan, keyed, keyed)):
        write(tmp_path / f"{number}", *names, plan=each)
        feed = read(tmp_path / f"{number}", hash_key=bytes(32))
        hashes = set(feed._hashes)
        assert len(hashes) == 50
        assert not seen & hashes
        seen |= hashes


def test_a_feed_stays_usable_when_its_file_is_replaced_and_removed(tmp_path: Path) -> None:
    write(tmp_path / "f", *(f"user{n}" for n in range(5000)))
    old = read(tmp_path / "f")
    write(tmp_path / "f", "bob")
    new = read(tmp_path / "f")
    (tmp_path / "f").unlink()
    assert ask(old, "user4999")
    assert ask(old, "bob") is None
    assert ask(new, "bob")


def test_minimum_confidence_is_the_feeds(tmp_path: Path) -> None:
    plan = structs.replace(FAST, min_confidence=Confidence.HASHED)
    write(tmp_path / "f", "ann", plan=plan)
    assert read(tmp_path / "f").min_confidence is Confidence.HASHED


# The slow profile


def count_kdf(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    calls: list[bytes] = []
    real = slow_module.slow

    def counted(stage_one: bytes, salt: bytes, cost: Cost) -> int:
        calls.append(stage_one)
        return real(stage_one, salt, cost)

    monkeypatch.setattr(slow_module, "slow", counted)
    return calls


def test_slow_costs_the_same_found_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "f", "ann", "bob+x", plan=SLOW)
    feed = read(tmp_path / "f")
    calls = count_kdf(monkeypatch)
    for key, cost in [("ann", 1), ("nobody", 1), ("bob+x", 2), ("ann+news", 2), ("no+body", 2)]:
        calls.clear()
        ask(feed, key)
        assert len(calls) == cost, key


def test_slow_is_remembered_for_yes_and_no_and_never_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "f", "ann", plan=SLOW)
    slow = SlowHash(remembered=2)
    feed = read(tmp_path / "f", slow=slow)
    calls = count_kdf(monkeypatch)
    assert ask(feed, "ann")
    assert ask(feed, "nobody") is None
    assert len(calls) == 2
    assert feed.find("ann", None) == Match(Confidence.HASHED), "at once"
    assert feed.find("nobody", None) is None
    assert len(calls) == 2
    assert all(len(key) == 32 for key in slow._results)
    ask(feed, "third")
    assert len(slow._results) == 2
    waiting = feed.find("ann", None)
    assert inspect.iscoroutine(waiting), "the oldest was forgotten"
    waiting.close()


def test_slow_has_a_bounded_line_that_empties_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    gate = threading.Event()

    def held(stage_one: bytes, salt: bytes, cost: Cost) -> int:
        gate.wait(20)
        return 0

    monkeypatch.setattr(slow_module, "slow", held)
    write(tmp_path / "f", "ann", plan=SLOW)
    slow = SlowHash(threads=2, line=3)
    feed = read(tmp_path / "f", slow=slow)

    async def main() -> None:
        tasks = [asyncio.ensure_future(found(feed, f"user{n}")) for n in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(SourceError, match="too many"):
            await found(feed, "one more")
        tasks[2].cancel()  # was only waiting: its place is free at once
        tasks[0].cancel()  # is being computed: its place is not
        await asyncio.sleep(0.05)
        tasks.append(asyncio.ensure_future(found(feed, "comes in")))
        await asyncio.sleep(0.05)
        with pytest.raises(SourceError, match="too many"):
            await found(feed, "one more")
        gate.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await found(feed, "later") is None

    asyncio.run(main())
    slow.close()
    with pytest.raises(SourceError, match="closed"):
        asyncio.run(found(feed, "at the end"))


def test_slow_without_memory_is_a_trouble_of_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(stage_one: bytes, salt: bytes, cost: Cost) -> int:
        raise MemoryError

    write(tmp_path / "f", "ann", plan=SLOW)
    feed = read(tmp_path / "f")
    assert isinstance(feed, SlowFeed)
    monkeypatch.setattr(slow_module, "slow", no_memory)
    with pytest.raises(SourceError, match="memory"):
        ask(feed, "ann")


def test_the_loop_goes_on_while_a_slow_hash_is_computed(tmp_path: Path) -> None:
    cost = Cost(iterations=8, lanes=1, memory=64 * 1024)
    write(tmp_path / "f", "ann", plan=structs.replace(SLOW, slow=cost))
    feed = read(tmp_path / "f")

    async def main() -> int:
        ticks = 0
        task = asyncio.ensure_future(found(feed, "ann"))
        while not task.done():
            await asyncio.sleep(0.005)
            ticks += 1
        assert await task
        return ticks

    assert asyncio.run(main()) > 5
