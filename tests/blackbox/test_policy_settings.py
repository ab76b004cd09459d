"""Settings of policy as operators meet them: greylisting over restarts, reload, mistakes."""

import pytest

import policy_site as site
from policy_site import BOB, LISTED, client, code, judged, mail, send, session_of
from tideover.testing import nsd as nsd_program
from tideover.testing.nsd import Nsd

_MISSING = nsd_program.why_missing()
with_dns = pytest.mark.skipif(_MISSING is not None, reason=_MISSING or "")

MORE = """\
[dns]
servers = ["{dns}"]

[dns_lists."list.example"]
weight = 10

[profiles.default]
checks = ["dns-lists", "spf", "greylist"]

[greylist]
enabled = true
delay = "2s"
"""


@pytest.fixture
def greylisting(make_daemon, tmp_path):
    """A daemon that greylists; its primary is down."""
    with Nsd(tmp_path) as nsd:
        site.serve(nsd)
        nsd.reload()
        made = make_daemon(recipients="user\nother\n", more=MORE.format(dns=nsd.endpoint))
        made.start()
        yield made


def tried(daemon, source, *, sender=BOB):
    """What a client hears, and the judgement that `explain` shows of its session."""
    wire = client(daemon, source)
    reply = send(wire, mail(sender=sender), sender=sender)
    return reply, *judged(daemon, session_of(daemon, wire))


@pytest.mark.slow
@pytest.mark.interop
@with_dns
def test_who_is_greylisted_gets_in_later_also_over_a_restart(greylisting):
    daemon = greylisting
    reply, verdict, checks = tried(daemon, "127.3.0.1")
    assert code(reply) == "450 4.7.1"
    assert b"Greylisted; please try again in 2 seconds" in reply
    assert verdict["verdict"] == "defer"
    assert checks["greylist"][0]["found"] == ["greylisted=defer"]
    assert daemon.stop() == 0
    daemon.start()
    judgements = []

    def let_in():
        judgements.append(tried(daemon, "127.3.0.1"))
        return judgements[-1][0].startswith(b"250 ")

    site.soon(let_in)
    for reply, _, checks in judgements[:-1]:
        assert code(reply) == "450 4.7.1"
        assert "came again too early" in checks["greylist"][0]["reasons"][0]
    evidence = judgements[-1][2]["greylist"][0]["evidence"]
    assert evidence["let in"].startswith("came again after ")
    # its network is known now, also after another restart and with other senders
    assert daemon.stop() == 0
    daemon.start()
    reply, _, checks = tried(daemon, "127.3.0.2", sender="eve@second.plain.example")
    site.queue_id(reply)
    assert checks["greylist"][0]["evidence"] == {"let in": "a known client"}
    assert code(tried(daemon, "127.4.0.1")[0]) == "450 4.7.1"


@pytest.mark.interop
@with_dns
def test_a_weight_changes_with_a_reload_and_a_mistake_changes_nothing(greylisting):
    daemon = greylisting

    def reload(old, new):
        daemon.sections["more"] = daemon.sections["more"].replace(old, new)
        daemon.write_config()
        before = len(list(daemon.events("config-reloaded", "config-rejected")))
        daemon.reload()
        site.soon(lambda: len(list(daemon.events("config-reloaded", "config-rejected"))) > before)

    assert code(tried(daemon, LISTED)[0]) == "550 5.7.1"
    reload("weight = 10", "weight = 2.5")
    reply, verdict, checks = tried(daemon, LISTED)
    assert code(reply) == "450 4.7.1", "what is left is greylisting"
    assert verdict["score"] == 2.5
    assert checks["dns-lists"][0]["found"] == ["dns-listed=2.5"]
    reload("weight = 2.5", 'weight = "much"')
    assert [one["event"] for one in daemon.events("config-rejected")] == ["config-rejected"]
    assert tried(daemon, LISTED)[1]["score"] == 2.5
    reload('weight = "much"', "weight = 10")
    assert code(tried(daemon, LISTED)[0]) == "550 5.7.1"


MISTAKES = {
    "[dns_lists.'list.example']\nweight = 'much'": "a number is wanted",
    "[dns_lists.'a.example']\nof = 'everybody'": '"address", "helo" or "sender"',
    "[dns_lists.'b.example']\ncodes = ['127.0.0.2=x']": 'a weight is written like "127.0.0.2=8"',
    "[rspamd]\nurl = 'ftp://filter.example'": 'a URL is written like "http://',
    "[clamav]\nsocket = 'nowhere'": "a socket is written like",
    "[spamassassin]\non_failure = 'discard'": '"defer" or "accept"',
    "[greylist]\ndelay = 'soon'": "a duration is written like",
    "[limits]\nclient = 'many'": 'a rate is written like "100/1h"',
    "[milters.one]\ntimeout = '5s'": "milters.one.socket: this setting is required",
    "[profiles.default]\nchecks = ['spff']": "there is no such check; there are: ",
    "[profiles.two]\nactions = { spf-fail = 'explode' }": '"reject" or a score is wanted',
    "[profiles.three]\nactions = { spf-nonsense = 3 }": "there is no such finding; near",
    "[policy]\ntrusted_networks = ['10.0.0.0/33']": "10.0.0.0/33",
}
CONTRADICTIONS = {
    "[profiles.strict]\nchecks = ['spf']\ndry_run = ['dkim']": "dkim does not run",
    "[arc]\ndomain = 'mx2.example.org'": "missing: selector, key_file",
}


def wrong(make_daemon, mistakes, domain=""):
    """What `config check` says of a configuration with all these mistakes."""
    made = make_daemon(more="\n".join(mistakes), domain=domain)
    done = made.run("config", "check")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_all_mistakes_in_the_tables_of_policy_are_named_at_once(make_daemon):
    said = wrong(make_daemon, MISTAKES)
    for text in MISTAKES.values():
        assert text in said
    assert len([line for line in said.splitlines() if ": line " in line]) == len(MISTAKES)


def test_settings_that_contradict_each_other_are_named(make_daemon):
    said = wrong(make_daemon, CONTRADICTIONS, 'profile = "strct"\narc_selector = "x"\n')
    for text in (*CONTRADICTIONS.values(), "there is no such profile; there are: default, strict",
                 "a selector names a key: set arc_key_file too"):  # fmt: skip
        assert text in said
