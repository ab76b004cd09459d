"""What goes over the control socket: JSON lines, one request and then its answer.

A request is one line, `{"version": 1, "request": {"verb": …}}`, of at most `MAX_REQUEST` octets.
The answer is any number of `items` lines, then one `end` or one `error` line. Times are Unix
seconds, sizes octets, bytes base64. A connection may carry several requests, one after the other.
"""

from typing import Literal

import msgspec
from msgspec import Struct

from tideover.control.trap_items import TrapInfo, Trapped
from tideover.message.envelope import QueueId
from tideover.recipients.interface import Finding
from tideover.recipients.report import Refreshed, SourceSays, SourceStatus
from tideover.spool.interface import Filter, StoredMessage

VERSION = 1
MAX_REQUEST = 64 * 1024
MAX_ANSWER_LINE = 16 * 1024 * 1024
PAGE = 100
"""Messages in one `items` line; the spool is not asked for more at once."""

SOCKET = "control.sock"
"""The socket's name in the data directory."""

AGES = (300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 76800)
"""Upper ends, in seconds, of the columns of `queue shape`; one more column holds all older."""


# Requests


class Request(Struct, frozen=True, kw_only=True, tag_field="verb"):
    """Base of all requests."""


class Status(Request, frozen=True, kw_only=True, tag="status"):
    """The daemon and its domains, or one of them: `DaemonInfo`, then `DomainInfo`s. One alone is
    told with the history of its MX set.
    """

    domain: str | None = None


class List(Request, frozen=True, kw_only=True, tag="list"):
    """`MessageInfo`s in arrival order, at most `limit` (None: all)."""

    wanted: Filter = Filter()
    limit: int | None = None


class Show(Request, frozen=True, kw_only=True, tag="show"):
    """One message as stored: `MessageDetail`."""

    id: QueueId


class Body(Request, frozen=True, kw_only=True, tag="body"):
    """A message as it will be sent: our trace headers, then the body, in `Piece`s."""

    id: QueueId


class Shape(Request, frozen=True, kw_only=True, tag="shape"):
    """`ShapeRow`s: how many recipients wait, by domain and age."""

    wanted: Filter = Filter()


class Lookup(Request, frozen=True, kw_only=True, tag="lookup"):
    """What is known of an address, and what we would say to RCPT: `AddressInfo`."""

    address: str


class Recipients(Request, frozen=True, kw_only=True, tag="recipients"):
    """The addresses known in clear for a domain: `Address`es, then a `SourceInfo` for each source
    that knows more than it can name.
    """

    domain: str


class Refresh(Request, frozen=True, kw_only=True, tag="refresh"):
    """Load the sources of a domain (None: of all) now: `Progress` while it lasts, then
    `RefreshInfo`s. `domains`: instead of them the list of domains (`domains_from`). `confirm`: take
    lists although they shrank.
    """

    domain: str | None = None
    domains: bool = False
    confirm: bool = False


class Seed(Request, frozen=True, kw_only=True, tag="seed"):
    """Addresses to ask the primary of ahead of an outage; the answer is one `Done`."""

    domain: str
    addresses: tuple[str, ...]


class Trap(Request, frozen=True, kw_only=True, tag="trap"):
    """How the trap stands, and who was caught: `TrapInfo`, then `Trapped`s, oldest first."""


class Forget(Request, frozen=True, kw_only=True, tag="forget"):
    """Take back what a trap holds against a client; `host` is an address, or a network as `Trapped`
    tells it. The answer is one `Done`.
    """

    host: str


class Act(Request, frozen=True, kw_only=True):
    """Base of the requests that change something; the answer is one `Done`.

    An empty `wanted` is refused unless `everything` says that it is meant.
    """

    wanted: Filter = Filter()
    everything: bool = False


class Hold(Act, frozen=True, kw_only=True, tag="hold"):
    """Messages stay here until released. For a domain alone: also all that is yet to come."""

    reason: str = ""


class Release(Act, frozen=True, kw_only=True, tag="release"):
    """Held messages go on; with ids or states also deferred ones and dead letters."""


class Flush(Act, frozen=True, kw_only=True, tag="flush"):
    """Try now: deferred recipients, and the destinations that are down."""


class Remove(Act, frozen=True, kw_only=True, tag="remove"):
    """Delete messages for good, on this person's order."""


ReadRequest = Status | List | Show | Body | Shape | Lookup | Recipients
ActRequest = Hold | Release | Flush | Remove
KnowRequest = Refresh | Seed
TrapRequest = Trap | Forget
AnyRequest = ReadRequest | ActRequest | KnowRequest | TrapRequest


class Call(Struct, frozen=True, kw_only=True):
    """The line that carries a request."""

    version: int
    request: AnyRequest


class Version(Struct, frozen=True):
    """Only the version of a line, which is read first."""

    version: int


# Items of answers


class DaemonInfo(Struct, frozen=True, kw_only=True, tag="daemon"):
    """`started` is None when the daemon does not run and the spool itself was read. `domains_from`:
    how the list of domains stands, its entries are domains. `broken_files`: what is wrong in
    `domains_dir`, the first mistakes of many, then their number.
    """

    version: str
    hostname: str
    started: float | None
    domains_from: SourceStatus | None = None
    broken_files: tuple[str, ...] = ()


class MxChangeInfo(Struct, frozen=True, kw_only=True):
    """One change of a domain's MX set; hosts with their preference, as "10 mail.example.com".
    `serial` is that of the zone's SOA record.
    """

    at: float
    before: tuple[str, ...]
    after: tuple[str, ...]
    serial: int | None


