"""Policy in the session where something else happens too: bugs, full disks, clients that go away,
reloads, several recipients.
"""

import asyncio
import smtplib
import ssl
from dataclasses import replace
from ipaddress import ip_network

import pytest
from inbound_rig import serving
from test_inbound_policy import entry, found, hello, judged, played, send, together

from tideover.config.model import Domain
from tideover.config.policy import Policy, Profile
from tideover.events.policy_records import CheckFailed
from tideover.events.records import MessageRefused
from tideover.message.edits import Add, Change, Remove
from tideover.policy.interface import Result, Stage
from tideover.recipients.interface import Finding, Verdict
from tideover.spool.interface import SpoolFull, SpoolUnavailable

HOLD = {"default": Profile(actions={"honeypot": "hold"})}


def test_a_bug_in_what_is_made_of_the_checks_is_answered(tmp_path):
    broken = Result(edits=(Change(b"Subject", 1, None),))

    async def scenario(server):
        assert (await send(server)).startswith(b"451 4.3.0")
        assert server.shelf.messages == []
        assert [type(event) for event in server.events].count(CheckFailed) == 1

    played(tmp_path, scenario, entries=entry("rspamd", Stage.MESSAGE, broken))


@pytest.mark.parametrize(
    ("error", "code"), [(SpoolFull("no room"), b"452 4.3.1"), (SpoolUnavailable("x"), b"451 4.3.0")]
)
def test_a_spool_in_trouble_when_a_message_is_written_again(tmp_path, error, code):
    shelves = []

    def full(_about):
        shelves[-1].write_error = error
        return Result(edits=(Remove(b"Subject"),))

    async def scenario(server):
        shelves.append(server.shelf)
        assert (await send(server)).startswith(code)
        assert server.shelf.messages == []
        assert not any(isinstance(event, CheckFailed) for event in server.events)

    played(tmp_path, scenario, entries=entry("rspamd", Stage.MESSAGE, full))


def test_a_body_in_many_small_pieces_is_kept_in_few(tmp_path):
    seen = []

    def look(about):
        seen.append(len(about.message.body.whole))
        return Result()

    async def scenario(server):
        client = await hello(server)
        await client.say(b"RCPT TO:<user@example.com>\r\n")
        (connection,) = server.listeners._connections
        client.writer.write(b"BDAT 4000 LAST\r\n")
        await asyncio.sleep(0.02)
        for _ in range(2000):
            connection.data_received(b"ab")
        assert (await client.answer()).startswith(b"250")
        assert seen.pop() < 300
        assert server.shelf.messages[0][1] == b"ab" * 2000

    played(tmp_path, scenario, entries=entry("rspamd", Stage.MESSAGE, look))


# Several recipients


def test_a_recipient_for_whom_mail_is_held_holds_it_for_all(tmp_path):
    def by_name(about):
        if about.recipient.address.startswith("postmaster"):
            return Result()
        if about.recipient.address.startswith("user"):
            return found("honeypot")
        return found("greylisted", action=2.0)

    async def scenario(server):
        server.house.directory.findings["other"] = Finding(
            verdict=Verdict.ACCEPT, domain="example.com"
        )
        client = await hello(server)
        for name in (b"user", b"other", b"postmaster"):
            assert (await client.say(b"RCPT TO:<%s@example.com>\r\n" % name)).startswith(b"250")
        await client.say(b"DATA\r\n")
        assert (await client.say(b"Subject: x\r\n\r\n.\r\n")).startswith(b"250")
        assert server.shelf.messages[0][0].held.startswith("policy: honeypot")

    played(tmp_path, scenario, entries=entry("honeypots", Stage.RCPT, by_name), profiles=HOLD)


@pytest.mark.parametrize("names", [(b"postmaster", b"user"), (b"user", b"postmaster")])
def test_what_speaks_against_an_open_recipient_is_not_held_against_the_others(tmp_path, names):
    def by_name(about):
        is_open = about.recipient.address.startswith("postmaster")
        return found("bounce-unsigned") if is_open else Result()

    async def scenario(server):
        client = await hello(server)
        for name in names:
            assert (await client.say(b"RCPT TO:<%s@example.com>\r\n" % name)).startswith(b"250")
        assert (await client.say(b"DATA\r\n")).startswith(b"354")
        assert (await client.say(b"Subject: x\r\n\r\n.\r\n")).startswith(b"250")

    played(tmp_path, scenario, entries=entry("bounces", Stage.RCPT, by_name))


def test_what_would_be_decided_of_open_recipients_leaves_out_what_does_not_count(tmp_path):
    async def scenario(server):
        assert (await send(server, to=b"postmaster")).startswith(b"250")
        assert [event.dry_run for event in judged(server)] == [""]

    played(tmp_path, scenario, entries=entry("helo", Stage.HELO, found("helo-ours")),
           profiles={"default": Profile(dry_run=("helo",))})  # fmt: skip


