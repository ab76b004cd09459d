"""Whether all better hosts are up, also with many domains."""

from pathlib import Path

import pytest

from tideover.config.model import Config, Domain
from tideover.config.primaries import Trap
from tideover.config.values import Endpoint
from tideover.primary.interface import PrimaryState
from tideover.primary.standing import Standing
from tideover.trap.better import AllUp, BetterHosts, NotUp


class Primaries:
    def __init__(self) -> None:
        self.told: dict[str, Standing] = {}
        self.asked = 0

    def standing(self, domain: str) -> Standing:
        self.asked += 1
        return self.told.get(domain) or up(checked_at=100.0)

    async def look(self, domain: str) -> Standing:
        return self.standing(domain)


def up(state: PrimaryState = PrimaryState.UP, **more: object) -> Standing:
    facts: dict[str, object] = {"key": "k", "since": 0.0, "reason": "so", "doubt": False}
    return Standing(state=state, **facts | more)  # type: ignore[arg-type]


def made(
    count: int, *, domains: tuple[str, ...] = (), listen: tuple[Endpoint, ...] = ()
) -> tuple[BetterHosts, Primaries]:
    listed = {f"d{n}.example": Domain(primary=None, recipients=()) for n in range(count)}
    config = Config(
        hostname="mx9.example.org",
        data_dir=Path("/x"),
        domains=listed,
        trap=Trap(domains=domains, listen=listen),
    )
    primaries = Primaries()
    return BetterHosts(config, primaries), primaries


def test_the_oldest_check_counts():
    better, primaries = made(3)
    primaries.told["d1.example"] = up(checked_at=50.0)
    primaries.told["d2.example"] = up(checked_at=70.0)
    assert better.step() == AllUp(50.0)
    primaries.told["d1.example"] = up(checked_at=90.0)
    assert better.step() == AllUp(70.0)


@pytest.mark.parametrize(
    ("standing", "said"),
    [
        (up(PrimaryState.DOWN), "down (so)"),
        (up(PrimaryState.UNKNOWN), "unknown (so)"),
        (up(doubt=True), "in doubt (so)"),
        (up(ailing=("a:25",)), "not all hosts are up (a:25)"),
    ],
)
def test_one_that_is_not_up_is_told(standing, said):
    better, primaries = made(3)
    primaries.told["d1.example"] = standing
    assert better.step() == NotUp(f"d1.example: {said}")
    del primaries.told["d1.example"]
    assert better.step() == AllUp(100.0)


def test_without_domains_nobody_is_known_to_be_up():
    better, _ = made(0)
    assert isinstance(better.step(), NotUp)


def test_only_the_domains_of_the_trap_count():
    better, primaries = made(3, domains=("d0.example",))
    primaries.told["d1.example"] = up(PrimaryState.DOWN)
    assert better.step() == AllUp(100.0)


def test_many_domains_are_looked_at_in_steps_and_the_one_in_trouble_first():
    better, primaries = made(5000)
    assert [better.step(), better.step(), better.step()] == [AllUp(None), AllUp(None), AllUp(100.0)]
    primaries.told["d4999.example"] = up(PrimaryState.DOWN)
    steps = [better.step() for _ in range(3)]
    assert isinstance(steps[-1], NotUp)
    primaries.asked = 0
    assert isinstance(better.step(), NotUp)
    assert primaries.asked == 1
    primaries.told.clear()
    assert [better.step(), better.step(), better.step()] == [AllUp(None), AllUp(None), AllUp(100.0)]


@pytest.mark.parametrize(("listen", "open_"), [("192.0.2.2", True), ("2001:db8::2", False)])
def test_a_machine_without_ipv6_has_a_trap_all_the_same(listen, open_):
    better, primaries = made(1, listen=(Endpoint(listen, 25),))
    primaries.told["d0.example"] = up(checked_at=1.0, ailing=("a.example[2001:db8::1]:25",))
    assert isinstance(better.step(), AllUp) is open_
    primaries.told["d0.example"] = up(checked_at=1.0, ailing=("a.example[192.0.2.1]:25",))
    assert isinstance(better.step(), NotUp)
