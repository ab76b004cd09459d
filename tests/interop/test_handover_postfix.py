"""`tideover handover postfix`, pasted into a real Postfix that trusts nobody."""

import os
import smtplib
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from handover_paste import STRANGER, US, asked, parts, session
from peers import needs_postfix, open_directory

from tideover.testing.daemon import Daemon
from tideover.testing.ports import free_port
from tideover.testing.postfix import Postfix

pytestmark = [pytest.mark.interop, needs_postfix()]

_SUSPICIOUS = """\
virtual_mailbox_domains = example.com
virtual_mailbox_maps = inline:{user@example.com=x}
smtpd_recipient_restrictions =
    reject_unauth_destination,
    check_client_access
        inline:{{127.0.0.1 = defer greylisted}, {198.51.100.7 = defer greylisted}}
smtpd_client_restrictions = check_client_access static:{defer newcomer}
smtpd_client_connection_rate_limit = 3
smtpd_delay_reject = yes
smtpd_log_access_permit_actions = all
"""


@contextmanager
def primary(*, pasted: int) -> Iterator[Postfix]:
    """A Postfix into whose shell the text was pasted so often."""
    with open_directory() as directory:
        postfix = Postfix(directory, port=free_port(), settings=_SUSPICIOUS)
        (script,) = parts("postfix", directory)
        for _ in range(pasted):
            paste(script, directory)
        with postfix:
            yield postfix


def paste(script: str, directory: Path) -> str:
    environment = {"PATH": os.environ["PATH"] + ":/usr/sbin", "MAIL_CONFIG": str(directory / "etc")}
    done = subprocess.run(
        ["sh", "-eu"], input=script, env=environment, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


_GREY = """\
virtual_mailbox_domains = example.com
virtual_mailbox_maps = inline:{user@example.com=x}
virtual_transport = discard:
smtpd_recipient_restrictions =
    reject_unauth_destination,
    check_client_access inline:{{127.0.0.1 = 450 4.2.0 Greylisted}}
"""
_ACCEPT = """\
when_primary_up = "accept"
"""


def call_often(port: int) -> None:
    for _ in range(8):
        with session(port):
            pass


def test_without_it_we_are_a_stranger() -> None:
    with primary(pasted=0) as postfix:
        with session(postfix.port) as client:
            assert not client.has_extn("xclient")
            assert asked(client, "user@example.com").startswith("450 4.7.1")
        with pytest.raises(smtplib.SMTPConnectError, match="too many connections"):
            call_often(postfix.port)


def test_it_lets_us_say_who_calls_and_lets_us_through() -> None:
    with primary(pasted=1) as postfix:
        call_often(postfix.port)
        with session(postfix.port) as client:
            assert client.has_extn("xclient")
            assert client.has_extn("xforward")
            assert asked(client, "user@example.com").startswith("250 ")
            assert asked(client, "nobody@example.com").startswith("550 5.1.1")
            assert asked(client, "user@elsewhere.example").startswith("450 4.7.1"), "no relay"
        with session(postfix.port) as client:
            code, _ = client.docmd("XCLIENT", "ADDR=198.51.100.7 NAME=[UNAVAILABLE]")
            assert code == 220
            client.ehlo("caller.example.net")
            assert asked(client, "user@example.com").startswith("450 4.7.1"), "its own verdict"
        soon(lambda: "from unknown[198.51.100.7]" in postfix.log())  # it logs when it comes to it
        log = postfix.log()
    assert "warning:" not in log


@pytest.mark.slow
def test_it_gives_strangers_nothing() -> None:
    with primary(pasted=1) as postfix, session(postfix.port, STRANGER) as client:
        assert not client.has_extn("xclient")
        assert asked(client, "user@example.com").startswith("450 4.7.1")


@pytest.mark.slow
def test_pasted_again_it_changes_nothing() -> None:
    with primary(pasted=1) as postfix:
        main = (postfix.directory / "etc" / "main.cf").read_bytes()
        (script,) = parts("postfix", postfix.directory)
        paste(script, postfix.directory)
        assert (postfix.directory / "etc" / "main.cf").read_bytes() == main
        assert paste("postconf -n", postfix.directory), "and nothing on stderr"
        table = f"cidr:{postfix.directory}/etc/tideover_postscreen.cidr"
        assert table in paste("postconf -h postscreen_access_list", postfix.directory)
        assert paste(f"postmap -q {US} {table}", postfix.directory) == "permit\n"


def soon(wanted: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not wanted():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_status_and_explain_tell_that_it_is_missing_until_it_is_there(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon(domain=_ACCEPT)

    def domain() -> dict[str, Any]:
        (found,) = daemon.ask("status")["domains"].values()
        return dict(found)

    with open_directory() as directory:
        postfix = Postfix(directory, port=daemon.primary, settings=_GREY)
        with postfix:
            daemon.start()
            with session(daemon.port, STRANGER) as client:
                client.ehlo("caller.example.net")
                assert asked(client, "user@example.com").startswith("250 ")
                answer = client.data(b"From: sender@example.net\r\n\r\nhello\r\n")[1]
            queue_id = answer.decode().split()[-1]
            soon(lambda: domain()["handover"] is not None)
            told = domain()["handover"]
            assert told["keyword"] == "greylisted"
            assert "tideover handover" in told["cure"]
            events = daemon.ask("explain", queue_id)
            assert any(e["event"] == "handover-trouble" for e in events)
            assert any(e.get("handover", "").startswith(told["text"]) for e in events)
        (script,) = parts("postfix", directory)
        paste(script, directory)
        with postfix:
            soon(lambda: domain()["primary"] == "up")
            daemon.ask("queue", "flush", "--domain", "example.com")
            soon(lambda: domain()["queued"] == 0)
            assert domain()["handover"] is None
            assert f"client=unknown[{STRANGER}]" in postfix.log()
        events = daemon.ask("explain", queue_id)
        assert [e for e in events if e["event"] == "delivered"]
