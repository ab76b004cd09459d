"""The agent's own small file: its model, and how it is read. The daemon has no part in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from tideover.config.document import UnreadableError, locate, parse, read
from tideover.config.field import STRICT, doc
from tideover.config.kinds import (
    Count,
    Duration,
    File,
    Level,
    Listen,
    Network,
    PublicKey,
    Rate,
    Text,
    Timeout,
)
from tideover.config.mistakes import ConfigError, Flaw, Mistake
from tideover.config.policy_values import RateLimit
from tideover.config.validate import InvalidError, validate

_TCP: Final = Field(ge=1, le=65535)
_RATE: Final = RateLimit(120, 60.0)
_ALL: Final = RateLimit(300, 60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """[agent]: whom it answers, and what it may send."""

    __pydantic_config__ = STRICT

    listen: Annotated[Listen, doc("Where it listens, ADDRESS:PORT.")]
    key_file: Annotated[File, doc("File with its private key (`agent keygen`).")]
    askers: Annotated[
        dict[str, PublicKey], doc("The backups that may ask: a name, and the public key of each.")
    ]
    user: Annotated[
        Text | None, doc("The user to go on as, when it is started as root.", min_length=1)
    ] = None
    tls_certificate: Annotated[
        File | None, doc("Certificate chain (PEM); without it plain HTTP, which is signed as well.")
    ] = None
    tls_key: Annotated[
        File | None, doc("Its private key (PEM), unless it is in the same file.")
    ] = None
    timeout: Annotated[
        Timeout, doc("How long it looks for an address at most; less than backups wait.", le=30)
    ] = 4.0
    max_hops: Annotated[Count, doc("Hops that a trace goes at most.", ge=1, le=64)] = 30
    keep: Annotated[Duration, doc("How long a verdict is kept, for the /24 or /48 around it.")] = (
        300.0
    )
    rate: Annotated[Rate, doc("Questions that one backup may ask.")] = _RATE
    total_rate: Annotated[Rate, doc("Questions of all backups that are looked into.")] = _ALL
    ports: Annotated[tuple[Annotated[Count, _TCP], ...], doc("TCP ports that may be tried.")] = (
        25,
    )
    allow_private: Annotated[
        tuple[Network, ...], doc("Networks that may be asked for though they are not public.")
    ] = ()
    log_level: Annotated[Level, doc("What is logged, from this level on.")] = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFile:
    """The whole file."""

    __pydantic_config__ = STRICT

    agent: Annotated[Agent, doc("The agent.")]


def load_agent(path: Path) -> Agent:
    """Read and check the agent's file.

    Raises:
        ConfigError: it has mistakes; all of them.
    """
    try:
        text = read(path)
        table = parse(text)
    except UnreadableError as error:
        place = f"column {error.column}: {error}" if error.column else str(error)
        raise ConfigError(path, [Mistake(path="", line=error.line, allowed=place)]) from None
    try:
        found: AgentFile = validate(AgentFile, table, str(path.absolute().parent))
        flaws = _contradictions(found.agent)
    except InvalidError as error:
        flaws = error.flaws
    if flaws:
        lines = locate(text)
        mistakes = [flaw.mistake(lines) for flaw in flaws]
        mistakes.sort(key=lambda mistake: mistake.line or 0)
        raise ConfigError(path, mistakes)
    return found.agent


def _contradictions(agent: Agent) -> list[Flaw]:
    flaws = []
    if agent.tls_key and not agent.tls_certificate:
        allowed = "a key alone is of no use: set tls_certificate too"
        flaws.append(Flaw(at=("agent", "tls_key"), allowed=allowed))
    if not agent.askers:
        allowed = "nobody may ask: name a backup and its public key"
        flaws.append(Flaw(at=("agent", "askers"), allowed=allowed))
    names = list(agent.askers)
    keys = list(agent.askers.values())
    flaws += [
        Flaw(at=("agent", "askers", name), allowed="another backup has this key already")
        for index, name in enumerate(names)
        if keys[index] in keys[:index]
    ]
    return flaws