def test_a_mailbox_named_twice_is_asked_about_once(tmp_path):
    asked = []

    def note(about):
        asked.append(about.recipient.address)
        return Result()

    async def scenario(server):
        asked.clear()
        client = await hello(server)
        for name in (b"user", b"USER", b"user"):
            assert (await client.say(b"RCPT TO:<%s@example.com>\r\n" % name)).startswith(b"250")
        assert asked == ["user@example.com"]

    played(tmp_path, scenario, entries=entry("rate-limits", Stage.RCPT, note))


# Which checks run


def test_checks_that_the_profile_of_a_domain_does_not_name_are_not_run_for_it(tmp_path):
    asked = []

    def note(about):
        asked.append(about.stage)
        return Result()

    entries = together(
        entry("greylist", Stage.RCPT, note), entry("bounces", Stage.DATA, note),
        entry("rspamd", Stage.MESSAGE, note), entry("clamav", Stage.MESSAGE, note),
    )  # fmt: skip

    async def scenario(server):
        asked.clear()
        assert (await send(server)).startswith(b"250")
        assert asked == [Stage.MESSAGE]

    played(tmp_path, scenario, entries=entries, profiles={"default": Profile(checks=("clamav",))})


def test_own_hosts_are_asked_nothing_before_the_body(tmp_path):
    asked = []

    def note(about):
        asked.append(about.stage)
        return Result()

    entries = together(
        entry("helo", Stage.HELO, note), entry("spf", Stage.MAIL, note),
        entry("rate-limits", Stage.RCPT, note), entry("dmarc", Stage.MESSAGE, note),
        entry("clamav", Stage.MESSAGE, note),
    )  # fmt: skip

    async def scenario(server):
        asked.clear()
        assert (await send(server)).startswith(b"250")
        assert asked == [Stage.MESSAGE]
        evidence = server.shelf.messages[0][0].evidence
        assert evidence.sender_authenticated is False

    policy = Policy(greet_delay=0.3, trusted_networks=(ip_network("127.0.0.0/8"),))
    played(tmp_path, scenario, entries=entries, policy=policy)


def test_filters_edit_in_the_order_of_the_profile_whoever_is_done_first(tmp_path):
    async def slow(_about):
        await asyncio.sleep(0.05)
        return Result(edits=(Add(b"X-Milter", b"1"),))

    entries = together(
        entry("milters", Stage.MESSAGE, slow),
        entry("rspamd", Stage.MESSAGE, Result(edits=(Add(b"X-Rspamd", b"1"),))),
    )

    async def scenario(server):
        assert (await send(server)).startswith(b"250")
        assert server.shelf.messages[0][0].trace.endswith(b"X-Rspamd: 1\r\nX-Milter: 1\r\n")

    played(tmp_path, scenario, entries=entries)


def test_what_filters_count_is_the_section_that_they_saw(tmp_path):
    """As opendkim does, which removes what claims to be its own."""
    ours = b"Authentication-Results: mx2.example.org; spf=pass\r\n"
    others = b"Authentication-Results: other.example; spf=pass\r\n"
    edits = (
        Add(b"X-New", b"1", place=3),
        Change(b"Authentication-Results", 2, b" other.example; none"),
        Remove(b"Authentication-Results", 1),
    )

    async def scenario(server):
        message = ours + others + b"Subject: x\r\n" + ours + b"\r\nhi\r\n"
        assert (await send(server, message)).startswith(b"250")
        kept = b"Authentication-Results: other.example; none\r\nSubject: x\r\nX-New: 1\r\n"
        assert server.shelf.messages[0][1] == kept + b"\r\nhi\r\n"

    played(tmp_path, scenario, entries=entry("milters", Stage.MESSAGE, Result(edits=edits)))


def test_a_body_that_comes_before_we_ask_for_it_is_seen(tmp_path):
    seen = []

    def note(about):
        seen.append(about.pipelined)
        return Result()

    async def scenario(server):
        seen.clear()
        client = await hello(server)
        await client.say(b"RCPT TO:<user@example.com>\r\n")
        await client.say(b"DATA\r\nSubject: x\r\n\r\n.\r\n")
        assert seen == [True]

    played(tmp_path, scenario, entries=entry("early-talker", Stage.DATA, note))


