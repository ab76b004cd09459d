"""A primary as people run them: Postfix, rspamd as its milter, Dovecot that knows the quotas."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from peers import open_directory

from tideover.testing import dovecot, postfix, rspamd
from tideover.testing.dovecot import Dovecot
from tideover.testing.ports import free_port
from tideover.testing.postfix import Postfix
from tideover.testing.rspamd import Rspamd

MISSING = "; ".join(why for one in (postfix, rspamd, dovecot) if (why := one.why_missing()))
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
NAME = "home.primary.test"
USERS = ("user", "other", "full", "nearly", "grey", "blocked", "sender", "grün")
QUOTA = 80_000_000
LARGEST = 26_500_000

_HOME = """
virtual_mailbox_domains = example.com, second.example, away.example
virtual_mailbox_base = @DIR@/mail
virtual_mailbox_maps = hash:@DIR@/users
virtual_alias_maps =
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_mailbox_limit = 0
mailbox_size_limit = 0
message_size_limit = {largest}
smtpd_relay_restrictions = permit_auth_destination, reject
smtpd_recipient_restrictions =
    check_recipient_access hash:@DIR@/recipients, check_policy_service inet:{quota}
smtpd_milters = inet:{milter}
milter_default_action = tempfail
milter_protocol = 6
smtpd_client_connection_count_limit = 100
smtpd_error_sleep_time = 0
in_flow_delay = 0s
smtputf8_enable = yes
"""


class Home:
    """Made by `running`. `postfix` can be stopped and started again."""

    def __init__(self, directory: Path, stack: ExitStack, rights: str) -> None:
        self.directory = directory
        self.mail = directory / "mail"
        self.mail.mkdir()
        os.chown(self.mail, 65534, 65534)
        self.dovecot = Dovecot(directory, mail=self.mail, quota=QUOTA)
        self.dovecot.fill("full", 0)
        self.dovecot.fill("nearly", 5000)
        self.rspamd = Rspamd(directory, milter=True)
        self.postfix = Postfix(
            directory / "postfix",
            port=free_port(),
            settings=_HOME.replace("@DIR@/mail", str(self.mail)).format(
                largest=LARGEST, quota=self.dovecot.endpoint, milter=self.rspamd.milter
            )
            + rights,
            hostname=NAME,
        )
        lines = [f"{user}@{domain} {user}/" for user in USERS
                 for domain in ("example.com", "second.example", "away.example")]  # fmt: skip
        self.postfix.table("users", "\n".join(lines) + "\n")
        self.postfix.table(
            "recipients",
            "grey@example.com 450 4.7.1 Greylisted, come again\n"
            "blocked@example.com 550 5.7.1 Not from you\n",
        )
        for part in (self.dovecot, self.rspamd, self.postfix):
            stack.enter_context(part)
        stack.callback(self.postfix.stop)

    @property
    def port(self) -> int:
        return self.postfix.port

    def box(self, user: str) -> list[bytes]:
        """What lies in a mailbox, with the line ends that the message had on the wire."""
        new = self.mail / user / "new"
        return [path.read_bytes().replace(b"\n", b"\r\n") for path in sorted(new.glob("*"))]

    def clients(self) -> list[str]:
        """Who sent each message that was taken so far, as its log says."""
        return re.findall(r"smtpd\[\d+\]: \w+: client=(\S+)", self.postfix.log())


XCLIENT = "smtpd_authorized_xclient_hosts = 127.0.0.1\n"
XFORWARD = "smtpd_authorized_xforward_hosts = 127.0.0.1\n"


@contextmanager
def running(rights: str = XCLIENT) -> Iterator[Home]:
    """All of it, started. `rights` are lines of main.cf: what it lets a relay say of clients."""
    with open_directory() as directory, ExitStack() as stack:
        yield Home(directory, stack, rights)
