"""The client's core against every kind of server, as bytes in and bytes out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.message.envelope import Recipient
from tideover.smtp.client import ClientSession, WrongOrder
from tideover.smtp.client_values import (
    Command,
    Declined,
    InquiryEnded,
    Lost,
    Mail,
    Postponed,
    Ready,
    Replied,
    SendBody,
    SessionEnded,
    Taken,
    TlsGoAhead,
    TlsRefused,
    TransactionEnded,
    Welcome,
)
from tideover.smtp.replies import Reply

OK = Reply(250, "2.0.0", ("ok",))
EHLO = b"EHLO mx2.example.org\r\n"
BODY = b"Subject: x\r\n\r\n.hello\r\n"
PIPELINING = b"250-hi\r\n250 PIPELINING\r\n"
RCPTS = b"RCPT TO:<r0@example.com>\r\nRCPT TO:<r1@example.com>\r\n"
ONE_BY_ONE = b"250-hi\r\n250 8BITMIME\r\n"


def mail(count: int = 1, body: bytes = BODY, **more) -> Mail:
    recipients = [Recipient(address=f"r{n}@example.com", domain="example.com")
                  for n in range(count)]  # fmt: skip
    return Mail("s@example.net", recipients, len(body), **more)


def session(ehlo: bytes = PIPELINING) -> ClientSession:
    """One that has been introduced."""
    client = ClientSession("mx2.example.org")
    assert client.receive_data(b"220 hi\r\n") == []
    assert client.data_to_send() == EHLO
    assert [type(e) for e in client.receive_data(ehlo)] == [Ready]
    assert client.ready
    return client


class Run:
    """Answers a session command by command, from a script of replies by verb."""

    def __init__(self, client: ClientSession, script: dict[str, list[bytes] | bytes]) -> None:
        self.client = client
        self.script = {verb: [r] if isinstance(r, bytes) else r for verb, r in script.items()}
        self.sent: list[bytes] = []
        self.events: list = []
        self._body = False

    def send(self, message: Mail, body: bytes = BODY) -> "Run":
        self.client.begin(message)
        return self.go(body)

    def go(self, body: bytes = BODY) -> "Run":
        while wire := self.client.data_to_send():
            self.sent.append(wire)
            answers = b"".join(self._answer(line) for line in wire.splitlines(keepends=True))
            events = self.client.receive_data(answers) if answers else []
            self.events += events
            if any(isinstance(event, SendBody) for event in events) and not self.client.closed:
                self.client.send_body(body, last=True)
                self.sent.append(self.client.data_to_send())
                self.events += self.client.receive_data(self._reply("BODY", b"250 2.0.0 ok\r\n"))
        return self

    def _answer(self, line: bytes) -> bytes:
        verb = line.split(b" ")[0].split(b"\r")[0].decode()
        if verb == ".":
            return self._reply("BODY", b"250 2.0.0 ok\r\n")
        usual = {"DATA": b"354 go\r\n", "QUIT": b"221 bye\r\n"}.get(verb, b"250 2.0.0 ok\r\n")
        return self._reply(verb, usual)

    def _reply(self, verb: str, usual: bytes) -> bytes:
        script = self.script.get(verb)
        return script.pop(0) if script else usual

    @property
    def verdicts(self) -> tuple:
        (ended,) = [event for event in self.events if isinstance(event, TransactionEnded)]
        return ended.verdicts


# The usual way


def test_pipelining_sends_the_commands_in_one_piece_and_body_and_dot_in_one():
    run = Run(session(), {}).send(mail(2))
    assert run.sent == [
        b"MAIL FROM:<s@example.net>\r\n" + RCPTS + b"DATA\r\n",
        b"Subject: x\r\n\r\n..hello\r\n.\r\n",
    ]
    assert run.verdicts == (Taken(OK), Taken(OK))
    assert run.client.ready


def test_without_pipelining_one_by_one():
    run = Run(session(ONE_BY_ONE), {}).send(mail(2))
    assert run.sent == [
        b"MAIL FROM:<s@example.net>\r\n",
        b"RCPT TO:<r0@example.com>\r\n",
        b"RCPT TO:<r1@example.com>\r\n",
        b"DATA\r\n",
        b"Subject: x\r\n\r\n..hello\r\n.\r\n",
    ]
    assert run.verdicts == (Taken(OK), Taken(OK))


def test_next_message_without_rset():
    run = Run(session(), {}).send(mail())
    run.events.clear()
    run.send(mail())
    assert run.verdicts == (Taken(OK),)
    assert not any(b"RSET" in wire for wire in run.sent)


def test_helo_when_ehlo_is_refused():
    client = ClientSession("mx2.example.org")
    client.receive_data(b"220 old\r\n")
    client.data_to_send()
    client.receive_data(b"502 what?\r\n")
    assert client.data_to_send() == b"HELO mx2.example.org\r\n"
    (ready,) = client.receive_data(b"250 old\r\n")
    assert isinstance(ready, Ready)
    assert not ready.capabilities.pipelining


def test_quit():
    client = session()
    client.quit()
    assert client.data_to_send() == b"QUIT\r\n"
    assert client.receive_data(b"221 bye\r\n") == [
        SessionEnded("quit", Reply(221, None, ("bye",)), expected=True)
    ]
    assert client.closed


def test_every_cut_of_the_replies_leads_to_the_same():
    for cut in range(1, 60):
        client = session()
        client.begin(mail(2))
        client.data_to_send()
        wire = b"250 2.1.0 ok\r\n550 5.1.1 no\r\n250 2.1.5 ok\r\n354 go\r\n"
        events = client.receive_data(wire[:cut]) + client.receive_data(wire[cut:])
        assert events == [SendBody()]


# Mixed answers


@pytest.mark.parametrize("ehlo", [PIPELINING, ONE_BY_ONE])
def test_some_recipients_refused(ehlo):
    run = Run(session(ehlo), {"RCPT": [b"550 5.1.1 no\r\n", b"250 ok\r\n", b"450 4.2.0 later\r\n"]})
    run.send(mail(3))
    assert run.verdicts == (
        Declined(Reply(550, "5.1.1", ("no",)), Command.RCPT),
        Taken(OK),
        Declined(Reply(450, "4.2.0", ("later",)), Command.RCPT),
    )


@pytest.mark.parametrize("after_dot", [b"554 5.5.1 no valid recipients\r\n", b"250 ok\r\n"])
def test_all_refused_but_354_gets_a_lone_dot(after_dot):
    run = Run(session(), {"RCPT": [b"550 5.1.1 no\r\n"] * 2, "BODY": after_dot}).send(mail(2))
    assert run.sent[1] == b".\r\n"
    refused = Declined(Reply(550, "5.1.1", ("no",)), Command.RCPT)
    assert run.verdicts == (refused, refused)
    assert run.client.ready


def test_all_refused_and_data_refused_needs_rset_before_the_next():
    run = Run(session(), {"RCPT": [b"550 5.1.1 no\r\n"], "DATA": [b"554 5.5.1 no rcpts\r\n"]})
    run.send(mail())
    assert run.verdicts == (Declined(Reply(550, "5.1.1", ("no",)), Command.RCPT),)
    run.events.clear()
    run.send(mail())
    assert run.verdicts == (Taken(OK),)
    assert run.sent[1].startswith(b"RSET\r\nMAIL ")


def test_without_pipelining_no_data_after_all_were_refused_and_rset_before_the_next():
    run = Run(session(ONE_BY_ONE), {"RCPT": [b"550 5.1.1 no\r\n"]}).send(mail())
    assert b"DATA\r\n" not in run.sent
    run.events.clear()
    run.send(mail())
    assert run.verdicts == (Taken(OK),)
    assert run.sent[2] == b"RSET\r\n"


@pytest.mark.parametrize("ehlo", [PIPELINING, ONE_BY_ONE])
def test_mail_refused(ehlo):
    script = {"MAIL": [b"451 4.7.1 later\r\n"], "RCPT": [b"503 5.5.1 MAIL first\r\n"] * 2,
              "DATA": [b"503 5.5.1 MAIL first\r\n"]}  # fmt: skip
    run = Run(session(ehlo), script).send(mail(2))
    verdict = Declined(Reply(451, "4.7.1", ("later",)), Command.MAIL)
    assert run.verdicts == (verdict, verdict)
    run.events.clear()
    run.script = {}
    run.send(mail())
    assert run.verdicts == (Taken(OK),)
    assert not any(b"RSET" in wire for wire in run.sent)


def test_mail_refused_but_rcpt_and_data_accepted_ends_the_session_without_a_dot():
    run = Run(session(), {"MAIL": [b"550 5.7.1 no\r\n"]}).send(mail())
    assert run.verdicts == (Declined(Reply(550, "5.7.1", ("no",)), Command.MAIL),)
    assert run.client.closed
    assert len(run.sent) == 1


@pytest.mark.parametrize("ehlo", [PIPELINING, ONE_BY_ONE])
def test_data_refused(ehlo):
    run = Run(session(ehlo), {"DATA": [b"451 4.3.0 later\r\n"]}).send(mail(2))
    verdict = Declined(Reply(451, "4.3.0", ("later",)), Command.DATA)
    assert run.verdicts == (verdict, verdict)
    run.events.clear()
    run.send(mail())
    assert run.verdicts == (Taken(OK),)
    assert any(wire.startswith(b"RSET\r\n") for wire in run.sent)


@pytest.mark.parametrize("reply", [b"554 5.6.0 no\r\n", b"452 4.3.1 full\r\n"])
def test_refusal_of_the_message_is_for_all_accepted_recipients(reply):
    run = Run(session(), {"RCPT": [b"550 5.1.1 no\r\n"], "BODY": [reply]}).send(mail(3))
    first, *others = run.verdicts
    assert first.command is Command.RCPT
    assert {verdict.command for verdict in others} == {Command.BODY}
    assert {verdict.reply.code for verdict in others} == {int(reply[:3])}
    assert run.client.ready


@pytest.mark.parametrize("reply", [b"452 4.5.3 too many\r\n", b"452 too many\r\n",
                                   b"552 too many\r\n", b"552 5.5.3 too many\r\n"])  # fmt: skip
def test_too_many_recipients_are_postponed(reply):
    run = Run(session(), {"RCPT": [b"250 ok\r\n", reply, reply]}).send(mail(3))
    assert [type(verdict) for verdict in run.verdicts] == [Taken, Postponed, Postponed]


def test_without_an_accepted_one_452_is_about_the_recipient():
    run = Run(session(), {"RCPT": [b"452 4.5.3 too many\r\n", b"250 ok\r\n"]}).send(mail(2))
    assert [type(verdict) for verdict in run.verdicts] == [Declined, Taken]


def test_452_mailbox_full_is_about_the_recipient():
    run = Run(session(), {"RCPT": [b"250 ok\r\n", b"452 4.2.2 full\r\n"]}).send(mail(2))
    assert [type(verdict) for verdict in run.verdicts] == [Taken, Declined]


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "BODY"])
@pytest.mark.parametrize("ehlo", [PIPELINING, ONE_BY_ONE])
def test_421_ends_transaction_and_session(ehlo, verb):
    run = Run(session(ehlo), {verb: [b"421 4.3.2 bye\r\n"]}).send(mail(2))
    reply = Reply(421, "4.3.2", ("bye",))
    assert run.verdicts == (Declined(reply, Command[verb]),) * 2
    assert run.events[-1] == SessionEnded("the server closes the connection", reply)


def test_421_to_an_idle_session():
    client = session()
    (ended,) = client.receive_data(b"421 4.4.2 idle for too long\r\n")
    assert isinstance(ended, SessionEnded)
    assert not client.ready


def test_rset_refused_ends_the_session():
    run = Run(session(), {"DATA": [b"451 later\r\n"], "RSET": [b"500 what?\r\n"]}).send(mail())
    run.events.clear()
    run.send(mail())
    assert run.verdicts == (Lost("RSET refused", after_dot=False),)


# Lost connections


def lost_after(replies: bytes, *, body: bytes | None = None, last: bool = True) -> tuple:
    client = session()
    client.begin(mail(2))
    client.data_to_send()
    client.receive_data(replies)
    if body is not None:
        client.send_body(body, last=last)
        client.data_to_send()
    events = client.receive_eof()
    assert isinstance(events[-1], SessionEnded)
    return events[0].verdicts


ACCEPTED = b"250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n"


def test_lost_before_the_dot_is_not_delivered():
    assert {type(v).__name__: v for v in lost_after(b"")}["Lost"].after_dot is False
    first, second = lost_after(ACCEPTED)
    assert isinstance(first, Declined)
    assert second == Lost("connection closed by the other side", after_dot=False)
    _, second = lost_after(ACCEPTED, body=BODY[:5], last=False)
    assert second == Lost("connection closed by the other side", after_dot=False)


def test_lost_after_the_dot_is_unknown_for_those_accepted():
    first, second = lost_after(ACCEPTED, body=BODY)
    assert isinstance(first, Declined)
    assert second == Lost("connection closed by the other side", after_dot=True)


def test_lost_while_the_end_of_the_body_had_not_left_is_not_delivered():
    client = session()
    client.begin(mail())
    client.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    client.send_body(BODY, last=True)
    events = client.connection_lost("reset", unsent=True)
    assert events[0].verdicts == (Lost("reset", after_dot=False),)


def test_lost_after_a_lone_dot_is_not_unknown():
    client = session()
    client.begin(mail())
    client.receive_data(b"250 ok\r\n450 later\r\n354 go\r\n")
    assert client.data_to_send().endswith(b"\r\n.\r\n")
    (ended, _) = client.receive_eof()
    assert isinstance(ended.verdicts[0], Declined)


@pytest.mark.parametrize(
    ("early", "verdict"),
    [
        (b"552 5.3.4 too big\r\n", Declined(Reply(552, "5.3.4", ("too big",)), Command.BODY)),
        (b"421 4.3.2 bye\r\n", Declined(Reply(421, "4.3.2", ("bye",)), Command.BODY)),
        (b"250 ok\r\n", Lost("unexpected reply to the body", after_dot=False)),
    ],
)
def test_reply_before_the_end_of_the_body(early, verdict):
    client = session()
    client.begin(mail())
    client.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    client.send_body(BODY[:5])
    events = client.receive_data(early)
    assert events[0].verdicts == (verdict,)
    assert client.closed
    client.send_body(BODY[5:], last=True)  # its owner may learn of it later
    assert client.data_to_send() == b""


@pytest.mark.parametrize("garbage", [b"hello\r\n", b"x" * 5000, b"250-a\r\n" * 200, b"\0\0\n"])
def test_garbage_after_the_dot_is_unknown_before_it_is_not(garbage):
    client = session()
    client.begin(mail())
    client.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    client.send_body(BODY, last=True)
    assert client.receive_data(garbage)[0].verdicts[0].after_dot is True
    client = session()
    client.begin(mail())
    assert client.receive_data(garbage)[0].verdicts[0].after_dot is False


@pytest.mark.parametrize(
    "replies",
    [b"250 ok\r\n354 go\r\n", b"354 go\r\n", b"250 ok\r\n250 ok\r\n250 ok\r\n",
     b"250 ok\r\n220 x\r\n354 go\r\n250 surplus\r\n250 surplus\r\n"],
)  # fmt: skip
def test_replies_that_make_no_sense_end_the_session(replies):
    client = session()
    client.begin(mail())
    events = client.receive_data(replies)
    assert client.closed
    assert not any(isinstance(v, Taken) for e in events if isinstance(e, TransactionEnded)
                   for v in e.verdicts)  # fmt: skip


# Beginnings


@pytest.mark.parametrize(
    "reply", [b"554 go away\r\n", b"421 busy\r\n", b"354 what\r\n", b"SSH-2\r\n"]
)
def test_no_service(reply):
    client = ClientSession("mx2.example.org")
    (ended,) = client.receive_data(reply)
    assert isinstance(ended, SessionEnded)
    assert not client.ready


@pytest.mark.parametrize("replies", [[b"450 later\r\n"], [b"500 ?\r\n", b"550 no\r\n"],
                                     [b"500 ?\r\n", b"354 ?\r\n"]])  # fmt: skip
def test_hello_refused(replies):
    client = ClientSession("mx2.example.org")
    client.receive_data(b"220 hi\r\n")
    for reply in replies:
        events = client.receive_data(reply)
    assert isinstance(events[-1], SessionEnded)


# STARTTLS

TLS_EHLO = b"250-hi\r\n250-STARTTLS\r\n250-PIPELINING\r\n250 DSN\r\n"


def test_starttls_forgets_what_was_offered_in_clear():
    client = session(TLS_EHLO)
    client.start_tls()
    assert client.data_to_send() == b"STARTTLS\r\n"
    assert client.receive_data(b"220 go\r\n") == [TlsGoAhead()]
    assert not client.ready
    client.tls_established()
    assert not client.capabilities.dsn
    assert client.data_to_send() == EHLO
    (ready,) = client.receive_data(b"250-hi\r\n250 SIZE 5\r\n")
    assert ready.capabilities.size == 5
    assert not ready.capabilities.pipelining
    assert client.ready


@pytest.mark.parametrize("injected", [b"250-hi\r\n250 DSN\r\n", b"2", b"\0", b"250-x\r\n"])
@pytest.mark.parametrize("apart", [False, True])
def test_octets_in_clear_after_starttls_end_the_session(injected, apart):
    client = session(TLS_EHLO)
    client.start_tls()
    client.data_to_send()
    if apart:
        client.receive_data(b"220 go\r\n")
        events = client.receive_data(injected)
    else:
        events = client.receive_data(b"220 go\r\n" + injected)
    assert isinstance(events[-1], SessionEnded)
    assert client.closed
    assert client.data_to_send() == b""


def test_starttls_declined_goes_on_in_clear():
    client = session(TLS_EHLO)
    client.start_tls()
    client.data_to_send()
    (refused,) = client.receive_data(b"454 4.7.0 not now\r\n")
    assert isinstance(refused, TlsRefused)
    assert client.ready


def test_ehlo_refused_under_tls_ends_the_session():
    client = session(TLS_EHLO)
    client.start_tls()
    client.receive_data(b"220 go\r\n")
    client.tls_established()
    (ended,) = client.receive_data(b"502 no\r\n")
    assert isinstance(ended, SessionEnded)


# BDAT

BDAT_EHLO = b"250-hi\r\n250-PIPELINING\r\n250 CHUNKING\r\n"


def test_bdat_only_where_data_cannot_express_the_message():
    run = Run(session(BDAT_EHLO), {}).send(mail())
    assert run.sent[0].endswith(b"DATA\r\n")
    body = b".no line end"
    run = Run(session(BDAT_EHLO), {}).send(mail(body=body, whole_lines=False), body)
    assert run.sent == [
        b"MAIL FROM:<s@example.net>\r\nRCPT TO:<r0@example.com>\r\n",
        b"BDAT 12 LAST\r\n.no line end",
    ]
    assert run.verdicts == (Taken(OK),)
    run = Run(session(), {}).send(mail(body=body, whole_lines=False), body)
    assert run.sent[1] == b"..no line end\r\n.\r\n"


@pytest.mark.parametrize(
    "script",
    [{"RCPT": [b"550 no\r\n"]}, {"MAIL": [b"550 no\r\n"], "RCPT": [b"503 no\r\n"]}],
)
def test_bdat_is_not_sent_when_nobody_wants_it(script):
    run = Run(session(BDAT_EHLO), script).send(mail(body=b"x", whole_lines=False), b"x")
    assert len(run.sent) == 1
    assert isinstance(run.verdicts[0], Declined)
    assert run.client.ready


# Misuse


def test_wrong_order_is_a_fault():
    client = ClientSession("mx2.example.org")
    for call in (client.start_tls, client.tls_established, lambda: client.begin(mail()),
                 lambda: client.send_body(b"")):  # fmt: skip
        with pytest.raises(WrongOrder):
            call()
    client = session()
    with pytest.raises(ValueError, match="no recipients"):
        client.begin(mail(0))
    client.begin(mail())
    with pytest.raises(WrongOrder):
        client.begin(mail())
    with pytest.raises(WrongOrder):
        client.quit()


# Anything at all

REPLY = st.sampled_from(
    [b"250 ok\r\n", b"550 5.1.1 no\r\n", b"450 later\r\n", b"452 4.5.3 many\r\n", b"354 go\r\n",
     b"421 bye\r\n", b"220 hi\r\n", b"250-a\r\n", b"25", b"garbage\r\n", b"503 order\r\n"]
)  # fmt: skip


@given(st.lists(REPLY, max_size=12), st.sampled_from([PIPELINING, ONE_BY_ONE, BDAT_EHLO]),
       st.integers(1, 4), st.booleans())  # fmt: skip
def test_each_transaction_ends_once_with_a_verdict_for_each(replies, ehlo, count, whole):
    client = session(ehlo)
    client.begin(mail(count, whole_lines=whole))
    ends = []
    dotted = False
    for reply in replies:
        client.data_to_send()
        for event in client.receive_data(reply):
            if isinstance(event, SendBody) and client.sending:
                client.send_body(BODY, last=True)
                dotted = True
            if isinstance(event, TransactionEnded):
                ends.append(event)
    ends += [e for e in client.receive_eof() if isinstance(e, TransactionEnded)]
    assert len(ends) == 1
    assert len(ends[0].verdicts) == count
    for verdict in ends[0].verdicts:
        if isinstance(verdict, Taken) or (isinstance(verdict, Lost) and verdict.after_dot):
            assert dotted
    assert client.closed


# Inquiries


ASK = b"MAIL FROM:<>\r\n", b"RCPT TO:<r0@example.com>\r\n", b"RSET\r\n"
NO = Reply(550, "5.1.1", ("no",))
BYE = Reply(421, "4.3.2", ("bye",))


def question() -> Mail:
    return Mail("", [Recipient(address="r0@example.com", domain="example.com")], 0)


def inquire(ehlo: bytes, script: dict) -> Run:
    run = Run(session(ehlo), script)
    run.client.inquire(question())
    return run.go()


@pytest.mark.parametrize(
    "ehlo", [PIPELINING, ONE_BY_ONE, b"250-hi\r\n250-PIPELINING\r\n250 SIZE 9\r\n"]
)
@pytest.mark.parametrize(
    ("script", "verdict"),
    [
        ({}, Welcome(OK)),
        ({"RCPT": b"550 5.1.1 no\r\n"}, Declined(NO, Command.RCPT)),
        ({"RCPT": b"252 2.0.0 ok\r\n"}, Welcome(Reply(252, "2.0.0", ("ok",)))),
        ({"MAIL": b"550 5.1.1 no\r\n", "RCPT": b"503 5.5.1 MAIL first\r\n"},
         Declined(NO, Command.MAIL)),
    ],
)  # fmt: skip
def test_an_inquiry_sends_no_message_and_leaves_nothing_open(ehlo, script, verdict):
    run = inquire(ehlo, dict(script))
    assert run.events == [InquiryEnded(verdict)]
    wire = b"".join(run.sent)
    assert wire == b"".join(ASK) or (ehlo == ONE_BY_ONE and wire == ASK[0])
    assert len(run.sent) == (len(wire.splitlines()) if ehlo == ONE_BY_ONE else 1)
    assert run.client.ready
    run.script = {}
    run.events.clear()
    run.client.inquire(question())
    assert run.go().events == [InquiryEnded(Welcome(OK))]
    run.events.clear()
    assert run.send(mail()).verdicts == (Taken(OK),)
    assert b"RSET" not in b"".join(run.sent[-2:])


def test_an_inquiry_after_a_transaction_that_stayed_open_resets_first():
    run = Run(session(), {"RCPT": b"550 5.1.1 no\r\n", "DATA": b"554 5.5.1 nobody\r\n"})
    run.send(mail())
    run.events.clear()
    run.script = {}
    run.client.inquire(question())
    assert run.go().events == [InquiryEnded(Welcome(OK))]
    assert run.sent[-1] == ASK[2] + b"".join(ASK)
    assert run.client.ready


@pytest.mark.parametrize("ehlo", [PIPELINING, ONE_BY_ONE])
@pytest.mark.parametrize(
    ("script", "verdict", "goes_on"),
    [
        ({"RCPT": b"421 4.3.2 bye\r\n"}, Declined(BYE, Command.RCPT), False),
        ({"RSET": b"500 5.5.1 what\r\n"}, Welcome(OK), False),
        ({"RCPT": b"354 what\r\n"}, Lost("unexpected reply to RCPT", after_dot=False), False),
    ],
)  # fmt: skip
def test_an_inquiry_ends_whatever_the_server_does(ehlo, script, verdict, goes_on):
    run = inquire(ehlo, dict(script))
    assert run.events[0] == InquiryEnded(verdict)
    assert isinstance(run.events[1], SessionEnded)
    assert run.client.ready == goes_on


def test_an_inquiry_whose_connection_is_lost():
    client = session()
    client.inquire(question())
    client.data_to_send()
    assert client.connection_lost("gone")[0] == InquiryEnded(Lost("gone", after_dot=False))


def test_rcpt_taken_after_mail_was_refused_is_no_welcome():
    run = inquire(PIPELINING, {"MAIL": b"550 5.1.1 no\r\n"})
    assert run.events[0] == InquiryEnded(Declined(NO, Command.MAIL))


def test_an_inquiry_is_about_one_recipient():
    with pytest.raises(ValueError, match="unpack"):
        session().inquire(mail(2))


@pytest.mark.parametrize("ehlo", [PIPELINING, ONE_BY_ONE])
@pytest.mark.parametrize("code", [250, 501])
def test_mail_goes_whatever_the_server_says_to_what_goes_before_it(ehlo, code):
    client = session(ehlo)
    client.begin(mail(), [(Command.XFORWARD, b"XFORWARD NAME=c.example.net\r\n")])
    assert client.data_to_send().startswith(b"XFORWARD NAME=c.example.net\r\n")
    events = client.receive_data(b"%d done\r\n" % code)
    assert events == [Replied(Command.XFORWARD, Reply(code, None, ("done",)))]
    for answer in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
        assert not any(isinstance(event, SendBody) for event in events)
        events = client.receive_data(answer)
    assert events == [SendBody()]


def test_to_what_goes_before_mail_there_is_no_go_ahead():
    client = session()
    client.begin(mail(), [(Command.XFORWARD, b"XFORWARD NAME=c.example.net\r\n")])
    ended, over = client.receive_data(b"354 go\r\n")
    text = "unexpected reply to XFORWARD"
    assert ended == TransactionEnded((Lost(text, after_dot=False),))
    assert over == SessionEnded(text, Reply(354, None, ("go",)))


def test_the_last_word_is_none_when_a_recipient_is_accepted_after_mail_was_refused():
    client = session()
    client.begin(mail())
    (*_, over) = client.receive_data(b"550 5.7.1 no\r\n250 ok\r\n")
    assert over == SessionEnded("RCPT accepted after MAIL was refused")


def test_one_by_one_nothing_is_sent_after_mail_was_refused():
    client = session(ONE_BY_ONE)
    client.begin(mail())
    client.data_to_send()
    (over,) = client.receive_data(b"550 5.7.1 no\r\n")
    assert over == TransactionEnded((Declined(Reply(550, "5.7.1", ("no",)), Command.MAIL),))
    assert client.data_to_send() == b""
    assert client.ready
