"""Policy as it is seen from outside: one daemon with all filters, its primary down.

What a client hears, and what `tideover explain` says of it.
"""

import json
from contextlib import ExitStack
from email import message_from_bytes, policy

import pytest
from policy_daemon import MISSING, Site

import policy_site as site
from policy_site import (
    BOB,
    FORGER,
    HONEST,
    LISTED,
    client,
    code,
    judged,
    mail,
    send,
    session_of,
    signed,
)
from tideover.testing.clamd import EICAR, NAME
from tideover.testing.sink import Sink
from tideover.testing.spamd import GTUBE
from wire import Wire

pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(MISSING), reason=MISSING)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with ExitStack() as stack:
        made = Site(tmp_path_factory.mktemp("policy"), stack)
        # its neighbours are known from now on, and need not wait for our greeting
        with client(made.daemon) as wire:
            site.queue_id(send(wire, signed(mail())))
        yield made


@pytest.fixture
def daemon(world):
    return world.daemon


def bot(daemon, source="127.66.0.66"):
    """What a client that speaks before our greeting hears, and its session."""
    wire = Wire(daemon.port, source=source, greeting=False, preamble=b"EHLO bot.example\r\n")
    assert wire.reply().startswith(b"220 ")
    assert wire.reply().startswith(b"250")
    return send(wire, mail()), session_of(daemon, wire)


def said(daemon, *args, source=HONEST, helo=None, hello="EHLO", **more):
    """What a client hears in its transaction, and its session."""
    wire = client(daemon, source, helo=helo, hello=hello)
    return send(wire, *args, **more), session_of(daemon, wire)


LONG = b"X-Filler: " + b"x" * 900 + b"\r\n"
LONG *= 300

