"""An attempt whose end is unknown is told of before the spool forgets that there was one."""

import asyncio
import time

from outbound_rig import DOMAIN, Rig, route_to, run

from tideover.events import delivery_records
from tideover.events.store import EventStore, segments
from tideover.events.stream import EventStream
from tideover.spool.memory import MemorySpool
from tideover.testing.peer import Peer, Reaction


class Watched(MemorySpool):
    """Notes what the event log on disk says at the moment of each change that ends an attempt."""

    def __init__(self, directory):
        super().__init__()
        self.directory = directory
        self.stream = EventStream([EventStore(directory, max_size=1 << 20)])
        self.recovering = []
        self.settling = []

    def logged(self):
        return b"".join(path.read_bytes() for path in segments(self.directory))

    async def recover(self, *, now, all_leases=False):
        self.recovering.append(self.logged())
        await super().recover(now=now, all_leases=all_leases)

    async def settle(self, settlements, *, now):
        self.settling.append(self.logged())
        return await super().settle(settlements, now=now)


def rig_for(peer, spool):
    spool.stream.attach()
    return Rig(route_to(peer.port), spool=spool, also=spool.stream.emit)


def test_i12_leases_of_a_dead_process_are_told_as_unknown_and_sent(tmp_path):
    async def scenario():
        async with Peer() as peer:
            spool = Watched(tmp_path)
            rig = rig_for(peer, spool)
            queue_id = await rig.put(notify=False)
            await rig.spool.claim(DOMAIN, limit=9, lease=999, now=time.time())
            async with rig.running():
                (unknown,) = await rig.told(delivery_records.DeliveryUnknown)
                assert unknown.message == queue_id
                await rig.told(delivery_records.Delivered)
            assert b'"delivery-unknown"' in spool.recovering[0]
            assert queue_id.encode() in spool.recovering[0]

    run(scenario)


def test_nothing_is_claimed_while_the_leases_of_the_dead_are_recovered():
    class Slow(MemorySpool):
        async def lost(self, *, now, all_leases=False):
            found = await super().lost(now=now, all_leases=all_leases)
            await asyncio.sleep(0.2)
            return found

    async def scenario():
        def behave(step):
            return Reaction("250 ok", delay=0.3) if step.verb == "BODY" else None

        async with Peer(behave=behave) as peer:
            rig = Rig(route_to(peer.port), spool=Slow())
            await rig.put(notify=False)
            await rig.spool.claim(DOMAIN, limit=9, lease=999, now=time.time())
            async with rig.running():
                await asyncio.sleep(0.05)
                await rig.put()
                await rig.dispatcher.flush()
                await rig.told(delivery_records.Delivered, 2)
                await asyncio.sleep(0.5)
            assert len(peer.messages) == 2

    run(scenario)


def test_i12_an_unknown_end_is_on_disk_before_the_message_is_queued_again(tmp_path):
    async def scenario():
        lost = []

        def behave(step):
            if step.verb == "BODY" and not lost:
                lost.append(step)
                return Reaction(close=True)
            return None

        async with Peer(behave=behave) as peer:
            spool = Watched(tmp_path)
            rig = rig_for(peer, spool)
            async with rig.running():
                await rig.put()
                await rig.told(delivery_records.DeliveryUnknown)
                await rig.told(delivery_records.Delivered)
                await asyncio.sleep(0)
            assert b'"delivery-unknown"' in spool.settling[0]

    run(scenario)
