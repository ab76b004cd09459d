"""recipients.feed.format, .hashing and the reader: one spelling, and the documented octets."""

import re
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import structs

from feeds import DOMAIN, FAST, NOW, SIGNER, SIGNING_KEY, SLOW, read, write
from tideover.recipients.feed.format import (
    MAGIC,
    Extras,
    FeedError,
    Header,
    base64,
    header_lines,
    octets,
    parse_extras,
    parse_header,
)
from tideover.recipients.feed.hashing import AddressHash, fast, key_id, slow
from tideover.recipients.feed.reader import _PIECE
from tideover.recipients.feed.writer import FeedPlan, Recipients
from tideover.recipients.interface import Terms
from tideover.recipients.patterns import Pattern

DOCS = Path(__file__).parents[3] / "docs" / "feed.md"


@pytest.fixture
def header(tmp_path: Path) -> Header:
    write(tmp_path / "f", "ann")
    return read(tmp_path / "f").header


def signed(tmp_path: Path, header: Header | bytes, body: bytes) -> Path:
    """A feed whose signature is right whatever its header says."""
    lines = header_lines(header) if isinstance(header, Header) else header
    file = tmp_path / "signed"
    file.unlink(missing_ok=True)
    file.write_bytes(lines + base64(SIGNING_KEY.sign(lines)).encode() + b"\n" + body)
    return file


def body_of(tmp_path: Path) -> bytes:
    return (tmp_path / "f").read_bytes()[-(8 + 2) :]


def test_a_header_comes_back_as_it_was(header: Header) -> None:
    assert parse_header(header_lines(header)) == header


def test_hashes_begin_at_a_multiple_of_eight(tmp_path: Path) -> None:
    for length in range(1, 9):
        plan = structs.replace(FAST, domain="a" * length + ".example")
        octets_ = write(tmp_path / f"{length}", "ann", plan=plan).octets
        assert (octets_ - 8 - len(b"{}")) % 8 == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"serial":', b'"serial": '),
        (b'"delimiters":"+"', b'"delimiters":"\\u002b"'),
        (b'"min_confidence":"catch-all",', b""),
        (b"\n", b" \n"),
        (b'"count":1,', b'"count":1,"count":1,'),
        (b'"count":1,', b'"count":1.0,'),
        (b'"count":1,', b'"count":-1,'),
        (b'"count":1,', b'"count":1,"more":1,'),
        (b'"count":1,', b'"count":99999999999,'),
        (b'"slow":null', b'"slow":{"iterations":17,"lanes":1,"memory":64}'),
        (b'"slow":null', b'"slow":{"iterations":1,"lanes":1,"memory":999999999}'),
        (b'"domain":"example.com"', b'"domain":"Example.com"'),
        (b'"delimiters":"+"', b'"delimiters":"+\\n"'),
        (b"TIDEOVER-FEED 1", b"TIDEOVER-FEED 2"),
        (b"TIDEOVER-FEED 1", b"TIDEOVER-FOOD 1"),
    ],
)
def test_another_spelling_of_a_header_is_refused_though_signed(
    tmp_path: Path, header: Header, old: bytes, new: bytes
) -> None:
    whole = header_lines(header)
    assert old in whole
    at = whole.rindex(old)
    lines = whole[:at] + new + whole[at + len(old) :]
    with pytest.raises(FeedError):
        parse_header(lines)
    with pytest.raises(FeedError):
        read(signed(tmp_path, lines, body_of(tmp_path)))


def test_base64_has_one_spelling() -> None:
    assert octets("AAE=") == b"\0\1"
    for other in ("AAF=", "AAE", "AAE=\n", " AAE=", "AA-=", "AAE==", "A"):
        with pytest.raises(FeedError):
            octets(other)


def test_extras_have_one_spelling() -> None:
    assert parse_extras(b"{}") == Extras()
    for other in (
        b"",
        b"{} ",
        b'{"catch_all":null}',
        b'{"terms":[]}',
        b'{"patterns":[{"pattern":"a","pattern":"b"}]}',
        b'{"patterns":[{"pattern":"a\\u0000"}]}',
        b'{"terms":[{"hash":"0200000000000000"},{"hash":"0001000000000000"}]}'.replace(
            b"0001", b"0200"
        ),
        b'{"terms":[{"reject":"a\\r\\n250 yes","hash":"0200000000000000"}]}',
        b'{"unknown":1}',
        b"[" * 100_000,
        b"\xff",
    ):
        with pytest.raises(FeedError):
            parse_extras(other)


