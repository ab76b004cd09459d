"""A feed file is taken as it was signed, or not at all."""

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feeds import DOMAIN, FAST, SIGNER, SLOW, write
from tideover.recipients.feed.format import FeedError
from tideover.recipients.feed.reader import open_feed
from tideover.recipients.feed.slow import SlowHash
from tideover.recipients.feed.writer import FeedPlan, Recipients
from tideover.recipients.interface import Terms
from tideover.recipients.patterns import Pattern

HASH = SlowHash(threads=1)


def is_taken(place: Path, data: bytes) -> bool:
    file = place / "changed.feed"
    file.unlink(missing_ok=True)  # a map of the last one must not see this
    file.write_bytes(data)
    try:
        open_feed(file, signer=SIGNER, domain=DOMAIN, slow=HASH)
    except FeedError:
        return False
    return True


def small_feed(place: Path, plan: FeedPlan) -> bytes:
    recipients = Recipients(
        names=["ann", "bob", "trap"],
        terms={"trap": Terms(honeypot=True), "bob": Terms(max_size=1000, reject="gone")},
        patterns=[Pattern("list-[a-z]+", Terms(expires=2e9))],
        catch_all=Terms(max_size=5),
    )
    write(place / "small.feed", plan=plan, recipients=recipients)
    return (place / "small.feed").read_bytes()


@pytest.mark.parametrize("plan", [FAST, SLOW])
def test_every_single_byte_of_a_feed_counts(tmp_path: Path, plan: FeedPlan) -> None:
    whole = small_feed(tmp_path, plan)
    assert is_taken(tmp_path, whole)
    chance = random.Random(7)
    for place, old in enumerate(whole):
        # each bit, each neighbour that looks alike, the line ends, and some at random
        others = {old ^ (1 << bit) for bit in range(8)}
        others |= {0, 9, 10, 13, 32, 34, 48, 61, 255, chance.randrange(256)}
        for new in others - {old}:
            changed = whole[:place] + bytes([new]) + whole[place + 1 :]
            assert not is_taken(tmp_path, changed), (place, old, new)


@pytest.mark.parametrize("plan", [FAST, SLOW])
def test_no_byte_may_be_missing_or_more(tmp_path: Path, plan: FeedPlan) -> None:
    whole = small_feed(tmp_path, plan)
    for place in range(len(whole)):
        assert not is_taken(tmp_path, whole[:place]), f"cut at {place}"
        assert not is_taken(tmp_path, whole[:place] + whole[place + 1 :]), f"without {place}"
        assert not is_taken(tmp_path, whole[:place] + b" " + whole[place:]), f"more at {place}"
        doubled = whole[: place + 1] + whole[place:]
        assert not is_taken(tmp_path, doubled), f"twice {place}"
    for more in (b"\0", b"\n", b"{}", bytes(8)):
        assert not is_taken(tmp_path, whole + more)


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_damage_to_a_larger_feed_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    place = tmp_path_factory.getbasetemp() / "larger"
    place.mkdir(exist_ok=True)
    source = place / "larger.feed"
    if not source.exists():
        write(source, *(f"user{n}" for n in range(20_000)))
    whole = bytearray(source.read_bytes())
    start = data.draw(st.integers(0, len(whole) - 1))
    octets = data.draw(st.binary(min_size=0, max_size=20))
    length = data.draw(st.integers(0, 20))
    changed = whole[:start] + octets + whole[start + length :]
    assert is_taken(place, bytes(changed)) == (changed == whole)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_rubbish_is_refused_without_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    place = tmp_path_factory.getbasetemp()
    assert not is_taken(place, data)
    assert not is_taken(place, b"TIDEOVER-FEED 1\n" + data)
