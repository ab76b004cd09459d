"""`tideover handover TARGET`: what to paste at the primary."""

import asyncio
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tideover.cli.options import config_option, json_option
from tideover.cli.trouble import BAD, Problem

if TYPE_CHECKING:
    from tideover.config.model import Config
    from tideover.handover.interface import Address, Handover, Us


@click.command("handover")
@click.argument("target", required=False)
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="IP",
    help="An address from which we connect; may be given several times [DNS of hostname].",
)
@click.option(
    "--domain",
    "domains",
    multiple=True,
    help="Only this domain; may be given several times [those of the configuration].",
)
@config_option
@json_option
def handover(
    target: str | None,
    addresses: tuple[str, ...],
    domains: tuple[str, ...],
    config: Path,
    as_json: bool,
) -> None:
    """Print what the primary has to be told of us.

    Text to paste into the configuration of its mail server or filter, with comments that say
    where: who we are, that we may say who the client was, and that limits for strangers are not
    for us. Without TARGET: which there are. Nothing is changed here.

    Exit code 1: DNS does not say which addresses are ours.
    """
    from tideover.cli import output
    from tideover.cli.loading import domain_name
    from tideover.config.load import load
    from tideover.handover.catalogue import TARGETS, text

    if target is None:
        _print_targets(as_json)
        return
    chosen = TARGETS.get(target.lower())
    if chosen is None:
        raise click.UsageError(f"{target!r}: one of {', '.join(TARGETS)} is wanted.")
    given = _addresses(addresses)
    only = tuple(dict.fromkeys(map(domain_name, domains)))
    us = _us(load(config), given, only)
    if chosen.by_domain and not us.domains:
        raise click.UsageError("no domain is configured here; name those of the primary: --domain.")
    if as_json:
        output.json(_fields(target.lower(), us, chosen.make(us)))
        return
    for line in text(chosen, us):
        click.echo(line)


def _print_targets(as_json: bool) -> None:
    from tideover.cli import output
    from tideover.handover.catalogue import TARGETS

    if as_json:
        output.json({name: {"title": t.title, "about": t.about} for name, t in TARGETS.items()})
        return
    output.table(
        ("target", "for", "~about"), [(name, t.title, t.about) for name, t in TARGETS.items()]
    )


def _addresses(texts: tuple[str, ...]) -> "tuple[Address, ...]":
    """The addresses of the command line, each once.

    Raises:
        click.UsageError: one is none, or none that a host can have.
    """
    found: list[Address] = []
    for text in texts:
        try:
            address = ip_address(text)
        except ValueError:
            raise click.UsageError(f"--address {text!r}: an IP address is wanted.") from None
        if address.is_unspecified or address.is_multicast or "%" in text:
            raise click.UsageError(f"--address {text!r}: no host has this address.")
        if address not in found:
            found.append(address)
    return tuple(found)


def _us(config: "Config", addresses: "tuple[Address, ...]", domains: tuple[str, ...]) -> "Us":
    from tideover.handover.interface import Us

    own_keys = (name for name, domain in config.domains.items() if domain.arc_key_file is not None)
    shared = [config.arc.domain] if config.arc.domain is not None else []
    return Us(
        hostname=config.hostname,
        addresses=addresses or _from_dns(config),
        domains=domains or tuple(config.domains),
        sealers=tuple(dict.fromkeys([*shared, *own_keys])),
        max_size=config.max_message_size,
    )


def _from_dns(config: "Config") -> "tuple[Address, ...]":
    """What DNS says of our host name.

    Raises:
        Problem: nothing.
    """
    from tideover.dns.resolver import DnsError, DnsResolver

    cure = "name the addresses from which it connects with --address"
    try:
        answer = asyncio.run(DnsResolver(config.dns).addresses(config.hostname))
    except DnsError as error:
        raise Problem(f"{error}; {cure}", BAD) from None
    if not answer.addresses:
        raise Problem(f"{config.hostname} has no address in DNS; {cure}", BAD)
    return _addresses(tuple(answer.addresses))


def _fields(target: str, us: "Us", told: "Handover") -> dict[str, object]:
    return {
        "target": target,
        "hostname": us.hostname,
        "addresses": [str(address) for address in us.addresses],
        "parts": [{"file": p.file, "how": p.how, "text": p.text} for p in told.parts],
        "then": told.then,
        "notes": told.notes,
    }