def test_after_starttls_checks_see_the_new_hello(tmp_path):
    seen = []

    def note(about):
        client = about.client
        seen.append((client.helo, client.protocol, client.tls is not None, about.results["helo"]))
        return Result()

    def liar(about):
        return found("helo-ours") if about.client.helo == "liar.example" else Result()

    def talk(port):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with smtplib.SMTP("127.0.0.1", port, timeout=5) as client:
            client.ehlo("liar.example")
            client.starttls(context=context)
            assert client.docmd("MAIL", "FROM:<s@example.net>")[0] == 503
            client.ehlo("c.example")
            client.sendmail("s@example.net", ["user@example.com"], b"Hi\r\n")

    async def scenario(server):
        seen.clear()
        await asyncio.to_thread(talk, server.port)
        assert seen == [("c.example", "ESMTPS", True, Result())]

    entries = together(entry("helo", Stage.HELO, liar), entry("spf", Stage.MAIL, note))
    played(tmp_path, scenario, entries=entries)


# Clients that go away, and a daemon that stops or reloads


async def vanish(server, client):
    client.reset()
    async with asyncio.timeout(5):
        while server.listeners.open:
            await asyncio.sleep(0.01)


def test_of_a_client_that_is_gone_no_more_is_asked(tmp_path):
    asked = []

    def note(about):
        asked.append(about.stage)
        return Result()

    entries = together(
        entry("dns-lists", Stage.CONNECT, lambda _: asyncio.sleep(30)),
        entry("milters", Stage.RCPT, note),
    )

    async def scenario(server):
        client = await hello(server)
        client.writer.write(b"RCPT TO:<user@example.com>\r\n")
        await asyncio.sleep(0.05)
        await vanish(server, client)
        await asyncio.sleep(0.05)
        assert asked == []
        assert len(asyncio.all_tasks()) == 1

    played(tmp_path, scenario, entries=entries)


def test_a_message_whose_client_left_before_the_verdict_is_told_as_refused(tmp_path):
    async def scenario(server):
        client = await hello(server)
        await client.say(b"RCPT TO:<user@example.com>\r\n")
        await client.say(b"DATA\r\n")
        client.writer.write(b"Subject: x\r\n\r\n.\r\n")
        await asyncio.sleep(0.05)
        await vanish(server, client)
        async with asyncio.timeout(5):
            while "MessageRefused" not in server.names():
                await asyncio.sleep(0.01)
        (event,) = [one for one in server.events if isinstance(one, MessageRefused)]
        assert event.reason == "policy: the client has gone"
        assert judged(server) == []
        assert server.shelf.messages == []
        assert server.shelf.aborted == 1

    never = entry("rspamd", Stage.MESSAGE, lambda _: asyncio.sleep(30))
    played(tmp_path, scenario, entries=never)


def test_stopping_sends_away_who_waits_for_the_greeting(tmp_path):
    async def scenario(server):
        client = await server.client(greet=False)
        while not server.listeners.open:
            await asyncio.sleep(0.01)
        await server.listeners.stop(grace=1.0)
        assert (await client.answer()).startswith(b"421 4.3.2")
        assert await client.closed()

    played(tmp_path, scenario, policy=Policy(greet_delay=30.0))


def test_who_leaves_before_the_greeting_gives_its_slot_back(tmp_path):
    async def scenario(server):
        client = await server.client(greet=False)
        while not server.listeners.open:
            await asyncio.sleep(0.01)
        await vanish(server, client)
        assert server.house.limits.total == 0
        assert "SessionClosed" in server.names()

    played(tmp_path, scenario, policy=Policy(greet_delay=30.0))


def test_behind_a_proxy_one_timer_watches_the_client(tmp_path):
    async def main():
        proxies = (ip_network("127.0.0.1/32"),)
        async with serving(tmp_path, proxy_protocol_from=proxies) as server:
            client = await server.client(greet=False)
            answer = await client.say(b"PROXY TCP4 192.0.2.9 192.0.2.1 4321 25\r\n")
            assert answer.startswith(b"220")
            assert len(watching()) == 1
            await vanish(server, client)
            assert watching() == []

    def watching():
        scheduled = asyncio.get_running_loop()._scheduled
        return [one for one in scheduled
                if not one.cancelled() and "_check_time" in repr(one)]  # fmt: skip

    asyncio.run(main())


def test_a_session_goes_on_by_the_rules_that_it_began_with(tmp_path):
    domains = {"example.com": Domain(primary=(), recipients=(), profile="lax")}
    profiles = {"lax": Profile(actions={"helo-ours": 1.0})}

    async def scenario(server):
        client = await hello(server)
        moved = {"example.com": replace(domains["example.com"], profile="new")}
        server.house.reconfigure(replace(server.house.config, domains=moved))
        assert (await client.say(b"RCPT TO:<user@example.com>\r\n")).startswith(b"250")
        other = await hello(server)
        assert (await other.say(b"RCPT TO:<user@example.com>\r\n")).startswith(b"550")

    played(tmp_path, scenario, entries=entry("helo", Stage.HELO, found("helo-ours")),
           profiles=profiles, domains=domains)  # fmt: skip
