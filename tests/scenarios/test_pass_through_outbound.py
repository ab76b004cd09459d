"""Passing through over real sockets: what the primary sees of it, and what the client is told."""

import asyncio

import pytest
from live_rig import BODY, LARGE, OFFERS, TRACE, mailbox, rig, saying, settled, talk, write
from outbound_rig import DOMAIN, run

from tideover.outbound.connection import Connection
from tideover.primary.relay import Gone
from tideover.smtp.receipt import Receipt
from tideover.smtp.replies import Reply
from tideover.testing.peer import Peer, Reaction, Step

# What goes well


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("chunking", [True, False])
@pytest.mark.parametrize("body", [BODY, LARGE, b"", b"no line end"], ids=len)
def test_the_primary_takes_what_the_client_gives(pipelining, chunking, body):
    async def scenario() -> None:
        offers = OFFERS if pipelining else OFFERS[1:]
        async with Peer(capabilities=offers) as peer, rig(peer.port) as site:
            answer = await site.send(body, ("a", "b"), chunking=chunking)
            assert answer == Receipt("Q1", Reply(250, "2.0.0", ("taken",)))
            (message,) = peer.messages
            added = b"" if chunking or body[-1:] in (b"", b"\n") else b"\r\n"
            assert message.body == TRACE + body + added
            assert (message.bdat, len(message.rcpts)) == (chunking, 2)
            assert site.evidence.downs == []

    run(scenario)


def test_without_chunking_at_the_primary_it_goes_by_data():
    async def scenario() -> None:
        async with Peer() as peer, rig(peer.port) as site:
            assert isinstance(await site.send(chunking=True), Receipt)
            assert not peer.messages[0].bdat

    run(scenario)


def test_one_connection_serves_one_client_after_the_other():
    async def scenario() -> None:
        async with Peer() as peer, rig(peer.port) as site:
            for number in range(1, 6):
                assert isinstance(await site.send(number=number), Receipt)
            assert (peer.connections, len(peer.messages)) == (1, 5)
            assert "RSET" not in peer.commands
            assert len(site.evidence.ups) == 5

    run(scenario)


def test_parameters_are_passed_on_as_far_as_they_are_offered():
    async def scenario() -> None:
        more = {"body": "8BITMIME", "smtputf8": True, "ret": "HDRS", "envid": "x+3Dy"}
        async with Peer(capabilities=OFFERS) as peer, rig(peer.port) as site:
            live = await site.open(**more)
            recipient = mailbox(notify=("FAILURE", "DELAY"), orcpt="rfc822;a@b.example")
            assert (await live.recipient(recipient)).positive
            live.abandon()
            mail, rcpt = peer.commands[1:3]
            assert mail == (
                "MAIL FROM:<sender@example.net> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x+3Dy"
            )
            assert rcpt.endswith("> NOTIFY=FAILURE,DELAY ORCPT=rfc822;a@b.example")

    run(scenario)


def test_what_the_primary_lacks_is_refused_before_anything_is_said():
    async def scenario() -> None:
        async with Peer(capabilities=("PIPELINING",)) as peer, rig(peer.port) as site:
            answer = await site.send(smtputf8=True)
            assert (answer.code, answer.enhanced) == (553, "5.6.7")
            assert isinstance(await site.send(), Receipt)  # on the same connection
            assert peer.connections == 1

    run(scenario)


def test_eight_bits_are_refused_only_when_they_come():
    async def scenario() -> None:
        async with Peer(capabilities=("PIPELINING",)) as peer, rig(peer.port) as site:
            assert isinstance(await site.send(body=BODY, sender="a@b.example"), Receipt)
            live = await site.open(body="8BITMIME")
            answer = await talk(live, b"caf\xe9\r\n")
            assert (answer.code, answer.enhanced) == (554, "5.6.3")
            assert len(peer.messages) == 1
            await settled(peer, 0)

    run(scenario)


# Its verdicts


def test_each_recipient_has_the_primarys_own_answer():
    async def scenario() -> None:
        def behave(step: Step) -> Reaction | None:
            if step.verb == "RCPT" and "nobody" in step.argument:
                return Reaction("550-5.1.1 no\n550 5.1.1 such user")
            if step.verb == "RCPT" and "full" in step.argument:
                return Reaction("452 4.2.2 over quota")
            return None

        async with Peer(behave=behave) as peer, rig(peer.port) as site:
            live = await site.open()
            answers = [await live.recipient(mailbox(one)) for one in ("nobody", "user", "full")]
            assert [str(one) for one in answers] == [
                "550 5.1.1 no such user", "250 2.1.5 ok", "452 4.2.2 over quota",
            ]  # fmt: skip
            assert (await live.start(chunking=False)).code == 354
            assert await write(live, BODY) is None
            assert isinstance(await live.end("Q1"), Receipt)
            assert peer.messages[0].rcpts == [f"TO:<user@{DOMAIN}>"]

    run(scenario)


