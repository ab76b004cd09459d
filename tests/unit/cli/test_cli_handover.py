"""`tideover handover`, and where status and explain say that it is missing."""

import json
import tomllib

import pytest

from tideover.events.delivery_records import DeliveryDeferred
from tideover.events.encoding import encode
from tideover.events.pass_records import PassedRefused
from tideover.events.store import EventStore
from tideover.handover.catalogue import TARGETS
from tideover.primary.handover_signs import NO_RELAY
from tideover.primary.handover_watch import Handover
from tideover.primary.interface import PrimaryState
from tideover.testing.control import FakeDaemon, FakeDestination

OURS = ("--address", "192.0.2.10", "--address", "2001:db8::10", "--address", "192.0.2.10")


def test_it_names_the_targets(tideover):
    code, out, _ = tideover("handover")
    assert code == 0
    assert all(name in out for name in TARGETS)
    assert json.loads(tideover("handover", "--json")[1])["postfix"]["title"] == "Postfix"


@pytest.mark.parametrize("target", TARGETS)
def test_each_text_names_us(tideover, target):
    code, out, _ = tideover("handover", target, *OURS)
    assert code == 0
    assert out.isascii()
    assert "192.0.2.10" in out
    assert max(map(len, out.splitlines())) <= 120
    answer = json.loads(tideover("handover", target.upper(), *OURS, "--json")[1])
    assert answer["addresses"] == ["192.0.2.10", "2001:db8::10"]
    for part in answer["parts"]:
        assert part["text"].strip() in out
        out = out.replace(part["text"].strip(), "")
    left = [line for line in out.splitlines() if line.strip() and not line.startswith("#")]
    assert left == [], "all else is a comment"


def test_stalwart_can_read_it(tideover):
    out = tideover("handover", "stalwart", *OURS)[1]
    rules = tomllib.loads(out)["auth"]["spf"]["verify"]["ehlo"]
    assert rules[0]["if"] == "remote_ip == '192.0.2.10' || remote_ip == '2001:db8::10'"


def test_domains_may_be_named(tideover):
    answer = tideover("handover", "exim", *OURS, "--domain", "B\u00fccher.example")[1]
    assert "domainlist tideover_domains = xn--bcher-kva.example\n" in answer
    assert "example.com : example.org" in tideover("handover", "exim", *OURS)[1]


@pytest.mark.parametrize("target", ["exim", "opensmtpd"])
def test_a_text_that_names_domains_needs_one(tideover, config_file, target):
    config_file.write_text('hostname = "mx2.example.org"\ndata_dir = "."\n')
    code, _, err = tideover("handover", target, *OURS)
    assert code == 2
    assert "--domain" in err
    assert tideover("handover", "postfix", *OURS)[0] == 0


@pytest.mark.parametrize(
    "address", ["mx2.example.org", "192.0.2.0/24", "0.0.0.0", "ff02::1", "fe80::1%eth0", "1;reboot"]
)
def test_what_is_no_address_of_a_host_goes_nowhere(tideover, address):
    code, out, err = tideover("handover", "postfix", "--address", address)
    assert (code, out) == (2, "")
    assert "--address" in err


def test_another_target(tideover):
    code, _, err = tideover("handover", "lotus")
    assert code == 2
    assert "postfix, exim" in err


def test_addresses_come_from_dns(tideover, config_file):
    # nobody answers there
    config_file.write_text(
        config_file.read_text() + '\n[dns]\nservers = ["127.0.0.1:9"]\ntimeout = "200ms"\n'
    )
    code, _, err = tideover("handover", "postfix")
    assert code == 1
    assert "mx2.example.org" in err
    assert "--address" in err


