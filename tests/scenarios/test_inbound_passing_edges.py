"""Passing through where it is easy to go wrong: several recipients, loops, bugs of ours."""

import asyncio

import pytest
from inbound_rig import OneDomain, scenario, serving
from test_inbound_passing import LOST, begin, gated, names, send

from tideover.config.model import Domain, WhenPrimaryUp
from tideover.config.values import Endpoint
from tideover.policy.interface import Entry, Found, Result, Stage
from tideover.primary.interface import PrimaryState
from tideover.primary.relay import Gone
from tideover.recipients.interface import Finding, Verdict
from tideover.smtp.replies import reply

UNKNOWN = reply(550, "5.1.1", "no such user")


class TwoDomains(OneDomain):
    """Knows `user` of queue.example, too."""

    def lookup(self, local, domain):
        if domain == "queue.example":
            return Finding(verdict=Verdict.ACCEPT, domain=domain)
        return super().lookup(local, domain)


def with_a_queue(server):
    """Mail for queue.example is always queued."""
    server.house.directory = TwoDomains()
    server.house.config.domains["queue.example"] = Domain(
        primary=(Endpoint("192.0.2.2", 25),), recipients=("file:x",),
        when_primary_up=WhenPrimaryUp.ACCEPT,
    )  # fmt: skip


@scenario
async def test_after_a_recipient_for_the_queue_nobody_joins_what_the_primary_refused(server):
    """The body goes one way only: one of two that were told yes would get nothing."""
    primary = gated(server)
    with_a_queue(server)
    primary.answers["no@example.com"] = UNKNOWN
    client, answers = await begin(
        server, b"no@example.com", b"user@queue.example", b"user@example.com"
    )
    assert [answer[:9] for answer in answers] == [b"550 5.1.1", b"250 2.1.5", b"452 4.5.3"]
    assert b"goes another way; send it apart" in answers[2]
    assert (await send(client)).startswith(b"250 2.0.0 Queued as")
    ((message, _),) = server.shelf.messages
    assert [one.address for one in message.envelope.recipients] == ["user@queue.example"]
    assert primary.body == b""


@scenario
async def test_when_the_primary_is_lost_all_its_recipients_go_on_together(server):
    """Its state may say "up" for a while yet, which is no reason to send them apart."""
    primary = gated(server)
    for recipient in ("user@example.com", "postmaster@example.com"):
        primary.answers[recipient] = LOST
    client, answers = await begin(
        server, b"new@example.com", b"user@example.com", b"postmaster@example.com"
    )
    assert [answer[:3] for answer in answers] == [b"250"] * 3
    assert (await send(client)).startswith(b"250 2.0.0 Queued as")
    ((message, _),) = server.shelf.messages
    addresses = [one.address for one in message.envelope.recipients]
    assert addresses == ["new@example.com", "user@example.com", "postmaster@example.com"]
    assert primary.opened == 1


@scenario
async def test_a_state_that_changes_sends_no_recipient_apart(server):
    primary = gated(server)
    client, answers = await begin(server, b"one@example.com")
    for state in (PrimaryState.DOWN, PrimaryState.HELD):
        primary.state = state
        answers.append(await client.say(b"RCPT TO:<more@example.com>\r\n"))
    assert [answer[:3] for answer in answers] == [b"250"] * 3
    assert await send(client) == b"250 2.0.0 Ok: queued as PRIMARY\r\n"


@scenario
async def test_a_message_that_goes_in_circles_is_stopped(server):
    primary = gated(server)
    ended = []
    end = primary.end

    async def noted(queue_id):
        ended.append(queue_id)
        return await end(queue_id)

    primary.end = noted
    for hops, ends in ((100, 1), (101, 1)):
        client, _ = await begin(server, b"user@example.com")
        for size in (10, 1_500_000):
            ended.clear()
            primary.abandoned = 0
            answer = await send(client, b"Received: by a\r\n" * hops + b"\r\n" + b"x\r\n" * size)
            assert answer[:9] == (b"250 2.0.0" if hops == 100 else b"554 5.4.6")
            assert len(ended) == (ends if hops == 100 else 0)
            assert primary.abandoned
            assert (await client.say(b"MAIL FROM:<s@example.net>\r\n")).startswith(b"250")
            assert (await client.say(b"RCPT TO:<user@example.com>\r\n")).startswith(b"250")
    assert server.shelf.messages == []
    assert names(server).count("MessageRefused") == 2


