"""What all tests share: the directory of `wire.py` on the path, and daemons that always end, and
start soon.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pass_rig import AT_ONCE
from tideover.testing import warm
from tideover.testing.daemon import Daemon

warm.allow()


@pytest.fixture
def make_daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons that are not started yet, and kills them at the end of the test."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Daemon:
            made = Daemon(tmp_path / f"daemon{len(list(tmp_path.iterdir()))}", **settings)
            stack.callback(made.kill)
            return made

        yield make


@pytest.fixture
def daemon(make_daemon: Callable[..., Daemon]) -> Daemon:
    """A running daemon for user@example.com and other@example.com, its primary down. Newcomers are
    greeted at once.
    """
    made = make_daemon(recipients="user\nother\n", more=AT_ONCE)
    made.start()
    return made
