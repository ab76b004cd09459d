"""What clients meet at RCPT when a source must be asked, at honeypots, and with size limits."""

import asyncio

from inbound_rig import scenario

from tideover.recipients.interface import Confidence, Finding, Verdict

ACCEPTED = Finding(verdict=Verdict.ACCEPT, domain="example.com")
TRAP = Finding(
    verdict=Verdict.REJECT, confidence=Confidence.HONEYPOT, domain="example.com", source="file:x"
)
SWALLOWED = Finding(
    verdict=Verdict.SWALLOW, confidence=Confidence.HONEYPOT, domain="example.com", source="file:x"
)
SMALL = Finding(verdict=Verdict.ACCEPT, domain="example.com", max_size=1000)


def later(finding, gate=None):
    async def find():
        if gate is not None:
            await gate.wait()
        await asyncio.sleep(0)
        return finding

    return find


def events(server, name):
    return [event for event in server.events if type(event).__name__ == name]


@scenario
async def test_a_pipelined_transaction_waits_for_a_source_and_its_answers_stay_in_order(server):
    gate = asyncio.Event()
    server.house.directory.findings = {
        "asked": later(ACCEPTED, gate),
        "gone": later(Finding(verdict=Verdict.REJECT, domain="example.com"), gate),
        "unsure": later(Finding(verdict=Verdict.DEFER, domain="example.com")),
    }
    c = await server.client()
    await c.say(b"EHLO x\r\n")
    c.writer.write(
        b"MAIL FROM:<s@example.net>\r\nRCPT TO:<asked@example.com>\r\n"
        b"RCPT TO:<gone@example.com>\r\n"
        b"RCPT TO:<unsure@example.com>\r\nRCPT TO:<user@example.com>\r\nDATA\r\n"
    )
    assert (await c.answer()).startswith(b"250")
    await asyncio.sleep(0.05)
    gate.set()
    codes = [(await c.answer())[:9] for _ in range(5)]
    assert codes == [b"250 2.1.5", b"550 5.1.1", b"450 4.1.1", b"250 2.1.5", b"354 End d"]
    assert (await c.say(b"x\r\n.\r\n")).startswith(b"250")
    ((message, _),) = server.shelf.messages
    assert [r.address for r in message.envelope.recipients] == [
        "asked@example.com",
        "user@example.com",
    ]


@scenario
async def test_a_bug_in_a_source_is_a_450(server):
    async def broken():
        raise ZeroDivisionError

    server.house.directory.findings = {"x": broken}
    c = await server.client()
    await c.say(b"EHLO x\r\n")
    await c.say(b"MAIL FROM:<>\r\n")
    assert (await c.say(b"RCPT TO:<x@example.com>\r\n")).startswith(b"450 4.1.1")
    assert (await c.say(b"RCPT TO:<user@example.com>\r\n")).startswith(b"250")


@scenario
async def test_a_client_that_goes_away_while_a_source_is_asked_leaves_nothing(server):
    gate = asyncio.Event()
    server.house.directory.findings = {"asked": later(ACCEPTED, gate)}
    c = await server.client()
    await c.say(b"EHLO x\r\n")
    await c.say(b"MAIL FROM:<>\r\n")
    c.writer.write(b"RCPT TO:<asked@example.com>\r\n")
    await asyncio.sleep(0.02)
    c.reset()
    await asyncio.sleep(0.02)
    gate.set()
    await asyncio.sleep(0.02)
    assert len(events(server, "SessionClosed")) == 1


@scenario
async def test_a_honeypot_is_refused_like_anybody_and_is_a_fact_on_the_session(server):
    server.house.directory.findings = {"trap": TRAP}
    c = await server.client()
    await c.say(b"EHLO x\r\n")
    await c.say(b"MAIL FROM:<s@example.net>\r\n")
    trapped = await c.say(b"RCPT TO:<trap@example.com>\r\n")
    assert trapped == await c.say(b"RCPT TO:<nobody@example.com>\r\n")
    await c.say(b"RCPT TO:<user@example.com>\r\n")
    await c.say(b"DATA\r\n")
    await c.say(b"x\r\n.\r\n")
    await c.say(b"QUIT\r\n")
    await asyncio.sleep(0.02)
    (hit,) = events(server, "HoneypotHit")
    assert (hit.recipient, hit.source) == ("trap@example.com", "file:x")
    ((message, _),) = server.shelf.messages
    assert [r.address for r in message.envelope.recipients] == ["user@example.com"]
    assert message.evidence.notes == ("honeypot: trap@example.com",)
    assert events(server, "SessionClosed")[0].honeypots == 1


