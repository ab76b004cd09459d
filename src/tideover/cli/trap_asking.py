"""What the trap's verbs know: from the daemon, or, when it does not run, from its file."""

import time
from collections.abc import Sequence
from pathlib import Path

from tideover.cli.asking import find_data_dir
from tideover.control.client import ControlClient, UnreachableError
from tideover.control.protocol import Trap
from tideover.control.trap_items import TrapInfo, Trapped


def ask_trap(config: Path) -> tuple[TrapInfo, Sequence[Trapped]]:
    """How the trap stands, and who was caught, oldest first.

    Raises:
        ConfigError, UnreachableError, RefusedError; OSError: the file can't be read.
    """
    data_dir = find_data_dir(config)
    try:
        client = ControlClient(data_dir)
    except UnreachableError as error:
        if not error.stopped:
            raise
        return TrapInfo(state=None), _stored(data_dir)
    with client:
        answer = list(client.ask(Trap()))
    info = next(item for item in answer if isinstance(item, TrapInfo))
    return info, [item for item in answer if isinstance(item, Trapped)]


def _stored(data_dir: Path) -> Sequence[Trapped]:
    from tideover.policy.memory import NAME
    from tideover.policy.memory_file import Kind
    from tideover.policy.memory_reading import stored_marks

    now = time.time()
    found = {
        key: Trapped(host=key.decode("ascii", "replace"), strong=strong, at=at, until=until)
        for strong, kind in ((False, Kind.SIDE_DOOR), (True, Kind.TRAPPED))
        for key, (at, until) in stored_marks(data_dir / NAME, kind, now)
    }
    return list(found.values())
