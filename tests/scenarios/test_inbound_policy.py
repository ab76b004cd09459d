"""Policy in the session: when checks run, how long they may hold it up, and what they lead to."""

import asyncio

import pytest
import uvloop
from inbound_rig import serving

from tideover.authentication.results import SpfResult
from tideover.config.model import Domain
from tideover.config.policy import Policy, Profile
from tideover.events.policy_records import CheckFailed, PolicyJudged
from tideover.message.edits import Add, Change, Remove
from tideover.policy.interface import Entry, Found, Result, Stage, Verb

RUNNERS = (asyncio.run, uvloop.run)


def played(tmp_path, scenario, **setting):
    """Run a scenario with a server of these entries, profiles…, on both event loops."""

    async def main():
        raised = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, it: raised.append(it))
        async with serving(tmp_path, **setting) as server:
            await scenario(server)
        assert raised == []

    for runner in RUNNERS:
        runner(main())


def entry(name, stage, result, *, needs=(), waits=False):
    """A check that says the same to all, or what a function of About says."""

    async def check(about):
        said = result(about) if callable(result) else result
        return await said if asyncio.iscoroutine(said) else said

    return {stage: [Entry(name=name, stages=(stage,), run=check, needs=needs, waits=waits)]}


def together(*entries):
    joined = {}
    for one in entries:
        for stage, checks in one.items():
            joined.setdefault(stage, []).extend(checks)
    return joined


def found(name, **fields):
    return Result(found=(Found(name=name, **fields),))


def judged(server):
    return [event for event in server.events if isinstance(event, PolicyJudged)]


async def hello(server, **kwargs):
    client = await server.client(**kwargs)
    await client.say(b"EHLO c.example\r\n")
    assert (await client.say(b"MAIL FROM:<s@example.net>\r\n")).startswith(b"250")
    return client


async def send(server, body=b"Subject: x\r\n\r\nhi\r\n", to=b"user"):
    client = await hello(server)
    assert (await client.say(b"RCPT TO:<%s@example.com>\r\n" % to)).startswith(b"250")
    assert (await client.say(b"DATA\r\n")).startswith(b"354")
    return await client.say(body + b".\r\n")


@pytest.mark.parametrize("stage", [Stage.CONNECT, Stage.HELO, Stage.MAIL, Stage.RCPT])
def test_a_finding_before_the_body_refuses_the_recipient(tmp_path, stage):
    async def scenario(server):
        client = await hello(server)
        answer = await client.say(b"RCPT TO:<user@example.com>\r\n")
        assert answer == b"550 5.7.1 You are not who your HELO says: that is us\r\n"
        assert (await client.say(b"DATA\r\n")).startswith(b"554 5.5.1")
        (event,) = judged(server)
        assert (event.verdict, event.because, event.recipient) == (
            "reject", "helo-ours", "user@example.com",
        )  # fmt: skip
        assert event.checks[0].found == ("helo-ours=reject",)

    played(tmp_path, scenario, entries=entry("helo", stage, found("helo-ours")))


def test_scores_add_up_over_stages_and_the_heaviest_are_named(tmp_path):
    entries = together(
        entry("reverse-dns", Stage.CONNECT, found("rdns-none", action=4.0)),
        entry("helo", Stage.HELO, found("helo-bare-ip", action=5.5)),
        entry("spf", Stage.MAIL, found("spf-softfail", action=1.0)),
    )

    async def scenario(server):
        client = await hello(server)
        answer = await client.say(b"RCPT TO:<user@example.com>\r\n")
        assert answer.startswith(b"550 5.7.1 Too much speaks against this message: Your HELO name")
        assert judged(server)[0].score == 10.5

    played(tmp_path, scenario, entries=entries)


def test_an_unknown_recipient_is_told_without_waiting_for_checks(tmp_path):
    never = entry("dns-lists", Stage.CONNECT, lambda _: asyncio.sleep(30))

    async def scenario(server):
        client = await hello(server)
        answer = await client.say(b"RCPT TO:<nobody@example.com>\r\n")
        assert answer.startswith(b"550 5.1.1")

    played(tmp_path, scenario, entries=never)


