from tideover.events.delivery_records import Bounced, Delivered
from tideover.events.encoding import encode
from tideover.events.records import (
    MessageAccepted,
    OperatorActed,
    SessionClosed,
    SessionOpened,
)
from tideover.events.store import EventStore, segments
from tideover.events.trace import explain


def accepted(message, session, time):
    return MessageAccepted(
        time=time, message=message, session=session, client="192.0.2.1", helo="h",
        protocol="ESMTP", sender="a@example.net", recipients=("b@example.com",), size=1,
    )  # fmt: skip


def delivered(message, time):
    return Delivered(
        time=time, message=message, domain="example.com", recipients=("b@example.com",),
        host="mail", reply="250 ok", waited=1.0,
    )  # fmt: skip


LIFE = [
    SessionOpened(time=1.0, session="S1", client="192.0.2.1", port=1, listener="l"),
    accepted("M1", "S1", 2.0),
    accepted("M2", "S1", 3.0),
    accepted("M11", "S11", 3.5),
    SessionClosed(time=4.0, session="S1", client="192.0.2.1", reason="quit", seconds=3.0),
    delivered("M2", 5.0),
    OperatorActed(time=5.5, by="ann", action="hold", what="M1 M7", count=2),
    delivered("M1", 6.0),
    Bounced(time=7.0, message="M2", recipients=("b@example.com",), report="M3", kind="failed"),
]


def store(directory, events, max_size=1 << 20):
    log = EventStore(directory, max_size=max_size)
    for event in events:
        log.take(event, encode(event))
        log.flush()
    log.close()


def told(events):
    return [(event["event"], event.get("message", event.get("session"))) for event in events]


def test_a_message_with_the_session_that_brought_it_and_nothing_of_others(tmp_path):
    store(tmp_path, LIFE)
    assert told(explain(tmp_path, "M1")) == [
        ("session-opened", "S1"),
        ("message-accepted", "M1"),
        ("session-closed", "S1"),
        ("operator-acted", None),
        ("delivered", "M1"),
    ]


def test_a_session_with_all_that_it_brought(tmp_path):
    store(tmp_path, LIFE)
    assert told(explain(tmp_path, "S1")) == [
        ("session-opened", "S1"),
        ("message-accepted", "M1"),
        ("message-accepted", "M2"),
        ("session-closed", "S1"),
    ]


def test_a_report_knows_its_original(tmp_path):
    store(tmp_path, LIFE)
    assert told(explain(tmp_path, "M3")) == [("bounced", "M2")]


def test_a_life_that_spans_segments(tmp_path):
    filler = [delivered(f"F{n}", 5.0 + n / 1000) for n in range(100)]
    store(tmp_path, [*LIFE[:7], *filler, *LIFE[7:]], max_size=40_000)
    assert len(segments(tmp_path)) > 2
    assert len(explain(tmp_path, "M1")) == 5


def test_torn_and_foreign_lines_are_skipped(tmp_path):
    store(tmp_path, LIFE)
    path = segments(tmp_path)[0]
    whole = path.read_bytes()
    path.write_bytes(b'M1 garbage\n{"message":"M1"}\n' + whole + encode(LIFE[1])[:-20])
    assert len(explain(tmp_path, "M1")) == 5


def test_what_is_not_known(tmp_path):
    store(tmp_path, LIFE)
    for unknown in ("M", "", "M9", "250 ok", "\n", "Ü", "message"):
        assert explain(tmp_path, unknown) == []
    assert explain(tmp_path / "none", "M1") == []
