"""The typed model, continued: what concerns policy. See `config.model`."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Final

from tideover.config.field import STRICT, doc
from tideover.config.findings import CHECKS
from tideover.config.kinds import (
    Actions,
    CheckName,
    DomainName,
    Duration,
    File,
    Hostname,
    HttpUrl,
    ListCodes,
    Network,
    Rate,
    Score,
    Selector,
    Size,
    Socket,
    Switch,
    Text,
    Timeout,
)
from tideover.config.policy_values import RateLimit

_BOUNCES: Final = RateLimit(30, 3600.0)
_BOUNCES_IN_ALL: Final = RateLimit(1000, 3600.0)


class OnFailure(StrEnum):
    """What becomes of a message that a content filter could not look at."""

    DEFER = "defer"
    ACCEPT = "accept"


class ListOf(StrEnum):
    """What a DNS list is asked about."""

    ADDRESS = "address"
    HELO = "helo"
    SENDER = "sender"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """[policy]: how clients and messages are checked."""

    __pydantic_config__ = STRICT

    greet_delay: Annotated[
        Duration,
        doc("How long a newcomer waits for our greeting, once a day: bots don't."),
    ] = 0.25
    stage_timeout: Annotated[
        Timeout, doc("How long all checks before the body may hold a session up, per command.")
    ] = 8.0
    message_timeout: Annotated[
        Timeout, doc("How long all checks of a message may take after its final dot.")
    ] = 60.0
    trusted_networks: Annotated[
        tuple[Network, ...],
        doc("Your hosts: not checked before the body, and free to use your own senders."),
    ] = ()
    trusted_sealers: Annotated[
        tuple[DomainName, ...],
        doc("Domains whose ARC seal is believed when it says that DMARC had passed."),
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """[profiles.NAME]: what findings mean for the domains that name this profile."""

    __pydantic_config__ = STRICT

    checks: Annotated[
        tuple[CheckName, ...],
        doc("The checks that count, in the order in which their refusals do."),
    ] = CHECKS
    dry_run: Annotated[
        tuple[CheckName, ...],
        doc("Checks of which only the log says what they would have done."),
    ] = ()
    actions: Annotated[
        Actions,
        doc('What single findings mean, where it is not the default: "reject", a score….'),
    ] = field(default_factory=dict)
    reject_score: Annotated[Score, doc("Sum of scores from which on mail is refused.")] = 10.0
    defer_score: Annotated[
        Score | None, doc("Sum of scores from which on it is deferred. Default: never.")
    ] = None
    hold_score: Annotated[
        Score | None, doc("Sum of scores from which on it is taken and held. Default: never.")
    ] = None
    batv_key_file: Annotated[
        File | None,
        doc("File with the key of prvs= return addresses (BATV): bounces to others are forged."),
    ] = None
    srs_key_file: Annotated[
        File | None,
        doc("File with the secret of SRS0= and SRS1= return addresses: forged ones are refused."),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsList:
    """[dns_lists."ZONE"]: a block list or welcome list in DNS."""

    __pydantic_config__ = STRICT

    of: Annotated[ListOf, doc("What the list is asked about.")] = ListOf.ADDRESS
    weight: Annotated[Score, doc("Score of who is listed; negative for a welcome list.")] = 5.0
    codes: Annotated[
        ListCodes,
        doc(
            'Weights for single answers, the first that fits: "127.0.0.2=8", "127.0.0.8/30=2", '
            '"&4=3" (a bit of the last octet), "*=0" (all others).'
        ),
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """[limits]: COUNT/TIME, as a bucket that empties evenly; what is over it is deferred."""

    __pydantic_config__ = STRICT

    client: Annotated[
        Rate | None, doc("Recipients from one client network (IPv4 /24, IPv6 /64).")
    ] = None
    sender: Annotated[Rate | None, doc("Recipients from one sender domain.")] = None
    recipient: Annotated[Rate | None, doc("Messages for one recipient.")] = None
    domain: Annotated[Rate | None, doc("Recipients of one of our domains.")] = None
    bounces_per_recipient: Annotated[
        Rate | None, doc("Bounces (null sender) for one recipient.")
    ] = _BOUNCES
    bounces_per_domain: Annotated[
        Rate | None, doc("Bounces (null sender) for all recipients of one of our domains.")
    ] = _BOUNCES_IN_ALL


@dataclass(frozen=True, slots=True, kw_only=True)
class Greylist:
    """[greylist]: who is new is asked to come again."""

    __pydantic_config__ = STRICT

    enabled: Annotated[Switch, doc("Whether greylisting is done.")] = False
    delay: Annotated[Timeout, doc("How long a newcomer has to wait before it is let in.")] = 300.0
    window: Annotated[Timeout, doc("Within this time it has to come again, or begin anew.")] = (
        2 * 86400.0
    )
    memory: Annotated[
        Timeout, doc("How long clients and triplets that have passed are remembered.")
    ] = 36 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rspamd:
    """[rspamd]: asked by HTTP (/checkv2)."""

    __pydantic_config__ = STRICT

    url: Annotated[
        HttpUrl | None, doc("Where a worker of rspamd listens. Unset: it is not asked.")
    ] = None
    password_file: Annotated[File | None, doc("File with the password of its worker.")] = None
    settings: Annotated[Text | None, doc("Settings id, for domains that name none.")] = None
    timeout: Annotated[Timeout, doc("How long one message may take.")] = 30.0
    max_size: Annotated[Size, doc("Larger messages are not shown to it.")] = 50 * 1024 * 1024
    on_failure: Annotated[OnFailure, doc("When it does not answer.")] = OnFailure.DEFER


@dataclass(frozen=True, slots=True, kw_only=True)
class Clamav:
    """[clamav]: clamd, by INSTREAM."""

    __pydantic_config__ = STRICT

    socket: Annotated[Socket | None, doc("Where clamd listens. Unset: it is not asked.")] = None
    timeout: Annotated[Timeout, doc("How long one message may take.")] = 30.0
    max_size: Annotated[
        Size, doc("Larger messages are not shown to it; at most clamd's StreamMaxLength.")
    ] = 25 * 1024 * 1024
    on_failure: Annotated[OnFailure, doc("When it does not answer.")] = OnFailure.DEFER


@dataclass(frozen=True, slots=True, kw_only=True)
class Spamassassin:
    """[spamassassin]: spamd, by the protocol of spamc."""

    __pydantic_config__ = STRICT

    socket: Annotated[Socket | None, doc("Where spamd listens. Unset: it is not asked.")] = None
    user: Annotated[Text | None, doc("User whose preferences spamd shall use.")] = None
    reject_score: Annotated[
        Score | None, doc("Score from which on it counts as spam. Default: what spamd says.")
    ] = None
    timeout: Annotated[Timeout, doc("How long one message may take.")] = 30.0
    max_size: Annotated[Size, doc("Larger messages are not shown to it.")] = 512 * 1024
    on_failure: Annotated[OnFailure, doc("When it does not answer.")] = OnFailure.DEFER


@dataclass(frozen=True, slots=True, kw_only=True)
class Milter:
    """[milters.NAME]: any filter that speaks the milter protocol (version 6)."""

    __pydantic_config__ = STRICT

    socket: Annotated[Socket, doc("Where it listens.")]
    timeout: Annotated[Timeout, doc("How long it may take to answer one command.")] = 30.0
    max_size: Annotated[Size, doc("Larger messages are not shown to it.")] = 50 * 1024 * 1024
    on_failure: Annotated[OnFailure, doc("When it does not answer.")] = OnFailure.DEFER


@dataclass(frozen=True, slots=True, kw_only=True)
class Arc:
    """[arc]: one key for all domains without their own. `tideover arc keygen` makes one."""

    __pydantic_config__ = STRICT

    domain: Annotated[Hostname | None, doc("Domain in whose name we seal (d=).")] = None
    selector: Annotated[Selector | None, doc("Selector (s=) of the key in DNS.")] = None
    key_file: Annotated[File | None, doc("PEM file with the private key.")] = None
