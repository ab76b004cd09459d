"""Whatever comes in, in whatever pieces: no exception, the same answers, nothing smuggled."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tideover.smtp.states import State
from tideover.testing.dialogue import MAIL, Dialogue

LINES = st.sampled_from(
    [b"EHLO a\r\n", b"HELO a\r\n", b"MAIL FROM:<a@b.c>\r\n", b"MAIL FROM:<> SIZE=5\r\n",
     b"RCPT TO:<a@b.c>\r\n", b"RCPT TO:<x>\r\n", b"DATA\r\n", b"RSET\r\n", b"NOOP\r\n",
     b"BDAT 3\r\nabc", b"BDAT 4 LAST\r\nab\r\n", b"BDAT 2\r\n\r\n", b".\r\n", b"..\r\n", b"\r\n",
     b"text\r\n", b"\n", b"\r", b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"VRFY a\r\n", b"QUIT\r\n",
     b"STARTTLS\r\n", b"FOO\r\n", b"\x00\xff\r\n", b"BDAT x\r\n"]
)  # fmt: skip
INPUT = st.lists(LINES | st.binary(max_size=8), max_size=30).map(b"".join)


PREFIXES = {
    State.NEW: b"",
    State.READY: b"EHLO c\r\n",
    State.MAIL: b"EHLO c\r\nMAIL FROM:<>\r\n",
    State.RCPT: MAIL,
    State.DATA: MAIL + b"DATA\r\nx",
    State.CHUNK: MAIL + b"BDAT 9\r\nx",
    State.CHUNKS: MAIL + b"BDAT 1\r\nx",
    State.TLS: b"STARTTLS\r\n",
    State.CLOSED: b"QUIT\r\n",
}


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(sorted(PREFIXES)), LINES | st.binary(min_size=1, max_size=20))
def test_every_input_in_every_state_is_answered_or_waited_for(state, line):
    d = Dialogue()
    if PREFIXES[state]:
        d.say(PREFIXES[state])
    assert d.session.state is state
    for answer in d.say(line).split(b"\r\n")[:-1]:
        assert 200 <= int(answer[:3]) < 600
        assert answer[3:4] in (b" ", b"-")
        assert len(answer) <= 510


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({c % (len(data) + 1) for c in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@settings(max_examples=400, deadline=None)
@given(INPUT, st.lists(st.integers(0, 10_000), max_size=8))
def test_any_split_of_the_octets_gives_the_same_dialogue(data, cuts):
    whole, parts = Dialogue(), Dialogue()
    # the cut must not let octets in clear slip behind STARTTLS: there they are dropped by design
    data = data.replace(b"STARTTLS", b"NOOP")
    whole.say(data or b"NOOP\r\n")
    for part in cut(data or b"NOOP\r\n", cuts):
        if part:
            parts.say(part)
    assert parts.out == whole.out
    assert parts.bodies == whole.bodies
    assert parts.session.state is whole.session.state


@settings(max_examples=400, deadline=None)
@given(st.lists(LINES | st.binary(max_size=8), max_size=30))
def test_no_input_in_any_state_raises(lines):
    d = Dialogue()
    for line in lines:
        if line:
            d.say(line)
    assert d.session.buffered < 100_000


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"a"]), max_size=40).map(b"".join))
def test_I10_one_data_is_one_body_and_the_rest_are_commands(text):
    """The first CRLF.CRLF is the only end of a body, however the text is built."""
    d = Dialogue()
    d.say(MAIL + b"DATA\r\n" + text + b"\r\n.\r\nQUIT\r\n")
    end = (b"\r\n" + text + b"\r\n.\r\n").find(b"\r\n.\r\n")
    body = (b"\r\n" + text + b"\r\n")[2 : end + 2]
    clean = body.count(b"\r\n") == body.count(b"\r") == body.count(b"\n")
    unstuffed = (b"\r\n" + body).replace(b"\r\n.", b"\r\n")[2:]
    assert d.bodies[:1] == ([unstuffed] if clean else [])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([b"\r\n", b".", b"a", b"\x80", b"\x00"]), max_size=40).map(b"".join)
)
def test_I3_a_dot_stuffed_body_comes_out_as_it_went_in(text):
    body = text + b"\r\n"
    stuffed = (b"\r\n" + body).replace(b"\r\n.", b"\r\n..")[2:]
    d = Dialogue()
    d.say(MAIL + b"DATA\r\n" + stuffed + b".\r\n")
    assert d.bodies == [body]