def test_I14_a_check_without_answer_is_undecided_when_its_time_is_up(tmp_path):
    never = entry("dns-lists", Stage.CONNECT, lambda _: asyncio.sleep(30))

    async def scenario(server):
        began = asyncio.get_running_loop().time()
        assert (await send(server)).startswith(b"250")
        assert asyncio.get_running_loop().time() - began < 3
        (event,) = judged(server)
        assert event.verdict == "accept"
        assert event.checks[0].undecided == "no answer within the time for this stage"

    played(tmp_path, scenario, entries=never,
           policy=Policy(greet_delay=0.0, stage_timeout=0.2))  # fmt: skip


def test_I14_a_bug_in_a_check_is_undecided_and_told(tmp_path):
    def broken(_about):
        raise ZeroDivisionError("oops")

    async def later(_about):
        await asyncio.sleep(0.01)
        raise ZeroDivisionError("oops")

    entries = together(
        entry("helo", Stage.HELO, broken),
        entry("spf", Stage.MAIL, later),
    )

    async def scenario(server):
        assert (await send(server)).startswith(b"250")
        failed = [event for event in server.events if isinstance(event, CheckFailed)]
        assert {event.check for event in failed} == {"helo", "spf"}

    played(tmp_path, scenario, entries=entries)


def test_a_check_waits_for_what_it_needs(tmp_path):
    async def slow(_about):
        await asyncio.sleep(0.05)
        return Result(detail=(SpfResult(result="none", domain="example.net"),))

    def asks(about):
        return Result(evidence={"heard": about.results["spf"].detail[0].domain})

    entries = together(
        entry("spf", Stage.MAIL, slow), entry("own-sender", Stage.MAIL, asks, needs=("spf",))
    )

    async def scenario(server):
        assert (await send(server)).startswith(b"250")
        (event,) = judged(server)
        assert {c.check: c.evidence for c in event.checks}["own-sender"] == {"heard": "example.net"}

    played(tmp_path, scenario, entries=entries)


def test_dry_run_only_tells(tmp_path):
    profiles = {"default": Profile(dry_run=("helo",))}

    async def scenario(server):
        assert (await send(server)).startswith(b"250")
        (event,) = judged(server)
        assert event.dry_run == "reject: helo-ours"
        assert event.checks[0].found == ("(helo-ours=reject)",)

    played(tmp_path, scenario, entries=entry("helo", Stage.HELO, found("helo-ours")),
           profiles=profiles)  # fmt: skip


def test_what_a_finding_means_is_the_domains_profile(tmp_path):
    profiles = {"lax": Profile(actions={"helo-ours": 1.0})}
    domains = {"example.com": Domain(primary=(), recipients=(), profile="lax")}

    async def scenario(server):
        assert (await send(server)).startswith(b"250")

    played(tmp_path, scenario, entries=entry("helo", Stage.HELO, found("helo-ours")),
           profiles=profiles, domains=domains)  # fmt: skip


def test_a_message_is_refused_at_its_end(tmp_path):
    virus = entry("clamav", Stage.MESSAGE, found("virus", reason="Eicar"), waits=True)

    async def scenario(server):
        answer = await send(server)
        assert answer.startswith(b"554 5.7.1 The message carries malware")
        assert server.shelf.messages == []
        assert server.shelf.aborted == 1

    played(tmp_path, scenario, entries=virus)


def test_a_message_is_deferred_when_an_engine_fails(tmp_path):
    failed = entry("rspamd", Stage.MESSAGE, found("engine-failed", action=Verb.DEFER))

    async def scenario(server):
        assert (await send(server)).startswith(b"451 4.7.0")

    played(tmp_path, scenario, entries=failed)


def test_a_message_may_be_held(tmp_path):
    odd = entry("rspamd", Stage.MESSAGE, found("rspamd-quarantine", reason="odd"))

    async def scenario(server):
        assert (await send(server)).startswith(b"250")
        message, _ = server.shelf.messages[0]
        assert message.held == "policy: rspamd-quarantine: odd"

    played(tmp_path, scenario, entries=odd)