class MxInfo(Struct, frozen=True, kw_only=True):
    """The MX set of a domain with `primary = "mx"`, as it was last seen. `own` is our preference
    in it; `problem` a word for what is wrong with it and `alarm` its text; `history` the latest
    changes, newest first.
    """

    hosts: tuple[str, ...]
    own: int | None
    serial: int | None
    checked_at: float | None
    next_at: float | None
    problem: str | None = None
    alarm: str | None = None
    history: tuple[MxChangeInfo, ...] = ()


class HandoverInfo(Struct, frozen=True, kw_only=True):
    """What a primary's replies say that it was not told of us: a word, a sentence, the cure; the
    latest reply of that kind, and how many there were since.
    """

    keyword: str
    text: str
    cure: str
    host: str
    reply: str
    since: float
    latest: float
    count: int


class DomainInfo(Struct, frozen=True, kw_only=True, tag="domain"):
    """One domain. `queued` counts all recipients on their way: queued, leased and deferred.
    `sources` is None where nobody looked at them: of all domains, while the daemon does not run.
    `hint` is what is worth knowing of a primary that is up.
    """

    domain: str
    primary: str
    since: float | None = None
    reason: str = ""
    hops: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    in_flight: int = 0
    queued: int = 0
    deferred: int = 0
    held: int = 0
    dead: int = 0
    octets: int = 0
    oldest: float | None = None
    sources: tuple[SourceStatus, ...] | None = None
    mx: MxInfo | None = None
    handover: HandoverInfo | None = None
    hint: str = ""


class RecipientInfo(Struct, frozen=True, kw_only=True):
    """One recipient that is still here. `next_attempt` is None when it waits for no time."""

    address: str
    domain: str
    state: str
    attempts: int
    next_attempt: float | None
    last_reply: str | None
    reason: str | None


class MessageInfo(Struct, frozen=True, kw_only=True, tag="message"):
    """One message of a listing."""

    id: str
    sender: str
    size: int
    received_at: float
    recipients: tuple[RecipientInfo, ...]


class MessageDetail(Struct, frozen=True, kw_only=True, tag="detail"):
    """One message with all that is stored of it but the body."""

    message: StoredMessage


class Piece(Struct, frozen=True, kw_only=True, tag="piece"):
    """Octets of a message."""

    data: bytes


class ShapeRow(Struct, frozen=True, kw_only=True, tag="shape"):
    """Recipients of one domain by age; the columns are `AGES` and one for all older."""

    domain: str
    counts: tuple[int, ...]


class Answer(Struct, frozen=True, kw_only=True):
    """What a client hears for RCPT, and why."""

    code: int
    enhanced: str | None
    text: str
    finding: Finding


class AddressInfo(Struct, frozen=True, kw_only=True, tag="known"):
    """What is known of one address. `now` is the finding as matters stand; the answers are ours,
    while the primary is up and while it is down. `posture` says who answers while it is up; None:
    the address is in no domain of ours.
    """

    address: str
    now: Finding
    primary_up: Answer
    primary_down: Answer
    sources: tuple[SourceSays, ...]
    posture: str | None = None


class Address(Struct, frozen=True, kw_only=True, tag="address"):
    """One listed recipient."""

    address: str


class SourceInfo(Struct, frozen=True, kw_only=True, tag="source"):
    """How a source stands."""

    status: SourceStatus


class Progress(Struct, frozen=True, kw_only=True, tag="progress"):
    """A source is being loaded: so many entries so far."""

    source: str
    entries: int


class RefreshInfo(Struct, frozen=True, kw_only=True, tag="refreshed"):
    """How one source took its refresh."""

    refreshed: Refreshed


class Done(Struct, frozen=True, kw_only=True, tag="done"):
    """What an act changed: `count` recipients (for remove: messages, named in `ids`)."""

    count: int
    ids: tuple[str, ...] = ()


Item = (
    DaemonInfo | DomainInfo | MessageInfo | MessageDetail | Piece | ShapeRow | AddressInfo
    | Address | SourceInfo | Progress | RefreshInfo | TrapInfo | Trapped | Done
)  # fmt: skip

# Lines of answers


class Items(Struct, frozen=True, tag_field="line", tag="items"):
    """A part of the answer."""

    items: tuple[Item, ...]


class End(Struct, frozen=True, tag_field="line", tag="end"):
    """The answer is whole."""


Code = Literal[
    "bad-request", "version", "busy", "not-allowed", "not-found", "selection", "spool", "internal"
]


class Failure(Struct, frozen=True, tag_field="line", tag="error"):
    """Why there is no (or no whole) answer: `text` is for people."""

    code: Code
    text: str


Line = Items | End | Failure

_encoder = msgspec.json.Encoder()
_calls = msgspec.json.Decoder(Call)
_versions = msgspec.json.Decoder(Version)
_lines: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


def encode_call(request: AnyRequest) -> bytes:
    """A request as its line."""
    return _encoder.encode(Call(version=VERSION, request=request)) + b"\n"


def decode_call(line: bytes) -> AnyRequest | Failure:
    """The request of a line, or what to answer instead."""
    try:
        version = _versions.decode(line).version
        if version != VERSION:
            text = f"this daemon speaks version {VERSION} of the control protocol, not {version}"
            return Failure("version", text)
        return _calls.decode(line).request
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Failure("bad-request", f"not a request of this protocol: {error}")


def encode_line(line: Line) -> bytes:
    """A line of an answer."""
    return _encoder.encode(line) + b"\n"


def decode_line(line: bytes) -> Line:
    """A line of an answer.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return _lines.decode(line)