# what the client does; its reply; the check, its finding, and what `explain` says of it
REFUSALS = {
    "gtube": (
        lambda daemon: said(daemon, signed(mail(GTUBE + b"\r\n"))),
        "554 5.7.1", "Gtube pattern", "rspamd", "rspamd-reject=reject", "GTUBE",
    ),
    "eicar": (
        lambda daemon: said(daemon, signed(mail(EICAR + b"\r\n"))),
        "554 5.7.1", NAME, "clamav", "virus=reject", NAME,
    ),
    "listed": (
        lambda daemon: said(daemon, mail(sender=BOB), source=LISTED, sender=BOB),
        "550 5.7.1", f'Your address {LISTED} is listed by list.example; it says: "see ',
        "dns-lists", "dns-listed=10", "127.0.0.2",
    ),
    "spf and dmarc": (
        lambda daemon: said(daemon, mail(), source=FORGER),
        "550 5.7.26", "DMARC: neither SPF nor DKIM speaks for signer.example", "dmarc",
        "dmarc-reject=reject", "signer.example",
    ),
    "our own sender": (
        lambda daemon: said(daemon, mail(), source=FORGER, sender="boss@example.com"),
        "550 5.7.1", "does not come from outside", "own-sender", "own-sender=reject",
        "example.com is one of our domains; SPF says fail",
    ),
    "early": (
        bot, "554 5.5.1", "You spoke before the greeting", "early-talker",
        "early-talker=reject", "",
    ),
    "null MX": (
        lambda daemon: said(daemon, mail(), sender="bob@nomail.example"),
        "550 5.7.27", "takes no mail (null MX)", "sender-domain", "sender-null-mx=reject",
        "nomail.example has a null MX",
    ),
    "says that it is us": (
        lambda daemon: said(daemon, mail(), helo="mx2.example.org"),
        "550 5.7.1", "You are not who your HELO says", "helo", "helo-ours=reject",
        "mx2.example.org is our own name",
    ),
    "several authors": (
        lambda daemon: said(daemon, signed(mail(header=b"From: eve@plain.example\r\n"))),
        "550 5.6.0", "several From fields", "header", "header-several-from=reject",
        "2 From fields",
    ),
    "a long header": (
        lambda daemon: said(daemon, mail(header=LONG, sender=BOB), sender=BOB),
        "552 5.3.4", "The header section is too large", "header", "header-too-large=reject",
        "more than 262144 octets",
    ),
    "a milter": (
        lambda daemon: said(daemon, signed(mail(subject="lottery"))),
        "550 5.7.1", "No lotteries here", "milters", "milter-reject=reject", "local",
    ),
    "spamassassin": (
        lambda daemon: said(daemon, mail(GTUBE + b"\r\n"), to=("user@spamd.example",)),
        "554 5.7.1", "Spam message rejected", "spamassassin", "spamassassin-spam=reject", "GTUBE",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_told_and_explained(daemon, name):
    act, wanted, text, check, finding, fact = REFUSALS[name]
    reply, session = act(daemon)
    assert code(reply) == wanted
    assert text in unfolded(reply)
    verdict, checks = judged(daemon, session)
    assert verdict["verdict"] == "reject"
    found = [one for record in checks[check] for one in record.get("found", ())]
    assert finding in found
    assert fact in json.dumps(checks[check])
    shown = site.explained(daemon, session)
    for record in verdict["checks"]:
        (line,) = [one for one in shown.splitlines()
                   if one.split()[:2] == [record["check"], record["stage"]]]  # fmt: skip
        assert f"{record['ms']:.2f} ms" in line
        assert (record.get("found") or ["ok"])[0] in line or "undecided" in line
    assert finding in shown
    assert fact in shown


def unfolded(reply):
    """The text of a reply of several lines."""
    return " ".join(line[4:].split(" ", 1)[-1] for line in reply.decode().splitlines())


def test_an_unknown_recipient_is_refused_and_explained(daemon):
    reply, session = said(daemon, signed(mail()), to=("nobody@example.com",))
    assert code(reply) == "550 5.1.1"
    assert "nobody@example.com" in site.explained(daemon, session)


def test_small_things_add_up_and_the_reply_names_them(daemon):
    doubtful = {"source": FORGER, "helo": "198.51.100.99", "hello": "HELO"}
    reply, _ = said(daemon, mail(sender=BOB), **doubtful, sender="bob@missing.example")
    site.queue_id(reply)  # 3 + 4 are not enough
    wire = client(daemon, **doubtful)
    wire.send(b"MAIL FROM:<bob@missing.example>\r\nRCPT TO:<user@example.com>\r\n")
    assert wire.reply().startswith(b"250 ")
    reply = wire.reply()
    assert code(reply) == "550 5.7.1"
    assert "is an IP address; a host name is wanted" in unfolded(reply)
    assert "does not exist" in unfolded(reply)
    verdict, _ = judged(daemon, session_of(daemon, wire))
    assert verdict["because"] == "score"
    assert verdict["score"] == 10


def test_every_refused_session_leaves_nothing(daemon):
    before = [one["id"] for one in daemon.ask("queue", "list")]
    for source, message in ((LISTED, mail()), (HONEST, signed(mail(EICAR + b"\r\n")))):
        assert said(daemon, message, source=source)[0].startswith(b"55")
    assert [one["id"] for one in daemon.ask("queue", "list")] == before


def test_honest_mail_comes_home_with_what_was_found(world):
    daemon = world.daemon
    message = signed(mail(b".dots\r\nand the rest\r\n" * 300))
    reply, session = said(daemon, message, to=("user@home.example",))
    queue_id = site.queue_id(reply)
    for wanted in (queue_id, session):
        verdict, checks = judged(daemon, wanted)
        assert (verdict["verdict"], verdict["score"]) == ("accept", 0)
        shown = site.explained(daemon, wanted)
        for check in CHECKS:
            assert all(record["ms"] >= 0 for record in checks[check]), check
            assert f"    {check:<14} " in shown
        for fact in ("pass signer.example", site.name_of(HONEST), "nothing found", "no action, "):
            assert fact in shown
    assert checks["spf"][0]["evidence"]["mfrom"].startswith("pass signer.example")
    assert checks["dmarc"][0]["evidence"]["result"] == "pass"
    assert checks["reverse-dns"][0]["evidence"] == {"name": site.name_of(HONEST)}
    assert checks["clamav"][0]["evidence"] == {"clamav": "nothing found"}
    with Sink(world.primaries["home.example"]) as primary:
        (got,) = primary.wait(1, 20)
    assert got.body.endswith(message)
    trace = got.body[: -len(message)]
    fields = message_from_bytes(trace, policy=policy.default)
    assert [name.lower() for name in fields] == [
        "received", "arc-seal", "arc-message-signature", "arc-authentication-results",
        "authentication-results",
    ]  # fmt: skip
    said_of_it = fields["Authentication-Results"].split()
    assert said_of_it[0] == "mx2.example.org;"
    assert {"spf=pass", "dkim=pass", "dmarc=pass"} <= set(said_of_it)
    assert "cv=none;" in fields["ARC-Seal"]


CHECKS = (
    "early-talker", "reverse-dns", "helo", "dns-lists", "spf", "sender-domain", "own-sender",
    "bounces", "rate-limits", "honeypots", "loop", "header", "dkim", "arc", "dmarc", "milters",
    "clamav", "rspamd", "spamassassin",
)  # fmt: skip


def test_what_a_filter_holds_waits_for_the_operator(world):
    daemon = world.daemon
    wish = mail(header=b"X-Test-Action: quarantine\r\n")
    reply, session = said(daemon, signed(wish), to=("user@held.example",))
    queue_id = site.queue_id(reply)
    assert judged(daemon, queue_id)[0]["verdict"] == "hold"
    doubtful, _ = said(daemon, mail(sender=BOB), helo="198.51.100.99", sender=BOB,
                       to=("full@held.example",))  # fmt: skip
    by_score = site.queue_id(doubtful)
    assert judged(daemon, by_score)[0]["because"] == "score"
    assert states(daemon, queue_id, by_score) == ["held", "held"]
    assert "policy: rspamd-quarantine" in site.explained(daemon, session)
    with Sink(world.primaries["held.example"]) as primary:
        assert daemon.run("queue", "release", queue_id).returncode == 0
        (got,) = primary.wait(1, 20)
    assert b"X-Test-Action" in got.body
    assert states(daemon, by_score) == ["held"]


def states(daemon, *queue_ids):
    kept = {one["id"]: one for one in daemon.ask("queue", "list")}
    return [kept[one]["recipients"][0]["state"] for one in queue_ids]


def test_a_check_that_runs_dry_refuses_nobody_and_says_what_it_would_have_done(daemon):
    reply, session = said(daemon, mail(sender=BOB), source=LISTED, sender=BOB,
                          to=("user@dry.example",))  # fmt: skip
    verdict, checks = judged(daemon, site.queue_id(reply))
    assert verdict["verdict"] == "accept"
    assert verdict["dry_run"] == "reject: score"
    assert checks["dns-lists"][0]["found"] == ["(dns-listed=10)"]
    assert "(dns-listed=10)" in site.explained(daemon, session)


def test_recipients_under_other_rules_go_apart(daemon):
    with client(daemon) as wire:
        wire.say(f"MAIL FROM:<{site.SENDER}>")
        assert wire.say("RCPT TO:<user@example.com>").startswith(b"250 ")
        assert wire.say("RCPT TO:<user@same.example>").startswith(b"250 ")
        assert code(wire.say("RCPT TO:<user@dry.example>")) == "452 4.5.3"
        wire.say("RSET")
        wire.say(f"MAIL FROM:<{site.SENDER}>")
        assert wire.say("RCPT TO:<user@dry.example>").startswith(b"250 ")


def test_postmaster_hears_those_who_are_refused_but_takes_no_malware(daemon):
    with client(daemon, LISTED) as wire:
        assert code(send(wire, mail(sender=BOB), sender=BOB)) == "550 5.7.1"
        for_us = {"sender": BOB, "to": ("postmaster@example.com",)}
        site.queue_id(send(wire, mail(sender=BOB), **for_us))
        assert code(send(wire, mail(EICAR + b"\r\n", sender=BOB), **for_us)) == "554 5.7.1"


def test_too_much_from_a_network_or_for_a_recipient_has_to_wait(daemon):
    def many(source, recipients):
        with client(daemon, source) as wire:
            wire.send(f"MAIL FROM:<{site.SENDER}>\r\n".encode())
            wire.send(b"".join(b"RCPT TO:<%s>\r\n" % one.encode() for one in recipients))
            assert wire.reply().startswith(b"250 ")
            return [wire.reply() for _ in recipients]

    answers = many("127.2.0.1", [f"full+{n}@example.com" for n in range(62)])
    assert {one[:4] for one in answers[:60]} == {b"250 "}
    assert code(answers[-1]) == "450 4.2.1"
    answers += many("127.2.0.1", [f"user+{n}@dry.example" for n in range(30)])
    assert code(answers[-1]) == "450 4.7.1"
    assert b"Too much mail from your network" in answers[-1]
    with client(daemon) as wire:  # others are not concerned
        site.queue_id(send(wire, signed(mail())))


def test_a_client_behind_a_load_balancer_is_checked_by_its_own_address(daemon):
    wire = Wire(
        daemon.port, source=site.BALANCER,
        preamble=f"PROXY TCP4 {site.REAL} 198.51.100.9 4321 25\r\n".encode(),
    )  # fmt: skip
    wire.say(f"EHLO {site.name_of(site.REAL)}")
    reply = send(wire, mail(sender=BOB), sender=BOB)
    assert code(reply) == "550 5.7.1"
    assert f"Your address {site.REAL} is listed" in unfolded(reply)
    _, checks = judged(daemon, session_of(daemon, wire, site.REAL))
    assert checks["reverse-dns"][0]["evidence"] == {"name": site.name_of(site.REAL)}


def test_nothing_that_is_said_shows_our_inside(daemon):
    replies = [act(daemon)[0] for name, (act, *_) in REFUSALS.items() if name != "early"]
    heard = b"".join(replies).lower()
    for inside in (b"tideover", b"traceback", b"127.0.0.1", b"rspamd", b"spamassassin",
                   str(daemon.primary).encode(), str(daemon.directory).encode()):  # fmt: skip
        assert inside not in heard
