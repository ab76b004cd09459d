"""What milters answer: verdicts, words for the client, wishes; nothing of theirs can do harm."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.policy.engines.milter.answers import (
    AddHeader,
    ChangeHeader,
    InsertHeader,
    NotCarried,
    Quarantine,
    Verdict,
    Word,
    parse,
)
from tideover.policy.engines.milter.codec import MilterError
from tideover.smtp.replies import Reply


@pytest.mark.parametrize(
    ("name", "word"),
    [
        (b"c", Word.CONTINUE), (b"a", Word.ACCEPT), (b"r", Word.REJECT), (b"t", Word.DEFER),
        (b"d", Word.DISCARD), (b"s", Word.SKIP), (b"p", Word.PROGRESS), (b"4", Word.DEFER),
        (b"f", Word.DEFER),
    ],
)  # fmt: skip
def test_verdicts(name, word):
    assert parse(name, b"") == Verdict(word)


def test_wishes():
    assert parse(b"h", b"X-A\0b\n\tc\0") == AddHeader(b"X-A", b"b\n\tc")
    assert parse(b"i", b"\0\0\0\2X-A\0b\0") == InsertHeader(2, b"X-A", b"b")
    assert parse(b"m", b"\0\0\0\1X-A\0\0") == ChangeHeader(1, b"X-A", b"")
    assert parse(b"q", b"looks\r\nodd\0") == Quarantine("looks??odd")


@pytest.mark.parametrize(
    ("name", "what"), [(b"b", "body"), (b"+", "recipients"), (b"2", "recipients"),
                       (b"-", "recipients"), (b"e", "sender")],
)  # fmt: skip
def test_body_and_envelope_are_not_changed(name, what):
    assert parse(name, b"x\0") == NotCarried(what)


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        (b"550 5.7.1 No\0", Reply(550, "5.7.1", ("No",))),
        (b"550 No", Reply(550, "5.7.1", ("No",))),
        (b"451 4.7.0 Later\0", Reply(451, "4.7.0", ("Later",))),
        (b"554-5.7.9 One\r\n554-5.7.9 Two\r\n554 5.7.9 Three\0",
         Reply(554, "5.7.9", ("One", "Two", "Three"))),
        (b"550-5.7.1 One\n550 Two", Reply(550, "5.7.1", ("One", "Two"))),
        (b"550 4.7.1 No", Reply(550, "5.7.1", ("4.7.1 No",))),
        (b"550", Reply(550, "5.7.1", ("Refused by a content filter",))),
        (b"550 5.1.1", Reply(550, "5.1.1", ("Refused by a content filter",))),
        (b"421 4.7.0 Bye", Reply(451, "4.7.0", ("Bye",))),
        (b"550 5.7.1 100%% spam", Reply(550, "5.7.1", ("100% spam",))),
        (b"550 5.7.1 a\x1b[2J\xc3\xa4\tb", Reply(550, "5.7.1", ("a?[2J? b",))),
        (b"550 " + b"x" * 5000, Reply(550, "5.7.1", ("x" * 450,))),
    ],
)  # fmt: skip
def test_words_for_the_client(text, reply):
    word = Word.REJECT if reply.code >= 500 else Word.DEFER
    assert parse(b"y", text) == Verdict(word, reply)


@pytest.mark.parametrize(
    "text",
    [b"", b"250 fine", b"350 go on", b"5", b"570 what", b"550no", b"550-one\r\n551 two",
     b"550-one\r\n\r\n550 three", b"550 a\r\n" * 40],
)  # fmt: skip
def test_a_reply_that_is_no_refusal_is_an_error(text):
    with pytest.raises(MilterError):
        parse(b"y", text)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (b"h", b""), (b"h", b"X-A"), (b"h", b"X-A\0b"), (b"h", b"X-A\0b\0c"), (b"h", b"\0b\0"),
        (b"h", b"X A\0b\0"), (b"h", b"X:A\0b\0"), (b"h", b"X\r\nTo\0b\0"), (b"i", b"\0\0\1"),
        (b"h", b"X" * 600 + b"\0b\0"), (b"m", b"\0\0\0\1"), (b"?", b""), (b"O", b"\0" * 12),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_an_error(name, data):
    with pytest.raises(MilterError):
        parse(name, data)


@given(st.binary(min_size=1, max_size=1), st.binary(max_size=100))
def test_any_answer_is_a_value_or_an_error(name, data):
    try:
        found = parse(name, data)
    except MilterError:
        return
    if isinstance(found, Verdict) and found.reply:
        wire = found.reply.to_wire()
        assert wire.endswith(b"\r\n")
        assert all(32 <= octet < 127 for octet in wire.replace(b"\r\n", b""))
    if isinstance(found, AddHeader):
        assert not {b"\0", b":", b"\n"} & {found.name[n : n + 1] for n in range(len(found.name))}


def test_a_place_is_a_number_without_sign():
    assert parse(b"i", struct.pack(">I", 2**32 - 1) + b"X\0y\0") == InsertHeader(
        2**32 - 1, b"X", b"y"
    )
