"""A backup asks an agent over HTTP and HTTPS, well and ill: an answer, or None in time."""

import asyncio
import contextlib
import json
import socket
import ssl
import subprocess
import sys
import time
from base64 import b64encode

import pytest
import trustme
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tideover.agent import asker as asker_module
from tideover.agent import http as http_module
from tideover.agent.asker import AT_ONCE, LEFT_ALONE, Asker
from tideover.agent.desk import Desk, Refusal
from tideover.agent.http import HttpServer
from tideover.agent.judge import Judgement
from tideover.agent.keys import make_key, public_text
from tideover.agent.protocol import Answer, Sealed, Verdict, seal
from tideover.agent.reach import Found
from tideover.config.agent import Agent
from tideover.config.load import load
from tideover.config.values import Endpoint
from tideover.dns.resolver import DnsUnavailable
from tideover.events.agent_records import AgentFound, AgentTrouble, AgentWorks

AGENT = Ed25519PrivateKey.generate()
CLIENT = "1.1.1.1"


class FakeReach:
    """Takes `delay` seconds, and finds that there is no route."""

    delay = 0.0

    def __init__(self):
        self.asked = 0

    def remembered(self, _address):
        return None

    async def find(self, _address, _port):
        self.asked += 1
        await asyncio.sleep(self.delay)
        return Found(Judgement(Verdict.UNREACHABLE, "no route"), time.time())


class FakeNames:
    """DNS with the addresses of one host; None: it does not answer."""

    def __init__(self):
        self.four, self.six, self.asked = (), (), []

    async def a(self, name):
        self.asked.append(name)
        if self.four is None:
            raise DnsUnavailable("DNS is dead")
        return self.four

    async def aaaa(self, name):
        if self.six is None:
            raise DnsUnavailable("DNS is dead")
        return self.six


