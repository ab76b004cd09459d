"""Postfix as a primary that lets us say who its clients were: its log is the judge.

Dispatcher, drain, connections and sockets; the spool is in memory.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from msgspec.structs import replace
from peers import needs_postfix, open_directory

from tideover.config.model import Outbound
from tideover.events.delivery_records import Delivered
from tideover.events.event import Event
from tideover.message.envelope import Client, Envelope, NewMessage, QueueId, Recipient, SessionId
from tideover.outbound.connection import Connection
from tideover.outbound.dispatcher import Dispatcher
from tideover.outbound.transport import connect, opportunistic_context
from tideover.primary.interface import NextHop, Route
from tideover.smtp.client_values import Command
from tideover.spool.interface import State
from tideover.spool.memory import MemorySpool
from tideover.testing.ports import free_port
from tideover.testing.postfix import Postfix

pytestmark = [pytest.mark.interop, needs_postfix()]

_HOME = """
virtual_mailbox_domains = example.com
virtual_mailbox_base = @DIR@/mail
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
smtpd_relay_restrictions = permit_auth_destination, reject
inet_protocols = all
"""
XCLIENT = "smtpd_authorized_xclient_hosts = 127.0.0.1\n"
XFORWARD = "smtpd_authorized_xforward_hosts = 127.0.0.1\n"
ONE = Client(session=SessionId("s"), address="192.0.2.1", port=7, helo="one.example.net",
             protocol="ESMTP")  # fmt: skip
TWO = replace(ONE, address="198.51.100.2", helo="two.example.net")
SIX = replace(ONE, address="2001:db8::6", helo="six.example.net")
BODY = b"Subject: tide\r\n\r\nhello\r\n"


@contextlib.contextmanager
def home(rights: str, certificate: trustme.LeafCert | None = None) -> Iterator[Postfix]:
    with open_directory() as directory:
        (directory / "mail").mkdir()
        (directory / "mail").chmod(0o777)
        settings = _HOME + rights
        if certificate is not None:
            certificate.private_key_and_cert_chain_pem.write_to_path(str(directory / "cert"))
            settings += (
                "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = @DIR@/cert\n"
                "smtpd_tls_received_header = yes\n"
            )
        with Postfix(directory, port=free_port(), settings=settings) as postfix:
            yield postfix


class House:
    """A dispatcher for example.com, whose primary is a Postfix."""

    def __init__(self, postfix: Postfix, *, connections: int = 1) -> None:
        self.postfix = postfix
        self.events: list[Event] = []
        self.spool = MemorySpool()
        self.dispatcher = Dispatcher(
            self.spool,
            self,
            hostname="mx2.example.org",
            settings=Outbound(max_connections=connections, probe_interval=0.2),
            emit=self.events.append,
            tls=opportunistic_context(),
            grace=1.0,
        )

    async def route(self, domain: str, *, now: float) -> Route:
        return Route(
            key="primary", hops=(NextHop("primary.example", "127.0.0.1", self.postfix.port),)
        )

    def is_ours(self, domain: str) -> bool:
        return domain == "example.com"

    async def put(self, client: Client, sender: str, body: bytes = BODY) -> QueueId:
        queue_id = self.spool.new_id(time.time())
        intake = self.spool.open(queue_id)
        intake.write(body)
        recipient = Recipient(address="user@example.com", domain="example.com")
        await intake.commit(
            NewMessage(
                queue_id=queue_id,
                received_at=time.time(),
                envelope=Envelope(sender=sender, recipients=(recipient,)),
                client=client,
                trace=b"",
            )
        )
        self.dispatcher.notify("example.com")
        return queue_id

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.dispatcher.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def delivered(self, count: int) -> None:
        async with asyncio.timeout(20):
            while sum(isinstance(event, Delivered) for event in self.events) < count:
                await asyncio.sleep(0.02)

    async def state(self, queue_id: QueueId, wanted: State) -> None:
        async with asyncio.timeout(20):
            while (shown := await self.spool.show(queue_id)) is None or (
                shown.recipients[0].state is not wanted
            ):
                await asyncio.sleep(0.02)

    def clients(self) -> dict[str, str]:
        """Who sent what, as its log says: address by sender."""
        log = self.postfix.log()
        told = dict(
            re.findall(r"smtpd\[\d+\]: (\w+): client=.*?([\w.:]+)\](?:\n|, orig_queue|, sasl)", log)
        )
        told |= dict(re.findall(r"smtpd\[\d+\]: (\w+): client=.*orig_client=\w+\[([\w.:]+)\]", log))
        senders = dict(re.findall(r"qmgr\[\d+\]: (\w+): from=<([^>]*)>", log))
        return {
            senders[queue_id]: address for queue_id, address in told.items() if queue_id in senders
        }


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


async def _bring_home(house: House, *clients: Client) -> None:
    for number, client in enumerate(clients):
        await house.put(client, f"s{number}@example.net")
    async with house.running():
        await house.delivered(len(clients))
    async with asyncio.timeout(10):
        while len(house.clients()) < len(clients):
            await asyncio.sleep(0.05)


WHO = (ONE, TWO, SIX, ONE, TWO, replace(ONE, port=8))
ADDRESSES = {f"s{number}@example.net": client.address for number, client in enumerate(WHO)}


@pytest.mark.parametrize("connections", [1, 3])
def test_queued_mail_is_in_its_log_under_the_true_client_by_xclient(connections: int) -> None:
    async def scenario() -> None:
        with home(XCLIENT + "smtpd_helo_required = yes\n") as postfix:
            house = House(postfix, connections=connections)
            await _bring_home(house, *WHO)
            assert house.clients() == ADDRESSES
            assert "127.0.0.1" not in "".join(house.clients().values())
            async with asyncio.timeout(10):
                while len(_box(postfix)) < len(WHO):
                    await asyncio.sleep(0.05)
            kept = "".join(path.read_text() for path in _box(postfix))
            assert "from six.example.net (unknown [IPv6:2001:db8::6])" in kept
            assert "from one.example.net (unknown [192.0.2.1])" in kept
            assert "insufficient authorization" not in postfix.log()

    run(scenario)


def test_by_xforward_one_connection_serves_all_clients() -> None:
    async def scenario() -> None:
        with home(XFORWARD) as postfix:
            house = House(postfix)
            await _bring_home(house, *WHO)
            assert house.clients() == ADDRESSES
            assert postfix.log().count("disconnect from") <= 2  # the first is the start's own

    run(scenario)


def test_without_either_right_it_sees_us() -> None:
    async def scenario() -> None:
        with home("") as postfix:
            house = House(postfix)
            await _bring_home(house, *WHO)
            assert set(house.clients().values()) == {"127.0.0.1"}

    run(scenario)


@pytest.mark.slow
@pytest.mark.parametrize("rights", [XCLIENT, XFORWARD])
def test_without_ipv6_it_understands_the_others(rights: str) -> None:
    async def scenario() -> None:
        with home(f"inet_protocols = ipv4\n{rights}") as postfix:
            house = House(postfix)
            await _bring_home(house, SIX, ONE)
            assert house.clients()["s1@example.net"] == ONE.address
            assert house.clients()["s0@example.net"] == "127.0.0.1"

    run(scenario)


@pytest.mark.slow
@pytest.mark.parametrize("delay", ["yes", "no"])
@pytest.mark.parametrize("verdict", ["554 5.7.1 not you", "450 4.7.1 not yet"])
def test_its_verdict_on_a_client_is_that_messages_and_no_others(delay: str, verdict: str) -> None:
    async def scenario() -> None:
        rights = (
            f"{XCLIENT}smtpd_delay_reject = {delay}\n"
            "smtpd_client_restrictions = check_client_access hash:@DIR@/clients\n"
        )
        with open_directory() as directory:
            (directory / "mail").mkdir()
            (directory / "mail").chmod(0o777)
            postfix = Postfix(directory, port=free_port(), settings=_HOME + rights)
            postfix.table("clients", f"192.0.2.1 {verdict}\n")
            with postfix:
                house = House(postfix)
                refused = await house.put(ONE, "s0@example.net")
                await house.put(TWO, "s1@example.net")
                async with house.running():
                    await house.delivered(1)
                    wanted = State.DEAD if verdict[0] == "5" else State.DEFERRED
                    await house.state(refused, wanted)
                shown = await house.spool.show(refused)
                assert shown is not None
                assert "198.51.100.2" in house.clients().values()

    run(scenario)


def _box(postfix: Postfix) -> list[Path]:
    return sorted((postfix.directory / "mail" / "all" / "new").glob("*"))


# By hand: what passing through uses


async def _open(postfix: Postfix) -> Connection:
    return await connect(
        NextHop("localhost", "127.0.0.1", postfix.port),
        hostname="mx2.example.org",
        settings=Outbound(),
        context=opportunistic_context(),
    )


MAIL = (Command.MAIL, b"MAIL FROM:<live@example.net>\r\n")
RCPT = (Command.RCPT, b"RCPT TO:<user@example.com>\r\n")


@pytest.mark.slow
@pytest.mark.parametrize("rights", [XCLIENT, XFORWARD, XCLIENT + XFORWARD])
def test_under_tls_a_transaction_by_hand_is_the_clients(rights: str) -> None:
    async def scenario() -> None:
        certificate = trustme.CA().issue_cert("localhost")
        with home(rights, certificate) as postfix:
            house = House(postfix)
            connection = await _open(postfix)
            assert connection.tls is not None, postfix.log()
            for number in range(2):
                assert await connection.identify(SIX) is None
                assert connection.told == ("XCLIENT" if rights.startswith(XCLIENT) else "XFORWARD")
                mail = (Command.MAIL, b"MAIL FROM:<live%d@example.net>\r\n" % number)
                replies = await connection.converse([mail, RCPT, (Command.DATA, b"DATA\r\n")])
                assert [reply.code for reply in replies] == [250, 250, 354]
                connection.send_body_octets(b"Subject: x\r\n\r\nhello\r\n.\r\n", last=True)
                assert (await connection.body_reply()).code == 250
            await connection.converse([MAIL, RCPT])
            connection.send_body_octets(b"BDAT 3\r\nS: ", chunk=True)
            connection.send_body_octets(b"BDAT 5 LAST\r\nx\r\n\r\n", chunk=True, last=True)
            assert (await connection.body_reply()).code == 250
            assert connection.tls is not None
            assert connection.may_tell(ONE) is (rights == XFORWARD)
            await connection.quit()
            async with asyncio.timeout(10):
                while len(house.clients()) < 2:
                    await asyncio.sleep(0.05)
            assert house.clients()["live0@example.net"] == SIX.address
            assert house.clients()["live1@example.net"] == SIX.address
            async with asyncio.timeout(10):
                while len(_box(postfix)) < 3:
                    await asyncio.sleep(0.05)
            assert all("using TLSv1.3" in path.read_text() for path in _box(postfix))

    run(scenario)