def test_a_refusal_of_the_sender_is_that_of_all_recipients():
    async def scenario() -> None:
        async with (
            Peer(behave=saying(MAIL="550 5.7.1 spam", RCPT="503 5.5.1 need MAIL")) as peer,
            rig(peer.port) as site,
        ):
            live = await site.open()
            for local in ("a", "b"):
                assert (await live.recipient(mailbox(local))).enhanced == "5.7.1"
            live.abandon()
            peer.behave = lambda _: None
            assert isinstance(await site.send(), Receipt)
            assert peer.connections == 1

    run(scenario)


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "BODY"])
@pytest.mark.parametrize("text", ["550 5.7.1 GTUBE", "451 4.7.1 Try again later"])
def test_a_verdict_is_told_and_the_connection_is_clean(verb, text):
    async def scenario() -> None:
        replies = {verb: text, **({"RCPT": "503 5.5.1 MAIL"} if verb == "MAIL" else {})}
        async with Peer(behave=saying(**replies)) as peer, rig(peer.port) as site:
            assert str(await site.send()) == text
            peer.behave = lambda _: None
            await asyncio.sleep(0.02)
            assert isinstance(await site.send(), Receipt)
            assert (peer.connections, len(peer.messages)) == (1, 1)
            assert site.evidence.downs == []

    run(scenario)


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "BODY"])
@pytest.mark.parametrize(
    "text", ["451 4.3.0 lookup failure", "421 4.3.2 closing", "452 space shortage", "450 4.3.2 no"]
)
def test_trouble_of_its_own_is_no_verdict(verb, text):
    async def scenario() -> None:
        replies = {verb: text, **({"RCPT": "503 5.5.1 MAIL"} if verb == "MAIL" else {})}
        async with Peer(behave=saying(**replies)) as peer, rig(peer.port) as site:
            answer = await site.send()
            assert isinstance(answer, Gone)
            assert (str(answer.reply), answer.after_dot) == (text, False)
            assert bool(site.evidence.downs) is ("4.3.2" in text)
            peer.behave = lambda _: None
            assert isinstance(await site.send(), Receipt)
            assert len(peer.messages) == 1

    run(scenario)


@pytest.mark.parametrize("chunking", [True, False])
def test_a_verdict_in_the_middle_of_a_body_is_told_at_its_end(chunking):
    async def scenario() -> None:
        def behave(step: Step) -> Reaction | None:
            if step.verb == ("BDAT" if chunking else "DATA"):
                return Reaction(
                    "552 5.3.4 too large" if chunking else b"354 go\r\n552 5.3.4 no\r\n"
                )
            return None

        async with Peer(capabilities=OFFERS, behave=behave) as peer, rig(peer.port) as site:
            answer = await site.send(LARGE, chunking=chunking)
            assert isinstance(answer, Reply)
            assert answer.enhanced == "5.3.4"
            assert peer.messages == []
            peer.behave = lambda _: None
            assert isinstance(await site.send(LARGE, chunking=chunking), Receipt)
            assert len(peer.messages) == 1

    run(scenario)


# It dies

WHERE = ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "BODY"]


@pytest.mark.parametrize("how", ["close", "reset", "silent"])
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("locals_", [("a",), ("a", "b", "c")], ids=len)
def test_whoever_dies_before_the_end_has_nothing(where, how, locals_):
    async def scenario() -> None:
        def behave(step: Step) -> Reaction | None:
            if step.verb == where:
                return Reaction(close=how == "close", reset=how == "reset")
            return None

        async with (
            Peer(behave=behave) as peer,
            rig(peer.port, connect_timeout=0.3, command_timeout=0.3, data_timeout=0.3) as site,
        ):
            answer = await site.send(BODY, locals_)
            assert isinstance(answer, Gone)
            assert answer.after_dot is (where == "BODY")
            assert len(site.evidence.downs) == 1
            await settled(peer, 0)

    run(scenario)


@pytest.mark.parametrize("chunking", [True, False])
@pytest.mark.parametrize("body", [BODY, LARGE], ids=len)
@pytest.mark.parametrize("answer", [None, b"250 2.0.0 tak", b"250 2.0.0 taken\r\n"])
def test_lost_after_the_dot_is_unknown(chunking, body, answer):
    async def scenario() -> None:
        def behave(step: Step) -> Reaction | None:
            return Reaction(answer, reset=True) if step.verb == "BODY" else None

        async with Peer(capabilities=OFFERS, behave=behave) as peer, rig(peer.port) as site:
            said = await site.send(body, chunking=chunking)
            # a reset may or may not leave us what came before it
            if not (answer and answer.endswith(b"\n") and isinstance(said, Receipt)):
                assert isinstance(said, Gone)
                assert said.after_dot

    run(scenario)


