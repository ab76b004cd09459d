"""What waits goes home to all hosts of equal preference, and to the spare only without them."""

from msgspec.structs import replace
from outbound_rig import Rig, route_to, run

from tideover.events import delivery_records
from tideover.primary.interface import Route
from tideover.testing.peer import Peer

MAIL = 60


def sharing(one: int, two: int, spare: int) -> Route:
    """The first two are equals."""
    route = route_to(one, two, spare)
    preferences = {one: 10, two: 10, spare: 20}
    hops = tuple(replace(hop, preference=preferences[hop.port]) for hop in route.hops)
    return replace(route, hops=hops)


def test_equal_hosts_share():
    async def scenario():
        async with Peer() as one, Peer() as two, Peer() as spare:
            rig = Rig(sharing(one.port, two.port, spare.port), messages_per_connection=2)
            for _ in range(MAIL):
                await rig.put(notify=False)
            async with rig.running():
                await rig.told(delivery_records.Delivered, MAIL)
            assert len(one.messages) + len(two.messages) == MAIL
            assert min(len(one.messages), len(two.messages)) >= 4  # 30 connections by chance
            assert not spare.messages

    run(scenario)


def test_hosts_in_order_do_not_share():
    async def scenario():
        async with Peer() as one, Peer() as two:
            rig = Rig(route_to(one.port, two.port), messages_per_connection=2)
            for _ in range(20):
                await rig.put(notify=False)
            async with rig.running():
                await rig.told(delivery_records.Delivered, 20)
            assert len(one.messages) == 20

    run(scenario)
