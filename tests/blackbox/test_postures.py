"""What a client meets while the primary is up, in doubt, gone and back, in each posture; and who
evidently can't reach it. The primary is a process of its own that can be killed and frozen.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pass_rig import AT_ONCE, Told, primary_is, state_of, transact, until
from tideover.testing.breaking_peer import OFFERS, XCLIENT, BreakingPeer
from tideover.testing.daemon import Daemon
from tideover.testing.mailgen import mail
from tideover.testing.ports import free_port
from wire import Wire

Start = Callable[..., tuple[Daemon, BreakingPeer]]
_GRANTED = (*OFFERS, XCLIENT)
_QUEUED = b"250 2.0.0 Queued as "
_HOMES = b"250 2.0.0 Home queued it as H4711\r\n"
_LATER = b"450 4.3.2 "


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a primary, unless it is to be down, and a daemon that backs it up."""
    made: list[Daemon | BreakingPeer] = []

    def begin(
        posture: str,
        *,
        offers: tuple[str, ...] = OFFERS,
        replies: dict[str, str] | None = None,
        up: bool = True,
        more: str = "",
        domain: str = "",
    ) -> tuple[Daemon, BreakingPeer]:
        port = free_port()
        peer = BreakingPeer(
            tmp_path / "peer", port, offers=offers, users=("user", "other"), replies=replies
        )
        daemon = Daemon(
            tmp_path / "daemon",
            primary=port,
            recipients="user\nother\ngone\n",
            domain=f'when_primary_up = "{posture}"\n{domain}',
            more=AT_ONCE + more,
        )
        made.extend((daemon, peer))
        if up:
            peer.start()
        daemon.start()
        if up:
            primary_is(daemon, "up")
        return daemon, peer

    yield begin
    for one in made:
        one.kill()


def names_nothing(told: Told, daemon: Daemon) -> bool:
    """Whether no reply has the primary's name, address or words."""
    said = b"".join((told.mail, *told.rcpts, told.end)).lower()
    return not any(one in said for one in (b"home", b"127.0.0.1", b"%d" % daemon.primary))


def test_accept_queues_what_comes_while_it_is_up(start: Start) -> None:
    daemon, peer = start("accept", offers=_GRANTED)
    told = transact(daemon.port, mail(1))
    assert told.end.startswith(_QUEUED)
    assert names_nothing(told, daemon)
    until(lambda: len(peer.taken()) == 1)


def test_defer_names_no_host(start: Start) -> None:
    daemon, peer = start("defer", offers=_GRANTED)
    told = transact(daemon.port, mail(1), ["user@example.com", "other@example.com"])
    assert all(one.startswith(_LATER) for one in told.rcpts)
    assert names_nothing(told, daemon)
    assert b"mx" not in b"".join(told.rcpts).lower()
    assert not any("MAIL FROM:<s" in one for one in peer.commands())
    gone = transact(daemon.port, mail(1), ["stranger@example.com"])
    assert gone.verdict.startswith(b"550 5.1.1"), "who does not exist need not come again"


def test_auto_passes_through_with_xclient(start: Start) -> None:
    daemon, peer = start("auto", offers=_GRANTED)
    told = transact(daemon.port, mail(1), source="127.0.0.9")
    assert told.end == _HOMES
    assert peer.taken()[0].xclient["ADDR"] == "127.0.0.9"
    assert peer.taken()[0].xclient["HELO"] == "client.example.net"
    assert daemon.ask("queue", "list") == []


def test_auto_defers_without_xclient(start: Start) -> None:
    daemon, peer = start("auto")
    told = transact(daemon.port, mail(1))
    assert told.verdict.startswith(_LATER)
    assert names_nothing(told, daemon)
    assert not any("MAIL FROM:<s" in one for one in peer.commands())


def test_pass_through_gives_the_primarys_own_words(start: Start) -> None:
    daemon, _ = start("pass-through", replies={"RCPT other": "450 4.2.1 Home is busy for other"})
    told = transact(
        daemon.port, mail(1), [f"{who}@example.com" for who in ("user", "gone", "other")]
    )
    assert told.rcpts == (
        b"250 2.1.5 Home knows them\r\n",
        b"550 5.1.1 <gone@example.com>: home has no such user\r\n",
        b"450 4.2.1 Home is busy for other\r\n",
    )
    assert told.end == _HOMES


