"""Commands by hand on the client's core, against every kind of server: bytes in, bytes out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.message.envelope import Recipient
from tideover.smtp.client import ClientSession, WrongOrder
from tideover.smtp.client_values import Command, Mail, Replied, SendBody, SessionEnded

MAIL = (Command.MAIL, b"MAIL FROM:<s@example.net>\r\n")
RCPT = (Command.RCPT, b"RCPT TO:<r@example.com>\r\n")
DATA = (Command.DATA, b"DATA\r\n")
RSET = (Command.RSET, b"RSET\r\n")
NOOP = (Command.NOOP, b"NOOP\r\n")
XCLIENT = (Command.XCLIENT, b"XCLIENT ADDR=192.0.2.1\r\n")
HELLO = (Command.EHLO, b"EHLO client.example.net\r\n")
OK = b"250 2.0.0 ok\r\n"
GO = b"354 go\r\n"


def session(*offers: str) -> ClientSession:
    """One that has been introduced to a server that offers these."""
    client = ClientSession("mx2.example.org")
    client.receive_data(b"220 hi\r\n")
    client.data_to_send()
    lines = ["mx.example.com", *offers]
    ends = ["-"] * len(offers) + [" "]
    client.receive_data(
        b"".join(f"250{e}{t}\r\n".encode() for e, t in zip(ends, lines, strict=True))
    )
    return client


def codes(events: list) -> list[tuple[Command, int]]:
    return [(event.command, event.reply.code) for event in events if isinstance(event, Replied)]


def in_data(client: ClientSession) -> ClientSession:
    """After 354."""
    client.converse([MAIL, RCPT, DATA])
    while client.data_to_send():
        client.receive_data(GO if client.awaited is Command.DATA else OK)
        while client.awaited is Command.RCPT or client.awaited is Command.DATA:
            if client.capabilities.pipelining:
                client.receive_data(OK if client.awaited is Command.RCPT else GO)
            else:
                break
    assert client.sending
    return client


def test_commands_leave_in_one_piece_where_pipelining_is_offered() -> None:
    client = session("PIPELINING")
    client.converse([MAIL, RCPT, RCPT, DATA])
    assert client.data_to_send() == MAIL[1] + RCPT[1] * 2 + DATA[1]
    events = client.receive_data(OK + OK + b"550 5.1.1 no\r\n" + GO)
    assert codes(events) == [
        (Command.MAIL, 250), (Command.RCPT, 250), (Command.RCPT, 550), (Command.DATA, 354)
    ]  # fmt: skip


def test_without_pipelining_each_waits_for_the_reply_to_the_one_before() -> None:
    client = session()
    client.converse([MAIL, RCPT, DATA])
    for command, reply in ((MAIL, OK), (RCPT, OK), (DATA, GO)):
        assert client.data_to_send() == command[1]
        assert len(client.receive_data(reply)) == 1
    assert client.sending


@pytest.mark.parametrize("last", [DATA, NOOP, XCLIENT, HELLO])
def test_what_ends_a_group_is_followed_by_nothing(last: tuple[Command, bytes]) -> None:
    client = session("PIPELINING")
    client.converse([RSET, last, MAIL])
    assert client.data_to_send() == RSET[1] + last[1]
    client.receive_data(OK)
    assert client.data_to_send() == b""
    client.receive_data(b"451 4.3.0 no\r\n")
    assert client.data_to_send() == MAIL[1]


def test_a_body_by_data_and_the_next_transaction_without_rset() -> None:
    client = in_data(session("PIPELINING"))
    assert not client.ready
    client.send_octets(b"Subject: x\r\n\r\n")
    client.send_octets(b"body\r\n.\r\n", last=True)
    assert client.data_to_send() == b"Subject: x\r\n\r\nbody\r\n.\r\n"
    assert client.body_left
    assert not client.sending
    assert codes(client.receive_data(OK)) == [(Command.BODY, 250)]
    assert not client.body_left
    assert client.ready
    assert not client.needs_reset


def test_a_body_in_chunks_each_with_its_reply() -> None:
    client = session("PIPELINING", "CHUNKING")
    client.converse([MAIL, RCPT])
    client.receive_data(OK + OK)
    client.data_to_send()
    client.send_octets(b"BDAT 1\r\na", chunk=True)
    client.send_octets(b"BDAT 1 LAST\r\nb", chunk=True, last=True)
    assert client.data_to_send() == b"BDAT 1\r\naBDAT 1 LAST\r\nb"
    assert client.body_left
    assert codes(client.receive_data(OK)) == [(Command.BDAT, 250)]
    assert not client.ready
    assert codes(client.receive_data(OK)) == [(Command.BODY, 250)]
    assert client.ready
    assert not client.needs_reset


def test_after_a_refused_chunk_no_other_is_sent_before_rset() -> None:
    client = session("PIPELINING", "CHUNKING")
    client.converse([MAIL, RCPT])
    client.receive_data(OK + OK)
    client.send_octets(b"BDAT 1\r\na", chunk=True)
    assert codes(client.receive_data(b"552 5.3.4 no\r\n")) == [(Command.BDAT, 552)]
    with pytest.raises(WrongOrder):
        client.send_octets(b"BDAT 1 LAST\r\nb", chunk=True, last=True)
    client.converse([RSET])
    client.receive_data(OK)
    assert client.ready
    assert not client.needs_reset


def test_no_chunk_goes_without_a_transaction() -> None:
    with pytest.raises(WrongOrder):
        session("CHUNKING").send_octets(b"BDAT 0 LAST\r\n", chunk=True, last=True)


def test_no_octets_go_before_the_go_ahead_or_after_the_end() -> None:
    client = session()
    client.converse([MAIL])
    with pytest.raises(WrongOrder):
        client.send_octets(b"x")
    client = in_data(session())
    client.send_octets(b".\r\n", last=True)
    with pytest.raises(WrongOrder):
        client.send_octets(b"x")


@pytest.mark.parametrize("reply", [OK, b"552 5.3.4 too large\r\n"])
def test_a_reply_before_the_end_of_the_body_ends_the_session(reply: bytes) -> None:
    client = in_data(session())
    client.send_octets(b"half a line")
    (ended,) = client.receive_data(reply)
    assert isinstance(ended, SessionEnded)
    assert ended.reply is not None
    assert not client.body_left
    client.send_octets(b"dropped")
    assert client.data_to_send() == b""


def test_a_transaction_left_open_is_reset_by_the_next() -> None:
    client = session("PIPELINING")
    client.converse([MAIL, RCPT])
    client.receive_data(OK + b"550 5.1.1 no\r\n")
    client.data_to_send()
    assert client.needs_reset
    client.begin(Mail("", [Recipient(address="r@example.com", domain="example.com")], 3))
    assert client.data_to_send().startswith(b"RSET\r\nMAIL FROM:<>")


def test_a_message_may_follow_what_was_said_by_hand() -> None:
    client = session("PIPELINING")
    client.converse([NOOP])
    client.receive_data(OK)
    client.data_to_send()
    client.begin(Mail("", [Recipient(address="r@example.com", domain="example.com")], 3))
    assert client.receive_data(OK + OK + GO) == [SendBody()]


@pytest.mark.parametrize(
    ("command", "reply"),
    [(MAIL, GO), (RCPT, GO), (DATA, OK), (NOOP, b"334 \r\n"), (XCLIENT, GO), (DATA, b"334 \r\n")],
)
def test_a_reply_that_makes_no_sense_ends_the_session(
    command: tuple[Command, bytes], reply: bytes
) -> None:
    client = session()
    client.converse([command])
    (ended,) = client.receive_data(reply)
    assert isinstance(ended, SessionEnded)
    assert command[0].name in ended.text


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_421_anywhere_ends_it_with_the_servers_word(before: int) -> None:
    client = session("PIPELINING")
    client.converse([MAIL, RCPT, DATA])
    events = client.receive_data((OK, OK, GO)[0] * min(before, 2) + (GO if before == 3 else b""))
    assert len(events) == before
    if before == 3:
        client.send_octets(b".\r\n", last=True)
    (ended,) = client.receive_data(b"421 4.3.2 bye\r\n250 ok\r\n")
    assert isinstance(ended, SessionEnded)
    assert ended.reply is not None
    assert ended.reply.code == 421
    assert client.closed
    assert not client.body_left  # it said that it was not taken


def test_a_reply_too_many_ends_it() -> None:
    client = session()
    client.converse([MAIL])
    events = client.receive_data(OK + OK)
    assert [type(event) for event in events] == [Replied, SessionEnded]


def test_a_connection_lost_after_the_dot_is_told_from_one_lost_before() -> None:
    for last, unsent, left in ((True, False, True), (True, True, False), (False, False, False)):
        client = in_data(session())
        client.send_octets(b".\r\n", last=last)
        client.connection_lost("gone", unsent=unsent)
        assert client.body_left is left


def test_a_greeting_by_hand_is_learnt_and_the_right_to_xclient_stays() -> None:
    client = session("PIPELINING", "XCLIENT NAME ADDR")
    client.converse([XCLIENT, HELLO])
    assert client.data_to_send() == XCLIENT[1]
    events = client.receive_data(b"220 mx.example.com\r\n")
    assert client.data_to_send() == HELLO[1]
    events += client.receive_data(b"250-mx.example.com\r\n250 SIZE 100\r\n")
    assert codes(events) == [(Command.XCLIENT, 220), (Command.EHLO, 250)]
    assert client.capabilities.size == 100
    assert not client.capabilities.pipelining
    assert client.capabilities.xclient == {"NAME", "ADDR"}


def test_only_when_nothing_else_is_under_way() -> None:
    client = session()
    client.converse([MAIL])
    for call in (lambda: client.converse([RCPT]), client.start_tls):
        with pytest.raises(WrongOrder):
            call()
    with pytest.raises(WrongOrder):
        client.begin(Mail("", [Recipient(address="r@example.com", domain="example.com")], 3))
    with pytest.raises(WrongOrder):
        session().converse([(Command.QUIT, b"QUIT\r\n")])


@given(st.lists(st.sampled_from([OK, GO, b"421 no\r\n", b"550 no\r\n", b"x\r\n", b"220-", b"2"]),
                max_size=9), st.booleans())  # fmt: skip
def test_whatever_comes_in_whatever_pieces_there_is_one_reply_a_command_or_an_end(
    pieces: list[bytes], pipelining: bool
) -> None:
    offers = ("PIPELINING",) if pipelining else ()
    whole, dripped = session(*offers), session(*offers)
    events = []
    for client, parts in ((whole, pieces), (dripped, [bytes([b]) for b in b"".join(pieces)])):
        client.converse([MAIL, RCPT, DATA])
        seen: list = []
        for part in parts:
            client.data_to_send()
            seen += client.receive_data(part)
        events.append(seen)
        replied = [event.command for event in seen if isinstance(event, Replied)]
        assert replied == [Command.MAIL, Command.RCPT, Command.DATA][: len(replied)]
        assert sum(isinstance(event, SessionEnded) for event in seen) == client.closed
    if pipelining:
        assert events[0] == events[1]
