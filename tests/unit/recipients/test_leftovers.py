"""What sources that are gone leave in data_dir."""

import asyncio
import os
import zlib
from dataclasses import replace

import pytest

from feeds import SIGNER, write
from tideover.config.domains import UNREADABLE
from tideover.config.model import Config, Domain
from tideover.recipients.copies import NAME
from tideover.recipients.leftovers import KEPT_FOR
from tideover.recipients.registry import Registry
from tideover.recipients.sources.opening import Surroundings

D = "example.com"
NOW = 1_800_000_000.0


def config(place, *recipients, **others):
    domain = Domain(primary=None, recipients=recipients, feed_signer=SIGNER)
    return Config(hostname="mx2.example.org", data_dir=place, domains={D: domain, **others})


@pytest.fixture
def place(tmp_path):
    (tmp_path / "list").write_text("very-secret-name\n")
    return tmp_path


async def opened(given, now=NOW):
    registry = Registry(
        given, Surroundings(data_dir=given.data_dir), lambda _: None, lambda _: None, lambda: now
    )
    await registry.start()
    return registry


async def copies(registry):
    return [key for key, _ in await asyncio.to_thread(registry._copies.all)]


def has_name(place):
    """Whether some file of ours still holds the name, compressed in whatever piece or not."""
    (path,) = (path for path in place.iterdir() if path.name == NAME)
    data = path.read_bytes() + b"".join(p.read_bytes() for p in place.glob(f"{NAME}-*"))
    starts = (n for n in range(len(data) - 1) if data[n] == 0x78)
    for start in starts:
        try:
            if b"very-secret" in zlib.decompressobj().decompress(data[start:]):
                return True
        except zlib.error:
            continue
    return b"very-secret" in data


@pytest.mark.parametrize("text", ["file:{0}/list", "file:{0}/{{domain}}"])
def test_a_list_in_clear_goes_when_its_domain_gets_a_hashed_feed(place, text):
    async def scenario():
        (place / D).write_text("very-secret-name\n")
        registry = await opened(config(place, text.format(place)))
        assert len(await copies(registry)) == 1
        assert has_name(place)
        await registry.reconfigure(config(place, "feed:push"))
        assert await copies(registry) == []
        assert not has_name(place)
        await registry.close()

    asyncio.run(scenario())


def test_so_it_does_when_we_did_not_run_meanwhile(place):
    async def scenario():
        registry = await opened(config(place, f"file:{place}/list"))
        await registry.close()
        registry = await opened(config(place, "feed:push"))
        await registry.sweep()
        assert await copies(registry) == []
        await registry.close()

    asyncio.run(scenario())


def test_what_is_in_use_stays(place):
    async def scenario():
        registry = await opened(config(place, f"file:{place}/list"), NOW)
        await registry.close()
        registry = await opened(config(place, f"file:{place}/list"), NOW + 10 * KEPT_FOR)
        await registry.sweep()
        assert len(await copies(registry)) == 1
        await registry.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("broken", ["its settings", "another's", "the list of domains"])
def test_where_not_all_is_known_it_stays_for_a_month(place, broken):
    given = config(place, f"file:{place}/list")
    if broken == "its settings":
        later = replace(given, domains={D: UNREADABLE})
    elif broken == "another's":
        later = config(place, "feed:push", **{"example.net": UNREADABLE})
    else:
        later = replace(given, domains={}, domains_from="https://127.0.0.1:1/x")

    async def scenario():
        registry = await opened(given)
        await registry.close()
        for now, left in ((NOW + KEPT_FOR / 2, 1), (NOW + KEPT_FOR * 2, 0)):
            registry = await opened(later, now)
            await registry.sweep()
            assert len(await copies(registry)) == left
            await registry.close()

    asyncio.run(scenario())


def test_feeds_go_a_month_after_they_came_unless_they_are_in_use(place):
    async def scenario():
        owner = place / "owner.feed"
        write(owner, "user", serial=1)
        registry = await opened(config(place, f"feed:{owner}"))
        await registry.close()
        (kept,) = (place / "recipients").glob("*.feed")
        os.utime(kept, (NOW, NOW))
        for recipients, months, there in ((f"feed:{owner}", 5, True), ("learn", 0.5, True),
                                          ("learn", 2, False)):  # fmt: skip
            registry = await opened(config(place, recipients), NOW + months * KEPT_FOR)
            await registry.sweep()
            assert kept.exists() is there
            await registry.close()

    asyncio.run(scenario())
