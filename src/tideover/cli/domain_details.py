"""One domain in detail, for people: its recipient sources, its MX set and what that was before."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from tideover.cli import output
from tideover.config.values import source_kind

if TYPE_CHECKING:
    from tideover.control.protocol import DomainInfo, HandoverInfo, MxInfo
    from tideover.recipients.report import SourceStatus


def print_details(row: "DomainInfo") -> None:
    """What the line of `status` has no room for."""
    now = time.time()
    if row.sources:
        click.echo()
        output.table(
            ("~source", "state", ">entries", ">age", ">next", ">serial", "~trouble"),
            [_source(status, now) for status in row.sources],
        )
        for status in row.sources:
            _print_mistakes(status)
            if status.confirm:
                text = f"{status.source} waits for your word: tideover recipients refresh"
                click.echo(output.printable(f"{text} --domain {row.domain} --confirm"))
    if row.mx is not None:
        click.echo()
        _print_mx(row.mx, now)
    if row.handover is not None:
        click.echo()
        _print_handover(row.handover, now)


def _print_handover(handover: "HandoverInfo", now: float) -> None:
    click.echo(output.printable(f"Handover: {handover.text}: {handover.cure}"))
    age = output.age(now - handover.latest)
    replies = "1 reply" if handover.count == 1 else f"{handover.count} replies"
    click.echo(
        output.printable(f"  {replies}, the last {age} ago: {handover.host}: {handover.reply}")
    )


def _source(status: "SourceStatus", now: float) -> tuple[str, ...]:
    coming = status.next_at or 0.0
    return (
        status.source,
        status.state,
        "" if status.entries is None else f"{status.entries:,}",
        output.age(now - status.loaded_at) if status.loaded_at is not None else "",
        f"in {output.age(coming - now)}" if coming > now else "",
        status.version or "" if source_kind(status.source) == "feed" else "",
        status.trouble or "",
    )


def _print_mistakes(status: "SourceStatus") -> None:
    for mistake in status.mistakes:
        click.echo(output.printable(f"{status.source}: {mistake}"))
    if status.bad > len(status.mistakes):
        more = output.many(status.bad - len(status.mistakes), "more malformed line")
        click.echo(output.printable(f"{status.source}: {more}"))


def _print_mx(mx: "MxInfo", now: float) -> None:
    serial = "" if mx.serial is None else f", zone serial {mx.serial}"
    checked = "never" if mx.checked_at is None else f"{output.age(now - mx.checked_at)} ago"
    coming = "" if mx.next_at is None else f", again in {output.age(mx.next_at - now)}"
    click.echo(f"MX set{serial}, asked {checked}{coming}:")
    for host in mx.hosts:
        click.echo(output.printable(f"  {host}"))
    if mx.alarm is not None:
        click.echo(output.printable(f"Alarm: {mx.alarm}"))
    if mx.history:
        click.echo()
        output.table(
            ("changed", ">serial", "~gone", "~new"),
            [
                (
                    output.local(change.at),
                    "" if change.serial is None else str(change.serial),
                    _without(change.before, change.after),
                    _without(change.after, change.before),
                )
                for change in mx.history
            ],
        )


def _without(hosts: Sequence[str], others: Sequence[str]) -> str:
    return ", ".join(host for host in hosts if host not in others)
