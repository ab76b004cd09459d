import pytest

from tideover.smtp import answers
from tideover.smtp.events import (
    BodyEnd,
    BodyRejected,
    BodyStart,
    Closing,
    CommandRejected,
    Hello,
    RcptTo,
    Reset,
    Signal,
    StartTls,
)
from tideover.smtp.offer import ServerOptions
from tideover.smtp.replies import reply
from tideover.smtp.server import MAX_DEFERRED, MAX_ERRORS, MAX_JUNK, ServerSession
from tideover.smtp.states import State
from tideover.testing.dialogue import MAIL, OPTIONS, Dialogue


def test_ehlo_announces_what_is_offered_and_starttls_only_in_clear():
    d = Dialogue()
    offered = d.say(b"EHLO c.example\r\n")
    for keyword in (b"PIPELINING", b"SIZE 100000", b"8BITMIME", b"SMTPUTF8", b"CHUNKING", b"DSN",
                    b"ENHANCEDSTATUSCODES", b"LIMITS RCPTMAX=100", b"STARTTLS"):  # fmt: skip
        assert b"-" + keyword + b"\r\n" in offered or b" " + keyword + b"\r\n" in offered
    d.say(b"STARTTLS\r\n")
    d.session.tls_established()
    assert b"STARTTLS" not in d.say(b"EHLO c.example\r\n")
    assert d.codes(b"STARTTLS\r\n") == [503]


def test_what_is_not_announced_is_not_taken():
    less = ServerOptions(hostname="h", max_size=1000, eight_bit_mime=False, smtputf8=False)
    d = Dialogue(less)
    offered = d.say(b"EHLO c.example\r\n")
    assert b"8BITMIME" not in offered
    assert b"SMTPUTF8" not in offered
    for parameters in (b"SMTPUTF8", b"BODY=8BITMIME", b"BODY=7BIT SIZE=3"):
        assert d.say(b"MAIL FROM:<a@b.c> %s\r\n" % parameters).startswith(b"555 5.5.4 ")
    assert d.codes("MAIL FROM:<ä@b.c>\r\n".encode()) == [553]
    assert d.codes(b"MAIL FROM:<a@b.c> SIZE=3 RET=HDRS\r\n") == [250]


def test_helo_offers_nothing():
    assert Dialogue().say(b"HELO c.example\r\n") == b"250 mx2.example.org\r\n"


def test_one_message_pipelined():
    d = Dialogue()
    assert d.codes(MAIL + b"DATA\r\nHi\r\n.\r\nQUIT\r\n") == [250, 250, 250, 354, 250, 221]
    assert d.bodies == [b"Hi\r\n"]
    assert d.events[-1] == Closing("quit")
    assert d.session.next_event() is Signal.NEED_DATA


def test_I1_a_positive_reply_to_a_body_needs_a_receipt():
    session = ServerSession(OPTIONS)
    session.greet()
    session.receive_data(MAIL + b"DATA\r\nHi\r\n.\r\n")
    while not isinstance(event := session.next_event(), BodyEnd):
        if event.__class__.__name__ in ("Hello", "MailFrom", "RcptTo", "BodyStart"):
            session.accept()
    with pytest.raises(ValueError, match="nothing to accept"):
        session.accept()
    with pytest.raises(ValueError, match="refusal"):
        session.reply(reply(250, "2.0.0", "fine"))


def test_pipelined_input_waits_for_the_answer():
    session = ServerSession(OPTIONS)
    session.greet()
    session.receive_data(b"EHLO a\r\nNOOP\r\n")
    assert session.next_event() == Hello("a", extended=True)
    assert session.next_event() is Signal.PAUSED
    session.accept()
    assert session.next_event() is Signal.NEED_DATA
    assert session.data_to_send().endswith(b"250 2.0.0 OK\r\n")


