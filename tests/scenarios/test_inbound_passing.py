"""What a client meets while the primary is up: its own answers, "later", or the queue."""

import asyncio

import pytest
from inbound_rig import scenario

from tideover.config.model import Domain, WhenPrimaryUp
from tideover.config.values import Endpoint
from tideover.inbound.posture import Gate, Mode, mode
from tideover.primary.interface import PrimaryState
from tideover.primary.relay import Crowded, Gone
from tideover.primary.standing import Standing
from tideover.recipients.interface import Confidence, Finding, Verdict
from tideover.smtp.capabilities import Capabilities
from tideover.smtp.receipt import Receipt
from tideover.smtp.replies import Reply, reply

XCLIENT = Capabilities(xclient=frozenset({"ADDR", "NAME"}))
OK = reply(250, "2.1.5", "fine with me")
TAKEN = reply(250, "2.0.0", "Ok: queued as PRIMARY")
BUSY = reply(421, "4.3.2", "primary.internal is busy")
TRAP = Finding(
    verdict=Verdict.REJECT, confidence=Confidence.HONEYPOT, domain="example.com", source="file:x"
)
LOST = Gone(text="lost")


class FakePrimary:
    """A relay and what is known of it. `answers`: by stage or recipient; `body` is what came."""

    def __init__(self, state=PrimaryState.UP, capabilities=XCLIENT, *, doubt=False):
        self.state, self.capabilities, self.doubt = state, capabilities, doubt
        self.after_look = None
        self.answers = {}
        self.asked, self.body, self.abandoned, self.opened = [], b"", 0, 0
        self.why_cut_off = None
        self.host, self.told = "primary[192.0.2.1]:25", "XCLIENT"

    def standing(self, domain):
        return Standing(
            key=domain, state=self.state, since=0.0, reason="", doubt=self.doubt,
            capabilities=self.capabilities,
        )  # fmt: skip

    async def look(self, domain):
        if self.after_look is not None:
            self.state, self.doubt = self.after_look, False
        return self.standing(domain)

    async def cut_off(self, client, sender, recipient):
        return self.why_cut_off

    async def open(self, domain, client, envelope, *, size=0):
        self.opened += 1
        self.client, self.envelope = client, envelope
        return self.answers.get("open", self)

    async def recipient(self, recipient):
        self.asked.append(recipient)
        return self.answers.get(recipient.address, OK)

    async def start(self, *, chunking):
        self.chunking = chunking
        return self.answers.get("start", Reply(354, None, ("go",)))

    def write(self, piece):
        if "write" in self.answers and self.body:
            return self._gone()
        self.body += piece
        return None

    async def _gone(self):
        return self.answers["write"]

    async def end(self, queue_id):
        return self.answers.get("end", Receipt(queue_id, TAKEN))

    def abandon(self):
        self.abandoned += 1


def gated(server, posture=WhenPrimaryUp.PASS_THROUGH, *, hidden=False, **more):
    primary = FakePrimary(**more)
    server.house.gate = Gate(primary, primary, primary.cut_off)
    server.house.config.domains["example.com"] = Domain(
        primary=(Endpoint("192.0.2.1", 25),), recipients=("file:x",), when_primary_up=posture,
        hide_primary=hidden,
    )  # fmt: skip
    return primary


def names(server):
    hidden = ("SessionOpened", "SessionClosed", "CertificateLoaded")
    return [name for name in server.names() if name not in hidden]


async def begin(server, *recipients):
    client = await server.client()
    await client.say(b"EHLO c.example\r\n")
    assert (await client.say(b"MAIL FROM:<s@example.net>\r\n")).startswith(b"250")
    answers = [await client.say(b"RCPT TO:<%s>\r\n" % one) for one in recipients]
    return client, answers


async def send(client, body=b"Subject: x\r\n\r\nhi\r\n"):
    assert (await client.say(b"DATA\r\n")).startswith(b"354")
    return await client.say(body + b".\r\n")