def test_a_full_disk_does_not_stop_what_goes_through(start: Start) -> None:
    queued = '[domains."queued.example"]\nprimary = ["127.0.0.1:9"]\n'
    queued += 'recipients = ["file:recipients"]\nwhen_primary_up = "accept"\n'
    daemon, peer = start("auto", offers=_GRANTED, more=queued)
    text = daemon.config.read_text()
    daemon.config.write_text(text.replace('"1MiB"', '"900TiB"'))
    daemon.reload()

    def told(*recipients: str) -> Told:
        return transact(daemon.port, mail(1), recipients)

    until(lambda: told("user@queued.example").rcpts[0].startswith(b"452 4.3.1 "))
    assert told("gone@queued.example", "nobody@queued.example").rcpts[1].startswith(b"550 5.1.1 ")
    assert told("user@example.com").end == _HOMES
    assert len(peer.taken()) == 1
    peer.kill()
    primary_is(daemon, "down")
    assert told("user@example.com").mail.startswith(b"452 4.3.1 ")


def test_hide_primary_keeps_the_codes_alone(start: Start) -> None:
    daemon, _ = start(
        "pass-through",
        domain="hide_primary = true",
        replies={"RCPT other": "450 4.2.1 Home is busy for other"},
    )
    told = transact(
        daemon.port, mail(1), [f"{who}@example.com" for who in ("user", "gone", "other")]
    )
    assert [one[:9] for one in told.rcpts] == [b"250 2.1.5", b"550 5.1.1", b"450 4.2.1"]
    assert told.end.startswith(b"250 2.0.0")
    assert names_nothing(told, daemon)


@pytest.mark.slow
@pytest.mark.parametrize(
    "replies",
    [
        {"RCPT": "451 4.3.0 home.primary.test has trouble"},
        {"RCPT": "421 4.3.2 home.primary.test closes"},
        {"RCPT": "452 home.primary.test is full"},
        {"MAIL": "451 4.3.1 home.primary.test is full"},
        {"EHLO": "421 home.primary.test closes"},
        {"DATA": "451 4.3.5 home.primary.test is confused"},
        {"DOT": "451 4.3.0 home.primary.test lost its milter"},
        {"DOT": "452 4.3.1 home.primary.test is full"},
    ],
    ids=lambda replies: " ".join(f"{step} {reply[:9]}" for step, reply in replies.items()),
)
def test_trouble_of_the_primarys_own_is_not_the_clients(
    start: Start, replies: dict[str, str]
) -> None:
    daemon, peer = start("pass-through", up=False)
    peer.start()
    primary_is(daemon, "up")
    told = transact(daemon.port, mail(1))
    assert told.end == _HOMES
    peer.kill()
    peer.rules.replies.update(replies)
    peer.start()
    told = transact(daemon.port, mail(2))
    assert told.codes() == (b"250", b"250")
    assert told.end.startswith(_QUEUED)
    assert names_nothing(Told(told.mail, (), told.end), daemon)
    peer.kill()
    peer.rules.replies.clear()
    peer.start()
    until(lambda: len(peer.taken()) == 2)


@pytest.mark.parametrize("posture", ["auto", "pass-through"])
def test_the_first_client_after_its_death_is_served(start: Start, posture: str) -> None:
    daemon, peer = start(posture, offers=_GRANTED, more='[health]\ncheck_interval = "60s"\n')
    assert transact(daemon.port, mail(1)).end == _HOMES
    peer.kill()
    begun = time.monotonic()
    told = transact(daemon.port, mail(2))
    assert told.end.startswith(_QUEUED)
    assert time.monotonic() - begun < 3
    assert names_nothing(told, daemon)
    peer.start()
    until(lambda: len(peer.taken()) == 2)
    assert peer.taken()[1].xclient["ADDR"] == "127.0.0.5", "told later, too"


@pytest.mark.parametrize("posture", ["auto", "pass-through", "defer"])
def test_a_primary_that_was_never_seen(start: Start, posture: str) -> None:
    daemon, peer = start(posture, offers=_GRANTED, up=False)
    told = transact(daemon.port, mail(1))
    assert told.end.startswith(_QUEUED)
    peer.start()
    until(lambda: len(peer.taken()) == 1)


@pytest.mark.slow
@pytest.mark.parametrize("posture", ["auto", "defer"])
def test_a_primary_that_hangs(start: Start, posture: str) -> None:
    daemon, peer = start(posture, offers=_GRANTED)
    peer.child.freeze()
    begun = time.monotonic()
    told = until(lambda: _taken(daemon), 30)
    took = time.monotonic() - begun
    assert took < 20, "recognised within 15 s; and the client's own wait"
    assert names_nothing(told, daemon)
    peer.child.thaw()


