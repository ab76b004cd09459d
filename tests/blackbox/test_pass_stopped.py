"""We are told to stop while transactions pass through: in less than 10 s, and on record."""

import threading
import time
from pathlib import Path

import pytest

from pass_rig import AT_ONCE, primary_is, until
from tideover.testing.breaking_peer import OFFERS, XCLIENT, BreakingPeer
from tideover.testing.daemon import Daemon
from tideover.testing.ports import free_port
from wire import Wire

BODY = b"Subject: x\r\n\r\n" + b"line\r\n" * 100
_SETTINGS = """
[pass_through]
connect_timeout = "50s"
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", ["CONNECT", "XCLIENT", "MAIL", "DATA", "DOT", "STORED"])
def test_a_primary_that_says_nothing_does_not_keep_us(tmp_path: Path, step: str) -> None:
    """The client hears no 250; that the primary may have the message is on record."""
    with (
        BreakingPeer(tmp_path / "peer", free_port(), offers=(*OFFERS, XCLIENT)) as peer,
        Daemon(
            tmp_path / "daemon",
            primary=peer.rules.port,
            domain='when_primary_up = "pass-through"',
            more=AT_ONCE + _SETTINGS,
        ) as daemon,
    ):
        primary_is(daemon, "up")
        with Wire(daemon.port, source="127.0.0.5") as wire:
            wire.hello()
            wire.say("MAIL FROM:<sender@example.net>")
            peer.arm(step, "hang")
            wire.send(b"RCPT TO:<user@example.com>\r\n")
            if step in ("DATA", "DOT", "STORED"):
                assert wire.reply().startswith(b"250")
                wire.send(b"DATA\r\n")
            if step in ("DOT", "STORED"):
                assert wire.reply().startswith(b"354")
                wire.send(BODY + b".\r\n")
            until(lambda: not peer.armed)
            time.sleep(0.2)
            heard: list[bytes] = []
            listener = threading.Thread(target=lambda: heard.append(wire.reply()))
            listener.start()
            began = time.monotonic()
            assert daemon.stop() == 0
            assert time.monotonic() - began < 10.0
            listener.join()
        assert heard[0].startswith(b"421 4.3.2") or heard[0] == b""
        lost = list(daemon.events("pass-through-lost"))
        assert [one.get("maybe_delivered", False) for one in lost] == (
            [True] if step in ("DOT", "STORED") else [False] * len(lost)
        )
        assert not list(daemon.events("message-accepted", "passed-through"))
        assert "Traceback" not in daemon.output()
        assert "exception" not in daemon.output().lower()
        assert not list(daemon.events("check-failed"))
        assert all(one["reply"][0] == "4" for one in daemon.events("message-refused"))


def test_a_body_under_way_comes_to_its_end(tmp_path: Path) -> None:
    with (
        BreakingPeer(tmp_path / "peer", free_port(), offers=(*OFFERS, XCLIENT)) as peer,
        Daemon(
            tmp_path / "daemon", primary=peer.rules.port, domain='when_primary_up = "auto"',
            more=AT_ONCE,
        ) as daemon,
    ):  # fmt: skip
        primary_is(daemon, "up")
        with Wire(daemon.port, source="127.0.0.5") as wire:
            wire.hello()
            wire.begin()
            wire.say("DATA")
            wire.send(BODY)
            stopper = threading.Thread(target=daemon.stop)
            stopper.start()
            time.sleep(1.0)
            wire.send(BODY + b".\r\n")
            assert wire.reply().startswith(b"250 ")
            assert wire.reply().startswith(b"421 4.3.2")
            stopper.join()
        assert len(peer.taken()) == 1
        assert len(list(daemon.events("passed-through"))) == 1
