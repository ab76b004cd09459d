"""`tideover recipients import FILE`: addresses for callouts to verify ahead of an outage."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tideover.cli.loading import FORMATS
from tideover.cli.options import config_option, json_option
from tideover.cli.trouble import BAD, Problem

if TYPE_CHECKING:
    from tideover.cli.loading import Loaded
    from tideover.recipients.interface import Terms

_PORTION = 40 * 1024
"""Octets of addresses in one request; the control socket takes 64 KiB."""
_SPECIAL = set(' "(),:;<>@[\\]\t')


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--domain", required=True, help="The domain of the addresses.")
@click.option(
    "--format",
    "list_format",
    type=click.Choice(FORMATS),
    help="How the file is written [by its name].",
)
@config_option
@json_option
def recipients_import(
    file: Path, domain: str, list_format: str | None, config: Path, as_json: bool
) -> None:
    """Give callouts addresses to verify ahead of an outage.

    One address or local part a line; also the other formats of files. An address counts only when
    the primary has confirmed it. Patterns and honeypots of the file are left out.
    """
    from tideover.cli import output
    from tideover.cli.asking import order
    from tideover.cli.loading import bar, domain_name, load_once, with_format
    from tideover.config.model import Source
    from tideover.control.protocol import Seed

    name = domain_name(domain)
    with bar(f"reading {file}") as progress:
        source = f"file:{file.absolute()}"
        loaded = load_once(source, name, with_format(Source(), list_format), progress)
    addresses = _addresses(loaded, name)
    if not addresses:
        raise Problem(f"{file} names no recipient of {name}", BAD)
    new = sum(order(config, Seed(domain=name, addresses=p)).count for p in _portions(addresses))
    if as_json:
        output.json({"addresses": len(addresses), "new": new, "skipped": loaded.skipped,
                     "mistakes": loaded.bad})  # fmt: skip
        return
    for text in loaded.mistakes:
        click.echo(output.printable(f"left out: {text}"), err=True)
    click.echo(f"{len(addresses):,} addresses of {name} read, {new:,} of them new.")


def _addresses(loaded: "Loaded", domain: str) -> list[str]:
    """The names as addresses, sorted; without those that no mail is wanted for."""
    from tideover.recipients.interface import NO_TERMS

    names = {
        name
        for listing in loaded.lists
        for name in listing.names()
        if not _unwanted((listing.terms or {}).get(name, NO_TERMS))
    }
    return [f"{_quoted(name)}@{domain}" for name in sorted(names)]


def _unwanted(terms: "Terms") -> bool:
    return terms.honeypot or terms.reject is not None


def _quoted(local: str) -> str:
    """A local part as it is written in an address (RFC 5321 §4.1.2)."""
    if not set(local) & _SPECIAL:
        return local
    escaped = local.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _portions(addresses: Iterable[str]) -> Iterator[tuple[str, ...]]:
    portion: list[str] = []
    size = 0
    for address in addresses:
        octets = len(address.encode()) + 3
        if portion and size + octets > _PORTION:
            yield tuple(portion)
            portion, size = [], 0
        portion.append(address)
        size += octets
    if portion:
        yield tuple(portion)
