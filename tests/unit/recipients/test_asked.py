"""Sources that are asked for each address: bounds, timeouts, and what they said before."""

import asyncio

import pytest
from clockwork import D

from tideover.config.model import Source
from tideover.recipients.asked import LINE, AskedSource
from tideover.recipients.interface import Confidence, Match, Says, Silence, Terms
from tideover.recipients.sources.interface import SourceError

NOW = 1_800_000_000.0


class FakeAsker:
    def __init__(self, *known):
        self.known = set(known)
        self.asked = []
        self.trouble = None
        self.gate = None
        self.at_once = self.most = 0

    async def ask(self, domain, names):
        self.asked.append(names)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            if self.gate is not None:
                await self.gate.wait()
            if self.trouble:
                raise SourceError(self.trouble)
            name = next((name for name in names if name in self.known), None)
            return None if name is None else Match(Confidence.LISTED, name)
        finally:
            self.at_once -= 1

    async def close(self):
        pass


class Memory:
    def __init__(self):
        self.good = {}

    async def good_at(self, domain, names, source):
        known = (self.good.get((domain, name, source)) for name in names)
        return next((at for at in known if at is not None), None)

    def said_yes(self, domain, name, source, now):
        self.good[domain, name, source] = now

    async def said_no(self, domain, names, source, now):
        for name in names:
            self.good.pop((domain, name, source), None)


def source(asker, memory=None, silence=Silence.NO_SUCH, **settings):
    return AskedSource("sql:x", asker, Source(**settings), silence=silence, remembered=memory)


async def ask(subject, key="user", base=None, now=NOW):
    said = subject.says(D, key, base, now)
    return said if isinstance(said, Says) else await said


def test_yes_and_no():
    async def scenario():
        asker = FakeAsker("user")
        subject = source(asker, Memory())
        assert (await ask(subject)).match == Match(Confidence.LISTED, "user")
        assert (await ask(subject, "user+x", "user")).match is not None
        assert (await ask(subject, "nobody")).silence is Silence.NO_SUCH
        assert asker.asked == [("user",), ("user+x", "user"), ("nobody",)]

    asyncio.run(scenario())


def test_an_answer_counts_for_one_refresh_a_no_for_a_minute():
    async def scenario():
        asker = FakeAsker("user")
        subject = source(asker, Memory(), refresh=100.0)
        await ask(subject)
        await ask(subject, "nobody")
        await ask(subject, now=NOW + 99)
        await ask(subject, "nobody", now=NOW + 59)
        assert len(asker.asked) == 2
        await ask(subject, "nobody", now=NOW + 61)
        asker.known.clear()
        assert (await ask(subject, now=NOW + 101)).silence is Silence.NO_SUCH
        assert len(asker.asked) == 4

    asyncio.run(scenario())


def test_a_no_from_the_future_counts_no_longer_when_the_clock_was_set_back():
    async def scenario():
        asker = FakeAsker()
        subject = source(asker, Memory())
        await ask(subject, now=NOW + 86400)
        asker.known.add("user")
        assert (await ask(subject)).match is not None

    asyncio.run(scenario())


def test_who_was_known_is_known_while_the_source_is_down_and_nobody_else_is_refused():
    async def scenario():
        asker, memory = FakeAsker("user"), Memory()
        await ask(source(asker, memory))
        asker.trouble = "connection refused"
        subject = source(asker, memory)  # as after a restart
        said = await ask(subject, "user+x", "user")
        assert (said.match.at, said.trouble) == (NOW, "connection refused")
        assert await ask(subject, "nobody") == Says(
            "sql:x", None, Silence.UNSURE, "connection refused"
        )
        assert subject.status(D, NOW).state == "stale"
        asker.trouble = None
        assert (await ask(subject, "nobody")).silence is Silence.NO_SUCH
        assert subject.status(D, NOW).state == "asked"

    asyncio.run(scenario())


def test_who_was_removed_is_not_known_while_the_source_is_down():
    async def scenario():
        asker, memory = FakeAsker("user"), Memory()
        await ask(source(asker, memory))
        asker.known.clear()
        await ask(source(asker, memory))
        asker.trouble = "connection refused"
        assert (await ask(source(asker, memory))).silence is Silence.UNSURE

    asyncio.run(scenario())


def test_a_slow_source_is_cut_off():
    async def scenario():
        asker = FakeAsker()
        asker.gate = asyncio.Event()
        said = await ask(source(asker, Memory(), lookup_timeout=0.05))
        assert said.silence is Silence.UNSURE
        assert "0.05 s" in said.trouble

    asyncio.run(scenario())


def test_the_line_is_bounded():
    async def scenario():
        asker = FakeAsker("user")
        asker.gate = asyncio.Event()
        subject = source(asker, Memory(), max_lookups=3)
        waiting = [asyncio.ensure_future(subject.says(D, f"u{n}", None, NOW)) for n in range(LINE)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        said = subject.says(D, "one-more", None, NOW)
        assert said == Says("sql:x", None, Silence.UNSURE, "too many questions at once")
        asker.gate.set()
        await asyncio.gather(*waiting)
        assert asker.most == 3

    asyncio.run(scenario())


def test_what_has_a_memory_of_its_own_is_asked_each_time():
    async def scenario():
        asker = FakeAsker("user")
        subject = source(asker, None, Silence.NOTHING)
        for _ in range(2):
            assert (await ask(subject)).match is not None
        assert (await ask(subject, "nobody")).silence is Silence.NOTHING
        assert len(asker.asked) == 3

    asyncio.run(scenario())


class TermsAsker(FakeAsker):
    """Knows terms, as a query with such columns does."""

    def __init__(self, **terms):
        super().__init__()
        self.terms = terms

    async def ask(self, domain, names):
        await super().ask(domain, names)
        name = next((name for name in names if name in self.terms), None)
        return None if name is None else Match(Confidence.LISTED, name, self.terms[name])


@pytest.mark.parametrize(
    "terms",
    [Terms(reject="has left us"), Terms(honeypot=True), Terms(expires=NOW + 1000.0)],
    ids=["reject", "honeypot", "expires"],
)
def test_what_is_more_than_a_yes_is_no_recipient_while_the_source_is_down(terms):
    async def scenario():
        asker, memory = TermsAsker(user=Terms()), Memory()
        await ask(source(asker, memory))
        asker.terms["user"] = terms
        await ask(source(asker, memory))
        asker.trouble = "connection refused"
        said = await ask(source(asker, memory), now=NOW + 2000)
        assert (said.match, said.silence) == (None, Silence.UNSURE)

    asyncio.run(scenario())


def test_an_entry_that_has_expired_is_not_there():
    async def scenario():
        asker = TermsAsker(**{"user+x": Terms(expires=NOW + 10.0), "gone": Terms(expires=NOW)})
        subject = source(asker, Memory())
        assert (await ask(subject, "gone")).silence is Silence.NO_SUCH
        assert (await ask(subject, "user+x", "user")).match is not None
        later = await ask(subject, "user+x", "user", now=NOW + 10)
        assert (later.match, later.silence) == (None, Silence.NO_SUCH)
        asker.terms["user"] = Terms()
        said = await ask(subject, "user+x", "user", now=NOW + 100)
        assert said.match == Match(Confidence.LISTED, "user")

    asyncio.run(scenario())