def _taken(daemon: Daemon) -> Told | None:
    told = transact(daemon.port, mail(1))
    assert told.codes() in ((b"250", b"250"), (b"450",))
    return told if told.end else None


def test_with_defaults_and_no_traffic_outage_and_return_are_seen(start: Start) -> None:
    daemon, peer = start("defer")
    peer.kill()
    assert primary_is(daemon, "down", 17) < 16
    assert transact(daemon.port, mail(1)).end.startswith(_QUEUED)
    peer.start()
    begun = time.monotonic()
    until(lambda: state_of(daemon) in ("recovering", "up"), 10)
    assert time.monotonic() - begun < 3
    until(lambda: len(peer.taken()) == 1)
    primary_is(daemon, "up")
    assert transact(daemon.port, mail(2)).verdict.startswith(_LATER)


def test_a_primary_on_hold_is_one_that_is_away(start: Start) -> None:
    daemon, peer = start("defer")
    assert transact(daemon.port, mail(1)).verdict.startswith(_LATER)
    done = daemon.run("queue", "hold", "--domain", "example.com")
    assert done.returncode == 0, done.stderr
    assert state_of(daemon) == "held"
    assert transact(daemon.port, mail(2)).end.startswith(_QUEUED)
    assert peer.taken() == []
    daemon.run("queue", "release", "--domain", "example.com")
    until(lambda: len(peer.taken()) == 1)


# Who can't reach the primary

_RULE = '[cut_off]\nafter = "2s"\n'


@pytest.mark.parametrize("posture", ["auto", "defer"])
def test_an_honest_sender_that_is_cut_off_gets_in_by_trying_again(
    start: Start, posture: str
) -> None:
    daemon, peer = start(posture, more=_RULE)
    begun = time.monotonic()
    tries = []
    while not tries or not tries[-1].end:
        told = transact(daemon.port, mail(1), source="127.0.5.1")
        tries.append(told)
        assert time.monotonic() - begun < 15
        time.sleep(0.5)
    assert len(tries) > 2
    assert time.monotonic() - begun >= 2
    assert all(one.verdict.startswith(_LATER) for one in tries[:-1])
    assert tries[-1].end.startswith(_QUEUED)
    message = tries[-1].end.split()[-1].decode()
    told = daemon.ask("explain", message)
    cut_off = [one for one in told if one["event"] == "client-cut-off"]
    assert len(cut_off) == 1
    assert "tries again" in cut_off[0]["reason"]
    assert "tries again" in daemon.run("explain", message).stdout
    until(lambda: len(peer.taken()) == 1)
    # it need not prove it for each message, but a neighbour must
    assert transact(daemon.port, mail(2), source="127.0.5.1").end.startswith(_QUEUED)
    assert transact(daemon.port, mail(3), source="127.99.5.1").verdict.startswith(_LATER)


def test_a_bot_that_ignores_the_refusal_never_gets_in(start: Start) -> None:
    daemon, peer = start("auto", more=_RULE)
    with Wire(daemon.port, source="127.0.6.1") as wire:
        wire.hello()
        wire.say("MAIL FROM:<bot@example.net>")
        assert wire.say("RCPT TO:<user@example.com>").startswith(_LATER)
        assert wire.say("DATA").startswith(b"5")
    for _ in range(10):  # at once, again and again
        told = transact(daemon.port, mail(1), source="127.0.6.1", sender="bot@example.net")
        assert told.verdict.startswith(_LATER)
    for number in range(15):  # long enough, but another sender each time, as bots do
        told = transact(
            daemon.port,
            mail(1),
            source=f"127.0.6.{2 + number}",
            sender=f"{chr(97 + number) * 5}@example.net",
        )
        assert told.verdict.startswith(_LATER)
        time.sleep(0.2)
    assert daemon.ask("queue", "list") == []
    assert peer.taken() == []


def test_explain_tells_why_a_session_was_deferred(start: Start) -> None:
    daemon, _ = start("defer")
    transact(daemon.port, mail(1), source="127.0.7.1")
    refused = until(lambda: list(daemon.events("command-refused")))[0]
    assert "up" in refused["reason"]
    explained = daemon.run("explain", refused["session"]).stdout
    assert "4.3.2" in explained
    assert refused["reason"] in explained
