"""`tideover arc keygen`: a key for ARC seals, and the DNS record that goes with it."""

from pathlib import Path

import click

from tideover.cli.options import json_option
from tideover.cli.trouble import BAD, Problem


@click.command("keygen")
@click.argument("domain")
@click.argument("selector")
@click.option(
    "--bits",
    type=click.IntRange(1024, 4096),
    default=2048,
    show_default=True,
    help="Size of the RSA key.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the private key [SELECTOR.DOMAIN.pem here].",
)
@json_option
def arc_keygen(domain: str, selector: str, bits: int, out: Path | None, as_json: bool) -> None:
    """Make a key for ARC seals (RFC 8617).

    The private key goes into a file that only its owner can read; a file that is there stays as
    it is. The DNS record and the settings to use it with are printed. Verifiers find the key at
    SELECTOR._domainkey.DOMAIN; to change keys, take another selector.

    Exit code 1: the file is there already, or can't be written.
    """
    from tideover.authentication.arc import sealing_key

    domain, selector = _name(domain, "DOMAIN"), _name(selector, "SELECTOR")
    path = out or Path(f"{selector}.{domain}.pem")
    try:
        key = sealing_key.make_key(path, bits)
    except sealing_key.SealKeyError as error:
        raise Problem(str(error), BAD) from None
    name = f"{selector}._domainkey.{domain}"
    record = sealing_key.key_record(key)
    lines = sealing_key.zone_lines(name, record)
    if as_json:
        from tideover.cli import output

        output.json(
            {
                "file": str(path),
                "domain": domain,
                "selector": selector,
                "bits": bits,
                "name": name,
                "record": record,
                "zone": "\n".join(lines),
            }
        )
    else:
        _print(path, domain, selector, lines)


def _name(text: str, argument: str) -> str:
    """The domain or selector as DNS has it.

    Raises:
        click.UsageError: DNS could not have it.
    """
    from tideover.authentication.dkim.signature import SignatureRefused, key_domain

    try:
        return key_domain(text.removesuffix("."), argument)
    except SignatureRefused as error:
        raise click.UsageError(f"{text!r}: {error}.") from None


def _print(path: Path, domain: str, selector: str, lines: list[str]) -> None:
    from msgspec import json

    from tideover.cli.output import printable

    click.echo(printable(f"{path}: a new key was made; the daemon's user must be able to read it"))
    click.echo("\nIn DNS:")
    for line in lines:
        click.echo(line)
    click.echo("\nIn the configuration:")
    click.echo("[arc]")
    for name, value in (
        ("domain", domain),
        ("selector", selector),
        ("key_file", str(path.absolute())),
    ):
        click.echo(f"{name} = {json.encode(value).decode()}")
