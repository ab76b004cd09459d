"""The desk: who may ask what, how often; strangers learn nothing, replays get nothing."""

import asyncio
from unittest.mock import ANY

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from tideover.agent.desk import Desk, Refusal
from tideover.agent.judge import Judgement
from tideover.agent.keys import public_text
from tideover.agent.protocol import Answer, Question, Sealed, Verdict, opened, seal
from tideover.agent.reach import Found
from tideover.config.agent import Agent
from tideover.config.policy_values import RateLimit
from tideover.config.values import Endpoint, parse_network
from tideover.events.agent_records import AgentAnswered, AgentRefused

BACKUP, AGENT, STRANGER = (Ed25519PrivateKey.generate() for _ in range(3))
NOW = 1_700_000_000.0


class FakeReach:
    """Finds everything unreachable; `lately` is what it remembers."""

    def __init__(self):
        self.asked = []
        self.lately = {}
        self.busy = False

    def remembered(self, address):
        return self.lately.get(address)

    async def find(self, address, port):
        self.asked.append((address, port))
        if address == "8.8.8.8":
            raise KeyError("a bug")
        return None if self.busy else Found(Judgement(Verdict.UNREACHABLE, "no route"), NOW)


class Rig:
    def __init__(self, tmp_path, **settings):
        self.now = NOW
        self.events = []
        self.reach = FakeReach()
        self.desk = Desk(
            Agent(
                listen=Endpoint("127.0.0.1", 0),
                key_file=tmp_path,
                askers={"mx2": public_text(BACKUP)},
                **settings,
            ),
            AGENT,
            self.reach,
            self.events.append,
            lambda: self.now,
        )
        self.number = 0

    def question(self, **values):
        self.number += 1
        given = {
            "asker": public_text(BACKUP),
            "agent": public_text(AGENT),
            "address": "1.1.1.1",
            "time": self.now,
            "nonce": f"{self.number:024}",
        }
        return Question(**given | values)

    def ask(self, question=None, key=BACKUP, **values):
        question = question or self.question(**values)
        answer = asyncio.run(self.desk.answer(seal(question, key)))
        return answer if isinstance(answer, Refusal) else opened(answer, Answer, self.key)

    key = public_text(AGENT)


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path)


def test_an_answer_is_signed_and_belongs_to_its_question(rig):
    question = rig.question()
    answer = rig.ask(question)
    assert (answer.verdict, answer.nonce, answer.address, answer.time) == (
        Verdict.UNREACHABLE, question.nonce, "1.1.1.1", NOW,
    )  # fmt: skip
    assert [type(event) for event in rig.events] == [AgentAnswered]
    assert rig.reach.asked == [("1.1.1.1", 25)]


def test_strangers_learn_nothing(rig):
    refusals = {
        rig.ask(asker=public_text(STRANGER), key=STRANGER),
        rig.ask(key=STRANGER),
        asyncio.run(rig.desk.answer(Sealed(b"{}", ""))),
        asyncio.run(rig.desk.answer(Sealed(b"\xff" * 3000, "x" * 88))),
    }
    assert refusals == {Refusal(403, "not for you")}
    assert rig.reach.asked == []


def test_a_question_is_answered_once(rig):
    question = rig.question()
    rig.ask(question)
    rig.now += 50
    assert rig.ask(question) == Refusal(409, "this question was asked before")
    rig.now += 71
    assert rig.ask(question).status == 409  # too old, when it may have been forgotten
    assert len(rig.reach.asked) == 1


def test_nonces_are_remembered_as_long_as_they_could_come_again_and_no_longer(rig):
    for step in range(40):
        rig.now = NOW + step * 10
        rig.ask()
    assert len(rig.desk._seen) <= 13


@pytest.mark.parametrize("skew", [61.0, -61.0, 1e308, float("-1e300")])
def test_a_question_of_another_time_is_refused_with_its_reason(rig, skew):
    refusal = rig.ask(time=NOW + skew)
    assert (refusal.status, "clocks differ" in refusal.text) == (409, True)


def test_a_question_for_another_agent_is_refused(rig):
    assert rig.ask(agent=public_text(STRANGER)).status == 421


def test_other_ports_are_not_tried(rig):
    assert rig.ask(port=22) == Refusal(422, "port 22 is not tried")


PRIVATE = (
    "10.0.0.1", "127.0.0.1", "169.254.169.254", "192.168.1.1", "224.0.0.1", "255.255.255.255",
    "0.0.0.0", "100.64.0.1", "::1", "fe80::1", "fc00::1", "ff02::1", "::", "::ffff:10.0.0.1",
    "2001:db8::1", "nonsense", "", "240.0.0.1", "239.1.1.1", "2002:a00:1::1", "64:ff9b::a00:1",
    "fec0::1",
)  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_only_public_addresses_may_be_asked_for(rig, address):
    assert rig.ask(address=address) == Refusal(422, ANY)
    assert rig.reach.asked == []


def test_private_ones_where_they_are_listed(tmp_path):
    rig = Rig(tmp_path, allow_private=(parse_network("10.0.0.0/8"),))
    assert rig.ask(address="::ffff:10.0.0.1").address == "::ffff:10.0.0.1"
    assert rig.reach.asked == [("10.0.0.1", 25)]
    assert rig.ask(address="192.168.0.1").status == 422


def test_so_many_and_no_more(tmp_path):
    rig = Rig(tmp_path, rate=RateLimit(3, 60.0), total_rate=RateLimit(100, 60.0))
    for _ in range(3):
        rig.ask()
    assert rig.ask() == Refusal(429, "too many questions")
    rig.now += 20
    assert rig.ask().verdict is Verdict.UNREACHABLE


def test_all_together_have_a_limit_but_what_is_remembered_costs_nothing(tmp_path):
    rig = Rig(tmp_path, total_rate=RateLimit(2, 60.0))
    rig.ask()
    rig.ask()
    assert rig.ask() == Refusal(429, "too many questions of all")
    rig.reach.lately["1.1.1.1"] = Found(Judgement(Verdict.REACHABLE, "the host answers"), NOW)
    assert rig.ask().verdict is Verdict.REACHABLE


def test_too_many_at_once_and_bugs_are_told(rig):
    rig.reach.busy = True
    assert rig.ask() == Refusal(503, "too many questions at once")
    assert rig.ask(address="8.8.8.8") == Refusal(500, "in trouble")
    reasons = [event.reason for event in rig.events if isinstance(event, AgentRefused)]
    assert reasons == ["too many questions at once", "a bug, please report it: KeyError: 'a bug'"]


def test_rubbish_is_logged_once_a_minute(rig):
    for _ in range(50):
        rig.ask(key=STRANGER)
    assert len(rig.events) == 1
    rig.now += 61
    rig.ask(replace(rig.question(), time=rig.now), key=STRANGER)
    assert len(rig.events) == 2
