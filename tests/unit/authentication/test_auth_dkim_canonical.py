"""Canonical forms: in any pieces, and as another implementation has them."""

import hashlib
import time
from itertools import pairwise

import pytest
from dkim.canonicalization import CanonicalizationPolicy
from hypothesis import given
from hypothesis import strategies as st

from tideover.authentication.dkim.body_hash import BodyHashes, Covered
from tideover.authentication.dkim.canonical import CanonicalBody, relaxed_field, simple_field
from tideover.message.fields import Field, parse_header

# what matters to canonicalisation, close together
LINES = st.lists(st.sampled_from([b"", b" ", b"\t", b"a", b" b", b"c \t", b"d \t e", b"\x0bf\x0c",
                                  b"  ", b"\xc3\xa9 ", b".", b"\xa0"]), max_size=12)  # fmt: skip
WILD = st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"\r", b"\n", b"x y"]), max_size=30)
CUTS = st.lists(st.integers(0, 60), max_size=6)
FIELDS = st.tuples(
    st.sampled_from([b"Subject", b"X-Odd", b"from"]),
    st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r\n ", b"\r\n\t", b"b c", b":", b"\x0b"]),
             max_size=10),
)  # fmt: skip


def canonical(pieces, relaxed):
    parts = []
    body = CanonicalBody(parts.append, relaxed=relaxed)
    for piece in pieces:
        body.update(piece)
    body.finish()
    return b"".join(parts)


def cut(body, places):
    marks = sorted({min(place, len(body)) for place in places} | {0, len(body)})
    return [body[a:b] for a, b in pairwise(marks)]


@pytest.mark.parametrize(
    ("body", "simple", "relaxed"),
    [
        # RFC 6376 §3.4.5
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C \r\nD \t E\r\n", b" C\r\nD E\r\n"),
        (b"", b"\r\n", b""),
        (b"\r\n\r\n", b"\r\n", b""),
        (b" \r\n\t\r\n", b" \r\n\t\r\n", b""),
        (b"a", b"a\r\n", b"a\r\n"),
        (b"a ", b"a \r\n", b"a\r\n"),
        (b"a\r\n\r\nb\r\n", b"a\r\n\r\nb\r\n", b"a\r\n\r\nb\r\n"),
        (b"a\r", b"a\r\r\n", b"a\r\r\n"),
        (b"a\r\n\n", b"a\r\n\n\r\n", b"a\r\n\n\r\n"),
    ],
)
def test_bodies(body, simple, relaxed):
    assert canonical([body], relaxed=False) == simple
    assert canonical([body], relaxed=True) == relaxed


def test_fields_as_in_rfc_6376_3_4_5():
    first, second = parse_header(b"A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n", whole=True).fields
    assert (relaxed_field(first), relaxed_field(second)) == (b"a:X", b"b:Y Z")
    assert (simple_field(first), simple_field(second)) == (b"A: X", b"B : Y\t\r\n\tZ  ")


@given(lines=LINES, ended=st.booleans(), places=CUTS, relaxed=st.booleans())
def test_any_pieces_give_what_dkimpy_gives(lines, ended, places, relaxed):
    body = b"\r\n".join(lines) + (b"\r\n" if ended and lines else b"")
    if relaxed and body.endswith((b" ", b"\t")):
        body += b"\r\n"  # at the end of a last line that has no end, dkimpy keeps white space
    form = b"relaxed" if relaxed else b"simple"
    policy = CanonicalizationPolicy.from_c_value(form + b"/" + form)
    ours = canonical(cut(body, places), relaxed)
    assert ours == policy.canonicalize_body(body)


@given(parts=WILD, places=CUTS, relaxed=st.booleans())
def test_pieces_make_no_difference_even_with_bare_line_ends(parts, places, relaxed):
    body = b"".join(parts)
    assert canonical(cut(body, places), relaxed) == canonical([body], relaxed)


@given(field=FIELDS)
def test_relaxed_fields_are_what_dkimpy_gives(field):
    name, parts = field
    value = b"".join(parts)
    policy = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed")
    ((theirs_name, theirs),) = policy.canonicalize_headers([(name, value + b"\r\n")])
    ours = relaxed_field(Field(name, value, name + b":" + value + b"\r\n"))
    if b"\x0b" not in value:  # to dkimpy a vertical tab is white space, to RFC 5322 it is not
        assert ours == theirs_name + b":" + theirs.removesuffix(b"\r\n")


@given(body=st.binary(max_size=200), limit=st.integers(0, 250), places=CUTS)
def test_l_covers_the_beginning_of_the_canonical_body(body, limit, places):
    covered = Covered(relaxed=True, length=limit)
    hashes = BodyHashes([covered], skip=10)
    for piece in cut(b"0123456789" + body, places):
        hashes.update(piece)
    found = hashes.finish()[covered]
    whole = canonical([body], relaxed=True)
    assert found.digest == hashlib.sha256(whole[:limit]).digest()
    assert found.length == len(whole)


@pytest.mark.parametrize(
    "body",
    [b" " * 1_000_000 + b"x", b"\r\n" * 500_000 + b"x", b" \t\r\n" * 250_000, b"\n" * 1_000_000,
     b"\r\n\n" * 330_000, b"\r" * 1_000_000, b" x" * 500_000],
    ids=["spaces", "lines", "blank", "lf", "mixed", "cr", "words"],
)  # fmt: skip
@pytest.mark.parametrize("relaxed", [False, True])
def test_a_strangers_body_costs_no_more_than_others(body, relaxed):
    begin = time.process_time()
    whole = canonical([body], relaxed)
    assert time.process_time() - begin < 2  # 0.05 s at most, here; quadratic would be minutes
    pieces = [body[at : at + 65536] for at in range(0, len(body), 65536)]
    assert hashlib.sha256(canonical(pieces, relaxed)).digest() == hashlib.sha256(whole).digest()