def test_postmaster_hears_those_who_are_refused_but_gets_no_malware(tmp_path):
    entries = together(
        entry("helo", Stage.HELO, found("helo-ours")),
        entry("clamav", Stage.MESSAGE,
              lambda about: found("virus") if b"EICAR" in about.message.body.whole[0]
              else Result()),
    )  # fmt: skip

    async def scenario(server):
        assert (await send(server, to=b"postmaster")).startswith(b"250")
        answer = await send(server, b"Subject: EICAR\r\n\r\n", to=b"postmaster")
        assert answer.startswith(b"554")

    played(tmp_path, scenario, entries=entries)


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_filters_change_the_header_and_nothing_else(tmp_path, size):
    edits = (
        Add(b"X-Spam", b"yes\r\nX-Forged: 1"),
        Remove(b"X-Bad"),
        Change(b"Subject", 1, b"[spam] x"),
    )
    body = b"x" * 70 + b"\r\n"
    whole = b"Subject: x\r\nX-Bad: 1\r\nTo: you\r\nx-bad: 2\r\n\r\n" + body * (size // 72)

    async def scenario(server):
        assert (await send(server, whole)).startswith(b"250")
        message, stored = server.shelf.messages[0]
        assert stored == b"Subject: [spam] x\r\nTo: you\r\n\r\n" + body * (size // 72)
        assert message.trace.endswith(b"\r\nX-Spam: yes\r\n\tX-Forged: 1\r\n")

    played(tmp_path, scenario, entries=entry("rspamd", Stage.MESSAGE, Result(edits=edits)))


@pytest.mark.parametrize("profile", [Profile(dry_run=("rspamd",)), Profile(checks=("clamav",))])
def test_a_filter_that_does_not_count_changes_nothing(tmp_path, profile):
    edits = (Add(b"X-Spam", b"yes"), Remove(b"Subject"))

    async def scenario(server):
        assert (await send(server)).startswith(b"250")
        message, stored = server.shelf.messages[0]
        assert stored.startswith(b"Subject: x\r\n")
        assert b"X-Spam" not in message.trace

    played(tmp_path, scenario, entries=entry("rspamd", Stage.MESSAGE, Result(edits=edits)),
           profiles={"default": profile})  # fmt: skip


def test_authentication_results_in_our_name_that_came_with_it_are_removed(tmp_path):
    whole = (
        b"Authentication-Results: mx2.example.org; spf=pass\r\n"
        b"authentication-results: other.example; spf=pass\r\n\r\nhi\r\n"
    )

    async def scenario(server):
        assert (await send(server, whole)).startswith(b"250")
        assert server.shelf.messages[0][1] == whole.partition(b"\r\n")[2]

    played(tmp_path, scenario)


def test_recipients_under_other_rules_come_apart(tmp_path):
    domains = {"example.com": Domain(primary=(), recipients=())}

    async def scenario(server):
        client = await hello(server)
        assert (await client.say(b"RCPT TO:<user@example.com>\r\n")).startswith(b"250")
        domains["example.com"] = Domain(primary=(), recipients=(), rspamd_settings="other")
        answer = await client.say(b"RCPT TO:<postmaster@example.com>\r\n")
        assert answer.startswith(b"452 4.5.3")
        domains["example.com"] = Domain(primary=(), recipients=())

    played(tmp_path, scenario, domains=domains)


def test_a_bot_that_does_not_wait_for_the_greeting_is_seen(tmp_path):
    early = entry("early-talker", Stage.HELO,
                  lambda about: found("early-talker") if about.early else Result())  # fmt: skip

    async def scenario(server):
        client = await server.client(greet=False)
        client.writer.write(b"EHLO bot.example\r\n")
        assert (await client.answer()).startswith(b"220")
        assert (await client.answer()).startswith(b"250")
        await client.say(b"MAIL FROM:<s@example.net>\r\n")
        answer = await client.say(b"RCPT TO:<user@example.com>\r\n")
        assert answer.startswith(b"554 5.5.1 You spoke before the greeting")
        patient = await server.client()
        await patient.say(b"EHLO c.example\r\n")
        await patient.say(b"MAIL FROM:<s@example.net>\r\n")
        assert (await patient.say(b"RCPT TO:<user@example.com>\r\n")).startswith(b"250")

    played(tmp_path, scenario, entries=early, policy=Policy(greet_delay=0.3))


def test_who_has_waited_before_is_greeted_at_once(tmp_path):
    async def scenario(server):
        loop = asyncio.get_running_loop()
        began = loop.time()
        await server.client()
        assert loop.time() - began > 0.199  # the loop counts whole milliseconds
        began = loop.time()
        await server.client()
        assert loop.time() - began < 0.15

    played(tmp_path, scenario, policy=Policy(greet_delay=0.2))


def test_clients_that_vanish_leave_nothing_behind(tmp_path):
    held = []

    class Kept:
        def close(self):
            held.append("closed")

    async def slow(about):
        about.transaction["kept"] = Kept()
        await asyncio.sleep(30)

    async def scenario(server):
        held.clear()
        client = await hello(server)
        client.writer.write(b"RCPT TO:<user@example.com>\r\n")
        await asyncio.sleep(0.05)
        client.reset()
        async with asyncio.timeout(5):
            while server.listeners.open or held != ["closed"]:
                await asyncio.sleep(0.02)
        assert len(asyncio.all_tasks()) == 1

    played(tmp_path, scenario, entries=entry("spf", Stage.MAIL, slow))


def test_commands_sent_ahead_without_permission_are_seen(tmp_path):
    seen = []

    def note(about):
        seen.append(about.pipelined)
        return Result()

    async def scenario(server):
        seen.clear()
        client = await server.client()
        client.writer.write(b"HELO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<user@example.com>\r\n")
        for _ in range(3):
            await client.answer()
        polite = await server.client()
        await polite.say(b"EHLO c.example\r\n")
        polite.writer.write(b"MAIL FROM:<>\r\nRCPT TO:<user@example.com>\r\n")
        for _ in range(2):
            await polite.answer()
        assert seen == [True, False]

    played(tmp_path, scenario, entries=entry("early-talker", Stage.MAIL, note))


def test_stages_that_end_while_another_is_waited_for(tmp_path):
    async def slow(_about):
        await asyncio.sleep(0.05)
        return Result()

    async def slower(_about):
        await asyncio.sleep(0.1)
        return Result()

    entries = together(
        entry("dns-lists", Stage.CONNECT, slower), entry("helo", Stage.HELO, slow),
        entry("spf", Stage.MAIL, slow),
    )  # fmt: skip

    async def scenario(server):
        assert (await send(server)).startswith(b"250")
        assert [c.check for c in judged(server)[0].checks] == ["dns-lists", "helo", "spf"]

    played(tmp_path, scenario, entries=entries)


def test_no_line_of_a_stranger_goes_on_with_what_we_found_out(tmp_path):
    said = entry("rspamd", Stage.MESSAGE, Result(edits=(Add(b"X-Spam", b"no"),)))

    async def scenario(server):
        assert (await send(server, b" forged\r\nSubject: x\r\n\r\n")).startswith(b"250")
        message, _ = server.shelf.messages[0]
        lowest = message.trace.rstrip().rpartition(b"\r\nReceived: ")[2]
        assert b"X-Spam" not in lowest
        assert lowest.startswith(b"from ")

    played(tmp_path, scenario, entries=said)


def test_one_command_waits_no_longer_than_one_stage_may_take(tmp_path):
    entries = together(
        entry("spf", Stage.MAIL, lambda _: asyncio.sleep(30)),
        entry("milters", Stage.RCPT, lambda _: asyncio.sleep(30), waits=True),
    )

    async def scenario(server):
        client = await hello(server)
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert (await client.say(b"RCPT TO:<user@example.com>\r\n")).startswith(b"250")
        assert loop.time() - began < 1.8

    played(tmp_path, scenario, entries=entries,
           policy=Policy(greet_delay=0.0, stage_timeout=1.0))  # fmt: skip
