"""Postfix as a primary that transactions pass through to: its log says whose they were."""

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator

import pytest
from peers import needs_postfix, open_directory

from tideover.config.model import Outbound
from tideover.config.primaries import PassThrough
from tideover.message.envelope import Client, Envelope, Recipient, SessionId
from tideover.outbound.relay import LiveRelay
from tideover.primary.interface import NextHop, Route
from tideover.primary.relay import Crowded, Gone
from tideover.smtp.capabilities import Capabilities
from tideover.smtp.receipt import Receipt
from tideover.smtp.replies import Reply
from tideover.testing.ports import free_port
from tideover.testing.postfix import Postfix

pytestmark = [pytest.mark.interop, needs_postfix()]

_HOME = """
virtual_mailbox_domains = example.com
virtual_mailbox_base = @DIR@/mail
virtual_mailbox_maps = inline:{user@example.com=user,other@example.com=other}
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
smtpd_relay_restrictions = permit_auth_destination, reject
smtpd_client_connection_count_limit = 50
"""
XCLIENT = "smtpd_authorized_xclient_hosts = 127.0.0.1\n"
XFORWARD = "smtpd_authorized_xforward_hosts = 127.0.0.1\n"
BODY = b"Subject: tide\r\n\r\nhello\r\n.\r\n" * 3
MESSAGES = 40


@contextlib.contextmanager
def home(rights: str) -> Iterator[Postfix]:
    with open_directory() as directory:
        (directory / "mail").mkdir()
        (directory / "mail").chmod(0o777)
        with Postfix(directory, port=free_port(), settings=_HOME + rights) as postfix:
            yield postfix


class _Home:
    """The router to one Postfix, and the ear for what becomes of connections."""

    def __init__(self, port: int) -> None:
        self._route = Route(key="home", hops=(NextHop("home", "127.0.0.1", port),))
        self.failures: list[str] = []

    async def route(self, domain: str, *, now: float) -> Route:
        return self._route

    def is_ours(self, domain: str) -> bool:
        return True

    def reached(self, key: str, host: str, offered: Capabilities) -> None:
        pass

    def failed(self, key: str, host: str, reason: str) -> None:
        self.failures.append(reason)


def client(number: int) -> Client:
    return Client(
        session=SessionId(f"s{number}"), address=f"192.0.2.{number}", port=4000 + number,
        helo=f"c{number}.example.net", protocol="ESMTP",
    )  # fmt: skip


async def send(
    relay: LiveRelay, number: int, *, local: str = "user", chunking: bool = False
) -> Receipt | Reply | Gone | Crowded:
    envelope = Envelope(sender="sender@example.net", recipients=())
    live = await relay.open("example.com", client(number), envelope)
    if isinstance(live, (Reply, Gone, Crowded)):
        return live
    try:
        mailbox = Recipient(address=f"{local}@example.com", domain="example.com")
        for answer in (await live.recipient(mailbox), await live.start(chunking=chunking)):
            if isinstance(answer, Gone) or not answer.positive:
                return answer
        waiting = live.write(BODY)
        if waiting is not None and (gone := await waiting) is not None:
            return gone
        return await live.end(f"Q{number}")
    finally:
        live.abandon()


@contextlib.asynccontextmanager
async def relay_to(port: int):
    site = _Home(port)
    relay = LiveRelay(
        site, site, hostname="mx2.example.org", outbound=Outbound(), settings=PassThrough(),
        tls=None,
    )  # fmt: skip
    try:
        yield relay, site
    finally:
        await relay.close()


@pytest.mark.slow
@pytest.mark.parametrize("rights", [XCLIENT, XFORWARD, ""], ids=["xclient", "xforward", "none"])
@pytest.mark.parametrize("chunking", [True, False])
def test_its_log_names_each_client_and_passing_through_is_quick(rights, chunking):
    async def scenario(postfix: Postfix) -> list[float]:
        took = []
        async with relay_to(postfix.port) as (relay, site):
            for number in range(1, MESSAGES + 1):
                began = time.perf_counter()
                assert isinstance(await send(relay, number, chunking=chunking), Receipt)
                took.append(time.perf_counter() - began)
            refused = await send(relay, 99, local="nobody")
            assert isinstance(refused, Reply)
            assert refused.enhanced == "5.1.1"
            results = await asyncio.gather(*(send(relay, n) for n in range(100, 130)))
            assert all(isinstance(one, Receipt) for one in results)
            assert site.failures == []
        return took

    with home(rights) as postfix:
        took = asyncio.run(scenario(postfix))
        log = postfix.log()
    if rights:
        named = set(re.findall(r"client=\S*\[(192\.0\.2\.\d+)\]", log))
        assert named >= {f"192.0.2.{n}" for n in (*range(1, MESSAGES + 1), *range(100, 130))}
    print(f"median {sorted(took)[MESSAGES // 2] * 1000:.1f} ms, longest {max(took) * 1000:.1f} ms")
