"""The life of one message or session, read from the event store's files.

Works while the daemon runs and when it doesn't: it only reads. Each segment is searched as bytes;
only lines that hold the id are decoded. Torn lines are skipped.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tideover.events.encoding import decode
from tideover.events.store import segments

Record = dict[str, Any]


def explain(directory: Path, wanted: str) -> list[Record]:
    """All events of a message or session id, oldest first; [] when none is known.

    For a message: also those of the session that brought it (without that session's other
    messages), and of what an operator did to it.
    """
    if not wanted or not wanted.isascii() or not wanted.isprintable():
        return []
    found = [e for e in _holding(directory, [wanted]) if _about(e, wanted)]
    sessions = {e["session"] for e in found if e.get("message") == wanted and e.get("session")}
    for event in _holding(directory, sessions - {wanted}):
        other = event.get("message") not in (None, wanted)
        if not other and event.get("session") in sessions and event not in found:
            found.append(event)
    return sorted(found, key=lambda event: float(event["time"]))


def _about(event: Record, wanted: str) -> bool:
    named = (event.get("message"), event.get("session"), event.get("report"))
    return wanted in named or wanted in str(event.get("what", "")).split()


def _holding(directory: Path, ids: Iterable[str]) -> Iterator[Record]:
    """Events whose line holds one of the ids as a JSON string or a word of one."""
    needles = [wanted.encode() for wanted in ids]
    if not needles:
        return
    for path in segments(directory):
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # rotated away meanwhile
            continue
        for start, end in _lines(data, needles):
            if (event := decode(data[start:end])) is not None:
                yield event


def _lines(data: bytes, needles: list[bytes]) -> list[tuple[int, int]]:
    """Start and end of each line that holds one of the needles, in order, each once."""
    spans = set()
    for needle in needles:
        at = data.find(needle)
        while at >= 0:
            start = data.rfind(b"\n", 0, at) + 1
            end = data.find(b"\n", at)
            end = len(data) if end < 0 else end
            spans.add((start, end))
            at = data.find(needle, end)
    return sorted(spans)
