"""The header section as it was written, and its edits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.message.edits import (
    Add,
    Change,
    Remove,
    added_above,
    changes_header,
    edited,
)
from tideover.message.fields import MOST_FIELDS, parse_header

HEAD = b"Subject: one\r\n two\r\nTo : you\r\nsubject: three\r\n\r\nbody\r\n"


def test_fields_are_what_was_written():
    header = parse_header(HEAD, whole=True)
    assert [(f.key, f.value) for f in header.fields] == [
        (b"subject", b" one\r\n two"), (b"to", b" you"), (b"subject", b" three"),
    ]  # fmt: skip
    assert b"".join(f.raw for f in header.fields) + b"\r\n" == HEAD[: header.length]
    assert (header.ended, header.complete, header.broken) == (True, True, 0)
    assert header.first(b"subject").value == b" one\r\n two"
    assert len(list(header.all(b"subject"))) == 2


@pytest.mark.parametrize(
    ("head", "whole", "names", "ended", "complete", "broken"),
    [
        (b"", True, [], False, True, 0),
        (b"\r\nbody", True, [], True, True, 0),
        (b"A: 1\r\n", True, [b"a"], False, True, 0),
        (b"A: 1", True, [b"a"], False, True, 0),
        (b"A: 1\r\nB: 2", False, [b"a"], False, False, 0),
        (b"A: 1\r\nB: 2\r\n", False, [b"a"], False, False, 0),
        (b"A: 1\r\nno field\r\nB: 2\r\n\r\n", True, [b"a"], False, True, 1),
        (b" folded\r\nA: 1\r\n\r\n", True, [], False, True, 1),
        (b": x\r\n\r\n", True, [], False, True, 1),
        (b"A B: 1\r\n\r\n", True, [], False, True, 1),
        (b"\x00A: 1\r\n\r\n", True, [], False, True, 1),
    ],
)
def test_odd_sections(head, whole, names, ended, complete, broken):
    header = parse_header(head, whole=whole)
    assert [field.key for field in header.fields] == names
    assert (header.ended, header.complete, header.broken) == (ended, complete, broken)


def test_only_so_many_fields_are_looked_at():
    most = b"A:\r\n" * MOST_FIELDS
    assert parse_header(most + b"\r\nbody", whole=True).complete
    header = parse_header(most + b"A:\r\n\r\nbody", whole=True)
    assert (len(header.fields), header.length, header.complete, header.ended) == (
        MOST_FIELDS, len(most), False, False,
    )  # fmt: skip


@given(st.binary(max_size=300), st.booleans())
def test_no_octet_is_lost_or_made_up(head, whole):
    header = parse_header(head, whole=whole)
    raw = b"".join(field.raw for field in header.fields)
    assert head.startswith(raw)
    assert header.length == len(raw) + (2 if header.ended else 0) or not header.complete


def test_edits_in_their_order():
    header = parse_header(HEAD, whole=True)
    edits = (
        Remove(b"SUBJECT", 1),
        Change(b"subject", 1, b"3"),
        Add(b"X-First", b"1", place=0),
        Add(b"X-Top", b"top"),
        Add(b"X-Top", b"higher"),
    )
    assert changes_header(edits)
    assert edited(header, edits) == b"X-First: 1\r\nTo : you\r\nsubject: 3\r\n"
    assert added_above(edits) == b"X-Top: higher\r\nX-Top: top\r\n"
    assert not changes_header(edits[3:])


@pytest.mark.parametrize("occurrence", [3, -3, 99])
def test_what_is_not_there_is_left_alone(occurrence):
    header = parse_header(HEAD, whole=True)
    edits = (Remove(b"subject", occurrence), Change(b"subject", occurrence, b"x"))
    assert edited(header, edits) == HEAD[: header.length - 2]


def test_the_lowest_counts_from_minus_one():
    header = parse_header(HEAD, whole=True)
    assert b"three" not in edited(header, (Remove(b"subject", -1),))


@given(st.binary(max_size=60))
def test_no_value_of_a_filter_makes_another_field_or_ends_the_header(value):
    line = added_above((Add(b"X-Filter", value),))
    header = parse_header(line + b"\r\n", whole=True)
    assert [field.name for field in header.fields] == [b"X-Filter"]
    assert header.ended


def test_a_last_field_without_its_end_gets_one():
    header = parse_header(b"A: 1", whole=True)
    assert edited(header, (Add(b"B", b"2", place=1),)) == b"A: 1\r\nB: 2\r\n"
