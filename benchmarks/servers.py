"""The servers under test, each with a directory of its own below the work directory."""

import shutil
from pathlib import Path
from typing import Protocol

from load import recipients
from native import compiled

from tideover.testing.daemon import Daemon, free_port
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


class Tideover:
    """Ours, with its default settings."""

    name = "tideover"

    def __init__(self, work: Path, preload: str | None) -> None:
        self.daemon = Daemon(work / "tideover", recipients=recipients())
        self.port, self.primary = self.daemon.port, self.daemon.primary
        if preload:
            self.daemon.environment["LD_PRELOAD"] = preload

    def start(self) -> None:
        shutil.rmtree(self.daemon.data_dir, ignore_errors=True)
        self.daemon.start()

    def stop(self) -> None:
        self.daemon.stop()

    @property
    def pid(self) -> int:
        return self.daemon.running.pid

    def queued(self) -> int:
        found = self.daemon.ask("status")["domains"]["example.com"]
        return int(found["queued"])

    def flush(self) -> None:
        self.daemon.run("queue", "flush", "--domain", "example.com")


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
