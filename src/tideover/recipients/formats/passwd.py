"""Accounts: passwd(5), as a file or as `getent passwd` prints it. Each name is a recipient."""

from typing import IO, Final

from tideover.recipients.formats.entry import EntryError, check_text, parse_local
from tideover.recipients.formats.intake import Intake
from tideover.recipients.formats.lines import numbered

_FIELDS: Final = 7


def parse(file: IO[bytes], intake: Intake) -> None:
    """Read accounts; lines for NIS (`+`, `-`), comments and empty lines don't count."""
    for number, line in numbered(file, intake.tick):
        if not line.strip() or line[0] in "+-#":
            continue
        try:
            intake.builder.add(_name(line))
        except EntryError as error:
            intake.mistake(number, error)


def _name(line: str) -> str:
    """The key of one account.

    Raises:
        EntryError: the line is malformed.
    """
    check_text(line)
    name, *others = line.split(":")
    if len(others) != _FIELDS - 1:
        raise EntryError(f"not {_FIELDS} fields, as passwd(5) has them")
    if name != name.strip():
        raise EntryError("white space around the name")
    return parse_local(name)
