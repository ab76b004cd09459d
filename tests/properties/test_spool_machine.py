"""Any order of calls, crashes and restarts: the SQLite spool does what a dict would do.

The model is the in-memory spool, which the conformance suite holds to the same contract. A crash is
a copy of the files at a random moment, opened as a new spool; what was acknowledged must be in it.
"""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))
from spool_suite import HERE, NOW, THERE, body_of, new_message, nothing_left_over, write

from tideover.spool.interface import CHUNK, Change, DomainHold, Filter, Settlement, State
from tideover.spool.memory import MemorySpool
from tideover.spool.sqlite import open_spool

domains = st.sampled_from([HERE, THERE])
addresses = st.lists(
    st.builds(lambda name, domain: f"{name}@{domain}", st.sampled_from("abc"), domains),
    min_size=1,
    max_size=4,
).map(tuple)
sizes = st.sampled_from([0, 1, 300, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
ends = st.sampled_from(
    [State.QUEUED, State.DEFERRED, State.DELIVERED, State.BOUNCED, State.DEAD, State.HELD]
)
filters = st.builds(
    Filter,
    domain=st.none() | domains,
    states=st.none() | st.lists(st.sampled_from(State), max_size=3).map(tuple),
    recipient=st.none() | st.just("a@here.example"),
    received_before=st.none() | st.integers(0, 40).map(lambda n: NOW + n),
    changed_before=st.none() | st.integers(0, 40).map(lambda n: NOW + n),
)


class SpoolMachine(RuleBasedStateMachine):
    """The same calls to both, and the same answers."""

    messages = Bundle("messages")
    intakes = Bundle("intakes")

    @initialize()
    def start(self):
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp())
        self.events = []
        self.lives = 0
        self.now = NOW
        self.model = MemorySpool()
        self.unfinished = {}
        self.spool = self.run(self.open())

    def teardown(self):
        if hasattr(self, "runner"):
            self.run(self.spool.close())
            self.runner.close()
            nothing_left_over(self.place / "spool.db")
            shutil.rmtree(self.directory)
            assert self.events == []

    def run(self, work):
        return self.runner.run(work)

    @property
    def place(self):
        return self.directory / str(self.lives)

    def open(self):
        return open_spool(self.place / "spool.db", sink=self.events.append)

    def both(self, name, *args, **kwargs):
        """Call both, compare what they answer, return it."""
        answers = [
            self.run(getattr(spool, name)(*args, **kwargs)) for spool in (self.spool, self.model)
        ]
        assert list_or_value(answers[0]) == list_or_value(answers[1])
        return answers[0]

    # Taking in

    @rule(target=messages, to=addresses, size=sizes)
    def accept(self, to, size):
        queue_id = self.spool.new_id(self.now)
        message = new_message(queue_id, to=to, at=self.now)
        body = queue_id.encode() * (size // 10 + 1)
        intake = self.spool.open(queue_id)
        self.run(write(intake, body[:size]))
        self.run(awaited(intake.commit(message)))
        self.model.store(message, body[:size])
        return queue_id

    @rule(target=intakes, size=sizes)
    def begin(self, size):
        intake = self.spool.open(self.spool.new_id(self.now))
        self.run(write(intake, b"u" * size))
        return intake, self.now, self.lives

    @rule(intake=consumes(intakes))
    def give_up(self, intake):
        intake[0].abort()

    @rule(target=messages, intake=consumes(intakes))
    def finish(self, intake):
        intake, begun, life = intake
        if life != self.lives:
            return multiple()
        message = new_message(intake._queue_id, at=begun)
        self.run(awaited(intake.commit(message)))
        self.model.store(message, b"u" * intake.size)
        return message.queue_id

    # Going home

    @rule(domain=domains, limit=st.integers(1, 4), lease=st.integers(1, 20))
    def claim(self, domain, limit, lease):
        self.both("claim", domain, limit=limit, lease=float(lease), now=self.now)

    @rule(
        ids=st.lists(messages, min_size=1, max_size=3),
        index=st.integers(0, 4),
        end=ends,
        later=st.integers(1, 30),
        counted=st.booleans(),
        leased=st.booleans(),
        notified=st.none() | st.booleans(),
        reported=st.booleans(),
    )
    def settle(self, ids, index, end, later, counted, leased, notified, reported):
        change = Change(
            index=index,
            state=end,
            counted=counted,
            not_before=self.now + later if end is State.DEFERRED else 0.0,
            reply="450 later" if counted else None,
            delay_notified=notified,
        )
        settlements = []
        for queue_id in ids:
            report = None
            if reported:
                report = new_message(self.spool.new_id(self.now), sender="", at=self.now)
            settlements.append(
                Settlement(
                    queue_id=queue_id,
                    changes=(change,),
                    leased=leased,
                    report=report,
                    report_body=b"failed" if reported else b"",
                )
            )
        skipped = [
            self.run(spool.settle(settlements, now=self.now)) for spool in (self.spool, self.model)
        ]
        assert sorted(skipped[0]) == sorted(skipped[1])

    @rule(ids=st.lists(messages, max_size=3), lease=st.integers(1, 20))
    def extend(self, ids, lease):
        self.both("extend", ids, lease=float(lease), now=self.now)

    @rule(everything=st.booleans())
    def recover(self, everything):
        self.both("recover", now=self.now, all_leases=everything)

    @rule()
    def wake(self):
        self.both("wake", now=self.now)

    @rule(seconds=st.integers(1, 10))
    def wait(self, seconds):
        self.now += seconds

    # Orders

    @rule(wanted=filters)
    def hold(self, wanted):
        self.both("hold", wanted, reason="why", now=self.now)

    @rule(wanted=filters)
    def release(self, wanted):
        self.both("release", wanted, now=self.now)

    @rule(wanted=filters)
    def remove(self, wanted):
        self.both("remove", wanted)

    @rule(domain=domains)
    def hold_domain(self, domain):
        hold = DomainHold(domain=domain, reason="r", by="b", since=self.now)
        self.both("hold_domain", hold)

    @rule(domain=domains)
    def release_domain(self, domain):
        self.both("release_domain", domain)

    # Looking

    @rule(wanted=filters, limit=st.integers(1, 5), after=st.none() | messages)
    def select(self, wanted, limit, after):
        self.both("select", wanted, limit=limit, after=after)

    @rule(age=st.integers(-5, 40), delay=st.booleans(), limit=st.integers(1, 5))
    def due(self, age, delay, limit):
        self.both("due", received_before=NOW + age, delay=delay, limit=limit)

    @rule(queue_id=messages, chunks=st.integers(0, 3))
    def read(self, queue_id, chunks):
        answers = []
        for spool in (self.spool, self.model):
            try:
                answers.append(self.run(body_of(spool, queue_id, chunks * CHUNK)))
            except KeyError:
                answers.append(None)
        assert answers[0] == answers[1]

    # Trouble

    @rule()
    def restart(self):
        self.run(self.spool.close())
        self.lives += 1
        (self.directory / str(self.lives - 1)).rename(self.place)
        self.spool = self.run(self.open())

    @rule(shared_memory_is_lost=st.booleans(), given_up=st.booleans())
    def crash(self, shared_memory_is_lost, given_up):
        """The files as they are now, with work going on whose end nobody was told."""
        intake = self.spool.open(self.spool.new_id(self.now))
        self.run(write(intake, b"u" * 2 * CHUNK))
        if given_up:
            intake.abort()
        copy = self.directory / str(self.lives + 1)
        shutil.copytree(self.place, copy)
        if shared_memory_is_lost:
            (copy / "spool.db-shm").unlink(missing_ok=True)
        self.run(self.spool.close())
        self.lives += 1
        self.spool = self.run(self.open())

    @invariant()
    def same_contents(self):
        if hasattr(self, "spool"):
            self.both("select", Filter())
            self.both("counts")
            self.both("domain_holds")


def list_or_value(answer):
    return list(answer) if isinstance(answer, list | tuple) else answer


async def awaited(work):
    return await work


class TestSpoolMachine(SpoolMachine.TestCase):
    settings = settings(max_examples=8, stateful_step_count=20, deadline=None)


@pytest.mark.slow
@pytest.mark.timeout(300)
class TestSpoolMachineForLong(SpoolMachine.TestCase):
    settings = settings(max_examples=400, stateful_step_count=40, deadline=None)
