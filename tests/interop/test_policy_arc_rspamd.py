"""Mail that came through us, as a real rspamd behind us sees it: the ARC chain holds, and so does
the signature that its author made.
"""

import json
from contextlib import ExitStack

import pytest

import policy_site as site
from policy_site import HONEST, SENDER, client, mail, send, signed
from tideover.testing import nsd as nsd_program
from tideover.testing import python_milter as milter_program
from tideover.testing import rspamd as rspamd_program
from tideover.testing import signing
from tideover.testing.daemon import Daemon
from tideover.testing.nsd import Nsd
from tideover.testing.python_milter import PythonMilter
from tideover.testing.rspamd import Rspamd
from tideover.testing.sink import Sink

_PROGRAMS = (milter_program, nsd_program, rspamd_program)
_MISSING = "; ".join(why for one in _PROGRAMS if (why := one.why_missing()))
pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(_MISSING), reason=_MISSING)]

_MILTER = """\
def header(self, name, value):
    self.wish = getattr(self, 'wish', False) or name == 'X-Wish'
    return Milter.CONTINUE

def eom(self):
    if getattr(self, 'wish', False):
        self.addheader('X-Seen', 'by the milter')
        self.addheader('X-Below', 'all others', 3)
        self.chgheader('X-Wish', 1, 'fulfilled')
        self.chgheader('Reply-To', 1, 'list@signer.example')
    return Milter.CONTINUE
"""
_CONFIG = """\
[dns]
servers = ["{dns}"]

[policy]
greet_delay = "0s"

[rspamd]
url = "{rspamd}"

[milters.local]
socket = "{milter}"

[arc]
domain = "mx2.example.org"
selector = "a1"
key_file = "{key}"
"""


class Way:
    """From a client through the daemon to the primary, and what rspamd says there."""

    def __init__(self, directory, stack):
        key = directory / "arc.pem"
        nsd = Nsd(directory)
        site.serve(nsd, seal=site.keygen(key))
        self.nsd = stack.enter_context(nsd)
        milter = stack.enter_context(PythonMilter(directory, _MILTER))
        self.rspamd = stack.enter_context(Rspamd(directory, dns=nsd.endpoint))
        more = _CONFIG.format(
            dns=nsd.endpoint, rspamd=self.rspamd.url, milter=milter.address.endpoint, key=key
        )
        self.daemon = Daemon(
            directory / "daemon", outbound='probe_interval = "200ms"\n', more=more,
            domain='when_primary_up = "accept"\n',
        )  # fmt: skip
        self.daemon.start()
        stack.callback(self.daemon.kill)
        self.primary = stack.enter_context(Sink(self.daemon.primary))

    def home(self, message, **more):
        """A message as the primary gets it."""
        before = len(self.primary.messages)
        with client(self.daemon) as wire:
            site.queue_id(send(wire, message, **more))
        return self.primary.wait(before + 1, 30)[-1]

    def judge(self, message, sender=SENDER):
        """The symbols that rspamd gives it at the primary."""
        answer = json.loads(
            self.rspamd.check(
                message, IP="198.51.100.1", Helo="mx2.example.org", From=sender,
                Rcpt="user@example.com",
            )
        )  # fmt: skip
        return {name: one.get("options", []) for name, one in answer["symbols"].items()}


@pytest.fixture(scope="module")
def way(tmp_path_factory):
    with ExitStack() as stack:
        yield Way(tmp_path_factory.mktemp("arc"), stack)


def valid(symbols, *, instance=1):
    """Our seal holds, and the author's signature."""
    assert "ARC_ALLOW" in symbols, symbols
    assert "R_DKIM_ALLOW" in symbols, symbols
    assert symbols["R_DKIM_ALLOW"] == [f"{signing.DOMAIN}:s={signing.SELECTOR}"]
    assert f"i={instance}" in str(symbols["ARC_ALLOW"]), symbols


BINARY = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
EIGHT = BINARY + b"Content-Transfer-Encoding: 8bit\r\n"
TEXT = "Grüße, and a line that begins with a dot:\r\n.dot\r\n".encode()


def test_a_plain_message(way):
    got = way.home(signed(mail()))
    assert b"cv=none" in got.body
    valid(way.judge(got.body))


