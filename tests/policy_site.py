"""The world around a daemon whose policy is tested: DNS, clients with addresses, honest mail.

`signer.example` is an honest sender with SPF, DKIM and DMARC (reject). A client in 127.1.0.0/24
has a name that leads back to it; .66 is on the list.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from zlib import crc32

import tideover
from tideover.testing import signing
from wire import Wire

HONEST = "127.1.0.1"
LISTED = "127.1.0.66"
FORGER = "127.1.0.2"
REAL = "198.51.100.66"
"""A listed client behind a load balancer."""

BALANCER = "127.9.0.1"
SENDER = "ann@signer.example"
BOB = "bob@plain.example"
"""A sender whose domain says nothing of SPF and DMARC."""

WHY_LISTED = "see https://list.example/why"

_EXAMPLE = f"""\
signer MX 10 mx.signer
mx.signer A 198.51.100.7
signer TXT "v=spf1 ip4:{HONEST} ip4:127.2.0.1 -all"
_dmarc.signer TXT "v=DMARC1; p=reject"
{signing.SELECTOR}._domainkey.signer TXT "{signing.public_record(signing.rsa_key())}"
plain MX 10 mx.signer
second.plain MX 10 mx.signer
nomail MX 0 .
66.0.1.127.list A 127.0.0.2
66.0.1.127.list TXT "{WHY_LISTED}"
66.100.51.198.list A 127.0.0.2
"""
_OURS = """\
@ MX 10 mail
mail A 198.51.100.10
@ TXT "v=spf1 ip4:198.51.100.10 -all"
"""
_NETWORKS = ("127.1.0", "127.2.0", "127.3.0", "127.4.0", "127.5.0", "127.66.0")


def name_of(address):
    """The name of a client in DNS."""
    return f"c{address.replace('.', '-')}.clients.example"


def serve(nsd, *, seal=""):
    """Write all zones; `seal` is the record of our key."""
    hosts = [f"{network}.{n}" for network in _NETWORKS for n in (1, 2, 3, 4, 5, 66)]
    hosts += [REAL, "198.51.100.1"]
    text = "".join(f"{name_of(one)}. A {one}\n" for one in hosts)
    pointers = "".join(
        f"{'.'.join(reversed(one.split('.')))}.in-addr.arpa. PTR {name_of(one)}.\n" for one in hosts
    )
    nsd.zone("example", _EXAMPLE + text)
    nsd.zone("in-addr.arpa", pointers)
    nsd.zone("example.com", _OURS)
    nsd.zone("example.org", seal)


def keygen(path, selector="a1"):
    """A key for the seals of mx2.example.org; returns its record for a zone file."""
    done = subprocess.run(
        [sys.executable, "-m", "tideover", "arc", "keygen", "mx2.example.org", selector, "--json",
         "--out", str(path)],
        env={**os.environ, "PYTHONPATH": str(Path(tideover.__file__).parents[1])},
        stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    return json.loads(done.stdout)["zone"] + "\n"


def mail(body=b"The minutes of our meeting.\r\n", header=b"", *, sender=SENDER, subject="Minutes"):
    """A message as honest programs write it."""
    top = (
        f"From: Ann <{sender}>\r\nTo: user@example.com\r\nSubject: {subject}\r\n"
        f"Date: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{crc32(body)}@signer.example>\r\n"
    )
    return top.encode() + header + b"\r\n" + body


def signed(message):
    """The message as signer.example sends it."""
    return signing.dkim_signed(message, signing.rsa_key())


def client(daemon, source=HONEST, *, helo=None, hello="EHLO"):
    """A connection of a client that has said who it is."""
    wire = Wire(daemon.port, source=source)
    try:
        answer = wire.say(f"{hello} {helo or name_of(source)}")
        assert answer.startswith(b"250"), answer
    except BaseException:
        wire.close()
        raise
    return wire


def send(wire, message, *, sender=SENDER, to=("user@example.com",), parameters=""):
    """One transaction by DATA. Returns the last reply, or the first that is a refusal (then the
    transaction is over).
    """
    commands = [f"MAIL FROM:<{sender}>{parameters}", *(f"RCPT TO:<{one}>" for one in to), "DATA"]
    for command in commands:
        answer = wire.say(command)
        if answer[:1] not in b"23":
            wire.say("RSET")
            return answer
    stuffed = (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:]
    return wire.say(stuffed + b".")


def queue_id(answer):
    """Of a message that was taken."""
    assert answer.startswith(b"250 2.0.0 Queued as "), answer
    return answer.split()[-1].decode()


def code(answer):
    """Code and enhanced code."""
    return f"{answer[:3].decode()} {answer[4:].split()[0].decode()}"


def session_of(daemon, wire, address=None):
    """The id of the session of a connection, which is ended, and is told in the log. `address` and
    port: as a load balancer says them, if one does.
    """
    mine = (address, 4321) if address else wire.socket.getsockname()
    wire.say("QUIT")
    wire.close()
    return soon(lambda: _ended(daemon, mine))


def _ended(daemon, mine):
    opened = [
        one["session"]
        for one in daemon.events("session-opened")
        if (one["client"], one["port"]) == mine
    ]
    closed = {one["session"] for one in daemon.events("session-closed")}
    return opened[-1] if opened and opened[-1] in closed else None


def soon(wanted, timeout=15):
    """What a function returns as soon as it is true."""
    deadline = time.monotonic() + timeout
    while not (found := wanted()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)
    return found


def judged(daemon, wanted):
    """What `explain` says of a session or message: the last judgement, with its checks by name."""
    events = daemon.ask("explain", wanted)
    verdict = [one for one in events if one["event"] == "policy-judged"][-1]
    checks = {}
    for one in verdict["checks"]:
        checks.setdefault(one["check"], []).append(one)
    return verdict, checks


def explained(daemon, wanted):
    """What `explain` shows to people."""
    done = daemon.run("explain", wanted)
    assert done.returncode == 0, done.stderr
    return done.stdout
