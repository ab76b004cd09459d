"""Passing through where primaries and clients are impatient, hostile or odd."""

import asyncio

import pytest
from live_rig import BODY, LARGE, TRACE, mailbox, rig, saying, settled, write
from outbound_rig import run

from tideover.outbound import kept as kept_module
from tideover.primary.relay import Gone
from tideover.smtp.receipt import Receipt
from tideover.smtp.replies import Reply
from tideover.testing.peer import Peer, Reaction, Step

ENOUGH = "421 4.7.0 too many errors"


@pytest.mark.parametrize("first", ["recipient", "start"])
def test_after_its_last_word_there_is_no_way_around_it(first, monkeypatch):
    """Who provoked it until it hung up must not get his message into our queue by that."""
    monkeypatch.setattr("tideover.outbound.live.REFUSALS", 0)
    monkeypatch.setattr(kept_module, "REFUSALS", 100)

    def behave(step: Step) -> Reaction | None:
        bad = step.verb == "RCPT" and "bad" in step.argument
        return Reaction(ENOUGH, close=True) if bad or step.verb == "DATA" else None

    async def scenario() -> None:
        async with Peer(behave=behave) as peer, rig(peer.port) as site:
            live = await site.open()
            assert (await live.recipient(mailbox())).positive
            if first == "recipient":
                assert (await live.recipient(mailbox("bad"))).code == 451
            for _ in range(2):
                assert (await live.start(chunking=False)).code == 451
            assert (await live.recipient(mailbox())).code == 451
            live.abandon()
            assert site.evidence.downs == []

    run(scenario)


def closing(text: bytes):
    """As a server that has waited long enough."""

    def close(peer: Peer) -> None:
        for session in list(peer._sessions):
            session._transport.write(text)
            session._close()

    return close


@pytest.mark.parametrize("text", [b"421 4.4.2 timeout\r\n", b"421 idle\r\n", b""])
@pytest.mark.parametrize("then", ["recipient", "data", "bdat"])
def test_a_primary_tired_of_a_slow_client_is_asked_anew(text, then):
    """Else whoever is slow would get by it into our queue, and make it look dead to all others."""

    async def scenario() -> None:
        offers = ("PIPELINING", "XFORWARD ADDR NAME", "CHUNKING")
        async with Peer(capabilities=offers) as peer, rig(peer.port) as site:
            live = await site.open()
            for name in ("one", "two"):
                assert (await live.recipient(mailbox(name))).positive
            closing(text)(peer)
            await asyncio.sleep(0.02)
            names = ["one", "two"]
            if then == "recipient":
                assert (await live.recipient(mailbox("three"))).positive
                names.append("three")
                closing(text)(peer)
                await asyncio.sleep(0.02)
            assert (await live.start(chunking=then == "bdat")).code == 354
            assert await write(live, TRACE + BODY) is None
            assert isinstance(await live.end("Q1"), Receipt)
            live.abandon()
            (message,) = peer.messages
            assert message.body == TRACE + BODY
            assert [one[4:].partition("@")[0] for one in message.rcpts] == names
            assert site.evidence.downs == []
            await settled(peer)
            assert isinstance(await site.send(), Receipt)  # no slot is lost, the other is kept

    run(scenario)


def test_asked_anew_it_may_have_changed_its_mind():
    async def scenario() -> None:
        for reply, kind in (("550 5.7.1 not you", Reply), ("451 4.3.0 trouble", Gone)):
            async with Peer() as peer, rig(peer.port, max_connections=1) as site:
                live = await site.open()
                assert (await live.recipient(mailbox())).positive
                closing(b"")(peer)
                await asyncio.sleep(0.02)
                peer.behave = saying(RCPT=reply)
                answer = await live.start(chunking=False)
                assert isinstance(answer, kind)
                again = await live.start(chunking=False)
                assert isinstance(again, kind)
                live.abandon()
                peer.behave = lambda _: None
                assert isinstance(await site.send(), Receipt)

    run(scenario)


def test_one_that_has_died_while_the_client_was_slow_is_gone():
    async def scenario() -> None:
        async with Peer() as peer, rig(peer.port, max_connections=1) as site:
            live = await site.open()
            assert (await live.recipient(mailbox())).positive
            await peer.stop()
            await asyncio.sleep(0.02)
            assert isinstance(await live.start(chunking=False), Gone)
            live.abandon()
            assert site.evidence.downs
            await peer.start()
            assert isinstance(await site.send(), Receipt)

    run(scenario)


def test_a_primary_that_is_tired_in_the_middle_of_a_body_is_not_dead():
    async def scenario() -> None:
        async with Peer() as peer, rig(peer.port) as site:
            live = await site.open()
            assert (await live.recipient(mailbox())).positive
            assert (await live.start(chunking=False)).code == 354
            assert await write(live, TRACE) is None
            closing(b"421 4.4.2 timeout exceeded\r\n")(peer)
            await asyncio.sleep(0.02)
            gone = await write(live, BODY)
            assert isinstance(gone, Gone)
            assert not gone.after_dot
            live.abandon()
            assert site.evidence.downs == []
            assert peer.messages == []

    run(scenario)


def test_a_reply_that_contradicts_itself_frees_one_slot_only(monkeypatch):
    monkeypatch.setattr(kept_module, "REFUSALS", 1)

    async def scenario() -> None:
        behave = saying(MAIL="451 4.3.0 trouble", RCPT="250 2.1.5 yes")
        async with Peer(behave=behave) as peer, rig(peer.port, max_connections=2) as site:
            for _ in range(3):
                assert isinstance(await site.send(), Gone)
            await settled(peer, 0)
            (pool,) = site.relay._pools.values()
            assert (pool._places.in_use, pool._places._slots._value) == (0, 2)

    run(scenario)


HOSTILE = "550 5.1.1 " + "\u00fc" * 600


def test_what_a_client_is_told_is_smtp_whatever_the_primary_says():
    """RFC 5321 §4.5.3.1.5: 512 octets; RFC 6531 §3.5: UTF-8 only to who asked for it."""

    async def scenario() -> None:
        lines = "\n".join(["550-5.1.1 no"] * 50 + ["550 5.1.1 at all"])
        for text, smtputf8 in ((HOSTILE, False), (HOSTILE, True), (lines, False)):
            async with Peer(behave=saying(RCPT=text)) as peer, rig(peer.port) as site:
                live = await site.open(smtputf8=smtputf8)
                answer = await live.recipient(mailbox())
                live.abandon()
                wire = answer.to_wire()
                assert wire.isascii() is not smtputf8
                assert all(len(line) <= 510 for line in wire.split(b"\r\n"))
                assert wire.count(b"\r\n") <= 10
                assert wire.startswith(b"550")

    run(scenario)


@pytest.mark.parametrize("code", ["199", "299", "354", "599", "600", "25", "250x"])
@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "BODY"])
def test_odd_codes_never_make_a_receipt_that_is_none(verb, code):
    async def scenario() -> None:
        async with (
            Peer(behave=saying(**{verb: f"{code} 2.0.0 what"})) as peer,
            rig(peer.port, max_connections=1) as site,
        ):
            for body in (BODY, LARGE):
                answer = await site.send(body)
                if isinstance(answer, Receipt):
                    assert verb != "BODY" or code == "299"
                    assert peer.messages
                elif isinstance(answer, Reply):
                    assert not answer.positive
            peer.behave = lambda _: None
            assert isinstance(await site.send(), Receipt)

    run(scenario)
