"""Happenings between backups and the agents beside primaries."""

from typing import ClassVar

from tideover.events.event import Event


class AgentTrouble(Event, frozen=True, kw_only=True):
    """The agent beside a primary does not answer as it should. Told once until it does again;
    meanwhile the time rule alone decides who is cut off. `domain`: one that it serves.
    """

    level: ClassVar[str] = "warning"
    agent: str
    domain: str
    reason: str


class AgentWorks(Event, frozen=True, kw_only=True):
    """An agent that was in trouble answers again."""

    agent: str
    domain: str


class AgentFound(Event, frozen=True, kw_only=True):
    """What an agent says of a client: "reachable", "unreachable" or "unknown", and why."""

    agent: str
    domain: str
    address: str
    verdict: str
    reason: str


class AgentStarted(Event, frozen=True, kw_only=True):
    """An agent serves. `public_key` is what backups know it by; `lacks` is what the system does not
    let it do, so that fewer questions can be answered.
    """

    version: str
    listen: str
    askers: tuple[str, ...]
    public_key: str
    lacks: str | None = None


class AgentAnswered(Event, frozen=True, kw_only=True):
    """An agent answered a question. `asker` is a name of its configuration; `remembered`: it did
    not have to look.
    """

    asker: str
    address: str
    verdict: str
    reason: str
    remembered: bool = False


class AgentRefused(Event, frozen=True, kw_only=True):
    """An agent did not answer a question; `asker` is empty when nobody knows whose it was."""

    level: ClassVar[str] = "warning"
    asker: str
    reason: str


class AgentStopped(Event, frozen=True, kw_only=True):
    """An agent has stopped."""

    reason: str
