"""`tideover status`: how the domains, their primaries and their recipient sources stand."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tideover.cli.options import config_option, json_option

if TYPE_CHECKING:
    from tideover.control.protocol import DaemonInfo, DomainInfo


@click.command("status")
@click.option("--domain", help="Only this domain, with its sources and its MX set.")
@config_option
@json_option
def status(domain: str | None, config: Path, as_json: bool) -> None:
    """Show the domains, their primaries, and what waits.

    With --domain also its recipient sources, and the MX set and its history. Works while the
    daemon does not run; the primaries' states are then unknown.
    """
    from tideover.cli.asking import ask
    from tideover.control.protocol import DaemonInfo, DomainInfo, Status

    answer = list(ask(config, Status(domain=domain)))
    daemon = next(item for item in answer if isinstance(item, DaemonInfo))
    domains = [item for item in answer if isinstance(item, DomainInfo)]
    if as_json:
        _print_json(daemon, domains)
        return
    _print_table(daemon, domains)
    _print_whole(daemon)
    if domain is not None:
        from tideover.cli.domain_details import print_details

        for row in domains:
            print_details(row)


def _print_json(daemon: "DaemonInfo", domains: "list[DomainInfo]") -> None:
    from tideover.cli import output

    output.json(
        {
            "running": daemon.started is not None,
            "version": daemon.version,
            "hostname": daemon.hostname,
            "started": output.iso(daemon.started),
            "domains_from": _source_fields(daemon.domains_from) if daemon.domains_from else None,
            "broken_files": daemon.broken_files,
            "domains": {row.domain: _fields(row) for row in domains},
        }
    )


def _fields(row: "DomainInfo") -> dict[str, Any]:
    from tideover.cli import output

    fields = _values(row)
    del fields["domain"]
    sources = None if row.sources is None else [_source_fields(s) for s in row.sources]
    return fields | {
        "since": output.iso(row.since),
        "oldest": output.iso(row.oldest),
        "sources": sources,
        "mx": _mx_fields(row),
        "handover": _handover_fields(row),
    }


def _handover_fields(row: "DomainInfo") -> dict[str, Any] | None:
    from tideover.cli import output

    if row.handover is None:
        return None
    times = {"since": output.iso(row.handover.since), "latest": output.iso(row.handover.latest)}
    return _values(row.handover) | times


def _source_fields(status: Any) -> dict[str, Any]:  # noqa: ANN401 - a Struct
    from tideover.cli import output

    fields = _values(status)
    del fields["domain"]
    for name in ("loaded_at", "tried_at", "next_at"):
        fields[name] = output.iso(fields[name])
    return fields


def _mx_fields(row: "DomainInfo") -> dict[str, Any] | None:
    from tideover.cli import output

    if row.mx is None:
        return None
    return _values(row.mx) | {
        "checked_at": output.iso(row.mx.checked_at),
        "next_at": output.iso(row.mx.next_at),
        "history": [_values(c) | {"at": output.iso(c.at)} for c in row.mx.history],
    }


def _values(struct: Any) -> dict[str, Any]:  # noqa: ANN401 - any Struct
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def _print_table(daemon: "DaemonInfo", domains: "list[DomainInfo]") -> None:
    from tideover.cli import output

    now = time.time()
    running = "is not running; this is the spool as it lies there"
    if daemon.started is not None:
        running = f"has been running for {output.age(now - daemon.started)}"
    click.echo(f"{daemon.hostname}: tideover {daemon.version} {running}")
    output.table(
        ("~domain", "primary", ">for", ">queued", ">held", ">dead", ">size", ">oldest", "sources",
         "~reason"),
        (
            (
                row.domain,
                row.primary,
                output.age(now - row.since) if row.since is not None else "",
                str(row.queued),
                str(row.held),
                str(row.dead),
                output.octets(row.octets),
                output.age(now - row.oldest) if row.oldest is not None else "",
                sources_word(row),
                _reason(row),
            )
            for row in domains
        ),
    )  # fmt: skip


def _print_whole(daemon: "DaemonInfo") -> None:
    """What concerns more than one domain: the list of domains, and files that can't be used."""
    from tideover.cli import output

    for text in daemon.broken_files:
        click.echo(output.printable(text))
    stands = daemon.domains_from
    if stands is None:
        return
    words = [stands.state]
    if stands.entries is not None:
        words.append(output.many(stands.entries, "domain"))
    if stands.loaded_at is not None:
        words.append(f"read {output.age(time.time() - stands.loaded_at)} ago")
    text = f"domains from {stands.source}: {', '.join(words)}"
    click.echo(output.printable("; ".join(filter(None, (text, stands.trouble, *stands.mistakes)))))


def sources_word(row: "DomainInfo") -> str:
    """How the sources stand, in a word: "" unknown, "ok", "1 stale", "confirm" and so on."""
    if not row.sources:
        return ""
    if any(status.confirm for status in row.sources):
        return "confirm"
    counts = _counts([s.state for s in row.sources if s.state not in ("fresh", "asked")])
    return ", ".join(f"{count} {state}" for state, count in counts.items()) or "ok"


def _counts(words: Sequence[str]) -> dict[str, int]:
    return {word: words.count(word) for word in dict.fromkeys(words)}


def _reason(row: "DomainInfo") -> str:
    """Why the primary stands as it does, what is wrong with the MX set and with the handover."""
    alarm = row.mx.alarm if row.mx is not None else None
    handover = f"handover: {row.handover.text}" if row.handover is not None else None
    return "; ".join(filter(None, (row.reason, alarm, handover, row.hint)))
