"""Exim, which sends by BDAT when it can, on either side of us."""

import time
from collections.abc import Callable

import pytest
from peers import Exim, needs_exim, open_directory

from tideover.testing.daemon import Daemon
from tideover.testing.mailgen import mail
from tideover.testing.sink import Sink
from wire import submit

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]
Make = Callable[..., Daemon]


@needs_exim()
def test_exim_gives_us_its_mail_by_bdat(make_daemon: Make) -> None:
    daemon = make_daemon()
    daemon.start()
    bodies = [mail(1, 1000), mail(2, 100_000), mail(3, 3_000_000)]
    with open_directory() as directory:
        exim = Exim(directory, next_hop=daemon.port)
        for body in bodies:
            exim.send(body.replace(b"\r\n", b"\n"), "sender@example.net", "user@example.com")
        log = exim.log()
    assert log.count(" K ") + log.count(" K\n") >= len(bodies), f"K marks CHUNKING: {log}"
    with Sink(daemon.primary) as sink:
        got = sink.wait(3, 20)
    for body in bodies:
        text = body[body.index(b"\r\n\r\n") :]
        assert sum(one.body.endswith(text) for one in got) == 1


@needs_exim()
def test_an_exim_as_primary_gets_each_message_once(make_daemon: Make) -> None:
    daemon = make_daemon()
    bodies = [mail(n, 500 + 211 * n) for n in range(100)]
    with open_directory() as directory:
        exim = Exim(directory, next_hop=daemon.port)
        daemon.primary = exim.port
        daemon.write_config()
        daemon.start()
        submit(daemon.port, *bodies)
        with exim:
            for _ in range(600):
                if len(exim.mailbox()) >= len(bodies):
                    break
                time.sleep(0.1)
            time.sleep(0.5)
            stored = exim.mailbox()
            log = exim.log()
    own = sorted(message[message.index(b"From: sender") :] for message in stored)
    assert own == sorted(body.replace(b"\r\n", b"\n") for body in bodies), log[-2000:]
    assert daemon.ask("queue", "list") == []
