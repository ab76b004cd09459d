"""The command line against a running daemon, and on the spool of one that does not run."""

import re
import time
from collections.abc import Callable

from tideover.testing.daemon import Daemon
from tideover.testing.mailgen import mail
from tideover.testing.sink import Sink
from wire import Wire, submit


def states(daemon: Daemon) -> list[str]:
    return [m["recipients"][0]["state"] for m in daemon.ask("queue", "list")]


def test_status_as_programs_read_it(daemon: Daemon) -> None:
    submit(daemon.port, mail(1), mail(2))
    answer = daemon.ask("status")
    domain = answer["domains"]["example.com"]
    assert domain["queued"] == 2
    assert domain["primary"] in ("up", "down", "recovering", "held", "suspect", "unknown")


def test_queue_list_as_programs_read_it(daemon: Daemon) -> None:
    (queue_id,) = submit(daemon.port, mail(1), recipients=("user@example.com", "other@example.com"))
    (message,) = daemon.ask("queue", "list")
    assert message["id"] == queue_id
    assert message["sender"] == "sender@example.net"
    assert message["size"] == len(mail(1))
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", str(message["received_at"]))
    assert [r["address"] for r in message["recipients"]] == [
        "user@example.com",
        "other@example.com",
    ]
    for recipient in message["recipients"]:
        assert {"address", "state", "attempts", "next_attempt", "last_reply"} <= set(recipient)
        assert recipient["state"] in ("queued", "leased")
        assert recipient["attempts"] == 0, "a primary that is down burns no attempts"


def test_verbs_read_the_spool_while_the_daemon_does_not_run(daemon: Daemon) -> None:
    (queue_id,) = submit(daemon.port, mail(1))
    assert daemon.stop() == 0
    assert daemon.ask("status")["domains"]["example.com"]["queued"] == 1
    assert daemon.ask("status")["domains"]["example.com"]["primary"] == "unknown"
    assert [m["id"] for m in daemon.ask("queue", "list")] == [queue_id]
    assert daemon.ask("queue", "show", queue_id)["id"] == queue_id
    assert "message-accepted" in [e["event"] for e in daemon.ask("explain", queue_id)]
    done = daemon.run("queue", "hold", "--domain", "example.com")
    assert done.returncode == 3
    assert len(done.stderr.strip().splitlines()) == 1


def test_show_gives_the_message_back(daemon: Daemon) -> None:
    (queue_id,) = submit(daemon.port, mail(5))
    shown = daemon.run("queue", "show", queue_id, "--body")
    assert shown.returncode == 0
    # text mode made LF of CRLF
    assert shown.stdout.endswith(mail(5).decode().replace("\r\n", "\n"))
    assert daemon.run("queue", "show", "nosuchid").returncode == 1


def test_a_held_domain_keeps_its_mail(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(outbound='probe_interval = "200ms"')
    daemon.start()
    submit(daemon.port, mail(1))
    assert daemon.run("queue", "hold", "--domain", "example.com").returncode == 0
    submit(daemon.port, mail(2))
    with Sink(daemon.primary) as sink:
        time.sleep(0.8)  # of which each fourth part is enough to find it up
        assert sink.messages == []
        assert daemon.ask("status")["domains"]["example.com"]["primary"] == "held"
        assert daemon.run("queue", "release", "--domain", "example.com").returncode == 0
        assert len(sink.wait(2, 5)) == 2


def test_one_held_message_stays_the_others_go(daemon: Daemon) -> None:
    held, _ = submit(daemon.port, mail(1), mail(2))
    assert daemon.run("queue", "hold", held).returncode == 0
    with Sink(daemon.primary) as sink:
        sink.wait(1, 5)
        time.sleep(0.5)
        assert len(sink.messages) == 1
        assert states(daemon) == ["held"]
        daemon.run("queue", "release", held)
        assert len(sink.wait(2, 5)) == 2


def test_remove_is_an_order_that_is_logged(daemon: Daemon) -> None:
    gone, stays = submit(daemon.port, mail(1), mail(2))
    refused = daemon.run("queue", "remove", gone)
    assert refused.returncode == 2, "nobody can be asked here"
    assert daemon.run("queue", "remove", gone, "--yes").returncode == 0
    assert [m["id"] for m in daemon.ask("queue", "list")] == [stays]
    assert any(gone in e["what"] for e in daemon.events("operator-acted"))
    assert daemon.run("queue", "remove", "--yes").returncode == 2, "all must be meant"


def test_flush_waits_for_the_end(daemon: Daemon) -> None:
    submit(daemon.port, *(mail(n) for n in range(50)))
    with Sink(daemon.primary) as sink:
        done = daemon.run("queue", "flush", "--domain", "example.com", "--wait", "--timeout", "20s")
        assert done.returncode == 0, done.stderr
        assert len(sink.messages) == 50
    assert daemon.ask("queue", "list") == []


def test_shape_and_tables_are_for_people(daemon: Daemon) -> None:
    submit(daemon.port, mail(1))
    for verb in (("status",), ("queue", "list"), ("queue", "shape"), ("queue", "dead")):
        done = daemon.run(*verb)
        assert done.returncode == 0, done.stderr
        assert verb[-1] == "dead" or "example.com" in done.stdout


def test_recipients_lookup(daemon: Daemon) -> None:
    assert daemon.run("recipients", "lookup", "user@example.com").returncode == 0
    assert daemon.run("recipients", "lookup", "nobody@example.com").returncode == 1
    listed = daemon.run("recipients", "list", "example.com")
    assert "user@example.com" in listed.stdout


def test_a_refused_session_can_be_explained(daemon: Daemon) -> None:
    with Wire(daemon.port) as wire:
        wire.hello()
        wire.say("MAIL FROM:<a@example.net>")
        wire.say("RCPT TO:<nobody@example.com>")
        wire.say("QUIT")
    for _ in range(100):
        if found := list(daemon.events("command-refused")):
            break
        time.sleep(0.05)
    explained = daemon.ask("explain", found[0]["session"])
    assert "nobody@example.com" in str(explained)


def test_config_verbs(daemon: Daemon) -> None:
    assert daemon.run("config", "check").returncode == 0
    assert "example.com" in daemon.run("config", "show").stdout
    daemon.config.write_text("hostname = 5\n")
    assert daemon.run("config", "check").returncode in (1, 2)
