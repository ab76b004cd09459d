from tideover.smtp.events import BodyStart
from tideover.smtp.offer import ServerOptions
from tideover.smtp.replies import reply
from tideover.smtp.states import TRANSITIONS, State, Step
from tideover.testing.dialogue import MAIL, Dialogue

DIALOGUES = (
    b"RSET\r\nEHLO a\r\nEHLO a\r\nRSET\r\nMAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\nEHLO a\r\n",
    MAIL + b"RCPT TO:<a@b.c>\r\nDATA\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.c>\r\nRSET\r\n",
    MAIL + b"BDAT 1\r\naBDAT 1\r\naRSET\r\n",
    MAIL + b"BDAT 1\r\na" + b"BDAT 100\r\n" + b"a" * 100,
    MAIL + b"BDAT 100\r\n" + b"a" * 100,
    MAIL + b"BDAT 1 LAST\r\na",
    MAIL + b"BDAT 1\r\n\n",
    b"STARTTLS\r\n",
    b"EHLO a\r\nSTARTTLS\r\n",
)


def steps_of(commands, refuse=lambda _event: None):
    """Which (state, step) pairs a dialogue takes."""
    d = Dialogue(ServerOptions(hostname="h", max_size=50, tls=True), refuse)
    taken = [(State.CONNECTED, Step.GREET)]
    step = d.session._step
    d.session._step = lambda s: (taken.append((d.session.state, s)), step(s))
    d.say(commands)
    if d.session.state is State.TLS:
        d.session.tls_established()
    return taken


def test_every_transition_of_the_table_is_taken_and_no_other():
    taken = {pair for commands in DIALOGUES for pair in steps_of(commands)}
    taken |= set(
        steps_of(
            MAIL + b"BDAT 1\r\na",
            lambda e: reply(452, "4.3.1", "full") if isinstance(e, BodyStart) else None,
        )
    )
    assert taken == {pair for pair in TRANSITIONS if pair[1] is not Step.CLOSE}


def test_every_state_can_be_left():
    assert {state for state, step in TRANSITIONS if step is Step.CLOSE} == set(State)
