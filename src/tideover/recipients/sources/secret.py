"""Passwords from files: read anew for each connection, so that a changed one is used at once."""

from pathlib import Path
from typing import Final

from tideover.recipients.sources.interface import SourceError

_LONGEST: Final = 4096


def read_password(path: Path | None) -> str | None:
    """The first line of the file, or None when there is none to read. Blocks.

    Raises:
        SourceError: it can't be read, or holds no password.
    """
    if path is None:
        return None
    try:
        with path.open(encoding="utf-8") as file:
            password = file.readline(_LONGEST).rstrip("\r\n")
    except OSError as error:
        raise SourceError(f"password_file {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise SourceError(f"password_file {path}: not UTF-8") from None
    if not password:
        raise SourceError(f"password_file {path}: its first line is empty")
    return password


def hide(text: str, *secrets: str | None) -> str:
    """The text as one line, the secrets in it made unreadable."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return " ".join(text.split())
