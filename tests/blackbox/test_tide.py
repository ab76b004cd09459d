"""The promise itself: mail waits while the primary is down, and comes home within two seconds."""

import time
from collections.abc import Callable

from tideover.testing.daemon import Daemon
from tideover.testing.mailgen import mail
from tideover.testing.sink import Sink
from wire import Wire, submit, without_trace

ODD = b"Subject: odd\r\n\r\n.\r\n..\r\n.dot\r\n\x00\xff\x80 caf\xc3\xa9\r\n \r\nthe end\r\n"


def wait_for_queue(daemon: Daemon, queued: int) -> None:
    """The last delivery is recorded a moment after the primary's 250."""
    for _ in range(100):
        if domain(daemon)["queued"] == queued:
            return
        time.sleep(0.05)
    raise AssertionError(daemon.ask("queue", "list"))


def domain(daemon: Daemon) -> dict[str, object]:
    found: dict[str, object] = daemon.ask("status")["domains"]["example.com"]
    return found


def test_mail_waits_and_comes_home(daemon: Daemon) -> None:
    bodies = [mail(1), ODD, mail(3, 300_000)]
    ids = submit(daemon.port, *bodies)
    time.sleep(1.2)  # the primary has been found to be down, and its probes run
    assert domain(daemon)["queued"] == 3
    assert domain(daemon)["primary"] == "down"

    start = time.monotonic()
    with Sink(daemon.primary) as sink:
        got = sink.wait(3, 10)
        assert got[0].time - start < 2
        assert sorted(without_trace(one.body) for one in got) == sorted(bodies)
        assert all(one.mail.startswith(b"FROM:<sender@example.net>") for one in got)
        assert all(one.rcpts[0].startswith(b"TO:<user@example.com>") for one in got)
        wait_for_queue(daemon, 0)
        assert domain(daemon)["primary"] in ("up", "recovering")
        assert daemon.ask("queue", "list") == []
        assert len(sink.messages) == 3
    told = [event["event"] for event in daemon.ask("explain", ids[0])]
    assert "message-accepted" in told
    assert told[-1] == "delivered"


def test_mail_survives_a_restart_and_keeps_its_order(daemon: Daemon) -> None:
    bodies = [mail(n) for n in range(20)]
    submit(daemon.port, *bodies)
    assert daemon.stop() == 0
    daemon.start()
    assert domain(daemon)["queued"] == 20
    with Sink(daemon.primary) as sink:
        got = [without_trace(one.body) for one in sink.wait(20, 10)]
    assert sorted(got) == sorted(bodies)


def test_mail_survives_a_kill(daemon: Daemon) -> None:
    submit(daemon.port, mail(7))
    daemon.kill()
    daemon.start()
    with Sink(daemon.primary) as sink:
        assert without_trace(sink.wait(1, 10)[0].body) == mail(7)


def test_mail_for_a_running_primary_goes_straight_on(daemon: Daemon) -> None:
    with Sink(daemon.primary) as sink:
        submit(daemon.port, mail(1))
        sink.wait(1, 10)
        start = time.monotonic()
        submit(daemon.port, mail(2))
        assert sink.wait(2, 10)[1].time - start < 2
        wait_for_queue(daemon, 0)


def test_several_recipients_travel_together(daemon: Daemon) -> None:
    submit(daemon.port, mail(1), recipients=("user@example.com", "other@example.com"))
    with Sink(daemon.primary) as sink:
        (got,) = sink.wait(1, 10)
        wait_for_queue(daemon, 0)
        assert len(sink.messages) == 1
    assert [rcpt.split(b">")[0] for rcpt in got.rcpts] == [
        b"TO:<user@example.com", b"TO:<other@example.com",
    ]  # fmt: skip


def test_envelope_parameters_are_passed_on(daemon: Daemon) -> None:
    with Wire(daemon.port) as wire:
        wire.hello()
        wire.say("MAIL FROM:<a@example.net> BODY=8BITMIME RET=HDRS ENVID=Q+2B1 SIZE=30")
        wire.say("RCPT TO:<user@example.com> NOTIFY=FAILURE,DELAY ORCPT=rfc822;u@example.org")
        wire.say("DATA")
        assert wire.say(b"caf\xe9\r\n.").startswith(b"250 ")
    with Sink(daemon.primary) as sink:
        (got,) = sink.wait(1, 10)
    words = got.mail.upper().split()
    assert {b"BODY=8BITMIME", b"RET=HDRS", b"ENVID=Q+2B1"} <= set(words)
    rcpt = got.rcpts[0].split()
    assert b"ORCPT=rfc822;u@example.org" in rcpt
    assert {b"NOTIFY=FAILURE,DELAY", b"NOTIFY=DELAY,FAILURE"} & set(rcpt)
    assert without_trace(got.body) == b"caf\xe9\r\n"


def test_the_received_header_says_who_when_and_what(daemon: Daemon) -> None:
    (queue_id,) = submit(daemon.port, mail(1))
    with Sink(daemon.primary) as sink:
        (got,) = sink.wait(1, 10)
    header = got.body[: got.body.index(b"From:")].decode()
    assert header.count("Received:") == 1
    for part in ("from client.example.net", "[127.0.0.1]", "by mx2.example.org", "with ESMTP",
                 f"id {queue_id}"):  # fmt: skip
        assert part in header, header
    assert "Return-Path" not in header
    assert all(len(line) <= 998 for line in header.splitlines())


def test_a_domain_may_be_written_in_unicode(make_daemon: Callable[..., Daemon]) -> None:
    more = (
        '[domains."bücher.example"]\nprimary = ["127.0.0.1:{0}"]\nrecipients = ["file:recipients"]'
    )
    daemon = make_daemon()
    daemon.sections["more"] = more.format(daemon.primary)
    daemon.write_config()
    daemon.start()
    with Wire(daemon.port) as wire:
        wire.hello()
        wire.say("MAIL FROM:<a@example.net> SMTPUTF8")
        assert wire.say("RCPT TO:<user@bücher.example>").startswith(b"250 ")
        assert wire.say("RCPT TO:<user@xn--bcher-kva.example>").startswith(b"250 ")
        assert wire.say("RCPT TO:<user@BÜCHER.example>").startswith(b"250 ")
