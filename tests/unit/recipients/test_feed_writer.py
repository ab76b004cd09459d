"""recipients.feed.writer and .keys: what stands on the disk, and what never replaces what."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec import structs

from feeds import DOMAIN, FAST, NOW, SIGNER, SIGNING_KEY, SLOW, read, write
from tideover.recipients.feed import keys
from tideover.recipients.feed.format import Cost, FeedError
from tideover.recipients.feed.reader import read_header
from tideover.recipients.feed.writer import FeedPlan, Recipients, recipients_of, write_feed
from tideover.recipients.interface import Match, Terms
from tideover.recipients.listing import NameList
from tideover.recipients.patterns import Pattern


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_was_written_is_told(tmp_path: Path) -> None:
    told: list[int] = []
    written = write_feed(
        tmp_path / "f",
        FAST,
        Recipients(names=(f"user{n % 25_000}" for n in range(30_000)), catch_all=Terms()),
        signing_key=SIGNING_KEY,
        now=NOW,
        progress=told.append,
    )
    assert (written.entries, written.catch_all, written.domain) == (25_000, True, DOMAIN)
    assert (written.signer, written.serial) == (SIGNER, int(NOW))
    assert written.octets == (tmp_path / "f").stat().st_size
    assert told == [10_000, 20_000, 30_000, 30_000]


def test_a_serial_is_always_larger_than_the_last(tmp_path: Path) -> None:
    file = tmp_path / "f"
    assert write(file, "ann").serial == int(NOW)
    assert write(file, "ann").serial == int(NOW) + 1
    assert write(file, "ann", now=NOW - 1e6).serial == int(NOW) + 2, "the clock went back"
    assert write(file, "ann", serial=int(NOW) + 9).serial == int(NOW) + 9
    with pytest.raises(FeedError, match="not larger"):
        write(file, "ann", serial=int(NOW) + 9)


def test_only_an_older_feed_of_the_domain_is_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("my list\n")
    with pytest.raises(FeedError, match="in the way"):
        write(precious, "ann")
    assert precious.read_text() == "my list\n"
    write(tmp_path / "f", "ann")
    with pytest.raises(FeedError, match="a feed of example"):
        write(tmp_path / "f", "ann", plan=structs.replace(FAST, domain="example.org"))


def test_an_empty_feed_is_not_written(tmp_path: Path) -> None:
    write(tmp_path / "f", "ann")
    with pytest.raises(FeedError, match="nobody"):
        write(tmp_path / "f")
    assert len(read(tmp_path / "f")) == 1


@pytest.mark.parametrize(
    "plan",
    [
        structs.replace(FAST, domain="Example.com"),
        structs.replace(FAST, delimiters="ab"),
        structs.replace(FAST, refresh=0),
        structs.replace(FAST, expire=1 << 40),
        structs.replace(FAST, key=b"short"),
        structs.replace(FAST, slow=Cost(memory=1 << 30)),
    ],
)
def test_what_no_reader_would_take_is_not_written(tmp_path: Path, plan: FeedPlan) -> None:
    with pytest.raises(FeedError):
        write(tmp_path / "f", "ann", plan=plan)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "terms", [Terms(reject="two\r\nlines"), Terms(reject="x" * 500), Terms(max_size=-1)]
)
def test_terms_that_a_client_must_not_hear_are_refused(tmp_path: Path, terms: Terms) -> None:
    with pytest.raises(FeedError):
        write(tmp_path / "f", recipients=Recipients(names=["ann"], terms={"ann": terms}))
    assert list(tmp_path.iterdir()) == []


def test_a_text_beyond_ascii_is_written_as_it_will_be_heard(tmp_path: Path) -> None:
    terms = {"ann": Terms(reject="Bitte an Jörg")}
    write(tmp_path / "f", recipients=Recipients(names=["ann"], terms=terms))
    match = read(tmp_path / "f").find("ann", None)
    assert isinstance(match, Match)
    assert match.terms.reject == "Bitte an Jorg"


def test_who_may_read_the_feed_stays_as_it_was_set(tmp_path: Path) -> None:
    file = tmp_path / "f"
    write(file, "ann")
    assert mode(file) == 0o640
    file.chmod(0o644)
    write(file, "bob")
    assert mode(file) == 0o644
    assert list(tmp_path.iterdir()) == [file]


def test_all_of_several_lists_goes_in_and_the_first_decides() -> None:
    first = NameList(frozenset({"ann"}), terms={"ann": Terms(max_size=1)})
    second = NameList(
        frozenset({"ann", "bob"}),
        terms={"ann": Terms(max_size=2), "bob": Terms(max_size=3)},
        patterns=(Pattern("x"),),
        catch_all=Terms(max_size=4),
    )
    made = recipients_of([first, second])
    assert set(made.names) == {"ann", "bob"}
    assert made.terms == {"ann": Terms(max_size=1), "bob": Terms(max_size=3)}
    assert made.catch_all == Terms(max_size=4)
    assert [pattern.text for pattern in made.patterns] == ["x"]


def test_slow_is_written_in_order_whatever_the_threads_do(tmp_path: Path) -> None:
    write(tmp_path / "f", *(f"user{n}" for n in range(200)), plan=SLOW)
    assert len(read(tmp_path / "f")) == 200
    assert read_header(tmp_path / "f").slow == SLOW.slow


# Keys


def test_a_signing_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    old = os.umask(0)
    try:
        key, made = keys.signing_key(file)
    finally:
        os.umask(old)
    assert made
    assert mode(file) == 0o600
    again, made = keys.signing_key(file)
    assert not made
    assert keys.public_text(again) == keys.public_text(key)
    assert list(tmp_path.iterdir()) == [file]


def test_a_key_that_others_can_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    keys.signing_key(file)
    file.chmod(0o640)
    with pytest.raises(FeedError, match="others can read"):
        keys.signing_key(file)
    other = generate_private_key(SECP256R1())
    file.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file.chmod(0o600)
    for _ in range(2):
        with pytest.raises(FeedError, match="not an Ed25519 key"):
            keys.signing_key(file)
        file.write_bytes(b"")
    with pytest.raises(FeedError, match="No such file"):
        keys.signing_key(tmp_path / "nowhere" / "key.pem")


def test_a_hash_key_is_made_once(tmp_path: Path) -> None:
    file = tmp_path / "hash.key"
    assert keys.make_hash_key(file)
    assert mode(file) == 0o600
    key = keys.hash_key(file)
    assert len(key) == 32
    assert not keys.make_hash_key(file)
    assert keys.hash_key(file) == key
    file.chmod(0o640)
    assert keys.hash_key(file) == key, "the daemon's group may read it"
    for content in ("", "AAAA\n", "\xff", "x" * 10_000):
        file.write_text(content, encoding="latin-1")
        with pytest.raises(FeedError, match="not a hash key"):
            keys.hash_key(file)
