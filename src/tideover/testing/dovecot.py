"""A Dovecot of its own that tells Postfix who is over quota: the policy service `quota-status`.

Mailboxes are those of a Postfix beside it: maildirs below one directory, one for each local part.
Configuration and state lie below another; the system's instance is not touched.
"""

import os
import shutil
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from tideover.config.values import Endpoint
from tideover.testing.child import Child, program
from tideover.testing.ports import free_port

_STATUS = Path("/usr/lib/dovecot/quota-status")
OVER_QUOTA = "552 5.2.2 Mailbox is full"

_CONFIG = """\
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/log
protocols =
ssl = no
first_valid_uid = 0
mail_location = maildir:%h
mail_plugins = quota
namespace inbox {{
  inbox = yes
}}
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home={mail}/%n allow_all_users=yes
}}
service quota-status {{
  executable = quota-status -p postfix
  inet_listener {{
    address = 127.0.0.1
    port = {port}
  }}
}}
plugin {{
  quota = maildir:User quota
  quota_rule = *:storage={quota}B
  quota_grace = 0
  quota_status_success = DUNNO
  quota_status_nouser = DUNNO
  quota_status_overquota = "{over}"
}}
"""


def why_missing() -> str | None:
    """Why no Dovecot can be run here, or None."""
    if program("dovecot") is None or not _STATUS.exists():
        return "not installed: dovecot (Debian: dovecot-core)"
    return "Dovecot is run by root only" if os.geteuid() != 0 else None


class Dovecot:
    """One instance. As a context manager: started, and stopped at the end.

    `mail` is where the mailboxes are, `quota` how many octets each may hold. `endpoint` answers
    Postfix's `check_policy_service`.
    """

    def __init__(self, directory: Path, *, mail: Path, quota: int) -> None:
        self.endpoint = Endpoint("127.0.0.1", free_port())
        self._mail = mail
        self._quota = quota
        root = directory / "dovecot"
        root.mkdir()
        config = root / "dovecot.conf"
        config.write_text(
            _CONFIG.format(
                root=root, mail=mail, port=self.endpoint.port, quota=quota, over=OVER_QUOTA
            )
        )
        command = [str(program("dovecot")), "-F", "-c", str(config)]
        self.child = Child(command, root / "output", self._answers)
        self._log = root / "log"

    def __enter__(self) -> Self:
        self.child.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.child.stop()

    def fill(self, user: str, free: int) -> None:
        """Put a message into somebody's mailbox that leaves `free` octets."""
        box = self._mail / user
        for part in ("cur", "new", "tmp"):
            (box / part).mkdir(parents=True)
        size = self._quota - free
        (box / "cur" / f"1.M1.home,S={size}:2,S").write_bytes(b"Subject: old\n\n".ljust(size, b"."))
        for path in (box, *box.rglob("*")):
            shutil.chown(path, 65534, 65534)

    def ask(self, recipient: str, size: int = 0) -> str:
        """What it would tell Postfix of a recipient, and of a message of that size."""
        question = f"recipient={recipient}\nsize={size}\n\n"
        with socket.create_connection(self.endpoint, 5) as connection:
            connection.sendall(question.encode())
            return connection.makefile("r").readline().strip()

    def log(self) -> str:
        """What it logged."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _answers(self) -> bool:
        try:
            return self.ask("somebody@example.com").startswith("action=")
        except OSError:
            return False
