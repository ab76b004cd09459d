import asyncio
import json
from time import localtime, strftime

from tideover.events.console_log import ConsoleLog, as_json
from tideover.events.encoding import decode, encode, kinds
from tideover.events.records import (
    CommandRefused,
    ConfigRejected,
    DaemonStopped,
    SessionOpened,
)
from tideover.events.stream import EventStream
from tideover.events.text import render, text_renderer


class Recorder:
    """A sink that notes what it is given; `broken` makes it raise."""

    def __init__(self):
        self.taken, self.flushes, self.broken = [], [], False

    def take(self, event, line):
        if self.broken:
            raise RuntimeError("bug")
        self.taken.append((event, line))

    def flush(self):
        if self.broken:
            raise RuntimeError("bug")
        self.flushes.append(len(self.taken))

    def close(self):
        self.flushes.append("closed")


def test_every_event_is_encoded_once_and_given_to_every_sink():
    sinks = Recorder(), Recorder()
    stream = EventStream(sinks)
    stream.emit(DaemonStopped(time=1.5, reason="SIGTERM"))
    lines = [sink.taken[0][1] for sink in sinks]
    assert lines[0] is lines[1]
    assert json.loads(lines[0]) == {
        "level": "info", "event": "daemon-stopped", "time": 1.5, "reason": "SIGTERM",
    }  # fmt: skip
    assert lines[0].endswith(b"\n")


def test_without_a_loop_each_event_is_flushed_by_itself():
    sink = Recorder()
    stream = EventStream([sink])
    stream.emit(DaemonStopped(reason="a"))
    stream.emit(DaemonStopped(reason="b"))
    assert sink.flushes == [1, 2]


def test_in_a_loop_one_flush_an_iteration():
    sink = Recorder()
    stream = EventStream([sink])

    async def main():
        stream.attach()
        for _ in range(3):
            stream.emit(DaemonStopped(reason="a"))
        assert sink.flushes == []
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sink.flushes == [3]
        stream.emit(DaemonStopped(reason="b"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sink.flushes == [3, 4]
        stream.emit(DaemonStopped(reason="c"))
        stream.detach()

    asyncio.run(main())
    assert sink.flushes[:3] == [3, 4, 5]
    stream.close()
    assert sink.flushes[-1] == "closed"


def test_other_threads_may_emit():
    sink = Recorder()
    stream = EventStream([sink])

    async def main():
        stream.attach()
        await asyncio.to_thread(stream.emit, DaemonStopped(reason="thread"))
        await asyncio.sleep(0.01)
        assert sink.taken[0][0].reason == "thread"
        stream.detach()

    asyncio.run(main(), debug=True)  # debug: call_soon from another thread would raise


def test_emitting_never_raises_and_a_broken_sink_stops_no_other():
    broken, good = Recorder(), Recorder()
    stream = EventStream([good, broken])
    broken.broken = True
    stream.emit(DaemonStopped(reason="a"))
    broken.broken = False
    stream.emit(DaemonStopped(reason="b"))
    assert stream.failures == 1
    assert [event.reason for event, _ in good.taken] == ["a", "b"]
    assert [event.reason for event, _ in broken.taken] == ["b"]


def test_text_that_is_no_unicode_is_told_all_the_same():
    line = encode(ConfigRejected(time=1.0, errors=("bad \udcff byte",)))
    assert json.loads(line)["errors"] == ["bad ? byte"]


def test_every_kind_of_event_has_a_text_and_a_level_and_a_name_of_its_own():
    names = [kind.__struct_config__.tag for kind in kinds()]
    assert len(set(names)) == len(names) > 30
    for kind in kinds():
        assert kind.__doc__, kind
        assert kind.level in ("debug", "info", "warning", "error")


def test_what_is_no_event_is_not_decoded():
    whole = encode(DaemonStopped(time=1.0, reason="x"))
    assert decode(whole)["reason"] == "x"
    for bad in (b"", b"{}", b"[]", b"3", whole[:-5], b"\xff\xfe", b'{"event": 3}'):
        assert decode(bad) is None


class FakeWriter:
    def __init__(self):
        self.lines, self.dropped = [], 0

    def write(self, data):
        self.lines += data.splitlines()

    def take_dropped(self):
        dropped, self.dropped = self.dropped, 0
        return dropped

    def close(self):
        self.lines.append("closed")


OPENED = SessionOpened(session="s", client="192.0.2.1", port=1, listener="127.0.0.1:25")


def test_the_console_shows_its_level_and_above():
    writer = FakeWriter()
    log = ConsoleLog(writer, level="info")
    stream = EventStream([log])
    stream.emit(OPENED)
    assert writer.lines == []
    log.level = "debug"
    stream.emit(OPENED)
    assert len(writer.lines) == 1
    log.level = "error"
    stream.emit(DaemonStopped(reason="x"))
    stream.emit(ConfigRejected(errors=("e",)))
    assert [json.loads(line)["event"] for line in writer.lines] == [
        "session-opened", "config-rejected",
    ]  # fmt: skip


def test_the_console_says_what_it_had_to_drop():
    writer = FakeWriter()
    stream = EventStream([ConsoleLog(writer, level="info", render=as_json)])
    writer.dropped = 7
    stream.emit(DaemonStopped(reason="x"))
    last = json.loads(writer.lines[-1])
    assert (last["event"], last["sink"], last["count"]) == ("events-dropped", "stderr", 7)


def test_text_for_people_is_one_line_that_cannot_steer_the_terminal():
    event = {
        "event": "command-refused", "level": "info", "time": 0.25, "session": "s1",
        "client": "192.0.2.1", "command": "RCPT", "reply": "550 5.1.1 No such", "port": 25,
        "recipients": ["a@example.com", "b c"], "waited": 1.23456, "helo": "\x1b[2Jx\ny\u202e",
        "note": 'say "hi"',
    }  # fmt: skip
    line = render(event)
    assert "\n" not in line
    assert "\x1b" not in line
    assert line[8:12] == ".250"
    assert line[13:].startswith("info    command-refused    session=s1 client=192.0.2.1 ")
    assert 'recipients=a@example.com,"b c"' in line
    assert 'reply="550 5.1.1 No such"' in line
    assert "waited=1.235" in line
    assert 'note="say \\"hi\\""' in line
    assert "helo=\\x1b[2Jx\\x0ay\\x202e" in line
    assert len(render(event, date=True)) == len(line) + len("2026-11-21 ")


def test_colours_only_when_asked_for():
    event = CommandRefused(
        session="s", client="c", command="MAIL", reply="550 5.7.1 no", reason="because"
    )
    rejected = ConfigRejected(errors=("x",))
    assert text_renderer(colour=False)(rejected, b"").count(b"\x1b") == 0
    assert text_renderer(colour=True)(rejected, b"").startswith(b"\x1b[31m")
    assert text_renderer(colour=True)(event, b"").count(b"\x1b") == 0


def test_times_are_told_as_such_to_people():
    event = {"event": "delivery-deferred", "time": 0.5, "next_attempt": 1795295068.506}
    told = strftime("%Y-%m-%d %H:%M:%S", localtime(1795295068))
    assert render(event).endswith(f'next_attempt="{told}"')
