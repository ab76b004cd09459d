"""The typed model, continued: what concerns primaries that are up. See `config.model`."""

from dataclasses import dataclass
from typing import Annotated

from tideover.config.field import STRICT, doc
from tideover.config.kinds import Count, DomainName, Duration, File, Listen, Switch, Timeout


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """[health]: how it is known whether a primary is up."""

    __pydantic_config__ = STRICT

    check_interval: Annotated[
        Timeout, doc("Time between checks of a primary that is up and of which nothing is heard.")
    ] = 5.0
    timeout: Annotated[Timeout, doc("How long a check may take in all.")] = 4.0
    failures: Annotated[Count, doc("Failures in a row until a primary counts as down.", ge=1)] = 2
    successes: Annotated[
        Count, doc("Successes in a row until one that was down counts as up.", ge=1)
    ] = 2
    ask_postmaster: Annotated[
        Switch, doc("Also ask whether mail for postmaster would be taken (MAIL, RCPT, RSET).")
    ] = False
    max_watched: Annotated[
        Count,
        doc("Primaries that are checked while no mail goes to them; of others it is found out."),
    ] = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class PassThrough:
    """[pass_through]: transactions that the primary answers itself."""

    __pydantic_config__ = STRICT

    max_connections: Annotated[
        Count, doc("Connections to one primary at once that pass transactions through.", ge=1)
    ] = 40
    idle_time: Annotated[
        Duration, doc("How long a connection is kept for the next transaction.")
    ] = 30.0
    connect_timeout: Annotated[
        Timeout, doc("How long a connection may take until it is of use; then an outage begins.")
    ] = 5.0
    command_timeout: Annotated[
        Timeout, doc("How long to wait for a reply to a command while the client waits, too.")
    ] = 60.0
    data_timeout: Annotated[
        Timeout, doc("How long to wait for the reply to the final dot; then it is queued.")
    ] = 240.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOff:
    """[cut_off]: clients that evidently can't reach the primary, although it is up."""

    __pydantic_config__ = STRICT

    after: Annotated[
        Timeout,
        doc("A deferred sender who tries again so much later is taken to be cut off."),
    ] = 600.0
    remember: Annotated[Timeout, doc("How long it is remembered that a sender was deferred.")] = (
        2 * 86400.0
    )
    key_file: Annotated[
        File | None,
        doc("File with the private key that signs our questions to agents (`agent keygen`)."),
    ] = None
    agent_timeout: Annotated[
        Timeout, doc("How long to wait for an agent; after that the time rule alone decides.")
    ] = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """[trap]: a host for the end of the MX set that never takes mail."""

    __pydantic_config__ = STRICT

    listen: Annotated[
        tuple[Listen, ...], doc("Addresses of the last MX, a trap, ADDRESS:PORT. None: no trap.")
    ] = ()
    nolisting: Annotated[
        tuple[Listen, ...],
        doc("Addresses kept for a first MX that refuses every connection, ADDRESS:PORT."),
    ] = ()
    domains: Annotated[
        tuple[DomainName, ...],
        doc(
            "Domains whose MX sets name the trap: it is silent unless all their primaries are up. "
            "None: all of ours."
        ),
    ] = ()
    max_connections: Annotated[Count, doc("Connections of the trap at once.", ge=1)] = 10_000
    max_connections_per_client: Annotated[
        Count, doc("Of these from one client (IPv4 /32, IPv6 /64).", ge=1)
    ] = 100
    delay: Annotated[Duration, doc("How long the trap takes for each line that it says.")] = 5.0
    keep: Annotated[Timeout, doc("How long a client that was caught is remembered.")] = 86400.0
    settle: Annotated[
        Duration,
        doc("Who comes to the trap so soon after an outage, or our start, is not marked."),
    ] = 600.0
    greytrap: Annotated[
        Switch, doc("Mark clients that write to a honeypot, too, whether there is a trap or not.")
    ] = True
