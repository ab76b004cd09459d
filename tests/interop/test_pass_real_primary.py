"""Postfix with rspamd and Dovecot behind it, and Exim, as primaries that are up: who comes to us is
told what they say, as if there were nothing in between.
"""

import re
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import home
import pytest
from home import Home
from peers import Exim, needs_exim, open_directory

from pass_rig import AT_ONCE, Told, anonymous, converse, primary_is, transact, until
from tideover.testing.daemon import Daemon
from tideover.testing.mailgen import mail
from wire import Wire, without_trace

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(home.MISSING), reason=home.MISSING),
]

_THIRD = """
[domains."second.example"]
primary = ["127.0.0.1:{port}"]
recipients = ["file:recipients"]
when_primary_up = "{posture}"

[domains."third.example"]
primary = ["127.0.0.1:{other}"]
recipients = ["file:recipients"]
when_primary_up = "{posture}"
"""
_STALE = (*home.USERS, "nobody")
"""Whom we take for users: one of them left."""


@contextmanager
def backup(directory: Path, port: int, posture: str, *, other: int = 0) -> Iterator[Daemon]:
    """A daemon in front of a primary; third.example has another."""
    third = _THIRD.format(port=port, other=other or port, posture=posture)
    daemon = Daemon(
        directory / posture,
        primary=port,
        recipients="\n".join(_STALE) + "\n",
        domain=f'when_primary_up = "{posture}"',
        more=AT_ONCE + third,
    )
    with daemon:
        primary_is(daemon, "up")
        yield daemon


@pytest.fixture(scope="module")
def primary() -> Iterator[Home]:
    """It lets us say who the client is."""
    with home.running() as made:
        yield made


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("daemons")


@pytest.fixture(scope="module")
def passing(primary: Home, places: Path) -> Iterator[Daemon]:
    with backup(places, primary.port, "pass-through") as daemon:
        yield daemon


@pytest.fixture(scope="module")
def deciding(primary: Home, places: Path) -> Iterator[Daemon]:
    with backup(places, primary.port, "auto") as daemon:
        yield daemon


def both(
    primary: Home, daemon: Daemon, body: bytes, recipients: Sequence[str], **how: str | bool
) -> tuple[Told, Told]:
    """What a client is told there, and here."""
    direct = transact(primary.port, body, recipients, **how)
    return direct, transact(daemon.port, body, recipients, **how)


