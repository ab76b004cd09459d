"""What filters can ask their library about: macros, as sendmail and Postfix define them.

A filter gets the usual ones of a stage, or those that it asked for; what we don't know is left out.
"""

from collections.abc import Mapping
from typing import Final

import tideover
from tideover.message.client_address import plain_address
from tideover.message.envelope import Recipient
from tideover.policy.engines.milter.codec import Agreed, Command
from tideover.policy.interface import About

_USUAL: Final[Mapping[Command, tuple[str, ...]]] = {
    Command.CONNECT: ("j", "_", "v", "{daemon_name}", "{client_addr}", "{client_name}",
                      "{client_port}", "{client_ptr}", "{client_resolve}"),
    Command.HELO: ("{tls_version}", "{cipher}"),
    Command.MAIL: ("{mail_addr}", "{mail_host}", "{mail_mailer}", "r", "s"),
    Command.RCPT: ("{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"),
    Command.DATA: ("i",),
    Command.EOH: ("i",),
    Command.BODYEOB: ("i",),
}  # fmt: skip


def client_name(about: About) -> str:
    """The confirmed name of the client's address, or the address in brackets (libmilter)."""
    result = about.results.get("reverse-dns")
    name = result.evidence.get("name", "") if result else ""
    return name or f"[{plain_address(about.client.address)}]"


def values(
    command: Command, agreed: Agreed, about: About, hostname: str, recipient: Recipient | None
) -> dict[str, str]:
    """The macros to send before a command."""
    wanted = agreed.macros.get(command, _USUAL.get(command, ()))
    if not wanted:
        return {}
    known = _of_client(about, hostname) | _of_message(about, recipient)
    bare = {name.strip("{}"): value for name, value in known.items()}
    found = {name: bare.get(name.strip("{}"), "") for name in wanted}
    return {name: value for name, value in found.items() if value}


def _of_client(about: About, hostname: str) -> dict[str, str]:
    client = about.client
    address = plain_address(client.address)
    name = client_name(about)
    result = about.results.get("reverse-dns")
    unconfirmed = result.evidence.get("ptr", "") if result else ""
    confirmed = not name.startswith("[")
    version, _, cipher = (client.tls or "").partition(" ")
    return {
        "j": hostname,
        "_": f"{name} [{address}]" if confirmed else name,
        "v": f"Tideover {tideover.__version__}",
        "{daemon_name}": hostname,
        "{client_addr}": address,
        "{client_name}": name,
        "{client_port}": str(client.port),
        "{client_ptr}": name if confirmed else unconfirmed or "unknown",
        "{client_resolve}": _resolved(confirmed=confirmed, about=about),
        "{tls_version}": version,
        "{cipher}": cipher,
        "r": client.protocol,
        "s": client.helo,
    }


def _resolved(*, confirmed: bool, about: About) -> str:
    """How the look-up of the client's name went, in sendmail's words."""
    result = about.results.get("reverse-dns")
    if confirmed:
        return "OK"
    if result is None or result.undecided:
        return "TEMP"
    return "FORGED" if result.evidence.get("ptr") else "FAIL"


def _of_message(about: About, recipient: Recipient | None) -> dict[str, str]:
    known = {
        "{mail_addr}": about.sender or "<>",
        "{mail_host}": about.sender_domain,
        "{mail_mailer}": "esmtp",
    }
    if recipient is not None:
        known |= {
            "{rcpt_addr}": recipient.address,
            "{rcpt_host}": recipient.domain,
            "{rcpt_mailer}": "esmtp",
        }
    if about.message is not None:
        known["i"] = about.message.queue_id
    return known