@pytest.mark.parametrize("chunking", [True, False])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_lost_in_the_middle_of_the_body_is_not_delivered(chunking, how):
    async def scenario() -> None:
        async with Peer(capabilities=OFFERS) as peer, rig(peer.port) as site:
            live = await site.open()
            assert (await live.recipient(mailbox())).positive
            assert (await live.start(chunking=chunking)).positive
            assert await write(live, LARGE[: 200 * 1000]) is None
            if how == "reset":
                await peer.stop()
            else:
                for session in list(peer._sessions):
                    session._close()
            await asyncio.sleep(0.05)
            gone = await write(live, LARGE)
            if gone is None:
                gone = await live.end("Q1")
            assert isinstance(gone, Gone)
            assert not gone.after_dot
            assert peer.messages == []
            live.abandon()

    run(scenario)


def test_a_primary_that_stops_reading_is_waited_for_only_so_long():
    async def scenario() -> None:
        def behave(step: Step) -> Reaction | None:
            return Reaction("354 go", stop_reading=True) if step.verb == "DATA" else None

        async with Peer(behave=behave) as peer, rig(peer.port, command_timeout=0.3) as site:
            answer = await site.send(LARGE * 4)
            assert isinstance(answer, Gone)
            assert not answer.after_dot

    run(scenario)


def test_a_client_that_is_slow_is_not_taken_for_a_dead_primary():
    async def scenario() -> None:
        async with Peer() as peer, rig(peer.port, command_timeout=0.1, data_timeout=0.1) as site:
            live = await site.open()
            assert (await live.recipient(mailbox())).positive
            assert (await live.start(chunking=False)).positive
            for _ in range(3):
                assert await write(live, b"slow\r\n") is None
                await asyncio.sleep(0.2)
            assert isinstance(await live.end("Q1"), Receipt)

    run(scenario)


# The client gives up


@pytest.mark.parametrize("chunking", [True, False])
@pytest.mark.parametrize("when", ["opened", "recipient", "started", "body"])
def test_a_client_that_gives_up_leaves_a_clean_connection_or_none(chunking, when):
    async def scenario() -> None:
        async with Peer(capabilities=OFFERS) as peer, rig(peer.port) as site:
            live = await site.open()
            if when != "opened":
                assert (await live.recipient(mailbox("first"))).positive
            if when in ("started", "body"):
                assert (await live.start(chunking=chunking)).positive
            if when == "body":
                assert await write(live, LARGE) is None
            live.abandon()
            live.abandon()
            assert isinstance(await site.send(locals_=("second",)), Receipt)
            assert [message.rcpts for message in peer.messages] == [[f"TO:<second@{DOMAIN}>"]]
            kept = when in ("opened", "recipient") or (when == "started" and chunking)
            assert ("RSET" in peer.commands) is (kept and when != "opened")
            await settled(peer, 2 if kept else 1)

    run(scenario)


@pytest.mark.parametrize("verb", ["EHLO", "MAIL", "RCPT", "DATA", "BODY"])
def test_a_client_that_vanishes_while_the_primary_thinks(verb):
    async def scenario() -> None:
        def behave(step: Step) -> Reaction | None:
            if step.verb == verb and step.connection == 1:
                return Reaction("250 2.0.0 late", delay=0.1)
            return None

        async with Peer(behave=behave) as peer, rig(peer.port) as site:
            task = asyncio.create_task(site.send(locals_=("first",)))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert isinstance(await site.send(locals_=("second",)), Receipt)
            assert peer.messages[-1].rcpts == [f"TO:<second@{DOMAIN}>"]
            await settled(peer, 1)

    run(scenario)


def test_a_client_that_vanishes_in_the_moment_of_a_reply(monkeypatch):
    async def scenario() -> None:
        async with Peer() as peer, rig(peer.port) as site:
            live = await site.open()
            task = asyncio.ensure_future(live.recipient(mailbox("first")))
            resolve = Connection._resolve

            def vanish(connection: Connection, **more) -> None:
                resolve(connection, **more)
                task.cancel()

            monkeypatch.setattr(Connection, "_resolve", vanish)
            with pytest.raises(asyncio.CancelledError):
                await task
            monkeypatch.undo()
            live.abandon()
            assert isinstance(await site.send(locals_=("second",)), Receipt)
            assert (peer.connections, peer.commands.count("RSET")) == (2, 0)

    run(scenario)
