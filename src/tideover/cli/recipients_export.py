"""`tideover recipients export`: a hashed feed, made on the primary's side."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tideover.cli.loading import FORMATS
from tideover.cli.options import DURATION, config_option, json_option
from tideover.cli.trouble import BAD, Problem

if TYPE_CHECKING:
    from tideover.cli.loading import Loaded
    from tideover.recipients.feed.writer import FeedPlan, Recipients, Written

_SERIAL = click.IntRange(min=1, max=1 << 53)


@click.command("export")
@click.option(
    "--from",
    "source",
    required=True,
    metavar="SOURCE",
    help='As in a domain\'s recipients: "file:PATH", "sql:NAME", "ldap:NAME" …',
)
@click.option("--domain", required=True, help="The domain whose recipients go into the feed.")
@click.option(
    "--signing-key",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the Ed25519 key; made when missing.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The feed; an older one of the same domain is replaced at once.",
)
@click.option(
    "--profile",
    type=click.Choice(("fast", "slow")),
    default="fast",
    show_default=True,
    help="slow: a guess costs a memory-hard hash; for up to some 10,000 addresses.",
)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep the hash key out of the feed, in this file; made when missing.",
)
@click.option(
    "--format",
    "list_format",
    type=click.Choice(FORMATS),
    help="How the list is written [by its name].",
)
@click.option("--serial", type=_SERIAL, help="The feed's serial [the clock's].")
@click.option(
    "--refresh",
    type=DURATION,
    default="15m",
    show_default=True,
    help="How often the backup shall look for a new feed.",
)
@click.option(
    "--retry",
    type=DURATION,
    default="5m",
    show_default=True,
    help="How soon it shall try again after a failure.",
)
@click.option(
    "--expire",
    type=DURATION,
    default="7d",
    show_default=True,
    help="How long after its making the feed's silence means that nobody is there.",
)
@click.option(
    "--delimiter",
    default="+",
    show_default=True,
    help='Characters that start a sub-address ("": none).',
)
@click.option(
    "--min-confidence",
    type=click.Choice(("hashed", "pattern", "catch-all")),
    default="catch-all",
    show_default=True,
    help="The least that mail is taken for.",
)
@config_option
@json_option
def recipients_export(
    source: str,
    domain: str,
    signing_key: Path,
    out: Path,
    config: Path,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Write a signed, hashed feed of a domain.

    A backup can check addresses with it but not read them. Needs no daemon, and a configuration
    only for the details of the source, in [sources."SOURCE"].
    The public key that is printed goes into the backup's configuration as feed_signer.

    Exit code 1: the source can't be read, or no feed can be made of it; the old one stays.
    """
    from tideover.cli.loading import bar, details, domain_name, load_once, with_format
    from tideover.recipients.feed.writer import recipients_of

    name = domain_name(domain)
    text = _source(source)
    given = (
        click.get_current_context().get_parameter_source("config")
        is not click.core.ParameterSource.DEFAULT
    )
    settings = with_format(details(text, config, given=given), options["list_format"])
    with bar(f"reading {source}") as progress:
        loaded = load_once(text, name, settings, progress)
    if not len(loaded):
        raise Problem(f"{source} names no recipient of {name}: {out} stays as it is", BAD)
    recipients = recipients_of(loaded.lists)
    written, made = _write(out, signing_key, name, recipients, options)
    fields = _fields(written, loaded, recipients, options["profile"])
    if as_json:
        from tideover.cli import output

        output.json({"file": str(out)} | fields | {"made": [str(path) for path in made]})
    else:
        _print(out, fields, made)


def _source(text: str) -> str:
    """The source with a path that starts here.

    Raises:
        click.UsageError: it is none.
    """
    from tideover.config.values import parse_source, source_beside

    try:
        return source_beside(parse_source(text), str(Path.cwd()))
    except ValueError as error:
        raise click.UsageError(f"--from {text!r}: {error}.") from None


def _write(
    out: Path, signing_key: Path, domain: str, recipients: "Recipients", options: dict[str, Any]
) -> "tuple[Written, list[Path]]":
    """Write the feed. Returns what was written, and the key files that were made for it."""
    from tideover.cli.loading import bar
    from tideover.recipients.feed import keys
    from tideover.recipients.feed.format import FeedError
    from tideover.recipients.feed.writer import write_feed

    made = []
    try:
        key, key_made = keys.signing_key(signing_key)
        made += [signing_key] if key_made else []
        plan, hash_key_made = _plan(domain, options)
        made += [options["key_file"]] if hash_key_made else []
        total = len(recipients.names)  # type: ignore[arg-type]  # a frozenset, as recipients_of makes
        with bar("hashing", total) as progress:
            written = write_feed(
                out, plan, recipients, signing_key=key, now=time.time(), progress=progress
            )
    except FeedError as error:
        raise Problem(str(error), BAD) from None
    except OSError as error:
        raise Problem(f"{out}: {error.strerror or error}", BAD) from None
    return written, made


def _plan(domain: str, options: dict[str, Any]) -> "tuple[FeedPlan, bool]":
    from tideover.recipients.feed import keys
    from tideover.recipients.feed.format import Cost
    from tideover.recipients.feed.writer import FeedPlan
    from tideover.recipients.interface import Confidence

    key_file: Path | None = options["key_file"]
    made = key_file is not None and keys.make_hash_key(key_file)
    plan = FeedPlan(
        domain=domain,
        refresh=int(options["refresh"]),
        retry=int(options["retry"]),
        expire=int(options["expire"]),
        slow=Cost() if options["profile"] == "slow" else None,
        key=None if key_file is None else keys.hash_key(key_file),
        delimiters=options["delimiter"],
        min_confidence=Confidence(options["min_confidence"]),
        serial=options["serial"],
    )
    return plan, made


def _fields(
    written: "Written", loaded: "Loaded", recipients: "Recipients", profile: str
) -> dict[str, Any]:
    # a honeypot is nobody's address: it is counted apart
    traps = sum(terms.honeypot for terms in recipients.terms.values())
    trap_patterns = sum(pattern.terms.honeypot for pattern in recipients.patterns)
    return {
        "domain": written.domain,
        "serial": written.serial,
        "profile": profile,
        "addresses": written.entries - traps,
        "patterns": written.patterns - trap_patterns,
        "catch_all": written.catch_all,
        "honeypots": traps + trap_patterns,
        "skipped": loaded.skipped,
        "mistakes": loaded.bad,
        "first_mistakes": list(loaded.mistakes),
        "octets": written.octets,
        "public_key": written.signer,
        "key_id": written.key_id,
    }


def _print(out: Path, fields: dict[str, Any], made: list[Path]) -> None:
    from tideover.cli import output

    click.echo(
        output.printable(
            f"{out}: feed of {fields['domain']}, serial {fields['serial']}, {fields['profile']} "
            f"profile, {output.octets(fields['octets'])}"
        )
    )
    for name in ("addresses", "patterns", "honeypots", "skipped", "mistakes"):
        click.echo(f"  {name:<10} {fields[name]:,}")
    click.echo(f"  catch-all  {'yes' if fields['catch_all'] else 'no'}")
    for text in fields["first_mistakes"]:
        click.echo(output.printable(f"left out: {text}"), err=True)
    for path in made:
        click.echo(output.printable(f"{path}: a new key was made; keep a copy of it"))
    click.echo(f"public key: {fields['public_key']}")
    click.echo(f'In the backup\'s [domains."{fields["domain"]}"]:')
    click.echo(f'  feed_signer = "{fields["public_key"]}"')
