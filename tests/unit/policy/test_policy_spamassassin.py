"""SpamAssassin: what spamd is asked, and what its answers mean."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engines
from tideover.config.policy import OnFailure, Spamassassin
from tideover.policy.engines import spamassassin
from tideover.policy.engines.inquiry import EngineError
from tideover.policy.engines.spamassassin import parse
from tideover.policy.interface import Verb
from tideover.testing.ports import free_port


def spamd(spam="False", score="3.5", required="5.0", symbols=b"MONEY,BAYES_50"):
    head = f"SPAMD/1.1 0 EX_OK\r\nContent-length: {len(symbols)}\r\n"
    return f"{head}Spam: {spam} ; {score} / {required}\r\n\r\n".encode() + symbols


def answers(answer, got=None):
    async def talk(reader, writer):
        asked = await reader.read()  # up to where the check closes its half
        if got is not None:
            got.append(asked)
        writer.write(answer)
        await writer.drain()

    return talk


def check(socket, **settings):
    settings = Spamassassin(**{"socket": socket, "timeout": 20.0, **settings})
    return spamassassin.make(engines.services(spamassassin=settings))


def ask(talk, about=None, **settings):
    async def run():
        async with engines.engine(talk) as port:
            return await check(engines.at(port), **settings)(about or engines.about())

    return asyncio.run(run())


def test_there_is_no_check_without_an_engine():
    assert spamassassin.make(engines.services()) is None


@pytest.mark.parametrize("in_memory", [True, False])
def test_the_message_is_shown_with_our_received_field_and_its_return_path(in_memory):
    got = []
    about = engines.about(in_memory=in_memory)
    assert not ask(answers(spamd(), got), about, user="filter").found
    head, _, body = got[0].partition(b"\r\n\r\n")
    assert body == b"Return-Path: <ann@example.net>\r\n" + engines.TRACE + engines.PLAIN
    assert head.split(b"\r\n") == [
        b"SYMBOLS SPAMC/1.5", b"Content-length: %d" % len(body), b"User: filter",
    ]  # fmt: skip


def test_nothing_that_a_client_or_a_setting_holds_ends_a_line():
    got = []
    about = engines.about(sender="x\r\nX-Forged: é@example.net")
    ask(answers(spamd(), got), about, user="a\r\nCompress: zlib")
    head, _, body = got[0].partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[2:] == [b"User: a Compress: zlib"]
    assert body.startswith(b"Return-Path: <x X-Forged: ?@example.net>\r\nReceived:")


def test_the_null_sender_is_shown_as_such():
    got = []
    ask(answers(spamd(), got), engines.about(sender=""))
    assert b"\r\n\r\nReturn-Path: <>\r\n" in got[0]


def test_what_spamd_says_counts():
    result = ask(answers(spamd("True", "12.34", symbols=b"GTUBE,MONEY")))
    (found,) = result.found
    assert found.name == "spamassassin-spam"
    assert found.action is None
    assert found.reason == "12.3 of 5.0: GTUBE,MONEY"
    assert result.evidence == {
        "spamassassin": "12.3 of 5.0", "spamassassin-symbols": "GTUBE,MONEY",
    }  # fmt: skip
    result = ask(answers(spamd()))
    assert not result.found
    assert result.evidence["spamassassin"] == "3.5 of 5.0"


@pytest.mark.parametrize(("score", "spam"), [("6.9", False), ("7.0", True), ("-3", False)])
def test_a_score_of_ones_own_counts_instead(score, spam):
    for word in ("True", "False"):
        result = ask(answers(spamd(word, score)), reject_score=7.0)
        assert bool(result.found) is spam


def test_a_larger_message_is_not_shown():
    got = []
    result = ask(answers(spamd(), got), max_size=10)
    assert not result.found
    assert not got
    assert "max_size" in result.evidence["spamassassin"]


def test_symbols_are_bounded():
    result = ask(answers(spamd("True", symbols=b"SYMBOL\xff\r\nX," * 2000)))
    assert len(result.evidence["spamassassin-symbols"]) <= 400
    assert result.evidence["spamassassin-symbols"].startswith("SYMBOL? X,")


async def _at_once(reader, writer):
    pass


async def _reset(reader, writer):
    await reader.readexactly(100)
    writer.transport.abort()


@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(_at_once, id="closes at once"),
        pytest.param(_reset, id="resets the connection"),
        pytest.param(answers(b""), id="nothing"),
        pytest.param(answers(spamd()[:-1]), id="half an answer"),
        pytest.param(answers(spamd()[:40]), id="half a header"),
        pytest.param(answers(b"SPAMD/1.0 76 Bad header line: (x)\r\n"), id="an error"),
        pytest.param(answers(b"SPAMD/1.1 75 EX_TEMPFAIL\r\n\r\n"), id="a temporary error"),
        pytest.param(answers(b"SPAMD/1.1 0 EX_OK\r\n\r\n"), id="no verdict"),
        pytest.param(answers(spamd(score="nan")), id="no score"),
        pytest.param(answers(spamd(spam="Maybe")), id="no word"),
        pytest.param(answers(spamd().replace(b"length: 14", b"length: -1")), id="bad length"),
        pytest.param(answers(spamd().replace(b"length: 14", b"length: 1e9")), id="no length"),
        pytest.param(answers(b"HTTP/1.1 400 Bad Request\r\n\r\n"), id="another protocol"),
        pytest.param(answers(b"\xff" * 10_000_000), id="too long"),
    ],
)
def test_an_answer_that_is_none_is_a_failure(talk):
    assert engines.failure(ask(talk))[0] is Verb.DEFER
    assert engines.failure(ask(talk, on_failure=OnFailure.ACCEPT))[0] == 0.0


def test_an_error_is_told_to_the_operator():
    talk = answers(b"SPAMD/1.1 75 EX_TEMPFAIL\r\n\r\n")
    assert engines.failure(ask(talk))[1] == "spamassassin: answers: 75 EX_TEMPFAIL"


def test_a_silent_engine_is_a_failure_after_its_time():
    async def silent(reader, writer):
        await asyncio.sleep(20)

    assert "no answer within" in engines.failure(ask(silent, timeout=0.05))[1]


def test_a_dead_engine_is_a_failure_at_once():
    made = check(engines.at(free_port()))
    assert engines.failure(asyncio.run(made(engines.about())))[0] is Verb.DEFER


@given(st.binary(max_size=200))
def test_garbage_is_an_error_and_nothing_else(data):
    for answer in (data, b"SPAMD/1.1 0 EX_OK\r\n" + data, b"SPAMD/1.1 " + data):
        with pytest.raises(EngineError):
            parse(answer)
