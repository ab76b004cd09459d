"""How verbs reach the daemon, or, when it does not run, read the spool themselves."""

from collections.abc import Iterator
from pathlib import Path

from tideover.config.locate import data_dir
from tideover.control.client import ControlClient, UnreachableError
from tideover.control.protocol import (
    ActRequest,
    Done,
    Forget,
    Item,
    ReadRequest,
    Refresh,
    Seed,
)


def find_data_dir(config: Path) -> Path:
    """The data directory of a configuration file.

    Raises:
        ConfigError: the file can't be read, or names none.
    """
    found = data_dir(config)
    if found is None:
        from tideover.config.load import load

        found = load(config).data_dir
    return found


def ask(config: Path, request: ReadRequest) -> Iterator[Item]:
    """The daemon's answer; the spool's own when no daemon runs.

    Raises:
        ConfigError, UnreachableError, RefusedError, SpoolUnusable.
    """
    try:
        client = ControlClient(find_data_dir(config))
    except UnreachableError as error:
        if not error.stopped:
            raise
        from tideover.config.load import load_to_serve
        from tideover.control.offline import answer_offline

        yield from answer_offline(load_to_serve(config), config.parent, request)
        return
    with client:
        yield from client.ask(request)


def order(config: Path, request: ActRequest | Seed | Forget) -> Done:
    """Have the daemon do something.

    Raises:
        ConfigError, UnreachableError, RefusedError.
    """
    with ControlClient(find_data_dir(config)) as client:
        done = [item for item in client.ask(request) if isinstance(item, Done)]
    return done[0]


def order_at_length(config: Path, request: Refresh) -> Iterator[Item]:
    """Have the daemon do something that takes its time, and hear how it goes.

    Raises:
        ConfigError, UnreachableError, RefusedError.
    """
    with ControlClient(find_data_dir(config)) as client:
        yield from client.ask(request)
