"""Bounces from elsewhere: a flood of them is limited, signed return addresses are recognised. And
our own reports, which have a null sender too, never meet our own checks.
"""

import hmac
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from backscatter import Home, until

from forgeries import OWN, zones
from tideover.testing.daemon import Daemon
from tideover.testing.dns import DnsServer
from tideover.testing.ports import free_port
from tideover.testing.sink import Sink
from wire import Wire

KEY = b"the secret"
BODY = (
    b"From: Mailer <MAILER-DAEMON@mx.example.net>\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n\r\n"
)
NO_DELAY = '[policy]\ngreet_delay = "0s"\n'
FLOOD = 500


def send(daemon: Daemon, count: int, to: str, *, sender: str = "", source: str = "") -> list[str]:
    """So many messages on one connection; what is said last of each."""
    said = []
    with Wire(daemon.port, source=source) as wire:
        wire.hello()
        for _ in range(count):
            assert wire.say(f"MAIL FROM:<{sender}>").startswith(b"250")
            answer = wire.say(f"RCPT TO:<{to}>")
            if answer.startswith(b"250"):
                assert wire.say("DATA").startswith(b"354")
                answer = wire.say(BODY + b".")
            else:
                wire.say("RSET")
            said.append(answer.decode())
    return said


def signed(user: str) -> str:
    """Its return address as BATV writes it, good for a week."""
    tag = f"0{(int(time.time()) // 86400 + 7) % 1000:03}"
    mark = hmac.digest(KEY, f"{tag}{user}@example.com".encode(), "sha1")[:3].hex()
    return f"prvs={tag}{mark}={user}@example.com"


def test_a_flood_of_bounces_is_limited_and_other_mail_is_not(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon(recipients="user\nother\n", more=NO_DELAY)
    daemon.start()
    said: Counter[str] = Counter()
    for n in range(FLOOD // 10):  # from many servers, as it is when somebody forged the address
        answers = send(daemon, 10, "user@example.com", source=f"127.66.{n}.1")
        said.update(answer[:9] for answer in answers)
        if n % 10 == 9:
            (mail,) = send(daemon, 1, "user@example.com", sender="ann@example.net")
            (bounce,) = send(daemon, 1, "other@example.com", source=f"127.66.{n}.1")
            assert (mail[:3], bounce[:3]) == ("250", "250")
    taken = said.pop("250 2.0.0")
    assert 30 <= taken <= 32, "30 an hour, and room for one more every two minutes"
    assert said == {"450 4.7.1": FLOOD - taken}
    with Sink(daemon.primary) as home:
        senders = [got.mail.split()[0] for got in home.wait(taken + 10, 20)]
    assert Counter(senders) == {b"FROM:<>": taken + 5, b"FROM:<ann@example.net>": 5}
    judged = list(daemon.events("policy-judged"))
    because = [event["because"] for event in judged if event["verdict"] == "defer"]
    assert because == ["bounce-flood"] * (FLOOD - taken)


def test_where_return_addresses_are_signed_no_others_get_bounces(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    (tmp_path / "batv").write_bytes(KEY)
    more = (
        f'{NO_DELAY}[limits]\nbounces_per_recipient = "1/1h"\n'
        f'[profiles.default]\nbatv_key_file = "{tmp_path / "batv"}"\n'
    )
    daemon = make_daemon(more=more)
    daemon.start()
    for forged in ("user@example.com", "prvs=0999abcdef=user@example.com"):
        (answer,) = send(daemon, 1, forged)
        assert answer.startswith("550 5.7.1 This address did not send what you return"), answer
    (unknown,) = send(daemon, 1, signed("nobody"))
    assert unknown.startswith("550 5.1.1"), unknown
    ours = signed("user")
    assert [one[:3] for one in send(daemon, 5, ours)] == ["250"] * 5
    assert [one[:3] for one in send(daemon, 2, "postmaster@example.com")] == ["250", "450"]
    assert send(daemon, 1, "user@example.com", sender="ann@example.net")[0].startswith("250")
    with Sink(daemon.primary) as home:
        got = Counter(got.rcpts[0].partition(b">")[0].decode() for got in home.wait(7, 20))
    assert got == {f"TO:<{ours}": 5, "TO:<postmaster@example.com": 1,
                   "TO:<user@example.com": 1}  # fmt: skip


def test_our_own_reports_never_meet_our_checks(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """To a domain of ours that signs its return addresses and takes one bounce an hour."""
    (tmp_path / "batv").write_bytes(KEY)
    primary = free_port()
    with DnsServer(zones()) as dns:
        more = f"""
{NO_DELAY}
[dns]
servers = ["{dns.endpoint}"]
[limits]
bounces_per_recipient = "1/1h"
bounces_per_domain = "1/1h"
[profiles.signing]
batv_key_file = "{tmp_path / "batv"}"
[domains."other.example"]
primary = ["127.0.0.1:{primary}"]
recipients = ["file:recipients"]
"""
        daemon = make_daemon(
            primary=primary, recipients="user\nfull\ngone\n", domain='profile = "signing"',
            more=more,
        )  # fmt: skip
        daemon.start()
        for sender, count in (("user@example.com", 5), ("full@example.com", 1)):
            answers = send(daemon, count, "gone@other.example", sender=sender, source=OWN)
            assert [one[:3] for one in answers] == ["250"] * count, answers
        with Home(primary) as home:
            until(lambda: len(home.messages) == 5, 20, "the reports come home")
            until(lambda: len(list(daemon.events("dead-lettered"))) == 1, 20, "the refused one")
            assert {(sender, *to) for sender, to, _ in home.messages} == {("", "user@example.com")}
        judged = {event["sender"] for event in daemon.events("policy-judged")}
        assert "" not in judged
        ((dead,),) = (one["recipients"] for one in daemon.ask("queue", "dead"))
        assert dead["address"] == "full@example.com"
        assert dead["reason"].startswith("552 5.2.2")
        assert "a report is never answered by a report" in dead["reason"]
        assert len(list(daemon.events("bounced"))) == 6
