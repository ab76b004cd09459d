"""The servers under test, each with a directory of its own below the work directory."""

import shutil
from pathlib import Path
from typing import Protocol

from load import recipients
from native import compiled

from tideover.testing.daemon import Daemon
from tideover.testing.nsd import Nsd
from tideover.testing.ports import free_port
from tideover.testing.postfix import Postfix


class Server(Protocol):
    """What the phases need of a server. All its mail is for example.com."""

    name: str
    port: int
    primary: int

    def start(self) -> None:
        """Start it with an empty queue."""

    def stop(self) -> None: ...

    @property
    def pid(self) -> int: ...

    def queued(self) -> int:
        """How many messages it has queued."""

    def flush(self) -> None:
        """The operator's command that makes it try the whole queue now."""


ZONE = """
client MX 10 client
client A 127.0.0.1
@ MX 10 client
@ A 127.0.0.1
@ TXT "v=spf1 ip4:192.0.2.0/24 include:_spf.example.net mx -all"
_spf TXT "v=spf1 ip4:198.51.100.0/24 ip4:203.0.113.0/24 ip4:127.0.0.0/8 -all"
_dmarc TXT "v=DMARC1; p=none"
"""
"""The sender's domain, example.net, as businesses write theirs."""

NO_CHECKS = '[policy]\ngreet_delay = "0s"\n[profiles.default]\nchecks = []\n'


class Tideover:
    """Ours, with its default settings: all checks that need no other program."""

    name = "tideover"
    more = ""

    def __init__(self, work: Path, preload: str | None) -> None:
        self.dns = Nsd(work / self.name)
        self.dns.zone("example.net", ZONE, ttl=86400)
        self.dns.zone("127.in-addr.arpa", "1.0.0 PTR client.example.net.\n", ttl=86400)
        server = f'[dns]\nservers = ["{self.dns.endpoint}"]\n'
        self.daemon = Daemon(work / self.name, recipients=recipients(), more=server + self.more)
        self.port, self.primary = self.daemon.port, self.daemon.primary
        if preload:
            self.daemon.environment["LD_PRELOAD"] = preload

    def start(self) -> None:
        shutil.rmtree(self.daemon.data_dir, ignore_errors=True)
        self.dns.start()
        self.daemon.start()

    def stop(self) -> None:
        self.daemon.stop()
        self.dns.stop()

    @property
    def pid(self) -> int:
        return self.daemon.running.pid

    def queued(self) -> int:
        found = self.daemon.ask("status")["domains"]["example.com"]
        return int(found["queued"])

    def flush(self) -> None:
        self.daemon.run("queue", "flush", "--domain", "example.com")


class TideoverBare(Tideover):
    """Ours without any check: it takes what the peers take."""

    name = "tideover-bare"
    more = NO_CHECKS


_POSTFIX = """
relay_domains = example.com
relay_recipient_maps = hash:@DIR@/recipients
transport_maps = hash:@DIR@/transport
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions =
unknown_relay_recipient_reject_code = 550
maximal_queue_lifetime = 30d
in_flow_delay = 0s
default_process_limit = 200
relay_destination_concurrency_limit = 40
initial_destination_concurrency = 20
qmgr_message_active_limit = 100000
qmgr_message_recipient_limit = 100000
smtpd_client_connection_count_limit = 200
"""


class DebianPostfix:
    """Debian's Postfix as a backup MX, tuned as a good admin would for a primary's backlog."""

    name = "postfix"

    def __init__(self, work: Path, preload: str | None) -> None:
        self.port, self.primary = free_port(), free_port()
        self.postfix = Postfix(work / "postfix", port=self.port, settings=_POSTFIX)
        self.postfix.table("recipients", recipients().replace("\n", " x\n"))
        self.postfix.table("transport", f"example.com relay:[127.0.0.1]:{self.primary}\n")
        if preload:
            self.postfix.environment["LD_PRELOAD"] = preload

    def start(self) -> None:
        self.postfix.clean()
        self.postfix.start()

    def stop(self) -> None:
        self.postfix.stop()

    @property
    def pid(self) -> int:
        assert self.postfix.process is not None
        return self.postfix.process.pid

    def queued(self) -> int:
        return self.postfix.queued()

    def flush(self) -> None:
        self.postfix.flush()


def slow_sync(work: Path, milliseconds: int) -> str:
    """The shim that makes each fsync slower; returns its path."""
    return str(compiled("slowsync", work, "-shared", "-fPIC", f"-DSLOWSYNC_MS={milliseconds}"))
