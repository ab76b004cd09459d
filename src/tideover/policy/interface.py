"""What a check is given and what it gives back.

A check is an `async def` of one argument, `About`, that returns a `Result`. It says what it found,
by names that `config.findings` lists; what a finding means (a score, a refusal, nothing) is data
of the configuration and the word of `decision`. A check that learned nothing because something it
needs did not answer is *undecided*: never a reason to refuse anybody (I14).

Whatever is in a cache is to be had without suspending: such a check costs no task.
"""

from collections.abc import Callable, Coroutine, Mapping
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from tideover.message.body import Body
from tideover.message.edits import Edits
from tideover.message.envelope import Client, QueueId, Recipient
from tideover.message.fields import HeaderSection
from tideover.smtp.replies import Reply


class Stage(StrEnum):
    """When a check can begin: when what it looks at is known. In the order of a session."""

    CONNECT = "connect"
    HELO = "helo"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    MESSAGE = "message"


class Verb(StrEnum):
    """What a finding leads to by itself, whatever the score.

    ACCEPT: what other checks before the body say is disregarded. HOLD: taken, but not sent home
    until an operator releases it. DEFER: 4xx. REJECT: 5xx.
    """

    ACCEPT = "accept"
    HOLD = "hold"
    DEFER = "defer"
    REJECT = "reject"


Action = Verb | float
"""What a finding means: a verb, or a score (0: noted only; negative: speaks for the client)."""


class Found(Struct, frozen=True, kw_only=True):
    """One thing that a check found.

    `name` is a key of `config.findings`. `reason` is for the operator. `reply` is what the client
    hears if this is why it is refused; None: the default of the name. `action` is set only where
    the check itself knows it (an engine's verdict, the weight of a DNS list); otherwise, and where
    the configuration names the finding, the configuration's holds.
    """

    name: str
    reason: str = ""
    reply: Reply | None = None
    action: Action | None = None


class Result(Struct, frozen=True, kw_only=True):
    """What one check has to say. `NOTHING` is the plain "all is well".

    `evidence` holds short facts for `explain` and the stored message, as text by name (at most a
    few hundred octets in all). `detail` is for other checks that need this one; it is not stored.
    `undecided` says what was missing, "" when nothing was. `edits` are header changes to carry
    (message stage only).
    """

    found: tuple[Found, ...] = ()
    evidence: Mapping[str, str] = {}
    undecided: str = ""
    detail: Any = None
    edits: Edits | None = None


NOTHING: Final = Result()


class Message(Struct, frozen=True, kw_only=True):
    """A message whose body has come. `header` is its header section, `recipients` who it is for.

    `trace` is the Received field that we prepend: engines are shown it above the header.
    `body.size` is the whole message in octets.
    """

    queue_id: QueueId
    header: HeaderSection
    body: Body
    recipients: tuple[Recipient, ...]
    trace: bytes


class About(Struct, frozen=True, kw_only=True):
    """Everything known so far; what a stage does not know yet is None or "".

    `transaction` is for a check's own use, by its name: what it must remember between its calls in
    one transaction. A value with a method `close()` gets it called when the transaction is over,
    however it ends.
    """

    stage: Stage
    client: Client
    now: float
    """Unix time."""

    early: bool = False
    """The client spoke before our greeting."""

    pipelined: bool = False
    """The client sent commands ahead without having been offered PIPELINING (RFC 2920)."""

    sender: str | None = None
    """Envelope sender; "" is the null reverse path, None: no MAIL yet."""

    sender_domain: str = ""
    """Its domain in lower-case A-labels, "" when it has none that DNS could know."""

    smtputf8: bool = False
    recipient: Recipient | None = None
    """RCPT stage: the one that is asked about."""

    recipients: tuple[Recipient, ...] = ()
    """Those accepted before."""

    honeypots: int = 0
    """Honeypots that this session wrote to."""

    message: Message | None = None
    results: Mapping[str, Result] = {}
    """Of the checks that this one needs, and of all from earlier stages, by name."""

    transaction: dict[str, Any] = {}


Check = Callable[[About], Coroutine[Any, Any, Result]]


class Entry(Struct, frozen=True, kw_only=True):
    """A check in the catalogue: its name in the configuration, and when it runs.

    A check with several stages is called in each. `needs` names checks of the same stage that it
    waits for; from rcpt on, all results of earlier stages are there (undecided ones too). `waits`
    says that it always has to wait for somebody: it is begun as a task. `silence` is what it says
    of a message when it has no answer in time, or fails; None: it is undecided.
    """

    name: str
    stages: tuple[Stage, ...]
    run: Check
    needs: tuple[str, ...] = ()
    waits: bool = False
    silence: Result | None = None
