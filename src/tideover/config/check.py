"""What is no mistake, but what an operator would want to know before the start."""

import os
from collections.abc import Iterator
from pathlib import Path

from tideover.config.model import Config


def warnings(config: Config) -> Iterator[str]:
    """One text a thing that may get right by itself, or may be meant: `KEY: what, and its cure`."""
    if not config.domains:
        yield "domains: none is configured, so all mail is refused with 554 5.7.1"
    for name, domain in config.domains.items():
        for source in domain.recipients:
            path = Path(source.removeprefix("file:"))
            if reason := unreadable(path):
                cure = "until it can be read, recipients get 4xx"
                yield f'domains."{name}".recipients: {path} {reason}; {cure}'
    for key in ("tls_certificate", "tls_key"):
        file: Path | None = getattr(config.smtp, key)
        if file is not None and (reason := unreadable(file)):
            yield f"smtp.{key}: {file} {reason}; until it can be read, a self-made one is used"
    if config.user is None and os.geteuid() == 0:
        yield "user: not set; started as root, the daemon would stay root"


def unreadable(path: Path) -> str | None:
    """Why this file can't be read, or None."""
    try:
        with path.open("rb"):
            return None
    except IsADirectoryError:
        return "is a directory"
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"can't be read ({error.strerror})"
