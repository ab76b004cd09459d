r"""Golden SMTP dialogues: one file, run against anything that speaks SMTP as a server.

A file `NAME.smtp` has header lines, then the dialogue::

    # title: What is shown
    # rfc: 5321 §4.1.1.4
    # no-pipeline: why the lines can't be sent all at once (optional)
    C: MAIL FROM:<a@example.net>       what the client sends; CRLF is added
    C| a line without\n its CRLF       the same, nothing added
    C*100: RCPT TO:<x@example.com>     a hundred times
    S: 250 2\.1\.0 .*                  a regular expression for one whole line of the answer
    S*100: 250 2\.1\.5 .*
    S~ 250                             a whole answer with this code, of any number of lines
    T:                                 the TLS handshake happens here
    M: Subject: x\r\n\r\nHello\r\n      a message with exactly this body was accepted, after the one
                                       that the `M` before names
    X:                                 the server has closed the connection

Escapes in `C` and `M`: `\r \n \t \\ \xNN`, and `\{600x}` for 600 times `x`.

This module parses and plays; it opens no connection and judges only by the file.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

_LINE = re.compile(r"([CSMTX])(?:\*(\d+))?([:|~])(?: (.*))?")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|\{(\d+)(.)\}|(.))")
_PLAIN = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\"}


class TranscriptError(Exception):
    """A file is not in the format. The text names file and line."""


class MismatchError(AssertionError):
    """The server said something else than the file."""


class Mode(Enum):
    """How the client's octets are cut."""

    LINES = "a line at a time"
    OCTETS = "octet by octet"
    BLOCK = "all at once"


class Peer(Protocol):
    """The server under test."""

    def send(self, data: bytes) -> None:
        """Deliver octets to it."""

    def read_line(self) -> bytes:
        """The next line of its answers, without CRLF; empty when there is none and none will be."""

    def start_tls(self) -> None:
        """Do the handshake."""

    def closed(self) -> bool:
        """Whether it has closed the connection, and nothing is left to read."""

    def bodies(self) -> list[bytes] | None:
        """The bodies that it accepted, in order, or None when that can't be seen."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the dialogue. `kind` is its first letter, `S~` for a whole answer."""

    line: int
    kind: str
    data: bytes = b""
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class Transcript:
    """One parsed file."""

    path: Path
    headers: dict[str, str] = field(hash=False)
    steps: tuple[Step, ...]

    @property
    def title(self) -> str:
        """The file's title."""
        return self.headers["title"]

    def stretches(self) -> Iterator[list[Step]]:
        """The steps, cut behind each handshake: octets are never sent ahead across one."""
        stretch: list[Step] = []
        for step in self.steps:
            stretch.append(step)
            if step.kind == "T":
                yield stretch
                stretch = []
        yield stretch


def unescape(text: str) -> bytes:
    """The octets that an escaped text stands for."""

    def one(match: re.Match[str]) -> str:
        code, count, repeated, plain = match.groups()
        if code:
            return chr(0xDC00 + int(code, 16)) if int(code, 16) > 127 else chr(int(code, 16))
        if count:
            return str(repeated) * int(count)
        return _PLAIN[plain]

    return _ESCAPE.sub(one, text).encode("utf-8", "surrogateescape")


def parse(path: Path) -> Transcript:
    """Read one file.

    Raises:
        TranscriptError: it is not in the format.
    """
    headers: dict[str, str] = {}
    steps: list[Step] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("#"):
            key, colon, value = line[1:].partition(":")
            if colon and not steps:
                headers[key.strip()] = value.strip()
        elif line.strip():
            steps += _parse_line(path, number, line)
    if not headers.get("title") or not steps:
        raise TranscriptError(f"{path}: a title and a dialogue are needed")
    return Transcript(path, headers, tuple(steps))


def _parse_line(path: Path, number: int, line: str) -> list[Step]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise TranscriptError(f"{path}:{number}: not a line of a transcript: {line!r}")
    letter, count, mark, text = match.groups()
    text = text or ""
    try:
        match letter, mark:
            case "C", ":":
                step = Step(number, "C", data=unescape(text) + b"\r\n")
            case "C", "|":
                step = Step(number, "C", data=unescape(text))
            case "S", ":":
                re.compile(text)
                step = Step(number, "S", pattern=text)
            case "S", "~":
                step = Step(number, "S~", pattern=text)
            case "M", ":":
                step = Step(number, "M", data=unescape(text))
            case (("T" | "X"), ":"):
                step = Step(number, letter)
            case _:
                raise TranscriptError(f"{path}:{number}: {letter}{mark} is not a mark")
    except (KeyError, re.error) as error:
        raise TranscriptError(f"{path}:{number}: {error}") from None
    return [step] * int(count or 1)


def play(transcript: Transcript, peer: Peer, mode: Mode) -> None:
    """Play a dialogue from its greeting to its end.

    Raises:
        MismatchError: the server did not answer as the file says.
    """
    accepted = 0
    for stretch in transcript.stretches():
        if mode is Mode.BLOCK:
            peer.send(b"".join(step.data for step in stretch if step.kind == "C"))
        for step in stretch:
            wrong = _complaint(transcript, step, mode)
            if step.kind == "M":
                accepted = _find_body(step, peer.bodies(), accepted, wrong)
            else:
                _take(step, peer, mode, wrong)


def _find_body(
    step: Step, bodies: list[bytes] | None, start: int, wrong: Callable[[str], MismatchError]
) -> int:
    """Where to look for the next body, having found this one."""
    if bodies is None:
        return start
    if step.data not in bodies[start:]:
        raise wrong(f"expected the body {step.data!r}, got {bodies[start:]!r}")
    return bodies.index(step.data, start) + 1


def _take(step: Step, peer: Peer, mode: Mode, wrong: Callable[[str], MismatchError]) -> None:
    match step.kind:
        case "C" if mode is Mode.LINES:
            peer.send(step.data)
        case "C" if mode is Mode.OCTETS:
            for octet in step.data:
                peer.send(bytes((octet,)))
        case "S":
            line = peer.read_line().decode("utf-8", "backslashreplace")
            if not re.fullmatch(step.pattern, line):
                raise wrong(f"expected {step.pattern!r}, got {line!r}")
        case "S~":
            more = True
            while more:
                line = peer.read_line().decode("utf-8", "backslashreplace")
                more = line[3:4] == "-"
                if line[:3] != step.pattern:
                    raise wrong(f"expected a {step.pattern}, got {line!r}")
        case "T":
            peer.start_tls()
        case "X":
            if not peer.closed():
                raise wrong("the connection should be closed by now")


def _complaint(transcript: Transcript, step: Step, mode: Mode) -> Callable[[str], MismatchError]:
    where = f"{transcript.path.name}:{step.line} ({mode.value}): "
    return lambda what: MismatchError(where + what)
