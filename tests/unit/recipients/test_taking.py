"""What becomes of a load beside its list: copies over restarts, doubts of one domain of many."""

import os
from weakref import finalize

import pytest
from clockwork import Bench, Clock, D, asyncio, names

from tideover.config.model import Source
from tideover.recipients.copies import Copies
from tideover.recipients.file_watch import FileWatch
from tideover.recipients.interface import Says, Silence
from tideover.recipients.loaded import LoadedSource
from tideover.recipients.sources.file import FileLoader
from tideover.recipients.sources.interface import Load, SourceError
from tideover.recipients.taking import Taking

MANY = [f"user{n}" for n in range(10)]


class FileBench:
    """One file, its clockwork and its copies."""

    def __init__(self, place):
        self.path = place / "list"
        self.clock = Clock()
        self.events = []
        copies = Copies(place / "data")
        finalize(self, copies.close)
        taking = Taking(copies, self.events.append, lambda _: None)
        (place / "data").mkdir(exist_ok=True)
        self.watch = FileWatch(taking, self.clock)
        name = f"file:{self.path}"
        self.source = LoadedSource(name, None, FileLoader(name, Source()), Source(), 1.0)

    def write(self, *locals_):
        self.path.write_text("".join(f"{one}\n" for one in locals_))
        os.utime(self.path, (1_700_000_000 + len(locals_),) * 2)

    def load(self, *, confirmed=False):
        self.clock.at += 5
        return asyncio.run(self.watch.refresh(self.source, confirmed=confirmed))


def test_what_an_operator_confirmed_stays_confirmed_over_a_restart(tmp_path):
    async def scenario():
        bench = Bench(tmp_path)
        bench.loader.offer = MANY
        await bench.load()

        async def shrunk(version, progress):
            return None if version == "small" else Load(lists={D: names("user1")}, version="small")

        bench.loader.offer = shrunk
        assert "shrank" in (await bench.load()).refused
        assert (await bench.load(confirmed=True)).refused is None

        again = Bench(tmp_path)
        again.loader.offer = shrunk
        done = await again.load()
        assert (done.entries, done.refused) == (1, None)

    asyncio.run(scenario())


def test_a_file_that_shrank_while_nobody_looked_waits_for_an_operator(tmp_path):
    bench = FileBench(tmp_path)
    bench.write(*MANY)
    assert bench.load().refused is None
    for _ in range(2):  # the doubt outlives a restart too
        bench = FileBench(tmp_path)
        bench.write("user1")
        done = bench.load()
        assert "shrank from 10 to 1" in done.refused
        assert done.entries == 10
    assert bench.load(confirmed=True).refused is None
    bench = FileBench(tmp_path)
    assert bench.load().refused is None


def test_a_file_that_is_as_it_was_is_no_news(tmp_path):
    bench = FileBench(tmp_path)
    bench.write(*MANY)
    assert bench.load().changed
    assert not bench.load().changed


def test_a_refresh_reads_what_was_written_just_before(tmp_path):
    bench = FileBench(tmp_path)
    bench.write("user")
    bench.load()
    bench.path.write_text("user\nfresh\n")
    assert (bench.load().entries, len(bench.source.of(D)[0])) == (2, 2)


def shared(lists):
    """A source of several domains."""
    bench = Bench()
    bench.source.domain = None
    bench.loader.offer = lambda _version, _progress: done(lists)
    return bench


async def done(lists):
    return Load(lists={name: names(*locals_) for name, locals_ in lists.items()})


def silence(bench, domain):
    said = bench.source.says(domain, "nobody", None, bench.clock())
    assert isinstance(said, Says)
    return said.silence


def test_one_domain_that_shrank_makes_nobody_else_unsure():
    async def scenario():
        bench = shared({D: MANY, "example.net": MANY})
        await bench.load()
        bench.loader.offer = lambda _version, _progress: done({D: MANY, "example.net": ["a"]})
        result = await bench.load()
        assert "example.net" in result.refused
        assert silence(bench, "example.net") is Silence.UNSURE
        assert silence(bench, D) is Silence.NO_SUCH
        assert bench.source.status(D, bench.clock()).state == "fresh"
        assert bench.source.status("example.net", bench.clock()).state == "stale"

        # down is down for all of them; back again, only the one is in doubt
        bench.loader.offer = SourceError("connection refused")
        await bench.load()
        assert silence(bench, D) is Silence.UNSURE
        bench.loader.offer = None
        result = await bench.load()
        assert "shrank" in result.refused
        assert silence(bench, D) is Silence.NO_SUCH

    asyncio.run(scenario())


def test_the_word_on_a_thousand_domains_that_shrank_is_short():
    async def scenario():
        hosted = {f"d{n}.example": MANY + [f"x{i}" for i in range(n)] for n in range(1000)}
        bench = shared(hosted)
        await bench.load()
        bench.loader.offer = lambda _version, _progress: done({name: ["a"] for name in hosted})
        await bench.load()
        reason = bench.events[-1].reason
        assert len(reason) < 1000
        assert "1000 domains" in reason

    asyncio.run(scenario())


def test_a_list_that_expires_is_told_once():
    async def scenario():
        bench = Bench()
        bench.loader.extra = {"expires_at": bench.clock() + 100}
        await bench.load()
        bench.loader.offer = None
        await bench.load()
        assert bench.words() == ["RecipientsLoaded"]
        bench.clock.at += 200
        await bench.load()
        await bench.load()
        assert bench.words() == ["RecipientsLoaded", "RecipientsFailed"]
        assert "expired" in bench.events[-1].reason
        bench.loader.offer = ("user",)
        bench.loader.extra = {"expires_at": bench.clock() + 100}
        await bench.load()
        assert bench.words()[2:] == ["RecipientsLoaded"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("https://user:secret@host.example/list?token=hidden#x", "https://host.example/list"),
        ("feed:https://user:secret@host.example/f", "feed:https://host.example/f"),
        ("feed:push", "feed:push"),
        ("file:/etc/a?b#c", "file:/etc/a?b#c"),
        ("https://host.example/{domain}", "https://host.example/{domain}"),
    ],
)
def test_no_password_of_an_url_is_told(text, seen):
    bench = Bench()
    bench.source = LoadedSource(text, D, bench.loader, Source(), 60.0)
    results = [asyncio.run(bench.load())]
    bench.loader.offer = SourceError("down")
    results.append(asyncio.run(bench.load()))
    status = bench.source.status(D, bench.clock())
    assert {one.source for one in (*bench.events, *results, status, bench.says())} == {seen}