class Rig:
    """A backup and an agent in one loop. `answer` may be replaced."""

    def __init__(self, tmp_path, *, scheme="http", timeout="1s"):
        self.key = make_key(tmp_path / "backup.key")
        self.events, self.reach, self.now = [], FakeReach(), time.time()
        self.scheme, self.path, self.timeout = scheme, tmp_path, timeout
        self.host, self.names = "localhost", FakeNames()
        settings = Agent(
            listen=Endpoint("127.0.0.1", 0),
            key_file=tmp_path,
            askers={"mx2": public_text(self.key)},
        )
        self.desk = Desk(settings, AGENT, self.reach, lambda _: None, lambda: self.now)
        self.answer = self.desk.answer
        self.tls = None

    def config(self, port, agent_key=None):
        file = self.path / "tideover.toml"
        file.write_text(
            'hostname = "mx2.example.org"\ndata_dir = "data"\n'
            f'[cut_off]\nkey_file = "backup.key"\nagent_timeout = "{self.timeout}"\n'
            '[domains."none.example"]\nprimary = "mx"\nrecipients = ["file:r"]\n'
            '[domains."example.com"]\nprimary = "mx"\nrecipients = ["file:r"]\n'
            f'agent = "{self.scheme}://{self.host}:{port}"\n'
            f'agent_key = "{agent_key or public_text(AGENT)}"\n'
        )
        return load(file)

    @contextlib.asynccontextmanager
    async def running(self, address="127.0.0.1", **settings):
        """An asker whose agent serves."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.create_server((address, 0), family=family)
        server = HttpServer(lambda sealed: self.answer(sealed))
        server.start(listener, self.tls)
        config = self.config(listener.getsockname()[1], **settings)
        asker = Asker(config, self.names, self.events.append, clock=lambda: self.now)
        try:
            yield asker
        finally:
            await asker.close()
            await server.close()

    def kinds(self):
        return [type(event) for event in self.events]


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_an_answer_that_counts_for_a_minute(rig, run):
    async def scenario():
        async with rig.running() as asker:
            assert asker.asks("example.com")
            answer = await asker.reach("example.com", f"::ffff:{CLIENT}")
            assert (answer.verdict, answer.reason) == (Verdict.UNREACHABLE, "no route")
            assert await asker.reach("example.com", CLIENT) == answer
            assert rig.reach.asked == 1
            rig.now += 61
            await asker.reach("example.com", CLIENT)
            assert rig.reach.asked == 2

    run(scenario())
    assert rig.kinds() == [AgentFound, AgentFound]


def test_without_an_agent_nothing_is_known(rig):
    async def scenario():
        async with rig.running() as asker:
            for domain in ("none.example", "else.example"):
                assert not asker.asks(domain)
                assert await asker.reach(domain, CLIENT) is None
            assert await asker.reach("example.com", "no address") is None

    asyncio.run(scenario())
    assert rig.events == []


def test_who_asks_at_the_same_time_shares_a_question(rig):
    rig.reach.delay = 0.1

    async def scenario():
        async with rig.running() as asker:
            asked = [asker.reach("example.com", CLIENT) for _ in range(20)]
            return {answer.verdict for answer in await asyncio.gather(*asked)}

    assert asyncio.run(scenario()) == {Verdict.UNREACHABLE}
    assert rig.reach.asked == 1


def test_more_than_so_many_questions_are_not_asked(rig):
    rig.reach.delay, rig.timeout = 0.2, "20s"

    async def scenario():
        async with rig.running() as asker:
            asked = [asker.reach("example.com", f"1.1.{n}.1") for n in range(AT_ONCE + 5)]
            return [answer is None for answer in await asyncio.gather(*asked)]

    nothing = asyncio.run(scenario())
    assert nothing[AT_ONCE:] == [True] * 5
    assert not any(nothing[:AT_ONCE])


def test_a_silent_agent_costs_the_timeout_once_and_is_left_alone(rig):
    rig.reach.delay = 30.0

    async def scenario():
        async with rig.running() as asker:
            loop = asyncio.get_running_loop()
            start = loop.time()
            assert await asker.reach("example.com", CLIENT) is None
            assert 0.9 < loop.time() - start < 1.5
            start = loop.time()
            assert await asker.reach("example.com", "1.1.1.2") is None
            assert loop.time() - start < 0.05
            rig.now += LEFT_ALONE + 1
            assert await asker.reach("example.com", "1.1.1.2") is None
            rig.reach.delay = 0.0
            rig.now += LEFT_ALONE + 1
            assert await asker.reach("example.com", CLIENT) is not None

    asyncio.run(scenario())
    assert rig.kinds() == [AgentTrouble, AgentWorks, AgentFound]  # told once
    assert "within 1 s" in rig.events[0].reason


def answering(reply):
    async def answer(_sealed):
        return reply

    return answer


def sealed_by(key, **values):
    given = {
        "verdict": Verdict.UNREACHABLE, "reason": "x", "address": CLIENT, "time": 1.0,
        "nonce": "n" * 24,
    }  # fmt: skip
    return seal(Answer(**given | values), key)


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (sealed_by(AGENT), "to another question"),
        (sealed_by(Ed25519PrivateKey.generate()), "signature is wrong"),
        (Sealed(b"{}", ""), "not signed"),
        (Sealed(b"x" * 100_000, "x" * 88), "too large"),
        (Sealed(b"{}", b64encode(AGENT.sign(b"tideover-agent-answer-v1\n{}")).decode()), "form"),
        (Refusal(403, "not for you"), "it said 403 not for you"),
        (Refusal(500, "\x1b[2J\xff" * 100), "it said 500 "),
    ],
)
def test_what_can_not_be_believed_is_no_answer(rig, reply, told):
    rig.answer = answering(reply)

    async def scenario():
        async with rig.running() as asker:
            assert await asker.reach("example.com", CLIENT) is None

    asyncio.run(scenario())
    assert rig.kinds() == [AgentTrouble]
    assert told in rig.events[0].reason
    assert len(rig.events[0].reason) < 300


def test_the_right_nonce_for_another_address_is_no_answer(rig):
    async def other(sealed):
        nonce = json.loads(sealed.body)["nonce"]
        return sealed_by(AGENT, nonce=nonce, address="1.1.1.2")

    rig.answer = other

    async def scenario():
        async with rig.running() as asker:
            assert await asker.reach("example.com", CLIENT) is None

    asyncio.run(scenario())
    assert "another question" in rig.events[0].reason


@pytest.mark.parametrize("status", [422, 429, 503])
def test_an_agent_that_does_not_want_this_question_is_in_no_trouble(rig, status):
    rig.answer = answering(Refusal(status, "no"))

    async def scenario():
        async with rig.running() as asker:
            assert await asker.reach("example.com", CLIENT) is None
            rig.answer = rig.desk.answer
            assert await asker.reach("example.com", CLIENT) is None  # for a minute
            assert await asker.reach("example.com", "1.1.1.2") is not None

    asyncio.run(scenario())
    assert rig.kinds() == [AgentFound]


def test_nobody_listens_or_the_key_is_missing(rig):
    async def scenario():
        async with rig.running() as asker:
            config = rig.config(1)
            asker.reconfigure(config)
            assert await asker.reach("example.com", CLIENT) is None
            rig.now += LEFT_ALONE + 1
        async with rig.running() as asker:
            (rig.path / "backup.key").unlink()
            assert await asker.reach("example.com", CLIENT) is None

    asyncio.run(scenario())
    assert rig.kinds() == [AgentTrouble, AgentTrouble]
    assert "keygen" in rig.events[1].reason


@pytest.mark.parametrize(("four", "six"), [(("127.0.0.2", "127.0.0.1"), ()), ((), ("::1",)),
                                           (None, ("::1",))])  # fmt: skip
def test_an_agent_is_found_by_dns(rig, four, six):
    rig.host, rig.names.four, rig.names.six = "agent.example.net", four, six

    async def scenario():
        address = "::1" if six else "127.0.0.1"
        async with rig.running(address=address) as asker:
            assert await asker.reach("example.com", CLIENT) is not None

    asyncio.run(scenario())
    assert rig.names.asked == ["agent.example.net"]


@pytest.mark.parametrize(("four", "six", "why"), [(None, None, "DNS is dead"), ((), None, "dead"),
                                                  ((), (), "has no address")])  # fmt: skip
def test_an_agent_that_dns_does_not_know(rig, four, six, why):
    rig.host, rig.names.four, rig.names.six = "agent.example.net", four, six

    async def scenario():
        async with rig.running() as asker:
            assert await asker.reach("example.com", CLIENT) is None

    asyncio.run(scenario())
    assert rig.kinds() == [AgentTrouble]
    assert why in rig.events[0].reason


@pytest.mark.parametrize("speech", [b"", b"\r\n" * 100, b"HTTP/1.1 200 OK\r\n\r\n", b"\x00" * 900])
def test_who_speaks_no_http_gives_no_answer(rig, speech):
    async def scenario():
        async def talk(reader, writer):
            await reader.read(100)
            writer.write(speech)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        async with server:
            config = rig.config(server.sockets[0].getsockname()[1])
            asker = Asker(config, rig.names, rig.events.append)
            assert await asker.reach("example.com", CLIENT) is None
            await asker.close()

    asyncio.run(scenario())
    assert rig.kinds() == [AgentTrouble]


def test_https_with_a_certificate_that_is_trusted_and_one_that_is_not(tmp_path, monkeypatch):
    rig = Rig(tmp_path, scheme="https")
    authority = trustme.CA()
    rig.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(rig.tls)

    async def scenario():
        async with rig.running() as asker:
            return await asker.reach("example.com", CLIENT)

    assert asyncio.run(scenario()) is None
    assert "CERTIFICATE_VERIFY_FAILED" in rig.events[0].reason
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setattr(
        asker_module, "_context", lambda: ssl.create_default_context(cafile=tmp_path / "ca.pem")
    )
    assert asyncio.run(scenario()).verdict == Verdict.UNREACHABLE


async def say(port, data, *, end=True):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    if end:
        writer.write_eof()
    said = await reader.read()
    writer.close()
    return said


HEAD = b"POST /v1/reach HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"404"),
        (b"POST /else HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", b"404"),
        (HEAD + b"Content-Length: 2\r\n\r\n{}", b"403"),
        (HEAD + b"Content-Length: 9999\r\n\r\n" + b"x" * 9999, b"413"),
        (HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", b"417"),
        (b"EHLO there\r\n\r\n", b"400"),
        (HEAD + b"X: " + b"x" * 20_000, b"431"),
        (HEAD + b"Tideover-Signature: x\r\nTideover-Signature: x\r\nContent-Length: 0\r\n\r\n",
         b"403"),
    ],
)  # fmt: skip
def test_strangers_get_a_short_no(rig, request_, status):
    async def scenario():
        async with rig.running() as asker:
            port = int(asker._config.domains["example.com"].agent.rpartition(":")[2])
            return await say(port, request_)

    said = asyncio.run(scenario())
    assert said.startswith(b"HTTP/1.1 " + status), said
    assert len(said) < 300
    assert rig.reach.asked == 0


def test_who_says_nothing_is_dropped_and_others_are_served_meanwhile(rig, monkeypatch):
    monkeypatch.setattr(http_module, "REQUEST_TIMEOUT", 0.3)

    async def scenario():
        async with rig.running() as asker:
            port = int(asker._config.domains["example.com"].agent.rpartition(":")[2])
            silent = [asyncio.create_task(say(port, b"POST", end=False)) for _ in range(40)]
            await asyncio.sleep(0.05)
            assert await asker.reach("example.com", CLIENT) is not None
            assert await asyncio.wait_for(asyncio.gather(*silent), 3) == [b""] * 40

    asyncio.run(scenario())


def test_connections_are_bounded(rig, monkeypatch):
    monkeypatch.setattr(http_module, "MOST_OF_ONE", 3)

    async def scenario():
        async with rig.running() as asker:
            port = int(asker._config.domains["example.com"].agent.rpartition(":")[2])
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            await asyncio.sleep(0.05)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 2) == b""
            for _, one in [*held, (reader, writer)]:
                one.close()
            await asyncio.sleep(0.05)
            assert await asker.reach("example.com", CLIENT) is not None

    asyncio.run(scenario())


def test_the_commands_by_which_an_operator_tries_it(tmp_path):
    """Two processes: an agent that knows no way to 127/8 but the loopback, and who asks it."""
    tideover, keys = (sys.executable, "-m", "tideover"), {}
    for name in ("agent", "backup"):
        command = [*tideover, "agent", "keygen", "--json", tmp_path / f"{name}.key"]
        keys[name] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "agent.toml").write_text(
        f'[agent]\nlisten = "127.0.0.1:{port}"\nkey_file = "agent.key"\n'
        f'askers = {{ mx2 = "{keys["backup"]["public_key"]}" }}\nallow_private = ["127.0.0.2"]\n'
    )
    (tmp_path / "tideover.toml").write_text(
        'hostname = "mx2.example.org"\ndata_dir = "data"\n[cut_off]\nkey_file = "backup.key"\n'
        '[domains."example.com"]\nprimary = "mx"\nrecipients = ["file:r"]\n'
        f'agent = "http://127.0.0.1:{port}"\nagent_key = "{keys["agent"]["public_key"]}"\n'
    )
    serve = [*tideover, "agent", "serve", "--config", tmp_path / "agent.toml"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as agent:
        try:
            assert b"ready on" in agent.stdout.readline()
            ask = [*tideover, "agent", "ask", "--config", tmp_path / "tideover.toml", "example.com"]
            done = subprocess.run([*ask, "127.0.0.2"], capture_output=True, check=True)
            assert b"reachable" in done.stdout
            done = subprocess.run([*ask, "127.0.0.3"], capture_output=True, check=False)
            assert (done.returncode, b"422 only public addresses" in done.stderr) == (1, True)
        finally:
            agent.terminate()
            log = agent.stderr.read().decode()
    assert agent.returncode == 0, log
    kinds = [json.loads(line)["event"] for line in log.splitlines()]
    assert kinds == ["agent-started", "agent-answered", "agent-refused", "agent-stopped"]
