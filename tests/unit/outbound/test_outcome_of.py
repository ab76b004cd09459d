"""What verdicts of the protocol mean for a recipient."""

import pytest

from tideover.outbound.attempt import outcome_of
from tideover.outbound.outcome import Deferred, Delivered, Refused, Unknown
from tideover.smtp.client_values import Command, Declined, Lost, Taken
from tideover.smtp.replies import Reply, reply

OK = reply(250, "2.0.0", "ok")


def test_taken_lost_and_refused():
    assert outcome_of(Taken(OK), dsn=True) == Delivered(OK, dsn_passed_on=True)
    assert outcome_of(Taken(OK), dsn=False) == Delivered(OK, dsn_passed_on=False)
    assert outcome_of(Lost("gone", after_dot=True), dsn=True) == Unknown("gone")
    assert outcome_of(Lost("gone", after_dot=False), dsn=True) == Deferred("gone")
    no = reply(550, "5.1.1", "no")
    assert outcome_of(Declined(no, Command.RCPT), dsn=True) == Refused(no, stage="RCPT")
    assert outcome_of(Declined(no, Command.BODY), dsn=True) == Refused(no, stage="BODY")


@pytest.mark.parametrize(
    ("code", "enhanced", "command", "specific"),
    [
        (450, "4.2.0", Command.RCPT, True),
        (451, None, Command.MAIL, True),
        (451, "4.7.1", Command.MAIL, True),
        (451, "4.3.0", Command.BODY, True),
        (451, "4.3.0", Command.RCPT, True),
        (451, "4.3.0", Command.MAIL, False),
        (452, "4.3.1", Command.MAIL, False),
        (452, "4.3.1", Command.BODY, False),
        (453, "4.3.2", Command.RCPT, False),
        (421, "4.7.0", Command.MAIL, False),
        (421, None, Command.DATA, False),
        (421, None, Command.BODY, True),
        (530, "5.7.0", Command.MAIL, False),
        (500, None, Command.MAIL, True),
        (502, "5.5.1", Command.RCPT, True),
        (503, "5.5.1", Command.DATA, True),
    ],
)
def test_about_the_message_or_about_the_host(code, enhanced, command, specific):
    answer = Reply(code, enhanced, ("text",))
    assert outcome_of(Declined(answer, command), dsn=False) == Deferred(
        str(answer), answer, message_specific=specific
    )


@pytest.mark.parametrize(
    ("code", "enhanced", "command"),
    [
        (503, "5.7.1", Command.RCPT),  # a policy's, whatever the code
        (500, None, Command.BODY),  # the message was seen
        (501, "5.1.7", Command.MAIL),
        (504, None, Command.MAIL),
    ],
)
def test_what_is_no_quarrel_about_commands_is_refused(code, enhanced, command):
    answer = Reply(code, enhanced, ("text",))
    refused = Refused(answer, stage=command.name)
    assert outcome_of(Declined(answer, command), dsn=False) == refused
