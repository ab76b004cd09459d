"""`tideover status` tells how primaries stand that never had mail, and what they offer."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from tideover.testing.daemon import Daemon
from tideover.testing.ports import free_port
from tideover.testing.sink import Sink

DOMAIN = "example.com"


def wait_for(row: Callable[[], dict[str, object]], state: str, within: float) -> dict[str, object]:
    until = time.monotonic() + within
    while (found := row())["primary"] != state:
        assert time.monotonic() < until, found
        time.sleep(0.1)
    return found


def test_without_any_mail_and_over_a_restart(tmp_path: Path) -> None:
    port = free_port()
    with contextlib.ExitStack() as alive:
        alive.enter_context(Sink(port))
        with Daemon(tmp_path, primary=port, more='[health]\ncheck_interval = "1s"\n') as daemon:

            def row() -> dict[str, object]:
                return daemon.ask("status")["domains"][DOMAIN]

            up = wait_for(row, "up", 10)
            assert up["since"] is not None
            assert up["capabilities"]
            assert up["hops"] == [f"[127.0.0.1]:{port}"]
            alive.close()
            down = wait_for(row, "down", 10)
            assert "can't connect" in str(down["reason"])
            assert down["capabilities"] == up["capabilities"]
            assert daemon.stop() == 0
            daemon.start()
            again = wait_for(row, "down", 10)
            assert again["capabilities"] == up["capabilities"]
            changes = [event["after"] for event in daemon.events("primary-changed")]
            assert changes == ["up", "down", "down"]
