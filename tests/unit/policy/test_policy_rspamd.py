"""rspamd: what it is asked, and what becomes of engines that do not answer as they should."""

import asyncio
import json
import ssl

import pytest
import trustme

import engines
from tideover import eager
from tideover.config.policy import OnFailure, Rspamd
from tideover.policy.engines import rspamd
from tideover.policy.engines.http_post import HttpPlace
from tideover.policy.engines.inquiry import IN_FLIGHT
from tideover.policy.interface import Result, Verb
from tideover.testing.ports import free_port

CLEAN = {"action": "no action", "score": 0.5, "required_score": 15.0, "symbols": {}}


def http(body, status="200 OK", head=""):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    length = f"Content-Length: {len(body)}\r\n"
    return f"HTTP/1.1 {status}\r\n{head}{length}\r\n".encode() + body


async def request(reader):
    """A request as (head, body)."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    fields = [line.partition(": ")[::2] for line in head.split("\r\n")[1:-2]]
    length = next(int(value) for name, value in fields if name == "Content-Length")
    return fields, await reader.readexactly(length)


class Answers:
    """A talk of one answer, that keeps what it was asked."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    async def __call__(self, reader, writer):
        self.asked.append(await request(reader))
        writer.write(self.answer)
        await writer.drain()


def check(port, **settings):
    settings = {"timeout": 20.0, "url": f"http://127.0.0.1:{port}/", **settings}
    made = rspamd.make(engines.services(rspamd=Rspamd(**settings)))
    assert made is not None
    return made


def ask(talk, about=None, **settings):
    async def run():
        async with engines.engine(talk) as port:
            made = check(port, **settings)
            return await made(about or engines.about())

    return asyncio.run(run())


def sent(about, **settings):
    """The header of the request, as pairs, and its body."""
    talk = Answers(http(CLEAN))
    assert not ask(talk, about, **settings).found
    (asked,) = talk.asked
    return asked


def test_there_is_no_check_without_an_engine():
    assert rspamd.make(engines.services()) is None


def test_the_message_is_shown_below_our_received_field():
    fields, body = sent(engines.about())
    assert body == engines.TRACE + engines.PLAIN
    assert ("Content-Length", str(len(body))) in fields
    assert not [name for name, _ in fields if name.lower() == "transfer-encoding"]


def test_a_message_that_lies_on_disk_is_streamed():
    data = engines.PLAIN + b"0123456789abcdef\r\n" * 50_000
    fields, body = sent(engines.about(data, in_memory=False))
    assert body == engines.TRACE + data
    assert ("Content-Length", str(len(body))) in fields


def test_what_is_known_of_the_envelope_goes_with_it():
    results = {"reverse-dns": Result(evidence={"name": "host.example.net"})}
    about = engines.about(
        to=("user@example.com", "other@example.com"),
        tls="TLSv1.3 TLS_AES_256_GCM_SHA384",
        results=results,
    )
    fields, _ = sent(about)
    for field in (
        ("IP", "192.0.2.1"), ("Helo", "client.example.net"), ("Hostname", "host.example.net"),
        ("From", "<ann@example.net>"), ("Rcpt", "<user@example.com>"),
        ("Rcpt", "<other@example.com>"), ("Queue-Id", "Q1"), ("MTA-Name", "mx2.example.org"),
        ("TLS-Version", "TLSv1.3"), ("TLS-Cipher", "TLS_AES_256_GCM_SHA384"),
    ):  # fmt: skip
        assert field in fields
    assert not {"Password", "Settings-ID"} & {name for name, _ in fields}


def test_what_is_not_known_is_not_said():
    fields, _ = sent(engines.about(sender="", results={"reverse-dns": Result(undecided="DNS")}))
    names = {name for name, _ in fields}
    assert ("From", "<>") in fields
    assert not {"Hostname", "TLS-Version", "TLS-Cipher"} & names


