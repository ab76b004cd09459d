"""kill -9 at random moments under load; afterwards each acknowledged message is accounted for.

TIDEOVER_CRASH_ROUNDS says how many kills (3 by default, 200 by `make crash`), TIDEOVER_CRASH_SEED
repeats the moments of an earlier run.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from ledger import BookkeepingSink, Ledger
from load import Load

from tideover.testing.daemon import Daemon

ROUNDS = int(os.environ.get("TIDEOVER_CRASH_ROUNDS", "3"))
SEED = int(os.environ.get("TIDEOVER_CRASH_SEED", str(time.time_ns() % 1_000_000)))
ACCOUNT_EVERY = 20


def crash_once(daemon: Daemon, ledger: Ledger, chance: random.Random, *, primary_up: bool) -> None:
    """Load, kill, start again; now and then the start is killed too."""
    with ExitStack() as stack:
        if primary_up:
            stack.enter_context(BookkeepingSink(daemon.primary, ledger))
        load = Load(daemon.port, ledger)
        time.sleep(chance.uniform(0.02, 0.9))
        daemon.kill()
        load.stop()
        assert load.surprises == [], "under load everything is accepted"
        if chance.random() < 0.2:
            daemon.start(wait=False)
            time.sleep(chance.uniform(0.05, 0.8))
            daemon.kill()
    daemon.start()


def come_home(daemon: Daemon, ledger: Ledger) -> None:
    """Let everything come home, then account for it."""
    with BookkeepingSink(daemon.primary, ledger):
        done = daemon.run("queue", "flush", "--all", "--wait", "--timeout", "50s")
        assert done.returncode == 0, done.stdout + done.stderr + daemon.output()[-2000:]
    unknown: Counter[str] = Counter(e["message"] for e in daemon.events("delivery-unknown"))
    assert ledger.lost() == []
    assert ledger.damaged == []
    assert ledger.unexplained_duplicates(unknown) == []
    assert daemon.ask("queue", "dead") == []


@pytest.mark.timeout(120 + 15 * ROUNDS)
def test_nothing_acknowledged_is_lost(make_daemon: Callable[..., Daemon]) -> None:
    chance = random.Random(SEED)
    print(f"\n{ROUNDS} kills, TIDEOVER_CRASH_SEED={SEED}", flush=True)
    ledger = Ledger()
    daemon = make_daemon(more='[log]\nmax_size = "2GiB"', cold=True)
    daemon.start()
    for number in range(1, ROUNDS + 1):
        crash_once(daemon, ledger, chance, primary_up=number % 3 != 0)
        if number % ACCOUNT_EVERY == 0 or number == ROUNDS:
            come_home(daemon, ledger)
            twice = sum(1 for times in ledger.arrived.values() if times > 1)
            print(
                f"{number} kills: {len(ledger.acknowledged)} acknowledged, "
                f"{len(ledger.arrived)} came home, 0 lost, {twice} twice (all announced)",
                flush=True,
            )
    assert len(ledger.acknowledged) > 50 * ROUNDS / 3
    assert daemon.stop() == 0


def test_the_bookkeeping_sees_a_loss_and_a_duplicate() -> None:
    ledger = Ledger()
    ledger.acknowledged = {1: "a", 2: "b"}
    ledger.arrived = Counter({1: 2})
    ledger.ids = {1: {"a"}}
    assert ledger.lost() == [2]
    assert ledger.unexplained_duplicates(Counter()) != []
    assert ledger.unexplained_duplicates(Counter({"a": 1})) == []