def test_the_judge_sees_what_is_wrong(way):
    """The body, what we found out, and the author's own words are each covered."""
    body = way.home(signed(mail())).body
    symbols = way.judge(body.replace(b"minutes", b"seconds"))
    assert {"ARC_REJECT", "R_DKIM_REJECT"} <= symbols.keys()
    assert "ARC_REJECT" in way.judge(body.replace(b"; spf=pass", b"; spf=fail"))
    assert "ARC_ALLOW" in way.judge(body)
    assert "ARC_NA" in way.judge(signed(mail()))


def test_a_chain_goes_on(way):
    came = signing.arc_sealed(signed(mail()), signing.rsa_key(), 1)
    got = way.home(came)
    assert got.body.endswith(came)
    assert got.body.count(b"ARC-Seal:") == 2
    assert b"i=2; a=rsa-sha256; cv=pass" in got.body
    valid(way.judge(got.body), instance=2)


def test_a_broken_chain_is_not_mended(way):
    came = signing.arc_sealed(signed(mail()), signing.rsa_key(), 1, seal={"b": "AAAA"})
    got = way.home(came)
    assert b"i=2; a=rsa-sha256; cv=fail" in got.body
    symbols = way.judge(got.body)
    assert "ARC_ALLOW" not in symbols
    assert "R_DKIM_ALLOW" in symbols


@pytest.mark.parametrize("sets", [0, 1])
def test_fields_that_filters_add_and_remove(way, sets):
    header = b"X-Wish: 1\r\nX-Test-Edits: 1\r\nReply-To: ann@signer.example\r\n"
    message = signed(mail(header=header))
    if sets:
        message = signing.arc_sealed(message, signing.rsa_key(), 1)
    got = way.home(message)
    for field in (b"\r\nX-Seen: by the milter\r\n", b"\r\nX-Below: all others\r\n",
                  b"\r\nX-Wish: fulfilled\r\n", b"\r\nX-Plain: one\r\n",
                  b"\r\nReply-To: list@signer.example\r\n"):  # fmt: skip
        assert field in got.body
    assert b"X-Test-Edits" not in got.body
    valid(way.judge(got.body), instance=sets + 1)


def test_a_forged_result_in_our_name_is_gone(way):
    forged = b"Authentication-Results: mx2.example.org; dkim=pass header.d=bank.example\r\n"
    theirs = b"Authentication-Results: mx.other.example; dkim=pass header.d=bank.example\r\n"
    got = way.home(signed(forged + theirs + mail()))
    assert forged not in got.body
    assert theirs in got.body
    assert got.body.count(b"Authentication-Results: mx2.example.org;") == 1
    valid(way.judge(got.body))


def test_smtputf8(way):
    sender = "ännchen@signer.example"
    message = mail(TEXT, EIGHT, sender=sender, subject="Grüße")
    got = way.home(signed(message), sender=sender, parameters=" SMTPUTF8 BODY=8BITMIME")
    assert b"SMTPUTF8" in got.mail
    assert got.body.endswith(message)
    valid(way.judge(got.body, sender))


def test_8bitmime(way):
    got = way.home(signed(mail(TEXT, EIGHT)), parameters=" BODY=8BITMIME")
    assert b"BODY=8BITMIME" in got.mail
    valid(way.judge(got.body))


def test_bdat(way):
    message = signed(mail(TEXT, EIGHT))
    before = len(way.primary.messages)
    with client(way.daemon, HONEST) as wire:
        wire.say(f"MAIL FROM:<{SENDER}> BODY=8BITMIME")
        wire.say("RCPT TO:<user@example.com>")
        cut = len(message) - 7
        for part, last in ((message[:cut], b""), (message[cut:], b" LAST")):
            wire.send(b"BDAT %d%s\r\n%s" % (len(part), last, part))
            answer = wire.reply()
        site.queue_id(answer)
    got = way.primary.wait(before + 1, 30)[-1]
    assert got.body.endswith(message)
    valid(way.judge(got.body))


@pytest.mark.parametrize("header", [b"", b"X-Wish: 1\r\n"])
def test_3_megabytes(way, header):
    message = mail(b"The minutes of our meeting.\r\n" * 110_000, header)
    got = way.home(signed(message))
    assert len(got.body) > 3_000_000
    valid(way.judge(got.body))
