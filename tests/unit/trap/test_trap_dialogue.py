"""What the trap says and notes, command by command."""

import pytest

from tideover.trap.dialogue import MANY, Deed, Dialogue, Said

HOST = b"mx9.example.org"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"EHLO a.example\r", b"250 mx9.example.org\r\n"),
        (b"helo\r", b"250 "),
        (b"MAIL FROM:<>\r", b"250 "),
        (b"RCPT TO:<postmaster>\r", b"451 4.3.2 "),
        (b"DATA\r", b"451 4.3.2 "),
        (b"BDAT 10 LAST\r", b"451 4.3.2 "),
        (b"RSET", b"250 "),
        (b"STARTTLS\r", b"502 "),
        (b"", b"502 "),
        (b"\xff\xfe\x00", b"502 "),
    ],
)
def test_replies(line, code):
    said, reply = Dialogue().line(line, HOST)
    assert said is Said.GO_ON
    assert reply.startswith(code)
    assert reply.endswith(b"\r\n")
    assert reply.count(b"\n") == 1


def test_nothing_is_ever_taken():
    dialogue = Dialogue()
    replies = [dialogue.line(line, HOST)[1] for line in (
        b"HELO a", b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA", b"Subject: x", b"", b".", b"QUIT",
    )]  # fmt: skip
    assert not any(reply.startswith(b"3") for reply in replies)
    assert replies[-1].startswith(b"221 ")


def test_deeds_are_noted():
    dialogue = Dialogue()
    dialogue.line(b"EHLO " + b"x" * 500, HOST)
    assert len(dialogue.helo) == 64
    for _ in range(MANY - 1):
        dialogue.line(b"RCPT TO:<a@b>", HOST)
    assert dialogue.deeds == Deed.TRIED
    dialogue.line(b"RCPT TO:<a@b>", HOST)
    assert dialogue.deeds == Deed.TRIED | Deed.MANY
    assert dialogue.line(b" quit \r", HOST)[0] is Said.END
    assert Deed.QUIT in dialogue.deeds


@pytest.mark.parametrize(
    ("rest", "quit_said"), [(b"RSET\r\nquit\r\n", True), (b"QUIT", True), (b"QUITE\r\n", False)]
)
def test_a_quit_that_was_left_behind_counts(rest, quit_said):
    dialogue = Dialogue()
    dialogue.left_behind(rest)
    assert (Deed.QUIT in dialogue.deeds) is quit_said
