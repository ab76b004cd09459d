"""Where the daemon's data lies, without reading the whole configuration.

Tools only need the data directory to reach the daemon. A configuration of 100,000 domains takes
seconds to check, and one with a mistake must not keep an operator from the running daemon's queue.
"""

import re
import tomllib
from pathlib import Path

from tideover.config.document import UnreadableError, read

_FIRST_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)


def data_dir(path: Path) -> Path | None:
    """The data directory that the file at `path` names before its first table.

    None when it can't be told so simply; `load` then gives it, or says what is wrong.
    """
    try:
        text = read(path)
        table = _FIRST_TABLE.search(text)
        found = tomllib.loads(text[: table.start()] if table else text).get("data_dir")
    except (UnreadableError, tomllib.TOMLDecodeError, RecursionError):
        return None
    return path.absolute().parent / found if isinstance(found, str) and found else None
