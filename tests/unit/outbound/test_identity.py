"""In whose name a connection speaks: what is said, and that it is never another's."""

import asyncio
from collections.abc import Sequence

import pytest

from tideover.dns.client_names import ClientNames
from tideover.message.envelope import Client, SessionId
from tideover.outbound.identity import Speaker, WrongClient
from tideover.smtp.capabilities import Capabilities
from tideover.smtp.client_values import Command
from tideover.smtp.replies import Reply

OK = Reply(250, "2.0.0", ("ok",))
BANNER = Reply(220, None, ("hi",))
NO_RIGHT = Reply(550, "5.7.0", ("Error: insufficient authorization",))
XCLIENT = Capabilities(xclient=frozenset(("ADDR", "NAME")))
XFORWARD = Capabilities(xforward=frozenset(("ADDR",)))
BOTH = Capabilities(xclient=XCLIENT.xclient, xforward=XFORWARD.xforward)


def client(address: str = "192.0.2.1", helo: str = "c.example") -> Client:
    return Client(session=SessionId("s"), address=address, port=7, helo=helo, protocol="ESMTP")


OURS = Client(session=SessionId(""), address="", port=0, helo="us", protocol="bounce")


class Server:
    """A link that answers from a table; what isn't there goes well."""

    def __init__(self, capabilities: Capabilities, **replies: Reply) -> None:
        self.capabilities = capabilities
        self.needs_reset = False
        self.xclient_again = False
        self.replies = {"XCLIENT": BANNER, **replies}
        self.said: list[str] = []

    async def converse(self, commands: Sequence[tuple[Command, bytes]]) -> list[Reply]:
        self.said += [line.decode().strip() for _, line in commands]
        return [self.replies.get(command.name, OK) for command, _ in commands]


def tell(speaker: Speaker, server: Server, one: Client | None, **more) -> Reply | None:
    return asyncio.run(speaker.identify(server, one, look_up=None, pipelined=False, **more))


def test_xclient_then_its_hello_and_then_no_more_for_the_same() -> None:
    speaker, server = Speaker("us.example"), Server(BOTH)
    for _ in range(2):
        assert tell(speaker, server, client()) is None
        assert speaker.told == "XCLIENT"
    assert server.said == ["XCLIENT ADDR=192.0.2.1 NAME=[TEMPUNAVAIL]", "EHLO c.example"]


def test_another_client_needs_another_connection() -> None:
    speaker, server = Speaker("us.example"), Server(BOTH)
    tell(speaker, server, client())
    for other in (client("192.0.2.2"), client(helo="d.example"), None, OURS):
        assert not speaker.may_tell(server, other)
        with pytest.raises(WrongClient):
            tell(speaker, server, other)
    assert len(server.said) == 2


def test_a_server_that_offers_it_again_is_told_again() -> None:
    speaker, server = Speaker("us.example"), Server(BOTH)
    tell(speaker, server, client())
    server.xclient_again = True
    assert tell(speaker, server, client("192.0.2.2", helo="")) is None
    assert server.said[2:] == ["XCLIENT ADDR=192.0.2.2 NAME=[TEMPUNAVAIL]", "EHLO us.example"]
    assert not speaker.may_tell(server, OURS)
    server.replies["XCLIENT"] = NO_RIGHT
    with pytest.raises(WrongClient):
        tell(speaker, server, client("192.0.2.3"))
    assert speaker.spent


def test_nothing_open_is_taken_along() -> None:
    for capabilities in (XCLIENT, XFORWARD):
        server = Server(capabilities)
        server.needs_reset = True
        tell(Speaker("us.example"), server, client())
        assert server.said[0] == "RSET"


@pytest.mark.parametrize("stage", ["XCLIENT", "EHLO"])
@pytest.mark.parametrize("code", [450, 554])
def test_its_word_on_the_client_is_the_answer(stage: str, code: int) -> None:
    refusal = Reply(code, f"{code // 100}.7.1", ("Client host rejected",))
    speaker, server = Speaker("us.example"), Server(BOTH, **{stage: refusal})
    assert tell(speaker, server, client()) == refusal
    assert speaker.spent
    assert speaker.trouble is None


@pytest.mark.parametrize("reply", [NO_RIGHT, Reply(502, None, ("",))])
def test_a_right_that_fails_is_no_word_on_the_client(reply: Reply) -> None:
    speaker, server = Speaker("us.example"), Server(BOTH, XCLIENT=reply)
    for _ in range(2):
        assert tell(speaker, server, client()) is None
        assert speaker.told == "XFORWARD"
    assert speaker.trouble == reply
    assert [line.split()[0] for line in server.said] == ["XCLIENT", "XFORWARD", "XFORWARD"]


def test_one_client_that_it_does_not_understand_does_not_silence_the_others() -> None:
    bad = Reply(501, "5.5.4", ("Bad ADDR syntax: IPV6:2001:db8::1",))
    for capabilities, verb in ((XCLIENT, "XCLIENT"), (XFORWARD, "XFORWARD")):
        speaker, server = Speaker("us.example"), Server(capabilities, **{verb: bad})
        assert tell(speaker, server, client("2001:db8::1")) is None
        assert speaker.told == ""
        assert speaker.trouble == bad
        server.replies[verb] = BANNER
        assert tell(speaker, server, client()) is None
        assert speaker.told == verb


def test_xforward_is_said_before_each_transaction_but_not_for_mail_of_our_own() -> None:
    speaker, server = Speaker("us.example"), Server(XFORWARD)
    for one in (client(), client(), OURS, None):
        assert tell(speaker, server, one) is None
    assert server.said == ["XFORWARD ADDR=192.0.2.1"] * 2
    assert speaker.told == ""


def test_xforward_that_is_refused_is_not_said_again() -> None:
    speaker, server = Speaker("us.example"), Server(XFORWARD, XFORWARD=NO_RIGHT)
    for _ in range(2):
        assert tell(speaker, server, client()) is None
        assert speaker.told == ""
    assert len(server.said) == 1
    assert speaker.trouble == NO_RIGHT


def test_pipelined_it_waits_for_the_mail() -> None:
    speaker, server = Speaker("us.example"), Server(XFORWARD)
    asyncio.run(speaker.identify(server, client(), look_up=None, pipelined=True))
    assert speaker.preface == ((Command.XFORWARD, b"XFORWARD ADDR=192.0.2.1\r\n"),)
    asyncio.run(speaker.identify(server, OURS, look_up=None, pipelined=True))
    assert speaker.preface == ()
    assert server.said == []


def test_where_nothing_is_offered_nothing_is_said() -> None:
    speaker, server = Speaker("us.example"), Server(Capabilities())
    assert tell(speaker, server, client()) is None
    assert server.said == []
    assert speaker.may_tell(server, None)


def test_a_server_that_wants_a_name_is_told_what_dns_says() -> None:
    asked = []

    async def look_up(address: str) -> ClientNames:
        asked.append(address)
        return ClientNames("c.example.net", "c.example.net")

    for capabilities in (XCLIENT, XFORWARD, Capabilities()):
        server = Server(capabilities)
        speaker = Speaker("us.example")
        for _ in range(2):
            asyncio.run(speaker.identify(server, client(), look_up=look_up, pipelined=False))
        if capabilities is XCLIENT:
            assert server.said[0] == "XCLIENT ADDR=192.0.2.1 NAME=c.example.net"
    assert asked == ["192.0.2.1"]
