r"""A file of addresses or local parts as a source of recipients.

One a line, UTF-8: `user` or `user@example.com`; empty lines and what follows a `#` at the start
of a line or after white space don't count. A byte order mark and CRLF are tolerated. There is no
catch-all: `@example.com` is a mistake, and so is an address of another domain.

Invariants
    The last good list stays: a file that vanished, can't be read, has a mistake or has become
    empty never replaces it, and is reported once, with its line.
    A file is not read while it is being written: its stat must have been the same at two polls,
    and before and after reading.

Nothing here runs on the event loop: `read` and `poll` block, for as long as the file system does.
"""

import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG
from typing import Final, NamedTuple

from tideover.recipients.names import a_label, local_key
from tideover.smtp.address import PathError, parse_path

MAX_FILE: Final = 64 * 1024 * 1024
MAX_LINE: Final = 1000
_MISTAKES_TOLD: Final = 3
_COMMENT: Final = re.compile(r"(?:^|\s)#.*")
_ORDINARY: Final = re.compile(r"[A-Za-z0-9_.+=&'/*?^{}|~$`-]{1,255}")
# A local part with these asks the primary to send the mail on: percent hack, bang path, route.
_RELAY_SIGNS: Final = re.compile(r"[@%!:]")


class SourceError(Exception):
    """The source can't be used as it is. The text is for the operator."""


class Signature(NamedTuple):
    """What tells one content of a file from the next without reading it."""

    mtime_ns: int
    size: int
    inode: int
    device: int


def _signature(stat: os.stat_result) -> Signature:
    return Signature(stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_dev)


def _open(path: str, flags: int) -> int:
    # Non-blocking, so that a FIFO put in the file's place does not stop us.
    return os.open(path, flags | os.O_NONBLOCK)


class FileSource:
    """One file for one domain (A-labels).

    `names` are the local parts by `names.local_key`, None until the file was read for the first
    time; `trouble` says what is wrong with the file now, or is None.
    """

    def __init__(self, path: Path, domain: str) -> None:
        self.path = path
        self.domain = domain
        self.names: frozenset[str] | None = None
        self.trouble: str | None = None
        self._used: Signature | None = None  # was read, whether with success or not
        self._seen: Signature | None = None  # at the last poll

    def read(self) -> bool:
        """Read the file now. Returns whether there is news: a list, or a new trouble."""
        try:
            self._read()
        except SourceError as error:
            return self._failed(str(error))
        except OSError as error:
            return self._failed(f"{self.path}: {error.strerror or error}")
        self.trouble = None
        return True

    def poll(self) -> bool:
        """Read the file if it has changed and is not changing any more. Returns as `read` does."""
        try:
            now = _signature(os.stat(self.path))
        except OSError as error:
            self._used = self._seen = None
            return self._failed(f"{self.path}: {error.strerror or error}")
        settled, self._seen = now == self._seen, now
        return settled and now != self._used and self.read()

    def _failed(self, trouble: str) -> bool:
        news = trouble != self.trouble
        self.trouble = trouble
        return news

    def _read(self) -> None:
        with open(self.path, "rb", opener=_open) as file:
            stat = os.fstat(file.fileno())
            if not S_ISREG(stat.st_mode):
                raise SourceError(f"{self.path}: not a regular file")
            if stat.st_size > MAX_FILE:
                raise SourceError(f"{self.path}: larger than {MAX_FILE >> 20} MiB")
            before = _signature(stat)
            data = file.read(MAX_FILE)
            if _signature(os.fstat(file.fileno())) != before or len(data) != before.size:
                self._used = None
                raise SourceError(f"{self.path}: changed while it was read")
        self._used = before
        names = frozenset(self._parse(data))
        if not names:
            raise SourceError(f"{self.path}: names no recipient")
        self.names = names

    def _parse(self, data: bytes) -> Iterator[str]:
        try:
            # not "utf-8-sig": Python would load that codec now, when it may have lost the right to
            text = data.removeprefix(BOM_UTF8).decode()
        except UnicodeDecodeError as error:
            bad = data.count(b"\n", 0, error.start) + 1
            raise SourceError(f"{self.path}:{bad}: not UTF-8") from None
        domain = self.domain
        mistakes: list[str] = []
        # split("\n") and not splitlines(): U+2028 and its like end no line
        for number, line in enumerate(text.split("\n"), 1):
            local, at, rest = line.partition("@")
            if _ORDINARY.fullmatch(local) and (not at or rest == domain):
                yield local.lower()
                continue
            try:
                if name := self._name(line):
                    yield name
            except SourceError as error:
                mistakes.append(f"{self.path}:{number}: {error}")
                if len(mistakes) == _MISTAKES_TOLD:
                    break
        if mistakes:
            raise SourceError("; ".join(mistakes))

    def _name(self, line: str) -> str | None:
        """The key of a line that is not of the most ordinary form; None for no address."""
        if len(line) > MAX_LINE:
            raise SourceError(f"longer than {MAX_LINE} characters")
        line = _COMMENT.sub("", line).strip()
        if not line:
            return None
        if line.startswith("@"):
            raise SourceError("a catch-all is not possible; each recipient must be named")
        try:
            mailbox, rest = parse_path(f"<{line}>".encode())
        except (PathError, UnicodeEncodeError):
            mailbox, rest = None, b""
        if mailbox is None or rest or mailbox.text != line:
            raise SourceError("not an address or local part")
        if mailbox.domain and a_label(mailbox.domain) != self.domain:
            raise SourceError(f"{mailbox.domain} is another domain than {self.domain}")
        if _RELAY_SIGNS.search(mailbox.local):
            raise SourceError("a local part can't hold any of @ % ! :")
        return local_key(mailbox.local)
