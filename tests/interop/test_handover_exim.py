"""`tideover handover exim`, pasted into a real Exim whose ACL defers whom it doesn't know."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from handover_paste import STRANGER, asked, parts, session
from peers import open_directory

from tideover.testing import exim as exim_program
from tideover.testing.exim import Exim

_MISSING = exim_program.why_missing()
pytestmark = [pytest.mark.interop, pytest.mark.skipif(_MISSING is not None, reason=str(_MISSING))]

_CONFIG = """\
domainlist local_domains = example.com
acl_smtp_rcpt = acl_check_rcpt
acl_smtp_data = accept
{main}
begin acl
acl_check_rcpt:
{acl}
  deny message = relay not permitted
    domains = ! +local_domains
  defer message = greylisted
    hosts = *
begin routers
home:
  driver = accept
  domains = +local_domains
  local_parts = user
  transport = mailbox
begin transports
mailbox:
  driver = appendfile
  file = @DIR@/mbox
  user = Debian-exim
"""


@contextmanager
def primary(*, pasted: bool) -> Iterator[Exim]:
    with open_directory() as directory:
        main, acl = parts("exim", directory) if pasted else ("", "")
        exim = Exim(directory, _CONFIG.format(main=main, acl=acl))
        assert exim.check() == ""
        with exim:
            yield exim


def test_without_it_we_are_a_stranger() -> None:
    with primary(pasted=False) as exim, session(exim.port) as client:
        assert asked(client, "user@example.com") == "451 greylisted"


def test_it_lets_us_through_to_those_who_exist() -> None:
    with primary(pasted=True) as exim, session(exim.port) as client:
        assert asked(client, "nobody@example.com") == "550 unknown user"
        assert asked(client, "user@elsewhere.example") == "550 relay not permitted"
        assert asked(client, "user@example.com") == "250 Accepted"
        code, _ = client.data(b"Subject: home\r\n\r\nagain\r\n")
        assert code == 250


def test_it_gives_strangers_nothing() -> None:
    with primary(pasted=True) as exim, session(exim.port, STRANGER) as client:
        assert not client.has_extn("xclient")
        assert asked(client, "user@example.com") == "451 greylisted"