def test_seals_are_named(tideover, config_file):
    seal = '[arc]\ndomain = "seal.example.org"\nselector = "a"\nkey_file = "a.pem"\n'
    (config_file.parent / "a.pem").write_text("")
    assert "ARC seal" in tideover("handover", "rspamd", *OURS)[1]
    assert tideover("arc", "keygen", "seal.example.org", "a", "--out",
                    str(config_file.parent / "b.pem"))[0] == 0  # fmt: skip
    config_file.write_text(config_file.read_text() + seal.replace("a.pem", "b.pem"))
    assert (
        'whitelisted_signers_map = ["seal.example.org"]'
        in (tideover("handover", "rspamd", *OURS)[1])
    )
    assert '$sealers += "seal.example.org"' in tideover("handover", "microsoft365", *OURS)[1]
    assert "arc_trusted_sealers seal.example.org" in tideover("handover", "spamassassin", *OURS)[1]


# What status and explain say


def test_status_says_what_is_wrong(tideover, daemon: FakeDaemon):
    daemon.handover.troubles["example.com"] = Handover(
        sign=NO_RELAY, host="mail:25", reply="554 5.7.1 Relay access denied", stage="RCPT",
        since=1_763_722_262.5, latest=1_763_722_263.5, count=2,
    )  # fmt: skip
    domains = json.loads(tideover("status", "--json")[1])["domains"]
    assert domains["example.org"]["handover"] is None
    told = domains["example.com"]["handover"]
    assert (told["keyword"], told["count"]) == ("no-relay", 2)
    assert told["since"] == "2025-11-21T10:51:02.500Z"
    assert "tideover handover" in told["cure"]
    line = next(x for x in tideover("status")[1].splitlines() if x.startswith("example.com"))
    assert f"handover: {NO_RELAY.text}" in line
    details = tideover("status", "--domain", "example.com")[1]
    assert "2 replies, the last " in details
    assert "mail:25: 554 5.7.1 Relay access denied" in details


@pytest.mark.parametrize(
    ("state", "offered", "posture", "told"),
    [
        (PrimaryState.UP, ("SIZE 1000", "DSN"), "auto", "no XCLIENT: clients are deferred"),
        (PrimaryState.UP, ("SIZE 1000",), "pass-through", "no XCLIENT: it takes us"),
        (PrimaryState.UP, ("XCLIENT NAME ADDR",), "auto", ""),
        (PrimaryState.UP, (), "auto", ""),
        (PrimaryState.UP, ("SIZE 1000",), "accept", ""),
        (PrimaryState.DOWN, ("SIZE 1000",), "auto", ""),
    ],
)
def test_status_hints_at_xclient(tideover, config_file, state, offered, posture, told):
    from tideover.config.load import load
    from tideover.testing.control import ServedDaemon

    setting = f'when_primary_up = "{posture}"\nprimary = ["127.0.0.1:2526"]\n'
    config_file.write_text(
        config_file.read_text().replace('primary = ["127.0.0.1:2526"]\n', setting)
    )
    fake = FakeDaemon(load(config_file))
    fake.dispatcher.destinations["example.com"] = FakeDestination(state=state, capabilities=offered)
    with ServedDaemon(fake, config_file.parent):
        hint = json.loads(tideover("status", "--json")[1])["domains"]["example.com"]["hint"]
        assert hint.startswith(told)
        assert bool(hint) == bool(told)
        assert hint in tideover("status")[1]


def test_explain_reads_it_from_the_reply(tideover, config_file):
    store = EventStore(config_file.parent / "events", max_size=1 << 20)
    common = {"message": "M1", "domain": "example.com", "recipients": ("a@example.com",)}
    grey = "450 4.7.1 Greylisted"
    for event in (
        DeliveryDeferred(**common, host="mail:25", reply=grey),
        DeliveryDeferred(**common, host="mail:25", reply="450 4.2.2 Over quota"),
        PassedRefused(
            **common, session="S1", client="192.0.2.1", sender="", host="mail:25", reply=grey,
            stage="RCPT",
        ),
    ):  # fmt: skip
        store.take(event, encode(event))
    store.close()
    out = tideover("explain", "M1")[1]
    assert out.count("    handover: the primary greylists what we bring: ") == 1
    answer = json.loads(tideover("explain", "M1", "--json")[1])
    assert [("handover" in event) for event in answer] == [True, False, False]