def test_a_signed_feed_that_contradicts_itself_is_refused(tmp_path: Path, header: Header) -> None:
    import hashlib

    def made(hashes: bytes, extras: bytes = b"{}", count: int | None = None) -> Path:
        lying = structs.replace(
            header,
            count=len(hashes) // 8 if count is None else count,
            hashes_sha256=hashlib.sha256(hashes).hexdigest(),
            extras_length=len(extras),
            extras_sha256=hashlib.sha256(extras).hexdigest(),
        )
        return signed(tmp_path, lying, hashes + extras)

    one, two = (1).to_bytes(8, "little"), (2).to_bytes(8, "little")
    assert len(read(made(one + two))) == 2
    with pytest.raises(FeedError, match="ascending"):
        read(made(two + one))
    with pytest.raises(FeedError, match="ascending"):
        read(made(one + one))
    piece = b"".join(n.to_bytes(8, "little") for n in range(10, 10 + _PIECE // 8))
    assert len(read(made(one + piece))) == 1 + _PIECE // 8
    with pytest.raises(FeedError, match="ascending"):
        read(made(piece + one))  # the piece after that begins anew
    with pytest.raises(FeedError, match="octets"):
        read(made(one + two, count=1))
    with pytest.raises(FeedError, match="does not have"):
        read(made(one, b'{"terms":[{"honeypot":true,"hash":"0200000000000000"}]}'))
    with pytest.raises(FeedError, match="RE2"):
        read(made(one, b'{"patterns":[{"pattern":"(?=a)b"}]}'))
    many = [{"pattern": f"p{n}"} for n in range(1001)]
    with pytest.raises(FeedError, match="more than"):
        read(made(one, msgspec.json.encode({"patterns": many})))


def test_a_feed_of_another_signer_or_domain_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "f"
    write(file, "ann", signing_key=Ed25519PrivateKey.generate())
    with pytest.raises(FeedError, match="not feed_signer"):
        read(file)
    write(tmp_path / "g", "ann")
    with pytest.raises(FeedError, match=re.escape("a feed of example.com")):
        read(tmp_path / "g", domain="example.org")


def test_who_writes_another_signer_into_the_header_gains_nothing(
    tmp_path: Path, header: Header
) -> None:
    stranger = Ed25519PrivateKey.generate()
    lines = header_lines(header)
    forged = lines + base64(stranger.sign(lines)).encode() + b"\n" + body_of(tmp_path)
    (tmp_path / "forged").write_bytes(forged)
    with pytest.raises(FeedError, match="signature"):
        read(tmp_path / "forged")


def test_the_hash_key_may_stay_out_and_must_be_the_right_one(tmp_path: Path) -> None:
    key = bytes(range(32))
    write(tmp_path / "f", "ann", plan=structs.replace(FAST, key=key))
    assert base64(key).encode() not in (tmp_path / "f").read_bytes()
    with pytest.raises(FeedError, match="feed_key_file"):
        read(tmp_path / "f")
    with pytest.raises(FeedError, match=key_id(key)):
        read(tmp_path / "f", hash_key=bytes(32))
    assert read(tmp_path / "f", hash_key=key).find("ann", None) is not None


def test_a_directory_or_a_device_is_no_feed(tmp_path: Path) -> None:
    with pytest.raises(FeedError):
        read(Path("/dev/null"))
    with pytest.raises(OSError, match="directory"):
        read(tmp_path)


VECTOR_KEY = bytes(range(32))
VECTOR_SALT = bytes(range(200, 216))


def vector(tmp_path: Path, plan: FeedPlan) -> bytes:
    """The worked example of docs/feed.md."""
    recipients = Recipients(
        names=["ann", "bob", "trap"],
        terms={"trap": Terms(honeypot=True)},
        patterns=[Pattern("list-[a-z]+", Terms(max_size=1000000))],
    )
    write(
        tmp_path / "vector",
        recipients=recipients,
        serial=1,
        plan=structs.replace(plan, key=VECTOR_KEY, salt=VECTOR_SALT),
        now=NOW,
    )
    return (tmp_path / "vector").read_bytes()


def test_the_worked_example_of_the_docs_holds(tmp_path: Path) -> None:
    docs = DOCS.read_text()
    whole = vector(tmp_path, FAST)
    lines = whole.split(b"\n", 3)
    body = lines.pop()
    for line in lines:
        assert line.decode().rstrip() in docs
    assert body[:24].hex() in docs
    assert f"has {len(whole)} octets" in docs
    assert body[24:].decode() in docs
    stage_one = AddressHash(VECTOR_KEY, VECTOR_SALT, DOMAIN).stage_one("ann")
    assert stage_one.hex() in docs
    assert fast(stage_one).to_bytes(8, "little").hex() in docs
    assert SLOW.slow is not None
    assert slow(stage_one, VECTOR_SALT, SLOW.slow).to_bytes(8, "little").hex() in docs
    assert key_id(VECTOR_KEY) in docs
    assert SIGNER in docs
    assert MAGIC.decode().strip() in docs
