"""What `tideover handover` says, and clients that find out what a pasted server makes of it."""

import json
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

US = "127.0.0.1"
STRANGER = "127.0.0.2"

_CONFIG = """\
hostname = "mx2.example.org"
data_dir = "{directory}/data"
max_message_size = "50MiB"

[arc]
domain = "seal.example.org"
selector = "a1"
key_file = "{key}"

[domains."example.com"]
primary = ["127.0.0.1:2526"]
recipients = ["file:{names}"]
"""


def told(target: str, directory: Path, address: str = US) -> dict[str, Any]:
    """The answer of `tideover handover TARGET --json` of a server that connects from there."""
    key, names, config = (directory / name for name in ("a1.pem", "names", "tideover.toml"))
    if not config.exists():
        run("arc", "keygen", "seal.example.org", "a1", "--out", str(key))
        names.write_text("user\n")
        config.write_text(_CONFIG.format(directory=directory, key=key, names=names))
    answer = run("handover", target, "--address", address, "--config", str(config), "--json")
    found: dict[str, Any] = json.loads(answer)
    return found


def parts(target: str, directory: Path, address: str = US) -> list[str]:
    """The texts to paste, in their order."""
    return [part["text"] for part in told(target, directory, address)["parts"]]


def run(*arguments: str) -> str:
    """What the command `tideover` prints."""
    command = [sys.executable, "-m", "tideover", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def session(port: int, source: str = US) -> Iterator[smtplib.SMTP]:
    """A session from one of our addresses, after EHLO."""
    client = smtplib.SMTP("127.0.0.1", port, "mx2.example.org", 20, source_address=(source, 0))
    try:
        client.ehlo("mx2.example.org")
        yield client
    finally:
        client.close()


def asked(client: smtplib.SMTP, recipient: str, sender: str = "sender@example.net") -> str:
    """The reply to RCPT in a new transaction, as one text."""
    client.docmd("RSET")
    client.docmd("MAIL", f"FROM:<{sender}>")
    code, text = client.docmd("RCPT", f"TO:<{recipient}>")
    return f"{code} {text.decode()}"
