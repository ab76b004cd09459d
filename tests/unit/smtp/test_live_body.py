"""Bodies of unknown size reach the other side octet by octet the same, however they are cut."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.smtp.live_body import GATHER, Chunker, DotStuffer, LiveBody

LINES = st.lists(st.sampled_from([b"", b".", b"..", b".a", b"a", b"a.", b"\xff" * 3]), max_size=12)
CUTS = st.lists(st.integers(0, 60), max_size=6)


def encode(way: LiveBody, body: bytes, cuts: list[int]) -> bytes:
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    return b"".join(way.encode(body[a:b]) for a, b in pairwise(edges)) + way.end()


def unstuff(wire: bytes) -> bytes:
    """What a strict server makes of it, written the slow and plain way."""
    body = b""
    for line in wire.split(b"\r\n"):
        if line == b".":
            return body
        body += (line[1:] if line.startswith(b".") else line) + b"\r\n"
    raise AssertionError("no end of data")


def joined(wire: bytes) -> tuple[bytes, list[int]]:
    """The body that BDAT commands carry, and the sizes of the chunks."""
    body, sizes = b"", []
    while wire:
        head = re.match(rb"BDAT (\d+)( LAST)?\r\n", wire)
        assert head is not None
        size = int(head[1])
        body += wire[head.end() :][:size]
        wire = wire[head.end() + size :]
        sizes.append(size)
        assert bool(head[2]) is (not wire)
    return body, sizes


@given(LINES, CUTS)
def test_dot_stuffing_round_trip(lines, cuts):
    body = b"".join(line + b"\r\n" for line in lines)
    wire = encode(DotStuffer(), body, cuts)
    assert unstuff(wire) == body
    assert b"\r\n" + wire == (b"\r\n" + body).replace(b"\r\n.", b"\r\n..") + b".\r\n"


@given(LINES, CUTS)
def test_no_piece_ends_the_body(lines, cuts):
    body = b"".join(line + b"\r\n" for line in lines)
    wire = encode(DotStuffer(), body, cuts)
    assert (b"\r\n" + wire).find(b"\r\n.\r\n") == len(wire) - 3


@pytest.mark.parametrize("cuts", [[], [4], [3]])
def test_data_adds_the_missing_last_line_end(cuts):
    assert encode(DotStuffer(), b"a\r\n.b", cuts) == b"a\r\n..b\r\n.\r\n"


@given(LINES, CUTS)
def test_chunks_are_the_octets_themselves(lines, cuts):
    body = b"\r\n".join(lines)
    assert joined(encode(Chunker(), body, cuts)) == (body, [len(body)])


@given(st.lists(st.integers(0, 3 * GATHER), max_size=8))
def test_small_pieces_are_gathered_and_large_ones_are_not_held(sizes):
    chunker, held, wire = Chunker(), 0, b""
    for size in sizes:
        data = chunker.encode(b"x" * size)
        held = 0 if data else held + size
        assert held < GATHER
        wire += data
        assert chunker.begun is bool(wire)
    body, chunks = joined(wire + chunker.end())
    assert len(body) == sum(sizes)
    assert all(chunk >= GATHER for chunk in chunks[:-1])


def test_an_empty_body_has_an_end():
    assert Chunker().end() == b"BDAT 0 LAST\r\n"
    assert DotStuffer().end() == b".\r\n"
