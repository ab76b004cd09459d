"""ClamAV: the stream that clamd gets, and what its answers mean."""

import asyncio
import socket
import struct

import pytest

import engines
from tideover.config.policy import Clamav, OnFailure
from tideover.config.policy_values import SocketAddress
from tideover.config.values import Endpoint
from tideover.policy.engines import clamav
from tideover.policy.engines.dialogue import LONGEST
from tideover.policy.interface import Verb
from tideover.testing.ports import free_port


async def stream(reader):
    """What is sent by INSTREAM."""
    assert await reader.readuntil(b"\0") == b"zINSTREAM\0"
    data = b""
    while length := struct.unpack("!I", await reader.readexactly(4))[0]:
        data += await reader.readexactly(length)
    return data


def answers(answer, got=None):
    async def talk(reader, writer):
        data = await stream(reader)
        if got is not None:
            got.append(data)
        writer.write(answer)
        await writer.drain()

    return talk


def ask(talk, about=None, **settings):
    async def run():
        async with engines.engine(talk) as port:
            made = check(engines.at(port), **settings)
            return await made(about or engines.about())

    return asyncio.run(run())


def check(where, **settings):
    settings = Clamav(**{"socket": where, "timeout": 20.0, **settings})
    return clamav.make(engines.services(clamav=settings))


def test_there_is_no_check_without_an_engine():
    assert clamav.make(engines.services()) is None


@pytest.mark.parametrize("in_memory", [True, False])
def test_the_message_is_shown_below_our_received_field(in_memory):
    got = []
    data = engines.PLAIN + b"0123456789abcdef\r\n" * 20_000
    result = ask(answers(b"stream: OK\0", got), engines.about(data, in_memory=in_memory))
    assert not result.found
    assert result.evidence == {"clamav": "nothing found"}
    assert got == [engines.TRACE + data]


def test_malware_is_named():
    result = ask(answers(b"stream: Win.Test.EICAR_HDB-1 FOUND\0"))
    (found,) = result.found
    assert found.name == "virus"
    assert found.action is None
    assert found.reason == "Win.Test.EICAR_HDB-1"
    assert str(found.reply) == "554 5.7.1 The message carries malware: Win.Test.EICAR_HDB-1"
    assert result.evidence == {"clamav": "Win.Test.EICAR_HDB-1"}


def test_a_strange_name_is_made_harmless():
    result = ask(answers(b"stream: A\r\n250 OK \xff\x1b" + b"x" * 1000 + b" FOUND\0"))
    assert engines.failure(result)[0] is Verb.DEFER  # cut, it is no whole answer
    (found,) = ask(answers(b"stream: A\r\n250 OK \xff\x1b FOUND\0")).found
    assert found.reply.lines == ("The message carries malware: A 250 OK ??",)


def test_a_larger_message_is_not_shown():
    got = []
    about = engines.about()
    result = ask(answers(b"stream: OK\0", got), about, max_size=about.message.body.size - 1)
    assert not result.found
    assert not got
    assert "max_size" in result.evidence["clamav"]


def test_one_that_clamd_finds_too_large_is_not_shown_either():
    """It answers and closes while much is still on the way: its answer has to be seen."""

    async def talk(reader, writer):
        await reader.readexactly(1000)
        writer.write(b"INSTREAM size limit exceeded. ERROR\0")
        await writer.drain()

    data = engines.PLAIN + b"0123456789abcdef\r\n" * 500_000
    result = ask(talk, engines.about(data, in_memory=False))
    assert not result.found
    assert "StreamMaxLength" in result.evidence["clamav"]


def test_an_answer_counts_though_the_connection_is_reset_behind_it():
    async def talk(reader, writer):
        await reader.readexactly(10)
        writer.write(b"stream: Eicar FOUND\0")
        await writer.drain()
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    assert ask(talk).found[0].name == "virus"


async def _at_once(reader, writer):
    pass


async def _reset(reader, writer):
    await reader.readexactly(100)
    writer.transport.abort()


async def _early(reader, writer):
    await reader.readexactly(10)


@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(_at_once, id="closes at once"),
        pytest.param(_reset, id="resets the connection"),
        pytest.param(_early, id="closes early"),
        pytest.param(answers(b""), id="nothing"),
        pytest.param(answers(b"stream: OK"), id="not whole"),
        pytest.param(answers(b"stream: Eicar FOU"), id="half an answer"),
        pytest.param(answers(b"stream: Can't allocate memory ERROR\0"), id="an error"),
        pytest.param(answers(b"UNKNOWN COMMAND\0"), id="unknown command"),
        pytest.param(answers(b"SPAMD/1.5 0 PONG\r\n"), id="another protocol"),
        pytest.param(answers(b"\xff\0\xfe\0"), id="garbage"),
        pytest.param(answers(b"A" * (LONGEST * 20)), id="too long"),
    ],
)
def test_an_answer_that_is_none_is_a_failure(talk):
    assert engines.failure(ask(talk))[0] is Verb.DEFER
    assert engines.failure(ask(talk, on_failure=OnFailure.ACCEPT))[0] == 0.0


def test_a_silent_engine_is_a_failure_after_its_time():
    async def silent(reader, writer):
        await asyncio.sleep(20)

    data = engines.PLAIN + b"0123456789abcdef\r\n" * 1_000_000  # more than any socket holds
    for about in (engines.about(), engines.about(data, in_memory=False)):
        action, reason = engines.failure(ask(silent, about, timeout=0.05))
        assert action is Verb.DEFER
        assert reason == "clamav: no answer within 0.05 s"


def test_a_dead_engine_is_a_failure_at_once(tmp_path):
    for where in (engines.at(free_port()), SocketAddress(None, str(tmp_path / "none"))):
        assert engines.failure(asyncio.run(check(where)(engines.about())))[0] is Verb.DEFER


def test_a_host_may_be_named():
    async def run():
        async with engines.engine(answers(b"stream: OK\0")) as port:
            where = SocketAddress(Endpoint("localhost", port), "")
            return await check(where)(engines.about())

    assert not asyncio.run(run()).found


def test_a_path_too_long_for_a_socket_is_a_failure():
    where = SocketAddress(None, "/" + "x" * 300)
    assert engines.failure(asyncio.run(check(where)(engines.about())))[0] is Verb.DEFER