CASES = {
    "known": (mail(1, 500), "user", "", "250 2.0.0"),
    "unknown": (mail(2, 500), "nobody", "", "550 5.1.1"),
    "over-quota": (mail(3, 500), "full", "", "552 5.2.2"),
    "over-quota-with-this": (mail(4, 9000), "nearly", " SIZE=9000", "552 5.2.2"),
    "later": (mail(5, 500), "grey", "", "450 4.7.1"),
    "refused": (mail(6, 500), "blocked", "", "550 5.7.1"),
    "gtube": (mail(7, 500) + home.GTUBE + b"\r\n", "user", "", "554 5.7.1"),
    "too-large": (mail(8, 35_000_000), "user", "", "552 5.3.4"),
    "milter-later": (b"X-Test-Envelope: 1\r\n" + mail(9, 500), "user", "", "451 4.7.1"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_is_the_primarys(primary: Home, passing: Daemon, case: str) -> None:
    body, user, parameters, expected = CASES[case]
    direct, through = both(primary, passing, body, [f"{user}@example.com"], mail=parameters)
    assert direct.verdict.startswith(expected.encode())
    if case == "too-large":  # at the very octet, since EHLO promised no more than the primary takes
        assert through.verdict[:9] == direct.verdict[:9]
    else:
        assert _same(through.verdict) == _same(direct.verdict)
    assert through.codes() == direct.codes()


@pytest.mark.parametrize("case", ["known", "unknown", "over-quota", "gtube"])
def test_auto_passes_through_where_we_may_say_who_the_client_is(
    primary: Home, deciding: Daemon, case: str
) -> None:
    body, user, parameters, _ = CASES[case]
    direct, through = both(primary, deciding, body, [f"{user}@example.com"], mail=parameters)
    assert _same(through.verdict) == _same(direct.verdict)


def _same(reply: bytes) -> bytes:
    """A reply without queue ids; rspamd's text has one, too."""
    return re.sub(rb"\b[0-9A-F]{8,14}\b", b"ID", anonymous(reply))


def test_a_size_that_is_said_is_refused_before_the_body(primary: Home, passing: Daemon) -> None:
    size = f" SIZE={home.LARGEST + 1}"
    direct, through = both(primary, passing, mail(1), ["user@example.com"], mail=size)
    assert direct.verdict.startswith(b"552 5.3.4")
    assert through.verdict.startswith(b"552 5.3.4")
    assert through.end == b""


def test_an_address_that_we_do_not_know_is_refused_with_the_same_code(
    primary: Home, passing: Daemon
) -> None:
    direct, through = both(primary, passing, mail(1), ["stranger@example.com"])
    assert direct.verdict[:9] == through.verdict[:9] == b"550 5.1.1"


def test_the_primary_sees_who_called(primary: Home, passing: Daemon) -> None:
    before = len(primary.clients())
    sources = [f"127.0.0.{n}" for n in (31, 32, 33, 32)]
    for source in sources:
        assert transact(passing.port, mail(10), source=source).verdict.startswith(b"250 2.0.0")
    assert primary.clients()[before:] == [f"unknown[{source}]" for source in sources]
    told = transact(passing.port, b"X-Test-Envelope: 1\r\n" + mail(11), source="127.0.0.34")
    assert b"127.0.0.34 client.example.net" in told.verdict, "its milter is told, too"


def test_each_of_several_recipients_has_its_own_reply(primary: Home, passing: Daemon) -> None:
    body = mail(20, 3000)
    names = [f"{user}@example.com" for user in ("user", "nobody", "full", "other", "grey")]
    direct, through = both(primary, passing, body, names)
    assert through.codes() == (b"250", b"550", b"552", b"250", b"450", b"250")
    assert [_same(one) for one in through.rcpts] == [_same(one) for one in direct.rcpts]
    for user in ("user", "other"):
        assert until(lambda user=user: _arrived(primary, user, 20) == 2)
    assert _arrived(primary, "full", 20) == _arrived(primary, "grey", 20) == 0


def _arrived(primary: Home, user: str, number: int) -> int:
    text = b"Message-ID: <%d@example.net>" % number
    return sum(text in one for one in primary.box(user))


def test_what_comes_through_is_what_was_sent(primary: Home, passing: Daemon) -> None:
    body = mail(30, 300_000)
    assert transact(passing.port, body).verdict.startswith(b"250 2.0.0")
    stored = until(lambda: _stored(primary, "user", 30))
    own = stored[stored.index(b"Received: from client.example.net", stored.index(b"by home.")) :]
    assert without_trace(own) == body, "one Received of ours, and all of the message"
    assert b"by mx2.example.org" in own.partition(b"\r\nFrom:")[0]


def _stored(primary: Home, user: str, number: int) -> bytes | None:
    text = b"Message-ID: <%d@example.net>" % number
    return next((one for one in primary.box(user) if text in one), None)


@pytest.mark.parametrize("by_bdat", [False, True], ids=["data", "bdat"])
def test_octets_with_the_eighth_bit(primary: Home, passing: Daemon, by_bdat: bool) -> None:
    number = 40 + by_bdat
    body = mail(number, 120_000) + "größer\r\n.\r\n..\r\n".encode()
    direct, through = both(
        primary, passing, body, ["other@example.com"], mail=" BODY=8BITMIME", by_bdat=by_bdat
    )
    assert _same(through.verdict)[:9] == _same(direct.verdict)[:9] == b"250 2.0.0"
    until(lambda: _arrived(primary, "other", number) == 2)
    found = [one for one in primary.box("other") if b"<%d@example.net>" % number in one]
    assert all(one.endswith(body) for one in found)


def test_names_in_utf8(primary: Home, passing: Daemon) -> None:
    direct, through = both(
        primary, passing, mail(50), ["grün@example.com"], mail=" SMTPUTF8 BODY=8BITMIME"
    )
    assert direct.codes() == through.codes() == (b"250", b"250")
    until(lambda: _arrived(primary, "grün", 50) == 2)


def test_the_primary_sends_the_success_report_that_was_asked_for(
    primary: Home, passing: Daemon
) -> None:
    told = transact(
        passing.port, mail(60), sender="sender@away.example",
        mail=" RET=HDRS ENVID=QQ+2B314159",
        rcpt=" NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;first@away.example",
    )  # fmt: skip
    assert told.codes() == (b"250", b"250")
    report = until(lambda: primary.box("sender"))[0]
    assert b"Original-Envelope-Id: QQ+314159" in report
    assert b"Original-Recipient: rfc822;first@away.example" in report
    assert b"Action: delivered" in report
    assert b"text/rfc822-headers" in report, "RET=HDRS"
    quiet = transact(passing.port, mail(61), sender="sender@away.example", rcpt=" NOTIFY=NEVER",
                     recipients=["nobody@example.com"])  # fmt: skip
    assert quiet.verdict.startswith(b"550 5.1.1")
    assert len(primary.box("sender")) == 1


def test_two_domains_at_one_primary(primary: Home, passing: Daemon) -> None:
    names = ["user@example.com", "other@second.example"]
    direct, through = both(primary, passing, mail(70), names)
    assert direct.codes() == through.codes() == (b"250", b"250", b"250")
    until(lambda: _arrived(primary, "user", 70) == _arrived(primary, "other", 70) == 2)


def test_two_domains_at_two_primaries_come_apart(
    primary: Home, places: Path, tmp_path: Path
) -> None:
    with (
        home.running() as elsewhere,
        backup(tmp_path, primary.port, "pass-through", other=elsewhere.port) as daemon,
    ):
        primary_state_of_third = until(lambda: daemon.ask("status")["domains"]["third.example"])
        assert primary_state_of_third
        names = ["user@example.com", "user@third.example"]
        told = transact(daemon.port, mail(80), names)
        assert told.codes() == (b"250", b"452", b"250")
        assert told.rcpts[1].startswith(b"452 4.5.3")
    assert until(lambda: _arrived(primary, "user", 80) == 1)


@pytest.mark.slow
def test_25_megabytes_stream_through(primary: Home, passing: Daemon) -> None:
    body = mail(90, 32_000_000)
    before = _most_memory(passing)
    told = transact(passing.port, body, ["other@example.com"])
    assert told.codes() == (b"250", b"250")
    assert _most_memory(passing) - before < 64, "MiB more than before"
    stored = until(lambda: _stored(primary, "other", 90))
    assert stored.endswith(body)


def _most_memory(daemon: Daemon) -> int:
    """The most that its process ever had in memory, MiB."""
    status = Path(f"/proc/{daemon.running.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) >> 10


def test_who_gives_up_half_way_leaves_a_clean_connection(primary: Home, passing: Daemon) -> None:
    for number, end in enumerate(("RSET", "QUIT", "", "EHLO again.example.net")):
        with Wire(passing.port, source="127.0.0.41") as wire:
            wire.hello()
            wire.begin(["other@example.com"])
            if end:
                wire.say(end)
            if end in ("RSET", "EHLO again.example.net"):
                told = converse(wire, mail(100 + number))
                assert told.codes() == (b"250", b"250")
    before = len(primary.clients())
    told = transact(passing.port, mail(110), source="127.0.0.42")
    assert told.codes() == (b"250", b"250")
    assert primary.clients()[before:] == ["unknown[127.0.0.42]"]
    stored = until(lambda: _stored(primary, "user", 110))
    assert b"X-Original-To: user@example.com" in stored or stored
    assert _arrived(primary, "other", 110) == 0, "nobody's recipient of before"


@pytest.mark.slow
def test_what_passing_through_adds(primary: Home, passing: Daemon) -> None:
    """Loosely; benchmarks/pass_through.py has the figures."""
    direct, through = [], []
    for number in range(40):
        for port, times in ((primary.port, direct), (passing.port, through)):
            start = time.monotonic()
            assert transact(port, mail(200 + number)).codes() == (b"250", b"250")
            times.append(time.monotonic() - start)
    added = statistics.median(through) - statistics.median(direct)
    print(f"median {statistics.median(direct) * 1000:.1f} ms direct, {added * 1000:.1f} ms more")
    assert added < 0.025


@pytest.mark.slow
def test_while_it_is_down_mail_is_queued_and_comes_home_with_its_client(tmp_path: Path) -> None:
    with home.running() as primary, backup(tmp_path, primary.port, "auto") as daemon:
        assert transact(daemon.port, mail(300)).codes() == (b"250", b"250")
        primary.postfix.stop()
        for number in (301, 302):
            told = transact(daemon.port, mail(number), source="127.0.0.51")
            assert told.end.startswith(b"250 2.0.0 Queued as")
        primary.postfix.start()
        until(lambda: _arrived(primary, "user", 301) == _arrived(primary, "user", 302) == 1)
        assert primary.clients()[-2:] == ["unknown[127.0.0.51]"] * 2
        primary_is(daemon, "up")
        assert b"Queued as" not in transact(daemon.port, mail(303)).end


@pytest.mark.slow
@pytest.mark.parametrize("rights", [home.XFORWARD, ""], ids=["xforward", "none"])
def test_without_xclient_auto_defers_and_pass_through_passes(tmp_path: Path, rights: str) -> None:
    with home.running(rights) as primary:
        with backup(tmp_path, primary.port, "auto") as daemon:
            told = transact(daemon.port, mail(400))
            assert told.verdict.startswith(b"450 4.3.2")
            assert home.NAME.encode() not in told.verdict
        with backup(tmp_path, primary.port, "pass-through") as daemon:
            told = transact(daemon.port, mail(401), source="127.0.0.61")
            assert told.end.startswith(b"250 2.0.0 Ok: queued as ")
            _, unknown = both(primary, daemon, mail(402), ["nobody@example.com"])
            assert unknown.verdict.startswith(b"550 5.1.1 <nobody@example.com>: Recipient address")
        assert ("orig_client=unknown[127.0.0.61]" in primary.postfix.log()) is bool(rights)


@needs_exim()
def test_exim_behind_us(tmp_path: Path) -> None:
    with open_directory() as directory, Exim(directory, next_hop=9) as exim:
        with backup(tmp_path, exim.port, "auto") as daemon:
            assert transact(daemon.port, mail(500)).verdict.startswith(b"450 4.3.2")
        with backup(tmp_path, exim.port, "pass-through") as daemon:
            for number, by_bdat in ((501, False), (502, True)):
                told = transact(daemon.port, mail(number, 90_000), by_bdat=by_bdat)
                direct = transact(exim.port, mail(number, 90_000), by_bdat=by_bdat)
                assert _exims(told.end) == _exims(direct.end)
        until(lambda: len(exim.mailbox()) == 4)


def _exims(reply: bytes) -> bytes:
    """Its last line: those above count the octets of the last chunk, and we send other chunks."""
    last = reply.splitlines()[-1]
    assert last.startswith(b"250 OK id="), reply
    return re.sub(rb"id=\S+", b"id=ID", last)