@scenario
async def test_a_swallowed_message_sounds_like_any_other_and_is_not_kept(server):
    server.house.directory.findings = {"trap": SWALLOWED}
    c = await server.client()
    await c.say(b"EHLO x\r\n")
    await c.say(b"MAIL FROM:<s@example.net>\r\n")
    assert (await c.say(b"RCPT TO:<trap@example.com>\r\n")).startswith(b"250 2.1.5")
    assert (await c.say(b"DATA\r\n")).startswith(b"354")
    assert (await c.say(b"spam\r\n.\r\n")).startswith(b"250 2.0.0 Queued as ")
    assert server.shelf.messages == []
    (swallowed,) = events(server, "MessageSwallowed")
    assert (swallowed.recipients, swallowed.size) == (("trap@example.com",), 6)
    assert (await c.say(b"MAIL FROM:<s@example.net>\r\n")).startswith(b"250")


@scenario
async def test_a_swallowed_recipient_beside_a_real_one_is_only_dropped(server):
    server.house.directory.findings = {"trap": SWALLOWED}
    c = await server.client()
    await c.say(b"EHLO x\r\n")
    await c.say(b"MAIL FROM:<s@example.net>\r\n")
    await c.say(b"RCPT TO:<trap@example.com>\r\n")
    await c.say(b"RCPT TO:<user@example.com>\r\n")
    await c.say(b"DATA\r\n")
    await c.say(b"x\r\n.\r\n")
    ((message, body),) = server.shelf.messages
    assert [r.address for r in message.envelope.recipients] == ["user@example.com"]
    assert body == b"x\r\n"


@scenario
async def test_a_recipient_with_a_size_limit(server):
    server.house.directory.findings = {"small": SMALL}
    c = await server.client()
    await c.say(b"EHLO x\r\n")
    await c.say(b"MAIL FROM:<s@example.net> SIZE=1001\r\n")
    assert (await c.say(b"RCPT TO:<small@example.com>\r\n")).startswith(b"552 5.3.4")
    await c.say(b"RSET\r\n")
    for size, code in [(990, b"250"), (1010, b"552 5.3.4"), (100_000, b"552 5.3.4")]:
        await c.say(b"MAIL FROM:<s@example.net>\r\n")
        assert (await c.say(b"RCPT TO:<small@example.com>\r\n")).startswith(b"250")
        await c.say(b"DATA\r\n")
        line = b"x" * 98 + b"\r\n"
        body = (line * (size // 100 + 1))[-size:]
        assert (await c.say(body + b".\r\n")).startswith(code)
    assert len(server.shelf.messages) == 1


@scenario
async def test_who_takes_less_costs_no_other_recipient_a_message_of_unsaid_size(server):
    server.house.directory.findings = {"small": SMALL, "little": SMALL}
    c = await server.client()
    await c.say(b"EHLO x\r\n")
    for first, second in ((b"small", b"user"), (b"user", b"small")):
        await c.say(b"MAIL FROM:<s@example.net>\r\n")
        assert (await c.say(b"RCPT TO:<%s@example.com>\r\n" % first)).startswith(b"250")
        assert (await c.say(b"RCPT TO:<%s@example.com>\r\n" % second)).startswith(b"452 4.5.3")
        await c.say(b"RSET\r\n")
    for size, others in ((b"", b"little"), (b" SIZE=900", b"user")):
        await c.say(b"MAIL FROM:<s@example.net>%s\r\n" % size)
        assert (await c.say(b"RCPT TO:<small@example.com>\r\n")).startswith(b"250")
        assert (await c.say(b"RCPT TO:<%s@example.com>\r\n" % others)).startswith(b"250")
        await c.say(b"RSET\r\n")
