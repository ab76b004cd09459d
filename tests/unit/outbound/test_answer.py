"""Which replies of a primary are its word to the client: real texts of real servers."""

import pytest

from tideover.outbound.answer import MAX_LINES, is_verdict, no_service, presentable
from tideover.smtp.client_values import Command
from tideover.smtp.replies import MAX_TEXT, Reply
from tideover.smtp.reply_parser import ReplyParser


def parsed(text: str) -> Reply:
    (reply,) = ReplyParser().feed(text.encode() + b"\r\n")
    return reply


VERDICTS = [
    "250 2.1.5 Ok",
    "251 User not local; will forward to <b@example.com>",
    "252 2.0.0 Cannot VRFY user",
    "450 4.2.0 <a@example.com>: Recipient address rejected: Greylisted, see postgrey",
    "451 4.7.1 Try again later",
    "451 4.7.1 Greylisting in action, please come back later",
    "452 4.2.2 <a@example.com> Quotaexceeded (mailbox for user is full)",
    "452 4.5.3 Error: too many recipients",
    "450 4.7.1 Error: too much mail from 192.0.2.1",
    "450 4.1.2 <a@b.invalid>: Sender address rejected: Domain not found",
    "450 4.1.1 <a@example.com>: Recipient address rejected: unverified address",
    "450 Requested mail action not taken: mailbox busy",
    "451 4.1.8 Domain of sender address does not resolve",
    "451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (AS761)",
    "550 5.1.1 <a@example.com>: Recipient address rejected: User unknown",
    "550 Unrouteable address",
    "550-Callout verification failed:\r\n550 No such user here",
    "552 5.2.2 Mailbox is full",
    "552 5.3.4 Message size exceeds fixed limit",
    "554 5.7.1 Gtube pattern",
    "554 5.7.1 <a@example.com>: Relay access denied",
    "553 5.1.8 Domain of sender address does not exist",
    "501 5.1.7 Bad sender address syntax",
    "554 5.4.14 Hop count exceeded - possible mail loop",
]

TROUBLE = [
    "421 4.3.2 All server ports are busy",
    "421 mx.example.com: SMTP command timeout - closing connection",
    "421 4.4.2 mx.example.com Error: timeout exceeded",
    "421 4.7.0 mx.example.com Error: too many connections from 192.0.2.1",
    "421 Too many concurrent SMTP connections; please try again later.",
    "451 4.3.0 <a@example.com>: Temporary lookup failure",
    "451 4.3.0 Error: queue file write error",
    "451 4.3.5 Server configuration error",
    "451 Temporary local problem - please try later",
    "451 Could not complete sender verify callout",
    "451 4.4.0 DNS lookup timed out",
    "452 4.3.1 Insufficient system storage",
    "452 4.3.1 Insufficient system resources (UsedDiskSpace)",
    "452 space shortage, please try later",
    "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded",
    "450 4.3.2 Service currently unavailable",
    "450 4.4.1 Connection timed out",
    "530 5.7.0 Must issue a STARTTLS command first",
    "503 5.5.1 Error: nested MAIL command",
    "502 5.5.2 Error: command not recognized",
    "500 unrecognized command",
]


@pytest.mark.parametrize("text", VERDICTS)
@pytest.mark.parametrize("command", [Command.MAIL, Command.RCPT, Command.BODY])
def test_what_concerns_client_message_or_mailbox_is_a_verdict(text, command):
    assert is_verdict(parsed(text), command)


@pytest.mark.parametrize("text", TROUBLE)
@pytest.mark.parametrize("command", [Command.MAIL, Command.RCPT, Command.DATA, Command.BODY])
def test_trouble_of_its_own_is_none(text, command):
    assert not is_verdict(parsed(text), command)


def test_too_many_recipients_without_an_enhanced_code():
    bare = parsed("452 too many recipients")
    assert is_verdict(bare, Command.RCPT, accepted=1)
    assert not is_verdict(bare, Command.RCPT)
    assert not is_verdict(bare, Command.BODY, accepted=1)


def test_421_for_policy_is_a_verdict_of_one_who_knows_the_client():
    policy = parsed("421 4.7.0 mx.example.com Error: too many errors")
    assert is_verdict(policy, Command.RCPT, about_client=True)
    assert not is_verdict(policy, Command.RCPT)
    assert not is_verdict(parsed("421 4.3.2 busy"), Command.RCPT, about_client=True)


@pytest.mark.parametrize(
    ("text", "command", "expected"),
    [
        ("354 Go ahead", Command.DATA, True),
        ("250 Ok", Command.DATA, False),
        ("354 Go ahead", Command.RCPT, False),
        ("334 more", Command.DATA, False),
        ("450 4.7.1 not now", Command.DATA, True),
    ],
)
def test_what_makes_no_sense_is_no_verdict(text, command, expected):
    assert is_verdict(parsed(text), command) is expected


def test_who_gives_no_service_to_anybody():
    assert no_service(parsed("421 bye"))
    assert no_service(parsed("450 4.3.2 not now"))
    assert not no_service(parsed("451 4.3.0 Temporary lookup failure"))


def test_what_is_handed_on_is_bounded_and_true():
    honest = parsed("550-5.1.1 The email account\r\n550 5.1.1 does not exist")
    assert presentable(honest, utf8=False) is honest
    long = Reply(550, "5.7.1", tuple("x" * 500 for _ in range(50)))
    told = presentable(long, utf8=False)
    assert (len(told.lines), {len(line) for line in told.lines}) == (MAX_LINES, {MAX_TEXT})
    # our side of the connection stays open
    assert presentable(parsed("421 4.7.0 slow down"), utf8=False) == Reply(
        451, "4.7.0", ("slow down",)
    )
