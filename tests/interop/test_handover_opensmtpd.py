"""`tideover handover opensmtpd`, pasted into a real OpenSMTPD whose filter lets nobody in."""

import smtplib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from handover_paste import STRANGER, asked, parts, session
from peers import open_directory

from tideover.testing import opensmtpd as opensmtpd_program
from tideover.testing.opensmtpd import OpenSmtpd
from tideover.testing.ports import free_port
from tideover.testing.sink import Sink

_MISSING = opensmtpd_program.why_missing()
pytestmark = [pytest.mark.interop, pytest.mark.skipif(_MISSING is not None, reason=str(_MISSING))]

_CONFIG = """\
{tables}
filter "nobody" phase connect match !src "192.0.2.77" disconnect "550 go away"
listen on 127.0.0.1 port @PORT@ filter {{ {filters} }}
action "local" relay host smtp://127.0.0.1:{sink}
{match}
match from any for domain "example.com" action "local"
"""


@contextmanager
def primary(*, pasted: bool, sink: int = 9) -> Iterator[OpenSmtpd]:
    with open_directory() as directory:
        tables, match = parts("opensmtpd", directory) if pasted else ("", "")
        filters = '"tideover", "nobody"' if pasted else '"nobody"'
        config = _CONFIG.format(tables=tables, match=match, filters=filters, sink=sink)
        with OpenSmtpd(directory, config) as opensmtpd:
            yield opensmtpd


def test_without_it_we_are_a_stranger() -> None:
    with (
        primary(pasted=False) as opensmtpd,
        pytest.raises(smtplib.SMTPConnectError, match="go away"),
        session(opensmtpd.port),
    ):
        pass


def test_it_lets_our_mail_home_and_no_other() -> None:
    home = free_port()
    with Sink(home) as sink, primary(pasted=True, sink=home) as opensmtpd:
        with session(opensmtpd.port) as client:
            assert asked(client, "user@elsewhere.example").startswith("550 ")
            assert asked(client, "user@example.com").startswith("250 ")
            code, _ = client.data(b"From: a@example.net\r\nSubject: home\r\n\r\nagain\r\n")
            assert code == 250
        assert b"again" in sink.wait(1, 20)[0].body


def test_it_gives_strangers_nothing() -> None:
    with (
        primary(pasted=True) as opensmtpd,
        pytest.raises(smtplib.SMTPConnectError, match="go away"),
        session(opensmtpd.port, STRANGER),
    ):
        pass
