"""A full disk, a failing fsync, a read-only disk: a real process with the faulty disk under it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tideover
from tideover.testing.faulty_disk import FaultyDisk

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is missing")

SUBJECT = """
import asyncio, json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from spool_suite import NOW, Filter, State, claim, new_message, put, settled, to, write
from tideover.spool.sqlite import open_spool

async def attempt(what):
    try:
        return await what
    except Exception as error:
        return f"{type(error).__name__}"

async def main():
    events = []
    spool = await open_spool(Path(sys.argv[1]), sink=events.append)
    print("ready", flush=True)
    for line in iter(sys.stdin.readline, ""):
        verb, *rest = line.split()
        if verb == "put":
            answer = await attempt(put(spool, body=b"x" * int(rest[0])))
        elif verb == "burst":
            answer = await asyncio.gather(*(attempt(put(spool, body=b"x" * 10)) for _ in range(8)))
        elif verb == "stage":
            intake = spool.open(spool.new_id(NOW))
            answer = await attempt(write(intake, b"x" * int(rest[0])))
            await asyncio.sleep(0)
            answer = answer or await attempt(intake.commit(new_message(spool.new_id(NOW))))
            intake.abort()
        elif verb == "claim":
            answer = await attempt(claim(spool))
            answer = answer if isinstance(answer, str) else len(answer)
        elif verb == "state":
            answer = {
                "failing": spool.failing,
                "ids": [m.queue_id for m in await spool.select(Filter())],
                "events": [type(event).__name__ for event in events],
                "free": spool.free_space() > 0,
            }
        elif verb == "close":
            await spool.close()
            return
        print(json.dumps(answer), flush=True)

asyncio.run(main())
"""


class Subject:
    """The process. `ask` gives it an order and returns its answer."""

    def __init__(self, tmp_path, request):
        data = tmp_path / "data"
        data.mkdir()
        self.path = data / "spool.db"
        self.disk = FaultyDisk(tmp_path / "shim", under=data)
        suite = request.config.rootpath / "tests" / "conformance"
        source = Path(tideover.__file__).parents[1]
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUBJECT, self.path, suite],
            env=os.environ | self.disk.environment | {"PYTHONPATH": str(source)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def ask(self, order):
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture
def subject(tmp_path, request):
    subject = Subject(tmp_path, request)
    with subject.process as process:
        try:
            yield subject
            process.stdin.write("close\n")
            process.stdin.flush()
            assert process.wait(10) == 0
        finally:
            process.kill()


FAULTS = [
    ("write", "ENOSPC", "SpoolFull"),
    ("write", "EIO", "SpoolUnavailable"),
    ("sync", "EIO", "SpoolUnavailable"),
    ("write", "EROFS", "SpoolUnavailable"),
]


@pytest.mark.parametrize(("call", "error", "raised"), FAULTS)
def test_I6_a_failed_write_leaves_nothing_and_service_resumes(subject, call, error, raised):
    first = subject.ask("put 100")
    subject.disk.fail(call, error)
    assert subject.ask("put 100") == raised
    assert subject.ask("put 60000") == raised
    state = subject.ask("state")
    assert state["failing"]
    assert state["ids"] == [first]
    assert state["events"] == ["SpoolTrouble"]
    subject.disk.recover()
    second = subject.ask("put 100")
    assert second > first
    state = subject.ask("state")
    assert state == {
        "failing": False,
        "ids": [first, second],
        "events": ["SpoolTrouble", "SpoolRecovered"],
        "free": True,
    }


@pytest.mark.parametrize(("call", "error", "raised"), FAULTS)
def test_I1_of_a_batch_that_fails_nobody_gets_a_receipt(subject, call, error, raised):
    subject.disk.fail(call, error)
    assert subject.ask("burst") == [raised] * 8
    subject.disk.recover()
    assert subject.ask("state")["ids"] == []
    stored = subject.ask("burst")
    assert subject.ask("state")["ids"] == sorted(stored)


@pytest.mark.parametrize(("call", "error", "raised"), FAULTS)
def test_I6_a_long_body_that_fails_on_its_way_leaves_nothing(subject, call, error, raised):
    subject.disk.fail(call, error)
    assert subject.ask("stage 500000") == raised
    subject.disk.recover()
    whole = subject.ask("put 500000")
    assert subject.ask("state")["ids"] == [whole]


def test_I4_a_claim_that_is_not_durable_is_not_given(subject):
    subject.ask("put 10")
    subject.disk.fail("sync", "EIO")
    assert subject.ask("claim") == "SpoolUnavailable"
    subject.disk.recover()
    assert subject.ask("claim") == 1


def test_a_slow_disk_makes_batches_longer_not_errors(subject):
    subject.disk.delay("sync", 20, name="-wal")
    assert len(set(subject.ask("burst"))) == 8
