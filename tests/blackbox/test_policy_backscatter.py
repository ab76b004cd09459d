"""No bounce to a forged sender (I7), and each message accounted for (I2): through an outage, kills,
and the recovery of a primary that refuses some of what we took.

MX records have no port, so the mail host of all senders listens on port 25 of a loopback address.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from backscatter import (
    AT_DOT,
    AT_RCPT,
    LATE,
    RECIPIENTS,
    Books,
    Case,
    Dsn,
    Home,
    Senders,
    cases,
    config,
    dsn_of,
    until,
    why_no_mx,
)
from flufl.bounce import scan_message

from forgeries import FORGED, PROVEN, SILENT, zones
from tideover.testing.daemon import Daemon
from tideover.testing.dns import Behaviour, DnsServer
from tideover.testing.ports import free_port

pytestmark = pytest.mark.skipif(why_no_mx() is not None, reason=why_no_mx() or "")

HONEST = (*PROVEN, SILENT)
TOP = 'delay_warning = "1s"\n'


@contextmanager
def world() -> Iterator[tuple[DnsServer, Senders]]:
    """DNS, and the mail host of all senders."""
    with ExitStack() as stack:
        server = stack.enter_context(DnsServer(zones()))
        server.behave(Behaviour.SERVFAIL, "servfail.example")
        server.behave(Behaviour.SERVFAIL, "_dmarc.servfail.example")
        yield server, stack.enter_context(Senders())


def came(foreign: Senders) -> list[Dsn]:
    return [dsn_of(got) for got in list(foreign.messages)]


def waits(daemon: Daemon) -> bool:
    """Whether anything is still on its way."""
    listed = daemon.ask("queue", "list")
    return any(one["state"] != "dead" for message in listed for one in message["recipients"])


def live_through(
    make_daemon: Callable[..., Daemon], forged: int, honest: int, patience: float
) -> None:
    """An outage, a recovery with kills in its midst, and the account of it all."""
    all_of_it = cases(FORGED, forged) + cases(HONEST, honest, start=forged)
    books = Books(all_of_it)
    home_port = free_port()
    with world() as (dns, foreign):
        daemon = make_daemon(
            primary=home_port, recipients=RECIPIENTS, top=TOP, more=config(dns.endpoint, home_port),
            outbound='first_backoff = "1s"\nmax_backoff = "1s"\nprobe_interval = "200ms"',
        )  # fmt: skip
        daemon.start()
        books.send(daemon.port, all_of_it[::2])
        daemon.kill()
        daemon.start()
        books.send(daemon.port, all_of_it[1::2])

        # what waits is told to those who are proven
        waiting = {
            case.number for case in all_of_it
            if case.kind in PROVEN and case.number in books.ids and case.domain != LATE
        }  # fmt: skip
        until(
            lambda: waiting <= {dsn.case for dsn in came(foreign) if dsn.delayed},
            patience, "reports of delay",
        )  # fmt: skip

        with Home(home_port) as home:
            # kill -9 while a report is being delivered, and amid the busy recipients' mail
            foreign.at_mail = daemon.running.kill
            daemon.running.wait(patience)
            daemon.kill()
            foreign.at_mail = lambda: None
            home.patient = True
            some = home.bodies + 5
            daemon.start(wait=False)
            home.at_body = lambda bodies: bodies == some and daemon.running.kill()
            daemon.running.wait(patience)
            daemon.kill()
            home.at_body = lambda _: None
            daemon.start()
            until(lambda: not waits(daemon), patience, "everything is over")
        check(books, home, daemon, came(foreign))


def check(books: Books, home: Home, daemon: Daemon, reports: list[Dsn]) -> None:
    """Each message, for each recipient, went the way it had to go, and no other."""
    refused = books.expected("refused")
    assert {one: reply for one, reply in books.refused.items() if one not in refused} == {}
    assert set(books.refused) == refused
    for (number, local), reply in books.refused.items():
        check_refusal(books.cases[number], local, reply)

    unknown = {event["message"] for event in daemon.events("delivery-unknown")}
    delivered = books.delivered(home)
    assert set(delivered) == books.expected("delivered")
    for (number, local), times in delivered.items():
        assert times == 1 or books.ids[number] in unknown, (number, local, times)

    dead = books.dead(daemon)
    assert set(dead) == books.expected("dead")
    for (number, local), reason in dead.items():
        check_reason(books.cases[number], local, reason)

    forged = [dsn.to for dsn in reports if books.cases[dsn.case].kind not in PROVEN]
    assert forged == []
    check_reports(books, reports, unknown)


def check_refusal(case: Case, local: str, reply: str) -> None:
    if local == "nobody":
        assert reply.startswith("550 5.1.1"), (case, reply)
    elif case.kind.name == "null":
        assert reply.startswith("550 5.7.1 A bounce has one recipient"), (case, reply)
    else:
        assert reply.startswith(case.kind.refused), (case, reply)


def check_reason(case: Case, local: str, reason: str) -> None:
    """It says what happened and why nobody is told."""
    happened = AT_RCPT.get(local, AT_DOT) if case.domain != LATE else "not delivered within"
    assert reason.startswith(happened), (case, reason)
    why = case.kind.why if case.kind.notify != "NEVER" else "NOTIFY=NEVER"
    assert why in reason.partition("no report: ")[2], (case, reason)


def check_reports(books: Books, reports: list[Dsn], unknown: set[str]) -> None:
    """Those who are proven hear of each failure once, and at most once that it takes long."""
    times = Counter(dsn.report for dsn in reports)
    again = {report for report, number in times.items() if number > 1}
    assert again, "a report whose end nobody knew comes again"
    assert again <= unknown
    once = {dsn.report: dsn for dsn in reports}.values()
    failed: Counter[tuple[int, str]] = Counter()
    for dsn in once:
        assert dsn.to == books.cases[dsn.case].kind.reverse_path(dsn.case)
        assert bool(dsn.failed) is not bool(dsn.delayed)
        assert {one.decode() for one in scan_message(dsn.parsed)} == dsn.failed
        failed.update((dsn.case, one.partition("@")[0]) for one in dsn.failed)
    assert failed == Counter(books.expected("reported"))
    late = Counter(dsn.case for dsn in once if dsn.delayed)
    assert set(late.values()) == {1}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_i7_forged_senders_hear_nothing_and_proven_ones_do(
    make_daemon: Callable[..., Daemon],
) -> None:
    live_through(make_daemon, forged=150, honest=60, patience=40)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_i7_10000_forged_messages_make_no_report(make_daemon: Callable[..., Daemon]) -> None:
    live_through(make_daemon, forged=10_000, honest=400, patience=300)