@scenario
async def test_the_primarys_replies_are_the_clients(server):
    primary = gated(server)
    primary.answers["no@example.com"] = reply(550, "5.1.1", "<no@example.com> unknown, says I")
    client, answers = await begin(server, b"any@example.com", b"no@example.com")
    assert answers == [
        b"250 2.1.5 fine with me\r\n",
        b"550 5.1.1 <no@example.com> unknown, says I\r\n",
    ]
    assert await send(client) == b"250 2.0.0 Ok: queued as PRIMARY\r\n"
    assert primary.body.startswith(b"Received: from c.example")
    assert primary.body.endswith(b"Subject: x\r\n\r\nhi\r\n")
    assert server.shelf.messages == []
    assert names(server) == ["PassedRefused", "PassedThrough"]
    assert server.house.chain.copies.in_memory == 0


@scenario
async def test_a_hidden_primary_keeps_codes_only(server):
    primary = gated(server, hidden=True)
    primary.answers["no@example.com"] = reply(550, "5.1.1", "primary.internal says no")
    client, answers = await begin(server, b"any@example.com", b"no@example.com")
    assert answers == [b"250 2.1.5 OK\r\n", b"550 5.1.1 Refused\r\n"]
    assert await send(client) == b"250 2.0.0 OK\r\n"


@scenario
async def test_its_refusal_of_the_message_is_passed_on(server):
    primary = gated(server)
    primary.answers["end"] = reply(554, "5.7.1", "Gtube pattern")
    client, _ = await begin(server, b"any@example.com")
    assert await send(client) == b"554 5.7.1 Gtube pattern\r\n"
    assert server.shelf.messages == []
    assert names(server) == ["PassedRefused"]


@pytest.mark.parametrize("step", ["open", "user@example.com", "start", "write", "end"])
def test_a_primary_that_dies_costs_nothing(tmp_path, step):
    @scenario
    async def run(server):
        primary = gated(server)
        primary.answers[step] = Gone(text="lost", after_dot=step == "end")
        client, answers = await begin(server, b"user@example.com")
        assert answers[0].startswith(b"250")
        body = b"Subject: x\r\n\r\n" + b"line\r\n" * 400_000
        assert (await send(client, body)).startswith(b"250 2.0.0 Queued as")
        (message, stored) = server.shelf.messages[0]
        assert stored == body
        assert [one.address for one in message.envelope.recipients] == ["user@example.com"]
        assert message.trace.count(b"Received:") == 1
        assert names(server) == ["PassThroughLost", "MessageAccepted"]
        lost = next(e for e in server.events if type(e).__name__ == "PassThroughLost")
        assert lost.maybe_delivered is (step == "end")
        assert (lost.domain, lost.recipients) == ("example.com", ("user@example.com",))
        assert server.house.chain.copies.in_memory == server.house.chain.copies.files == 0
        assert step == "open" or primary.abandoned

    run(tmp_path)


@scenario
async def test_whom_the_primary_took_stays_taken_when_it_dies(server):
    """Our own list does not know `new`, but the primary took it."""
    primary = gated(server)
    primary.answers["user@example.com"] = LOST
    client, answers = await begin(server, b"new@example.com", b"user@example.com")
    assert [answer[:3] for answer in answers] == [b"250", b"250"]
    assert (await send(client)).startswith(b"250 2.0.0 Queued as")
    (message, _) = server.shelf.messages[0]
    addresses = [one.address for one in message.envelope.recipients]
    assert addresses == ["new@example.com", "user@example.com"]


@scenario
async def test_after_it_died_unknown_recipients_are_refused_by_our_list(server):
    gated(server).answers["open"] = LOST
    _, answers = await begin(server, b"new@example.com")
    assert answers[0].startswith(b"550 5.1.1")


@scenario
async def test_a_reset_leaves_the_primary_alone(server):
    primary = gated(server)
    client, _ = await begin(server, b"user@example.com")
    assert (await client.say(b"RSET\r\n")).startswith(b"250")
    assert primary.abandoned == 1
    client, _ = await begin(server, b"user@example.com")
    assert (await client.say(b"DATA\r\n")).startswith(b"354")
    client.reset()
    await asyncio.sleep(0.05)
    assert primary.abandoned == 2
    assert server.house.chain.copies.in_memory == 0


@scenario
async def test_a_crowded_primary_means_later(server):
    gated(server).answers["open"] = Crowded()
    _, answers = await begin(server, b"user@example.com")
    assert answers[0].startswith(b"450 4.3.2")


