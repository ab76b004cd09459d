"""What policy depends on dies or hangs under load: DNS, rspamd, clamd, Redis.

No session waits longer than the time limits, no honest mail is refused, nothing that a filter
would have refused is taken while that filter can't say so, and all is as before within five seconds
of the return of what was away.
"""

import random
import time
from collections import Counter
from itertools import product

import pytest
from outage_rig import (
    DNS,
    ENGINE,
    KINDS,
    MESSAGE,
    MISSING,
    SLACK,
    STAGE,
    Load,
    figures,
    is_normal,
    running,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.interop,
    pytest.mark.skipif(MISSING is not None, reason=MISSING or ""),
]

BACK = 5.0
KILLED, FROZEN = 2.0, ENGINE + 1.5
"""Seconds: for what hangs, longer than anybody waits for it."""

SICK = {
    "dns": {"listed": ("250", "550 5.7.1", "451"), "forged": ("250", "550 5.7.26", "451")},
    "rspamd": dict.fromkeys(("honest", "gtube", "grey"), ("451 4.7.0",)),
    "clamd": dict.fromkeys(("honest", "virus", "grey"), ("451 4.7.0",)),
    "redis": {"grey": ("250",)},
}
"""How what depends on a part is answered while that is away; all else is as ever."""

BUDGETS = {"CONNECT": 0.25, "EHLO": 0, "MAIL": 0, "RCPT": STAGE, "DATA": STAGE, "END": MESSAGE}
"""Seconds that each answer may take."""


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    with running(tmp_path_factory.mktemp("outages")) as made:
        yield made


@pytest.fixture
def load(rig):
    with Load(rig.daemon.port) as made:
        made.wait_normal(time.monotonic())
        yield made
    assert made.troubles == []
    assert list(rig.daemon.events("check-failed")) == []


def outage(rig, load, part, way, length):
    """Take a part away and bring it back. Returns when it went, and the sessions that met that: all
    of them, and those that lay wholly within.
    """
    victim = rig.parts[part]
    getattr(victim, way)()
    away = time.monotonic()
    time.sleep(length)
    within = load.between(away, time.monotonic())
    victim.start() if way == "kill" else victim.thaw()
    back = time.monotonic()
    took = load.wait_normal(back)
    print(f"{part} {way}: {figures(within)}; as before after {took:.2f} s")
    touched = [one for one in list(load.sessions) if one.ended >= away and one.began <= back]
    print(f"  all that met it: {figures(touched)}")
    in_time(load.sessions)
    for one in within:
        answered(one, SICK[part])
    for one in touched:
        assert is_normal(one) or one.reply.startswith(SICK[part].get(one.kind, "-")), one
    assert took <= BACK
    return away, touched, within


def in_time(sessions):
    for one in list(sessions):
        for step, budget in BUDGETS.items():
            assert one.steps.get(step, 0) <= budget + SLACK, one


def answered(one, sick):
    wanted = sick.get(one.kind)
    assert one.reply.startswith(wanted) if wanted else is_normal(one), one


def kinds(sessions):
    return Counter(one.kind for one in sessions)


@pytest.mark.parametrize("way", ["kill", pytest.param("freeze", marks=pytest.mark.slow)])
def test_dns(rig, load, way):
    """Once it is known to be dead, nobody waits for it."""
    away, _, within = outage(rig, load, "dns", way, DNS + STAGE + 2)
    later = [one for one in within if one.began > away + DNS + STAGE]
    assert kinds(later)["honest"] >= KINDS["honest"] / 2
    for one in later:
        assert one.ended - one.began < 0.25 + 0.5 + SLACK, one


def test_an_engine_dies(rig, load):
    _, _, within = outage(rig, load, "clamd", "kill", KILLED)
    all_met_it(within)
    assert max(one.steps.get("END", 0) for one in within) <= SLACK


def test_an_engine_hangs(rig, load):
    _, touched, within = outage(rig, load, "rspamd", "freeze", FROZEN)
    all_met_it(touched)
    assert max(one.steps.get("END", 0) for one in touched) <= ENGINE + SLACK
    assert kinds(within)["listed"] > 2 * KINDS["listed"], "refused at once as ever"


@pytest.mark.slow
def test_redis_hangs(rig, load):
    """rspamd asks it about each message, and goes on without."""
    _, _, within = outage(rig, load, "redis", "freeze", FROZEN)
    all_met_it(within)


def all_met_it(sessions):
    assert all(kinds(sessions)[kind] >= clients for kind, clients in KINDS.items())


def test_filters_that_may_fail(rig, load):
    """`on_failure = "accept"`, put into use under load: what the other checks find still counts."""
    reload(rig, "accept")
    for part in ("rspamd", "clamd"):
        rig.parts[part].kill()
    away = time.monotonic()
    time.sleep(2)
    within = load.between(away, time.monotonic())
    for part in ("rspamd", "clamd"):
        rig.parts[part].start()
    back = time.monotonic()
    reload(rig, "defer")
    assert load.wait_normal(back) <= BACK
    print(f"accept: {figures(within)}")
    open_doors = dict.fromkeys(("honest", "gtube", "virus", "grey"), ("250 2.0.0",))
    for one in within:
        answered(one, open_doors)
    all_met_it(within)
    in_time(load.sessions)


def reload(rig, on_failure):
    before = len(list(rig.daemon.events("config-reloaded")))
    rig.daemon.sections["more"] = rig.settings(on_failure)
    rig.daemon.write_config()
    rig.daemon.reload()
    deadline = time.monotonic() + 10
    while len(list(rig.daemon.events("config-reloaded"))) == before:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_one_outage_after_another(rig, load):
    """For two minutes, one part at a time, in any order and for any time."""
    chance = random.Random(4)
    each = list(product(SICK, ["kill", "freeze"]))
    coming: list[tuple[str, str]] = []
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        coming = coming or chance.sample(each, len(each))
        part, way = coming.pop()
        outage(rig, load, part, way, chance.uniform(0.1, 2 * FROZEN))
    print(f"in all: {figures(load.sessions)}")
    assert not [one for one in load.sessions if one.kind == "honest" and one.reply[0] == "5"]
