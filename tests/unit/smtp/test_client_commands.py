"""Parameters are passed on when offered, never otherwise; what can't be taken is refused by us."""

import pytest

from tideover.message.envelope import Recipient
from tideover.smtp.capabilities import Capabilities, parse_capabilities
from tideover.smtp.client_commands import mail_command, rcpt_command, unmet_need
from tideover.smtp.client_values import Mail
from tideover.smtp.replies import Reply

RCPT = Recipient(address="a@example.com", domain="example.com", notify=("SUCCESS", "FAILURE"),
                 orcpt="rfc822;a@example.org")  # fmt: skip
MAIL = Mail("s@example.net", (RCPT,), 1000, "8BITMIME", True, "HDRS", "id+2B1")
ALL = Capabilities(size_offered=True, eight_bit_mime=True, dsn=True, smtputf8=True)


def test_all_parameters_when_all_is_offered():
    assert mail_command(MAIL, ALL) == (
        b"MAIL FROM:<s@example.net> SIZE=1000 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=id+2B1\r\n"
    )
    assert rcpt_command(RCPT, ALL) == (
        b"RCPT TO:<a@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a@example.org\r\n"
    )


def test_none_when_nothing_is_offered():
    assert mail_command(MAIL, Capabilities()) == b"MAIL FROM:<s@example.net>\r\n"
    assert rcpt_command(RCPT, Capabilities()) == b"RCPT TO:<a@example.com>\r\n"


def test_null_sender_and_utf8():
    assert mail_command(Mail("", (RCPT,), 1), Capabilities()) == b"MAIL FROM:<>\r\n"
    recipient = Recipient(address="ü@example.com", domain="example.com")
    assert rcpt_command(recipient, ALL) == "RCPT TO:<ü@example.com>\r\n".encode()


@pytest.mark.parametrize("bad", ["a\r\nRSET", "a\nb", "a\rb", "a\0b"])
def test_no_command_is_smuggled_by_an_address(bad):
    with pytest.raises(ValueError, match="line break"):
        mail_command(Mail(bad, (RCPT,), 1), ALL)
    with pytest.raises(ValueError, match="line break"):
        rcpt_command(Recipient(address=bad, domain="d"), ALL)


@pytest.mark.parametrize(
    ("mail", "offered", "eight_bit", "code"),
    [
        (Mail("s", (), 9, smtputf8=True), Capabilities(eight_bit_mime=True), True, "5.6.7"),
        (Mail("s", (), 9, body="8BITMIME"), Capabilities(), True, "5.6.3"),
        (Mail("s", (), 9, body="8BITMIME"), Capabilities(), False, None),
        (Mail("s", (), 9), Capabilities(), True, None),
        (Mail("s", (), 9, body="8BITMIME"), Capabilities(eight_bit_mime=True), True, None),
        (Mail("s", (), 9), Capabilities(size_offered=True, size=8), False, "5.3.4"),
        (Mail("s", (), 9), Capabilities(size_offered=True, size=9), False, None),
        (Mail("s", (), 9), Capabilities(size_offered=True), False, None),
        (Mail("s", (), 9, smtputf8=True), Capabilities(smtputf8=True), True, None),
    ],
)
def test_needs(mail, offered, eight_bit, code):
    refusal = unmet_need(mail, offered, eight_bit=eight_bit)
    assert (refusal.enhanced if refusal else None) == code
    assert refusal is None or refusal.permanent


def test_capabilities_are_read_in_any_case_and_nonsense_is_passed_over():
    lines = ("mx greets you", "size 1000", "8bitmime", "Pipelining", "CHUNKING", "STARTTLS", "DSN",
             "SMTPUTF8", "ENHANCEDSTATUSCODES", "LIMITS RCPTMAX=7 mailmax=3 X=1 RCPTMAX=q", "",
             "X-WHAT IS THIS", "AUTH=LOGIN")  # fmt: skip
    assert parse_capabilities(Reply(250, None, lines)) == Capabilities(
        True, 1000, True, True, True, True, True, True, True, 7, 3
    )


@pytest.mark.parametrize("line", ["SIZE", "SIZE 0", "SIZE huge", "SIZE -1", "SIZE " + "9" * 30])
def test_size_without_a_usable_number_is_no_limit(line):
    offered = parse_capabilities(Reply(250, None, ("hi", line)))
    assert offered == Capabilities(size_offered=True)


def test_the_first_line_is_no_capability():
    assert parse_capabilities(Reply(250, None, ("PIPELINING",))) == Capabilities()


def test_an_xclient_that_takes_no_address_is_no_right_to_say_who_calls():
    offered = parse_capabilities(Reply(250, None, ("hi", "XCLIENT NAME HELO", "XFORWARD ADDR")))
    assert offered == Capabilities(xforward=frozenset({"ADDR"}))
    with_address = parse_capabilities(Reply(250, None, ("hi", "xclient name addr")))
    assert with_address.xclient == frozenset({"NAME", "ADDR"})
