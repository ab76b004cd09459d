"""Sources that are loaded: intervals, failures, last-good copies, what silence means meanwhile."""

import asyncio
import contextlib

import pytest
from clockwork import Bench, D, FakeLoader, names

from tideover.config.model import Source
from tideover.recipients.copies import NAME, Copies
from tideover.recipients.interface import Silence, Terms
from tideover.recipients.listing import ANY_DOMAIN, NameList
from tideover.recipients.loaded import LoadedSource
from tideover.recipients.patterns import Pattern
from tideover.recipients.sources.interface import Load, SourceError

DOWN = SourceError("connection refused")


def run(scenario):
    async def bounded():
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


@contextlib.asynccontextmanager
async def working(bench):
    bench.refresher.add(bench.source)
    task = asyncio.create_task(bench.refresher.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_a_load_is_used_and_told():
    async def scenario():
        bench = Bench()
        done = await bench.load()
        assert (done.entries, done.changed, done.refused) == (1, True, None)
        assert bench.says().match is not None
        assert bench.says("nobody").silence is Silence.NO_SUCH
        assert bench.words() == ["RecipientsLoaded"]

    run(scenario)


def test_the_version_goes_back_to_the_source_and_unchanged_is_no_news():
    async def scenario():
        bench = Bench()
        await bench.load()
        bench.loader.offer = None
        await bench.load()
        assert bench.loader.versions == [None, "v1"]
        assert bench.words() == ["RecipientsLoaded"]

    run(scenario)


def test_a_failure_keeps_the_last_good_list_and_its_silence_means_later():
    async def scenario():
        bench = Bench()
        await bench.load()
        bench.loader.offer = DOWN
        assert (await bench.load()).refused == "connection refused"
        assert bench.says().match is not None
        assert bench.says("nobody").silence is Silence.UNSURE
        assert bench.source.status(D, bench.clock()).state == "stale"

    run(scenario)


def test_until_it_expires_a_source_in_trouble_is_still_believed():
    async def scenario():
        bench = Bench(expire=100.0)
        await bench.load()
        bench.loader.offer = DOWN
        await bench.load()
        bench.clock.at += 99
        assert bench.says("nobody").silence is Silence.NO_SUCH
        bench.clock.at += 2
        assert bench.says("nobody").silence is Silence.UNSURE

    run(scenario)


def test_what_says_itself_until_when_it_holds_expires_even_when_it_is_read_again():
    async def scenario():
        bench = Bench()
        bench.loader.extra = {"expires_at": bench.clock.at + 50}
        await bench.load()
        bench.loader.offer = None
        await bench.load()
        assert bench.says("nobody").silence is Silence.NO_SUCH
        bench.loader.offer = DOWN
        await bench.load()
        assert bench.says("nobody").silence is Silence.NO_SUCH, "its owner's word still holds"
        bench.clock.at += 50
        assert bench.says("nobody").silence is Silence.UNSURE
        assert bench.says().match is not None

    run(scenario)


def test_a_trouble_is_told_once_and_its_end_too():
    async def scenario():
        bench = Bench()
        await bench.load()
        bench.loader.offer = DOWN
        for _ in range(3):
            await bench.load()
        bench.loader.offer = None
        await bench.load()
        await bench.load()
        assert bench.words() == ["RecipientsLoaded", "RecipientsFailed", "RecipientsLoaded"]
        assert bench.says("nobody").silence is Silence.NO_SUCH

    run(scenario)


def test_failures_are_tried_again_after_pauses_that_double_but_not_later_than_the_refresh():
    async def scenario():
        bench = Bench(loader=FakeLoader(DOWN), refresh=300.0, retry=10.0)
        pauses = []
        for _ in range(7):
            await bench.load()
            pauses.append(bench.source.next_at - bench.clock.at)
        assert pauses == [10, 20, 40, 80, 160, 300, 300]

    run(scenario)


def test_a_source_that_hangs_is_cut_off():
    async def scenario():
        async def hang(_version, _progress):
            await asyncio.sleep(60)

        bench = Bench(loader=FakeLoader(hang), timeout=0.05)
        assert (await bench.load()).refused == "not read within 0.05 s"

    run(scenario)


def test_a_bug_in_a_source_is_a_failure_like_any_other():
    async def scenario():
        bench = Bench(loader=FakeLoader(ZeroDivisionError()))
        assert "a bug" in (await bench.load()).refused
        assert bench.says().silence is Silence.UNSURE

    run(scenario)


def test_a_list_that_shrank_waits_for_an_operator():
    async def scenario():
        bench = Bench(loader=FakeLoader([f"user{n}" for n in range(10)]))
        await bench.load()
        bench.loader.offer = ["user1"]
        done = await bench.load()
        assert "shrank from 10 to 1" in done.refused
        assert bench.source.status(D, 0.0).confirm
        assert bench.says("user9").match is not None
        assert bench.says("nobody").silence is Silence.UNSURE
        await bench.load()
        assert bench.words() == ["RecipientsLoaded", "RecipientsFailed"]
        assert (await bench.load(confirmed=True)).refused is None
        assert bench.says("user9").silence is Silence.NO_SUCH
        assert bench.words()[-1] == "RecipientsLoaded"

    run(scenario)


def test_an_empty_list_is_refused_for_ever():
    async def scenario():
        bench = Bench()
        await bench.load()
        bench.loader.offer = []
        assert "empty" in (await bench.load(confirmed=True)).refused
        assert bench.says().match is not None

    run(scenario)


def test_the_last_good_copy_serves_after_a_restart_while_the_source_is_down(tmp_path):
    async def scenario():
        first = Bench(tmp_path, FakeLoader(["user", "other"]))
        await first.load()
        second = Bench(tmp_path, FakeLoader(DOWN))
        await second.refresher.restore(second.source)
        assert second.says().match is not None
        assert second.says("nobody").silence is Silence.UNSURE
        await second.load()
        assert second.says("other").match is not None
        assert second.says("nobody").silence is Silence.UNSURE
        second.loader.offer = ["user", "new"]
        await second.load()
        assert second.loader.versions[-1] is None, "the copy is no reason to skip a load"
        assert second.says("new").match is not None
        assert second.says("nobody").silence is Silence.NO_SUCH

    run(scenario)


def test_the_guard_holds_across_a_restart(tmp_path):
    async def scenario():
        first = Bench(tmp_path, FakeLoader([f"user{n}" for n in range(10)]))
        await first.load()
        second = Bench(tmp_path, FakeLoader(["user1"]))
        await second.refresher.restore(second.source)
        assert "shrank" in (await second.load()).refused

    run(scenario)


def test_copies_hold_all_that_a_list_can(tmp_path):
    terms = Terms(max_size=9, reject='left "us"', expires=1_900_000_000.0)
    full = NameList(
        frozenset({"user", "trap", "wörld"}),
        terms={"trap": Terms(honeypot=True), "user": terms},
        patterns=(Pattern("sales-.*", Terms(max_size=5)),),
        catch_all=Terms(max_size=7),
    )
    copies = Copies(tmp_path)
    copies.put("s", "1", {D: full, ANY_DOMAIN: names("bare")}, 5.0)
    copies.close()
    again = Copies(tmp_path)
    load, at = again.get("s")
    again.close()
    assert at == 5.0
    assert set(load.lists) == {D, ANY_DOMAIN}
    for key in ("user", "trap", "wörld", "sales-x", "nobody"):
        assert load.lists[D].find(key, None) == full.find(key, None)
    assert load.lists[ANY_DOMAIN].names() == {"bare"}


@pytest.mark.parametrize("damage", [b"", b"garbage" * 1000])
def test_damaged_copies_are_put_aside(tmp_path, damage):
    copies = Copies(tmp_path)
    copies.put("s", None, {D: names("a")}, 5.0)
    copies.close()
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / NAME).write_bytes(damage)
    again = Copies(tmp_path)
    assert again.get("s") is None
    again.put("s", None, {D: names("a")}, 5.0)
    assert again.get("s") is not None
    again.close()