@scenario
async def test_a_honeypot_is_noted_and_not_asked_for(server):
    primary = gated(server)
    server.house.directory.findings = {"trap": TRAP}
    _, answers = await begin(server, b"trap@example.com")
    assert answers[0].startswith(b"550 5.1.1")
    assert primary.asked == []
    assert "HoneypotHit" in server.names()


@scenario
async def test_who_comes_although_the_primary_is_up_is_deferred(server):
    primary = gated(server, WhenPrimaryUp.DEFER)
    _, answers = await begin(server, b"user@example.com", b"nobody@example.com")
    assert answers[0].startswith(b"450 4.3.2 ")
    assert answers[1].startswith(b"550 5.1.1 ")
    assert b"192.0.2.1" not in answers[0]
    assert primary.opened == 0


@scenario
async def test_who_is_cut_off_from_the_primary_is_served(server):
    primary = gated(server, WhenPrimaryUp.DEFER)
    primary.why_cut_off = "first deferred 14 minutes ago"
    client, answers = await begin(server, b"user@example.com")
    assert answers[0].startswith(b"250")
    assert (await send(client)).startswith(b"250 2.0.0 Queued as")
    assert names(server) == ["ClientCutOff", "MessageAccepted"]


@scenario
async def test_in_doubt_the_primary_is_asked_first(server):
    primary = gated(server, WhenPrimaryUp.DEFER, doubt=True)
    primary.after_look = PrimaryState.DOWN
    _, answers = await begin(server, b"user@example.com")
    assert answers[0].startswith(b"250")
    primary = gated(server, WhenPrimaryUp.DEFER, state=PrimaryState.UNKNOWN, doubt=True)
    primary.after_look = PrimaryState.UP
    _, answers = await begin(server, b"user@example.com")
    assert answers[0].startswith(b"450 4.3.2")


def standing(state, capabilities=None, *, doubt=False, key="k"):
    return Standing(
        key=key, state=state, since=0.0, reason="", doubt=doubt, capabilities=capabilities
    )


UP, DOWN, UNKNOWN = PrimaryState.UP, PrimaryState.DOWN, PrimaryState.UNKNOWN
RECOVERING, HELD = PrimaryState.RECOVERING, PrimaryState.HELD
PASS, AUTO, DEFER = WhenPrimaryUp.PASS_THROUGH, WhenPrimaryUp.AUTO, WhenPrimaryUp.DEFER


@pytest.mark.parametrize(
    ("posture", "stands", "expected"),
    [
        (WhenPrimaryUp.ACCEPT, standing(UP, XCLIENT), Mode.QUEUE),
        (PASS, standing(UP), Mode.PASS),
        (PASS, standing(UNKNOWN, doubt=True), Mode.PASS),
        (PASS, standing(RECOVERING), Mode.PASS),
        (PASS, standing(DOWN), Mode.QUEUE),
        (PASS, standing(HELD), Mode.QUEUE),
        (PASS, standing(UNKNOWN, key=None), Mode.LOOK),
        (PASS, standing(HELD, key=None), Mode.QUEUE),
        (AUTO, standing(UP, XCLIENT), Mode.PASS),
        (AUTO, standing(UP, Capabilities()), Mode.DEFER),
        (AUTO, standing(UNKNOWN, doubt=True), Mode.LOOK),
        (AUTO, standing(RECOVERING), Mode.QUEUE),
        (AUTO, standing(DOWN, XCLIENT), Mode.QUEUE),
        (DEFER, standing(UP, XCLIENT), Mode.DEFER),
        (DEFER, standing(UP, doubt=True), Mode.LOOK),
        (DEFER, standing(RECOVERING), Mode.QUEUE),
        (DEFER, standing(DOWN), Mode.QUEUE),
    ],
)
def test_what_a_posture_means(posture, stands, expected):
    assert mode(posture, stands) is expected


@scenario
async def test_what_a_lost_primary_said_is_told_once(server):
    trouble = reply(451, "4.3.0", "My disk is full")
    gated(server).answers["user@example.com"] = Gone(text=f"host: {trouble}", reply=trouble)
    await begin(server, b"user@example.com")
    (lost,) = [e for e in server.events if type(e).__name__ == "PassThroughLost"]
    assert lost.reason == f"host: {trouble}"
