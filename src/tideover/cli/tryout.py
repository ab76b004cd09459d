"""`tideover serve --try DIR`: an example that runs at once, and what to do with it."""

import socket
import sys
from pathlib import Path

_CONFIG = """\
# Made by `tideover serve --try`. Change it as you like; it is not written again.
hostname = "mx2.example.org"
data_dir = "data"
min_free_space = "64MiB"

[smtp]
listen = [{listen}]

[policy]
# this machine may send as anybody; without the next line it is checked as strangers are
trusted_networks = ["127.0.0.0/8", "::1/128"]

[domains."example.com"]
primary = ["127.0.0.1:2526"]
recipients = ["file:example.com.recipients"]
"""

_RECIPIENTS = """\
# Who exists at example.com: one address or local part a line.
alice
bob
carol
sales
postmaster
"""

_NEXT = """\
Tideover takes mail for example.com on 127.0.0.1:2525; its primary is 127.0.0.1:2526, still down.

Send it a message, with swaks
    swaks --server 127.0.0.1:2525 --from you@example.net --to alice@example.com
or with three lines of Python:
    import smtplib
    mx = smtplib.SMTP("127.0.0.1", 2525)
    mx.sendmail("you@example.net", "alice@example.com", "Subject: tide\\r\\n\\r\\nHello!\\r\\n")

See it wait:
    {command} queue list --config {config}
Start a primary, and it goes home within 2 seconds. Any SMTP server on that port will do, as
Postfix's smtp-sink (root adds -u nobody), or one in Python, where `primary.messages` then shows
what has arrived:
    smtp-sink -v 127.0.0.1:2526 100
    {python} -i -c "from tideover.testing.sink import Sink; primary = Sink(2526).__enter__()"
See what became of it:
    {command} status --config {config}
    {command} explain ID --config {config}
While the primary is up, who comes here is told to go there (450), unless the primary lets us say
who calls (XCLIENT): then it answers itself. See docs/pass-through.md.

Ctrl-C stops it.
"""


def prepare(directory: Path) -> Path:
    """Write a configuration and recipients there, unless they exist.

    Returns the configuration's path.

    Raises:
        OSError: it can't be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "tideover.toml"
    listen = ['"127.0.0.1:2525"', *(['"[::1]:2525"'] if _has_ipv6() else [])]
    _write_new(config, _CONFIG.format(listen=", ".join(listen)))
    _write_new(directory / "example.com.recipients", _RECIPIENTS)
    return config


def next_steps(config: Path) -> str:
    """What to try, as text for a terminal."""
    local = Path(".venv/bin")
    command, python = (
        (local / "tideover", local / "python") if local.exists() else ("tideover", sys.executable)
    )
    return _NEXT.format(config=config, command=command, python=python)


def _write_new(path: Path, text: str) -> None:
    if not path.exists():
        path.write_text(text, encoding="utf-8")


def _has_ipv6() -> bool:
    """Whether this machine has the address ::1."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
