"""What all content engines have in common: how many, how large, how long, and what a failure is."""

import asyncio

import pytest

import engines
from tideover.config.policy import Clamav, OnFailure
from tideover.policy.engines.inquiry import (
    IN_FLIGHT,
    EngineError,
    Inquiries,
    plain,
    shown,
    shown_size,
)
from tideover.policy.interface import NOTHING, About, Result, Stage, Verb

SEEN = Result(evidence={"seen": "yes"})


def inquiries(**settings):
    return Inquiries("engine", Clamav(**{"timeout": 20.0, **settings}))


def test_without_a_message_nothing_is_asked():
    about = About(stage=Stage.RCPT, client=engines.about().client, now=1.0)
    assert asyncio.run(inquiries().make(about, None)) is NOTHING


def test_only_so_many_are_in_flight_and_none_is_left_out():
    async def run():
        now, most, full = 0, 0, asyncio.Event()

        async def ask(about, message):
            nonlocal now, most
            now += 1
            most = max(most, now)
            if now >= IN_FLIGHT:
                full.set()
            await full.wait()
            now -= 1
            return SEEN

        made = inquiries()
        asked = [made.make(engines.about(), ask) for _ in range(IN_FLIGHT * 3)]
        assert await asyncio.gather(*asked) == [SEEN] * len(asked)
        assert most == IN_FLIGHT

    asyncio.run(run())


def test_to_wait_for_ones_turn_takes_of_ones_time():
    async def run():
        never = asyncio.Event()

        async def ask(about, message):
            await never.wait()

        made = inquiries(timeout=0.05)
        asked = [made.make(engines.about(), ask) for _ in range(IN_FLIGHT * 3)]
        return await asyncio.wait_for(asyncio.gather(*asked), 20)

    for result in asyncio.run(run()):
        assert engines.failure(result) == (Verb.DEFER, "engine: no answer within 0.05 s")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (EngineError("says\r\n\x00no"), "engine: says ?no"),
        (OSError(111, "Connection refused"), "engine: Connection refused"),
        (OSError("no address"), "engine: no address"),
        (TimeoutError(), "engine: no answer within 20 s"),
    ],
)
def test_failures_and_what_follows(error, reason):
    async def ask(about, message):
        raise error

    for on_failure, action in ((OnFailure.DEFER, Verb.DEFER), (OnFailure.ACCEPT, 0.0)):
        result = asyncio.run(inquiries(on_failure=on_failure).make(engines.about(), ask))
        assert engines.failure(result) == (action, reason)


def test_whoever_is_ended_from_outside_leaves_its_place():
    async def run():
        async def wait(about, message):
            await asyncio.Event().wait()

        async def ask(about, message):
            return SEEN

        made = inquiries()
        hung = [asyncio.create_task(made.make(engines.about(), wait)) for _ in range(IN_FLIGHT)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for task in hung:
            task.cancel()
        await asyncio.wait(hung)
        assert all(task.cancelled() for task in hung)
        assert await made.make(engines.about(), ask) is SEEN

    asyncio.run(run())


def test_what_is_shown_has_the_size_that_is_told():
    async def run(message):
        return b"".join([piece async for piece in shown(message)])

    message = engines.about().message
    data = asyncio.run(run(message))
    assert data == engines.TRACE + engines.PLAIN
    assert shown_size(message) == len(data)


@pytest.mark.parametrize(
    ("text", "line"),
    [("a\r\n b\tc", "a b c"), ("é\x1b[1m", "??[1m"), ("", ""), ("x" * 999, "x" * 200)],
)
def test_plain_text_is_one_line_of_ascii(text, line):
    assert plain(text) == line
