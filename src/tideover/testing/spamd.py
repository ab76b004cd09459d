"""A spamd of its own with two rules: GTUBE, and one that is worth 3 points. Needs no updates."""

import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from tideover.config.values import Endpoint
from tideover.testing.child import Child, program
from tideover.testing.ports import free_port

# in two parts, so that no filter takes this file for spam
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*" + b"GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
MONEY = b"a million dollars"
"""Text that is worth 3 points (test MONEY), of 5."""

_RULES = r"""
util_rb_tld com net org example
required_score 5
body GTUBE /XJS\*C4JDBQADN1\.NSBN3\*2IDNEN\*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL\*C\.34X/
score GTUBE 1000
body MONEY /a million dollars/
score MONEY 3
header FROM_BULK EnvelopeFrom =~ /^bulk@/
score FROM_BULK 0.5
header VIA_US Received =~ /tideover-test/
score VIA_US 0.1
"""


def why_missing() -> str | None:
    """Why no spamd can be run here, or None."""
    return None if program("spamd") else "not installed: spamd (Debian: spamassassin, spamd)"


class Spamd:
    """One server, for one use as a context manager: started, and stopped at the end."""

    def __init__(self, directory: Path) -> None:
        self.endpoint = Endpoint("127.0.0.1", free_port())
        # started by root it reads its rules as nobody, who may not enter the directories of tests
        self._rules = TemporaryDirectory(prefix="spamd-")
        root = Path(self._rules.name)
        root.chmod(0o755)
        (root / "rules").mkdir()
        (root / "site").mkdir()
        (root / "rules" / "10_rules.cf").write_text(_RULES)
        (root / "site" / "init.pre").write_text("loadplugin Mail::SpamAssassin::Plugin::Check\n")
        command = [
            str(program("spamd")), "--local", "--nouser-config", "--syslog=stderr",
            f"--listen=127.0.0.1:{self.endpoint.port}", f"--configpath={root / 'rules'}",
            f"--siteconfigpath={root / 'site'}", f"--helper-home-dir={root}",
            "--max-children=2", "--min-children=1", "--min-spare=1",
        ]  # fmt: skip
        self.child = Child(command, directory / "spamd.log", self._answers)

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
        self._rules.cleanup()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(self.endpoint, 5) as sock:
                sock.sendall(b"PING SPAMC/1.5\r\n\r\n")
                return sock.recv(100).endswith(b"PONG\r\n")
        except OSError:
            return False
