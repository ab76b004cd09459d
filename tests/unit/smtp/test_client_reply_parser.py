"""Replies of strangers: whole or in pieces, honest or not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.smtp.replies import Reply
from tideover.smtp.reply_parser import MAX_KEPT, MAX_LINE, MAX_LINES, ReplyParser


def parse(*pieces: bytes) -> tuple[list[Reply], str | None]:
    parser = ReplyParser()
    replies = [reply for piece in pieces for reply in parser.feed(piece)]
    return replies, parser.error


@pytest.mark.parametrize(
    ("wire", "reply"),
    [
        (b"250 ok\r\n", Reply(250, None, ("ok",))),
        (b"250\r\n", Reply(250, None, ("",))),
        (b"250 2.1.0 Ok\r\n", Reply(250, "2.1.0", ("Ok",))),
        (b"250 2.1.0\r\n", Reply(250, "2.1.0", ("",))),
        (b"550 5.1.1 <a@b>: no\n", Reply(550, "5.1.1", ("<a@b>: no",))),
        (b"550 4.1.1 class differs\r\n", Reply(550, None, ("4.1.1 class differs",))),
        (b"250 2.1.0x no code\r\n", Reply(250, None, ("2.1.0x no code",))),
        (b"250-a\r\n250-b\r\n250 c\r\n", Reply(250, None, ("a", "b", "c"))),
        (b"550-5.7.1 one\r\n550 5.7.1 two\r\n", Reply(550, "5.7.1", ("one", "two"))),
        (b"250 caf\xc3\xa9 \xff\r\n", Reply(250, None, ("café �",))),
        (b"250 a\x00b\x1b[31mc\td\re\r\n", Reply(250, None, ("ab[31mc de",))),
    ],
)
def test_a_reply_is_understood_whole_and_octet_by_octet(wire, reply):
    assert parse(wire) == ([reply], None)
    assert parse(*(wire[n : n + 1] for n in range(len(wire)))) == ([reply], None)


@pytest.mark.parametrize(
    "wire",
    [
        b"hello\r\n",
        b"99 short\r\n",
        b"650 no class\r\n",
        b"150 no such class\r\n",
        b"2500 too long\r\n",
        b"250_x\r\n",
        b"250-a\r\n251 b\r\n",
        b"\r\n",
        b"\x16\x03\x01\x02\r\n",
    ],
)
def test_garbage_is_an_error_for_good(wire):
    replies, error = parse(b"220 hello\r\n" + wire, b"250 ok\r\n")
    assert replies == [Reply(220, None, ("hello",))]
    assert error is not None


def test_limits_of_line_and_reply():
    assert parse(b"250 " + b"x" * (MAX_LINE - 5) + b"\r\n")[1] is None
    assert parse(b"250 " + b"x" * MAX_LINE + b"\r\n")[1] == "reply line too long"
    assert parse(b"250 " + b"x" * MAX_LINE)[1] == "reply line too long"
    replies, _ = parse(b"250 " + b"x" * 4000 + b"\r\n")
    assert len(replies[0].lines[0]) == MAX_KEPT
    assert parse(b"250-x\r\n" * (MAX_LINES - 1) + b"250 x\r\n")[1] is None
    assert parse(b"250-x\r\n" * MAX_LINES + b"250 x\r\n")[1] == "reply with too many lines"


def test_pending_says_that_part_of_a_reply_is_there():
    parser = ReplyParser()
    assert not parser.pending
    parser.feed(b"25")
    assert parser.pending
    parser.feed(b"0-x\r\n")
    assert parser.pending
    parser.feed(b"250 y\r\n")
    assert not parser.pending


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_octets_give_replies_or_an_error_and_bounded_memory(pieces):
    whole, error = parse(b"".join(pieces))
    split, split_error = parse(*pieces)
    assert (whole, error) == (split, split_error)
    assert all(char.isprintable() for reply in whole for line in reply.lines for char in line)