def test_nothing_that_a_client_chose_ends_a_line():
    about = engines.about(
        helo="a\r\nPass: all", sender="x\r\nSettings-ID: none@example.net",
        to=("é\n\0@example.com",),
    )  # fmt: skip
    fields, _ = sent(about)
    assert not {"Pass", "Settings-ID"} & {name for name, _ in fields}
    assert ("Helo", "a??Pass: all") in fields
    assert ("Rcpt", "<é??@example.com>".encode().decode("latin-1")) in fields


@pytest.mark.parametrize(
    ("of_domain", "of_all", "given"),
    [("strict", "mild", "strict"), (None, "mild", "mild"), (None, None, None)],
)
def test_the_domains_settings_id_goes_before_the_general_one(of_domain, of_all, given):
    about = engines.about(transaction={"rspamd_settings": of_domain})
    fields, _ = sent(about, settings=of_all)
    assert dict(fields).get("Settings-ID") == given


def test_the_password_comes_from_its_file(tmp_path):
    path = tmp_path / "password"
    path.write_text("Geheim*42\n")
    fields, _ = sent(engines.about(), password_file=path)
    assert ("Password", "Geheim*42") in fields


def test_without_its_password_it_is_not_asked(tmp_path):
    talk = Answers(http(CLEAN))
    action, reason = engines.failure(ask(talk, password_file=tmp_path / "none"))
    assert action is Verb.DEFER
    assert "password_file" in reason
    assert not talk.asked


def test_a_larger_message_is_not_shown():
    talk = Answers(http(CLEAN))
    result = ask(talk, max_size=len(engines.PLAIN) - 1)
    assert not result.found
    assert "max_size" in result.evidence["rspamd"]
    assert not talk.asked
    assert not ask(talk, max_size=len(engines.PLAIN)).found
    assert len(talk.asked) == 1


async def _nothing(reader, writer):
    await request(reader)


async def _at_once(reader, writer):
    pass


async def _reset(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()


async def _half(reader, writer):
    await request(reader)
    writer.write(http(CLEAN)[:-10])


async def _endless(reader, writer):
    await request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n")
    while True:
        writer.write(b" " * 65536)
        await writer.drain()


async def _endless_header(reader, writer):
    await request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: of the same\r\n" * 1000)
        await writer.drain()


def test_an_endless_answer_is_not_read_to_its_end():
    assert engines.failure(ask(_endless))[1] == "rspamd: its answer is too long"


@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(_nothing, id="closes without an answer"),
        pytest.param(_at_once, id="closes at once"),
        pytest.param(_reset, id="resets the connection"),
        pytest.param(_half, id="half an answer"),
        pytest.param(_endless, id="an endless answer"),
        pytest.param(_endless_header, id="an endless header"),
        pytest.param(Answers(b"220 smtp.example.com ESMTP\r\n"), id="another protocol"),
        pytest.param(Answers(b"HTTP/1.1 200 OK\r\n\r\n{}"), id="no length"),
        pytest.param(Answers(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), id="bad length"),
        pytest.param(
            Answers(http(CLEAN, head="Transfer-Encoding: chunked\r\n")), id="chunked all the same"
        ),
        pytest.param(Answers(http(b"")), id="nothing"),
        pytest.param(Answers(http(b"<html>")), id="no JSON"),
        pytest.param(Answers(http(b"[" * 100_000)), id="deep JSON"),
        pytest.param(Answers(http(b"\xff\xfe")), id="no text"),
        pytest.param(Answers(http([])), id="another type"),
        pytest.param(Answers(http({"score": 3.0})), id="no action"),
        pytest.param(Answers(http({"action": 3})), id="an action that is none"),
        pytest.param(Answers(http({"action": "reject", "symbols": [1]})), id="bad symbols"),
        pytest.param(Answers(http(b"x", "403 Unauthorized")), id="403"),
        pytest.param(Answers(http(CLEAN, "500 Error")), id="500"),
        pytest.param(Answers(http(CLEAN, "302 Found", "Location: /\r\n")), id="302"),
        pytest.param(Answers(http(b"\x1f\x8b\0", head="Content-Encoding: gzip\r\n")), id="gzip"),
    ],
)
def test_an_answer_that_is_none_is_a_failure(talk):
    assert engines.failure(ask(talk))[0] is Verb.DEFER
    assert engines.failure(ask(talk, on_failure=OnFailure.ACCEPT))[0] == 0.0


