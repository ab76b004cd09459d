"""What checks may work with. Each check's file has a `make(services)` that returns the check."""

from collections.abc import Callable

from msgspec import Struct

from tideover.config.model import Config
from tideover.dns.names import Names
from tideover.events.event import EventSink
from tideover.policy.memory import Memory


class Services(Struct, frozen=True, kw_only=True):
    """Made anew for each configuration; `memory` and `names` outlive it.

    `is_ours` tells whether a domain (lower-case A-labels) is one that we back up. `emit` takes
    events.
    """

    config: Config
    names: Names
    memory: Memory
    is_ours: Callable[[str], bool]
    emit: EventSink