def test_a_client_waits_for_a_list_that_is_read_for_the_first_time():
    async def scenario():
        gate = asyncio.Event()

        async def slow(_version, progress):
            progress(1)
            await gate.wait()
            return Load(lists={D: names("user")})

        bench = Bench(loader=FakeLoader(slow))
        async with working(bench):
            waiting = asyncio.ensure_future(bench.source.says(D, "user", None, bench.clock()))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            assert bench.source.status(D, 0.0).state == "loading"
            gate.set()
            assert (await waiting).match is not None

    run(scenario)


def test_what_is_due_is_loaded_and_what_is_removed_is_not():
    async def scenario():
        bench = Bench(refresh=0.05)
        bench.refresher._clock = asyncio.get_running_loop().time
        bench.source.next_at = 0.0
        async with working(bench):
            while bench.loader.loads < 3:
                await asyncio.sleep(0.01)
            bench.refresher.remove([bench.source])
            await asyncio.sleep(0.1)
            before = bench.loader.loads
            await asyncio.sleep(0.2)
            assert bench.loader.loads == before

    run(scenario)


def test_a_clock_that_is_set_back_holds_up_no_load():
    async def scenario():
        bench = Bench(refresh=0.05)
        async with working(bench):
            while not bench.loader.loads:
                await asyncio.sleep(0.01)
            bench.clock.at -= 10 * 365 * 86400
            before = bench.loader.loads
            while bench.loader.loads == before:
                await asyncio.sleep(0.01)

    run(scenario)


def test_sources_of_a_host_that_is_gone_hold_up_no_other():
    async def scenario():
        bench = Bench()

        async def hang(_version, _progress):
            await asyncio.sleep(60)

        gone = [LoadedSource(f"gone:{n}", D, FakeLoader(hang), Source(), 60.0) for n in range(50)]
        for source in gone:
            source.failed("no answer", bench.clock(), 60.0)
            bench.refresher.add(source)
        bench.clock.at += 3600
        bench.source.next_at = bench.clock()
        async with working(bench):
            while not bench.loader.loads:
                await asyncio.sleep(0.01)

    run(scenario)


def test_last_good_copies_serve_before_all_sources_were_tried(tmp_path):
    async def scenario():
        before = Bench(tmp_path)
        await before.load()

        async def hang(_version, _progress):
            await asyncio.sleep(60)

        bench = Bench(tmp_path, FakeLoader(hang))
        for number in range(50):
            other = LoadedSource(f"gone:{number}", D, FakeLoader(hang), Source(), 60.0)
            bench.refresher.add(other)
        async with working(bench):
            while bench.source.lists is None:
                await asyncio.sleep(0.01)
            assert bench.says().match is not None

    run(scenario)
