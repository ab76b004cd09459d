"""What strangers can't get: mail to nobody, mail to elsewhere, and anything about our inside."""

import pytest

from tideover.testing.daemon import Daemon
from tideover.testing.mailgen import mail
from wire import Wire

ELSEWHERE = [
    "victim@example.org",
    "victim@example.com.example.org",
    "victim@sub.example.com",
    "victim@[127.0.0.1]",
    "victim@[192.0.2.1]",
    "victim@[IPv6:::1]",
    "victim@localhost",
    "victim@mx2.example.org",
    "victim%example.org@example.com",
    "victim%example.org@[127.0.0.1]",
    "victim%example.org@",
    "victim%example.org",
    "example.org!victim",
    "example.org!victim@example.com",
    "user@example.com@example.org",
    "user@example.org@example.com",
    "@example.com:victim@example.org",
    "@example.com,@mx2.example.org:victim@example.org",
    '"victim@example.org"',
    '"victim@example.org"@example.com',
    '"victim%example.org"@example.com',
    "user@",
    "@example.com",
    "user@example.com>,<victim@example.org",
    "user@example.com,victim@example.org",
    "user@example.com victim@example.org",
    "user@example.com\\",
    "user\x00@example.com",
    "|/bin/sh@example.com",
    "/etc/passwd@example.com",
    "user@example.com.",
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory):
    with Daemon(tmp_path_factory.mktemp("refusals")) as running:
        yield running


@pytest.mark.parametrize("address", ELSEWHERE)
def test_never_an_open_relay(shared: Daemon, address: str) -> None:
    with Wire(shared.port) as wire:
        wire.hello()
        for sender in ("a@example.net", "user@example.com"):
            wire.say(f"MAIL FROM:<{sender}>")
            answer = wire.say(f"RCPT TO:<{address}>")
            if address == "user@example.com.":
                # the root dot names the same domain; taking or refusing it are both right
                continue
            assert answer[:3] in (b"501", b"550", b"553", b"554"), answer
            assert answer[4:6] == b"5.", "a refusal has an enhanced status code"
            wire.say("RSET")


def test_an_unknown_recipient_is_refused_at_rcpt(shared: Daemon) -> None:
    with Wire(shared.port) as wire:
        wire.hello()
        wire.say("MAIL FROM:<a@example.net>")
        assert wire.say("RCPT TO:<nobody@example.com>").startswith(b"550 5.1.1 ")
        assert wire.say("DATA").startswith(b"554 5.5.1 ")
    assert shared.ask("queue", "list") == []


def test_no_answer_shows_our_inside(shared: Daemon) -> None:
    said = b""
    with Wire(shared.port) as wire:
        said += wire.greeting + wire.hello() + wire.say("HELP") + wire.say("VRFY user")
        said += wire.say("MAIL FROM:<a@example.net>") + wire.say("RCPT TO:<nobody@example.com>")
        said += wire.say("RCPT TO:<a@example.org>") + wire.say("FOO") + wire.say("DATA")
        said += wire.say("QUIT")
    for inside in (str(shared.directory), str(shared.primary), "127.0.0.1", "python", "tideover",
                   "sqlite", "Traceback"):  # fmt: skip
        assert inside.lower().encode() not in said.lower()


def test_a_message_that_goes_in_circles_is_refused(shared: Daemon) -> None:
    hops = b"".join(
        b"Received: from a by b; Sat, 21 Nov 2026 10:%02d:00 +0000\r\n" % n for n in range(60)
    )
    hops *= 2
    with Wire(shared.port) as wire:
        wire.hello()
        wire.begin()
        wire.say("DATA")
        assert wire.say(hops + mail(1) + b".").startswith(b"554 5.4.6 ")