def test_a_dead_engine_is_a_failure_at_once_and_in_use_when_it_is_back():
    async def run():
        port = free_port()
        made = check(port)
        action, reason = engines.failure(await made(engines.about()))
        assert action is Verb.DEFER
        assert reason.startswith("rspamd: ")

        async def serve(reader, writer):
            await Answers(http(CLEAN))(reader, writer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", port)
        assert not (await made(engines.about())).found
        server.close()

    asyncio.run(run())


def test_a_silent_engine_is_a_failure_after_its_time():
    async def silent(reader, writer):
        await reader.read()

    action, reason = engines.failure(ask(silent, timeout=0.05))
    assert action is Verb.DEFER
    assert reason == "rspamd: no answer within 0.05 s"


def test_a_slow_engine_is_a_failure_after_its_time_too():
    async def slow(reader, writer):
        await request(reader)
        for octet in http(CLEAN):
            writer.write(bytes([octet]))
            await asyncio.sleep(0.01)

    assert "no answer within" in engines.failure(ask(slow, timeout=0.1))[1]


def test_messages_in_flight_are_bounded_and_the_others_wait():
    async def run():
        released, now, most = asyncio.Event(), 0, 0

        async def talk(reader, writer):
            nonlocal now, most
            now += 1
            most = max(most, now)
            if now == IN_FLIGHT:
                released.set()
            await request(reader)
            await released.wait()
            now -= 1
            writer.write(http(CLEAN))
            await writer.drain()

        async with engines.engine(talk) as port:
            made = check(port)
            asked = [made(engines.about()) for _ in range(IN_FLIGHT + 20)]
            results = await asyncio.gather(*asked)
        assert not [result for result in results if result.found]
        assert most == IN_FLIGHT

    asyncio.run(run())


def test_those_who_wait_for_a_dead_engine_do_so_within_their_time():
    async def run():
        async def silent(reader, writer):
            await reader.read()

        async with engines.engine(silent) as port:
            made = check(port, timeout=0.2)
            asked = [made(engines.about()) for _ in range(IN_FLIGHT * 2)]
            results = await asyncio.wait_for(asyncio.gather(*asked), 20)
        assert {engines.failure(result)[0] for result in results} == {Verb.DEFER}

    asyncio.run(run())


def test_a_url_may_have_a_path_and_no_port():
    place = HttpPlace("http://filter.example.net/rspamd/checkv2")
    assert (place._host, place._port) == ("filter.example.net", 80)
    assert place._head([]).startswith(b"POST /rspamd/checkv2 HTTP/1.0\r\nHost: filter.example.net")
    assert HttpPlace("https://[::1]:8443/checkv2")._port == 8443
    assert HttpPlace("https://filter.example.net/checkv2")._port == 443


def test_an_engine_behind_tls_is_verified(tmp_path, monkeypatch):
    authority = trustme.CA()
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(served)

    async def run():
        async with engines.engine(Answers(http(CLEAN)), ssl=served) as port:
            return await check(port, url=f"https://localhost:{port}")(engines.about())

    assert engines.failure(asyncio.run(run()))[0] is Verb.DEFER
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert not asyncio.run(run()).found


def test_it_may_be_started_outside_of_any_task():
    """As the chain does: the first part runs in whoever calls, and a time limit ends only it."""

    async def run():
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        async def silent(reader, writer):
            await reader.read()

        async with engines.engine(silent) as port:
            made = check(port, timeout=0.05)
            loop.call_soon(lambda: done.set_result(eager.run(made(engines.about()))))
            result = await (await done)
        assert engines.failure(result)[0] is Verb.DEFER

    asyncio.run(run())