@pytest.mark.parametrize(
    ("commands", "codes"),
    [
        (b"MAIL FROM:<a@b.c>\r\n", [503]),
        (b"RCPT TO:<a@b.c>\r\nDATA\r\n", [503, 503]),
        (b"EHLO x\r\nRCPT TO:<a@b.c>\r\n", [250, 503]),
        (b"EHLO x\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\n", [250, 250, 503]),
        (b"EHLO x\r\nMAIL FROM:<>\r\nDATA\r\n", [250, 250, 554]),
        (b"EHLO x\r\nMAIL FROM:<>\r\nSTARTTLS\r\n", [250, 250, 503]),
        (b"EHLO\r\nHELO \r\nEHLO \xff\xfe\r\nEHLO \x01\r\n", [501, 501, 501, 501]),
        (b"NOOP\r\nRSET\r\nHELP\r\nVRFY a\r\nVRFY\r\nEXPN x\r\n", [250, 250, 214, 252, 501, 502]),
        (b"RSET x\r\nQUIT x\r\nFOO\r\n\r\n", [501, 501, 500, 500]),
        (b"EHLO x\r\nMAIL TO:<a@b.c>\r\nMAIL FROM:a@b.c\r\n", [250, 501, 501]),
        (b"EHLO x\r\nMAIL FROM:<> SIZE=100001\r\n", [250, 552]),
        (b"EHLO x\r\nMAIL FROM:<> FOO=1\r\nMAIL FROM:<> SIZE=x\r\n", [250, 555, 501]),
        (b"EHLO x\r\nMAIL FROM:<\xc3\xa9@b.c>\r\n", [250, 553]),
        (b"EHLO x\r\nMAIL FROM:<\xc3\xa9@b.c> SMTPUTF8\r\nRCPT TO:<\xc3\xa9@b.c>\r\n",
         [250, 250, 250]),
        (b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<\xc3\xa9@b.c>\r\n", [250, 250, 553]),
        (b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.c> ORCPT=utf-8;\xc3\xa9@b\r\n", [250, 250, 501]),
        (b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.c> ORCPT=utf-8;\\x{E9}@b.c\r\n", [250, 250, 250]),
        (b"EHLO x\r\nMAIL FROM:<> SMTPUTF8\r\nRCPT TO:<a@b.c> ORCPT=utf-8;\xc3\xa9@b.c\r\n",
         [250, 250, 250]),
        (b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<>\r\nRCPT TO:<x>\r\nRCPT TO:<POSTMASTER>\r\n",
         [250, 250, 501, 501, 250]),
        (b"NOOP\nNOOP\r\nNO\rOP\r\nNOOP\r\n", [500, 250, 500, 250]),
        (b"N\x00OP\r\n", [500]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [None, 1])
def test_answers_to_commands(commands, codes, step):
    assert Dialogue().codes(commands, step) == codes


def test_ehlo_inside_a_transaction_gives_it_up():
    d = Dialogue()
    assert d.codes(MAIL + b"EHLO again\r\nDATA\r\n") == [250, 250, 250, 250, 503]
    assert [type(e) for e in d.events[-2:]] == [Reset, Hello]


def test_too_many_recipients():
    options = ServerOptions(hostname="h", max_size=1000, max_recipients=100)
    d = Dialogue(options)
    commands = b"EHLO x\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<a@b.c>\r\n" * 101 + b"DATA\r\n"
    codes = d.codes(commands)
    assert codes == [250, 250, *[250] * 100, 452, 354]


def test_lines_that_are_too_long():
    d = Dialogue()
    assert d.codes(b"NOOP " + b"a" * 600 + b"\r\nNOOP\r\n") == [500, 250]
    for step in (None, 700):
        assert d.codes(b"x" * 100_000 + b"\r\nNOOP\r\n", step) == [500, 250]
    assert d.session.buffered == 0


def test_errors_and_junk_end_the_session():
    d = Dialogue()
    codes = d.codes(b"FOO\r\n" * (MAX_ERRORS + 5))
    assert codes == [500] * (MAX_ERRORS + 1) + [421]
    assert d.events == [Closing("junk")]
    d = Dialogue()
    assert d.codes(b"NOOP\r\n" * (MAX_JUNK + 5)) == [250] * (MAX_JUNK + 1) + [421]


def test_refused_recipients_end_the_session_in_the_end():
    d = Dialogue(refuse=lambda e: reply(550, "5.1.1", "no") if isinstance(e, RcptTo) else None)
    codes = d.codes(b"EHLO x\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<a@b.c>\r\n" * 110)
    assert codes[-1] == 421
    assert codes.count(550) == 101


def test_deferred_recipients_end_the_session_in_the_end():
    for limit, refusal in ((100, reply(451, "4.3.0", "not now")), (0, None)):
        options = ServerOptions(hostname="mx.example", max_size=1000, max_recipients=limit)
        session = ServerSession(options)
        session.greet()
        session.receive_data(b"EHLO x\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<a@b.c>\r\n" * 2000)
        rcpts = 0
        while not isinstance(event := session.next_event(), Closing):
            rcpts += isinstance(event, RcptTo | CommandRejected)
            if isinstance(event, RcptTo):
                session.reply(refusal)
            elif not isinstance(event, CommandRejected):
                session.accept()
        assert rcpts == MAX_DEFERRED + 1
        assert event.reason == "junk"


def test_other_protocols_are_sent_away():
    d = Dialogue()
    assert d.codes(b"GET / HTTP/1.1\r\nHost: x\r\nEHLO x\r\n") == [421]
    assert d.events == [Closing("not-smtp")]


def test_an_oversize_body_is_read_to_its_end_and_refused():
    d = Dialogue()
    body = (b"x" * 78 + b"\r\n") * 1500
    assert d.codes(MAIL + b"DATA\r\n" + body + b".\r\nNOOP\r\n") == [250, 250, 250, 354, 552, 250]
    assert BodyRejected(answers.TOO_BIG) in d.events
    assert d.bodies == []


def test_a_refused_data_keeps_the_transaction():
    d = Dialogue(refuse=lambda e: reply(452, "4.3.1", "full") if isinstance(e, BodyStart) else None)
    assert d.codes(MAIL + b"DATA\r\n") == [250, 250, 250, 452]
    assert d.session.state is State.RCPT


def test_chunks_make_a_body():
    d = Dialogue()
    assert d.codes(MAIL + b"BDAT 4\r\na\r\nbBDAT 0\r\nBDAT 3 LAST\r\n\r\n.NOOP\r\n") == [
        250, 250, 250, 250, 250, 250, 250]  # fmt: skip
    assert d.bodies == [b"a\r\nb\r\n."]


@pytest.mark.parametrize("step", [None, 1, 3])
@pytest.mark.parametrize(
    ("commands", "codes"),
    [
        (b"BDAT 2\r\nabRSET\r\nNOOP\r\n", [250, 250, 250]),
        (b"BDAT 2\r\nabDATA\r\nBDAT 0 LAST\r\n", [250, 503, 250]),
        (b"BDAT 2\r\nabMAIL FROM:<>\r\n", [250, 503]),
        (b"BDAT 1\r\n\nNOOP\r\n", [554, 250]),
        (b"BDAT 1\r\n\nBDAT 5 LAST\r\nNOOP\nNOOP\r\n", [554, 503, 250]),
        (b"BDAT 1 LAST\r\n\rNOOP\r\n", [554, 250]),
        (b"BDAT 100001\r\n" + b"a" * 100_001 + b"NOOP\r\n", [552, 250]),
        (b"BDAT 60000\r\n" + b"a" * 60_000 + b"BDAT 60000 LAST\r\n" + b"a" * 60_000 + b"NOOP\r\n",
         [250, 552, 250]),
        (b"BDAT 0 LAST\r\n", [250]),
        (b"BDAT x\r\nNOOP\r\n", [521]),
        (b"BDAT 1 FOO\r\nNOOP\r\n", [521]),
        (b"BDAT 99999999999\r\nNOOP\r\n", [552]),
        (b"DATA\r\nx\r\n.\r\nBDAT 6 LAST\r\nNOOP\r\nNOOP\r\n", [354, 250, 503, 250]),
    ],
)  # fmt: skip
def test_chunking_corner_cases(commands, codes, step):
    d = Dialogue()
    d.say(MAIL)
    assert d.codes(commands, step) == codes


def test_a_refused_first_chunk_is_skipped():
    d = Dialogue(refuse=lambda e: reply(452, "4.3.1", "full") if isinstance(e, BodyStart) else None)
    d.say(MAIL)
    assert d.codes(b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n") == [452, 250]


def test_bdat_without_recipients_is_skipped():
    d = Dialogue()
    assert d.codes(b"BDAT 6\r\nQUIT\r\nEHLO x\r\nMAIL FROM:<>\r\nBDAT 6 LAST\r\nQUIT\r\n") == [
        503, 250, 250, 554]  # fmt: skip


def test_I11_what_is_pipelined_in_clear_behind_starttls_never_counts():
    d = Dialogue()
    d.say(b"EHLO x\r\nSTARTTLS\r\nRSET\r\nMAIL FROM:<evil@example.net>\r\n")
    assert isinstance(d.events[-1], StartTls)
    assert d.session.state is State.TLS
    d.say(b"NOOP\r\n")  # still in clear
    d.session.tls_established()
    assert d.session.data_to_send() == b""
    d.pump()
    assert d.session.buffered == 0
    assert d.codes(b"MAIL FROM:<a@b.c>\r\n") == [503]


def test_starttls_where_it_is_not_offered():
    d = Dialogue(ServerOptions(hostname="h", max_size=1000))
    assert d.codes(b"EHLO x\r\nSTARTTLS\r\n") == [250, 502]


def test_rejected_addresses_are_reported():
    d = Dialogue()
    d.say(b"EHLO x\r\nMAIL FROM:<a b@c>\r\n")
    assert isinstance(d.events[-1], CommandRejected)
    assert d.events[-1].verb == "MAIL"


def test_eof_ends_the_session_after_what_came_before_it():
    d = Dialogue()
    d.session.receive_data(b"NOOP\r\nNOO")
    d.session.receive_eof()
    d.pump()
    assert d.events == [Closing("eof")]
    assert d.out.endswith(b"250 2.0.0 OK\r\n")


def test_shut_down_at_any_time():
    d = Dialogue()
    d.say(MAIL + b"DATA\r\nhalf")
    d.session.shut_down(reply(421, "4.3.2", "bye"), "shutdown")
    d.pump()
    assert d.out.endswith(b"421 4.3.2 bye\r\n")
    assert d.events[-1] == Closing("shutdown")
