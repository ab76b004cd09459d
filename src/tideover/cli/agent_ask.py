"""`tideover agent ask`: on the backup, what a domain's agent says of an address."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tideover.cli.options import config_option, json_option
from tideover.cli.trouble import BAD, Problem

if TYPE_CHECKING:
    from tideover.agent.protocol import Answer
    from tideover.config.model import Config


@click.command("ask")
@click.argument("domain")
@click.argument("address")
@config_option
@json_option
def agent_ask(domain: str, address: str, config: Path, as_json: bool) -> None:
    """Ask the agent of DOMAIN whether it can reach ADDRESS.

    Needs no daemon. Exit code 1: there is no answer that can be believed.
    """
    from tideover.agent.protocol import parse_address
    from tideover.cli import output
    from tideover.config.load import load
    from tideover.config.values import parse_domain

    client = parse_address(address)
    if client is None:
        raise click.UsageError(f"{address!r}: an IP address is wanted.")
    try:
        name = parse_domain(domain)
    except ValueError as error:
        raise click.UsageError(f"{domain!r}: {error} is wanted.") from None
    answer = asyncio.run(_ask(load(config), name, str(client)))
    if as_json:
        output.json(
            {
                "domain": name,
                "address": answer.address,
                "verdict": answer.verdict,
                "reason": answer.reason,
                "found_at": output.iso(answer.time),
            }
        )
        return
    columns = ("address", "verdict", "found", "~reason")
    row = (answer.address, answer.verdict, output.local(answer.time), answer.reason)
    output.table(columns, [row])


async def _ask(config: "Config", domain: str, address: str) -> "Answer":
    from tideover.agent.asker import AgentError, Asker
    from tideover.dns.cache import CachedNames
    from tideover.dns.resolver import DnsResolver

    names = CachedNames(DnsResolver(config.dns), clock=time.monotonic)
    asker = Asker(config, names, lambda _: None)
    try:
        return await asker.try_out(domain, address)
    except AgentError as error:
        raise Problem(f"{domain}: {error}", BAD) from None
    finally:
        await asker.close()
        await names.close()