@scenario
async def test_a_bug_in_the_way_through_costs_nobody_the_message(server):
    def broken(piece):
        raise RuntimeError("a bug")

    async def later(piece):
        raise RuntimeError("a bug")

    for write in (broken, later):
        primary = gated(server)
        primary.write = write
        client, _ = await begin(server, b"user@example.com")
        assert (await send(client)).startswith(b"250 2.0.0 Queued as")
        assert primary.abandoned
    assert len(server.shelf.messages) == 2


@scenario
async def test_a_bug_at_any_other_step_is_answered(server):
    async def broken(*_args, **_kwargs):
        raise RuntimeError("a bug")

    for step in ("open", "recipient", "start", "end"):
        primary = gated(server)
        setattr(primary, step, broken)
        client, answers = await begin(server, b"user@example.com")
        if step in ("open", "recipient"):
            assert answers[0].startswith(b"451 4.3.0")
        elif step == "start":
            assert (await client.say(b"DATA\r\n")).startswith(b"451 4.3.0")
        else:
            assert (await send(client)).startswith(b"451 4.3.0")
        assert (await client.say(b"RSET\r\n")).startswith(b"250")
        assert primary.abandoned or step == "open"
    assert server.house.chain.copies.in_memory == 0


@scenario
async def test_who_goes_while_the_primary_is_asked_leaves_nothing_open(server):
    primary = gated(server)
    for step in ("open", "recipient", "start", "end"):
        go_on, asked = asyncio.Event(), asyncio.Event()
        usual = getattr(primary, step)

        async def slow(*args, usual=usual, go_on=go_on, asked=asked, **kwargs):
            asked.set()
            await go_on.wait()
            return await usual(*args, **kwargs)

        setattr(primary, step, slow)
        primary.abandoned = 0
        client = await server.client()
        client.writer.write(
            b"EHLO c.example\r\nMAIL FROM:<s@example.net>\r\nRCPT TO:<user@example.com>\r\nDATA\r\n"
        )
        if step == "end":
            async with asyncio.timeout(5):
                while not (await client.answer()).startswith(b"354"):
                    pass
            client.writer.write(b"Subject: x\r\n\r\nhi\r\n.\r\n")
        await asked.wait()
        client.reset()
        await asyncio.sleep(0.02)
        go_on.set()
        await asyncio.sleep(0.02)
        assert primary.abandoned, step
        setattr(primary, step, usual)
    assert server.house.chain.copies.in_memory == 0
    assert names(server) == ["PassedThrough"]  # the primary had said yes, whoever heard it


@scenario
async def test_a_bug_in_the_spool_is_answered_at_the_end_of_the_body(server):
    server.shelf.write_error = RuntimeError("a bug")
    client = await server.client()
    await client.to_data()
    assert (await client.say(b"Subject: x\r\n\r\nhi\r\n.\r\n")).startswith(b"451 4.3.0")
    assert "CheckFailed" in server.names()


@pytest.mark.parametrize("step", ["late@example.com", "start", "end"])
def test_what_policy_has_against_whom_the_primary_took_is_said_at_the_end(tmp_path, step):
    """They heard a yes; the refusal is for the message as a whole, and nobody gets it."""

    async def check(_about):
        return Result(found=(Found(name="helo-ours"),))

    async def main():
        entries = {Stage.HELO: [Entry(name="helo", stages=(Stage.HELO,), run=check)]}
        async with serving(tmp_path, entries=entries) as server:
            primary = gated(server)
            primary.answers[step] = Gone(text="lost")
            client, answers = await begin(server, b"user@example.com", b"late@example.com")
            assert answers[0].startswith(b"250")
            assert (await send(client)).startswith(b"55")
            assert server.shelf.messages == []
            assert server.house.chain.copies.in_memory == 0

    asyncio.run(main())
