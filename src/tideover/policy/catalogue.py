"""All checks that there are: this file alone names them. Made anew for each configuration."""

from collections.abc import Iterator, Mapping, Sequence

from tideover.config.policy import OnFailure
from tideover.policy.checks import (
    arc,
    bounces,
    dkim,
    dmarc,
    dns_lists,
    early_talker,
    greylist,
    header,
    helo,
    honeypots,
    loop,
    own_sender,
    rate_limits,
    reverse_dns,
    sender_domain,
    spf,
    trap,
)
from tideover.policy.engines import clamav, milters, rspamd, spamassassin
from tideover.policy.engines.inquiry import failed
from tideover.policy.interface import Check, Entry, Stage
from tideover.policy.profiles import profiles
from tideover.policy.services import Services

_CONNECT, _HELO, _MAIL = Stage.CONNECT, Stage.HELO, Stage.MAIL
_RCPT, _DATA, _MESSAGE = Stage.RCPT, Stage.DATA, Stage.MESSAGE


def entries(services: Services) -> Mapping[Stage, Sequence[Entry]]:
    """The checks of each stage that some profile names, those first that others need."""
    named = {check for profile in profiles(services.config).values() for check in profile.checks}
    wanted = [entry for entry in _all(services) if entry.name in named]
    return {stage: [entry for entry in wanted if stage in entry.stages] for stage in Stage}


def _all(services: Services) -> Iterator[Entry]:
    """Every check that is configured. Within a stage, what is needed stands before who needs it."""
    yield _entry("early-talker", early_talker.make(services), _HELO, _MAIL, _DATA)
    yield _entry("trap", trap.make(services), _CONNECT)
    yield _entry("reverse-dns", reverse_dns.make(services), _CONNECT)
    yield _entry("helo", helo.make(services), _HELO)
    yield _entry("dns-lists", dns_lists.make(services), _CONNECT, _HELO, _MAIL)
    yield _entry("sender-domain", sender_domain.make(services), _MAIL)
    yield _entry("spf", spf.make(services), _MAIL)
    yield _entry("own-sender", own_sender.make(services), _MAIL, needs=("spf",))
    yield _entry("bounces", bounces.make(services), _RCPT, _DATA)
    yield _entry("rate-limits", rate_limits.make(services), _RCPT)
    if services.config.greylist.enabled:
        yield _entry("greylist", greylist.make(services), _RCPT)
    yield _entry("honeypots", honeypots.make(services), _RCPT, _MESSAGE)
    yield _entry("loop", loop.make(services), _MESSAGE)
    yield _entry("header", header.make(services), _MESSAGE)
    yield _entry("dkim", dkim.make(services), _MESSAGE)
    yield _entry("arc", arc.make(services), _MESSAGE)
    yield _entry("dmarc", dmarc.make(services), _MESSAGE, needs=("dkim", "arc"))
    config = services.config
    each = [one.on_failure for one in config.milters.values()]
    yield from _engine("milters", milters.make(services), each, _RCPT, _MESSAGE)
    for name, check, settings in (
        ("clamav", clamav.make(services), config.clamav),
        ("rspamd", rspamd.make(services), config.rspamd),
        ("spamassassin", spamassassin.make(services), config.spamassassin),
    ):
        yield from _engine(name, check, [settings.on_failure], _MESSAGE)


def _entry(name: str, check: Check, *stages: Stage, needs: tuple[str, ...] = ()) -> Entry:
    return Entry(name=name, stages=stages, run=check, needs=needs)


def _engine(
    name: str, check: Check | None, on_failure: Sequence[OnFailure], *stages: Stage
) -> Iterator[Entry]:
    """Engines in a row: when it is not known which of them is silent, the strictest counts."""
    if check is not None:
        strictest = OnFailure.DEFER if OnFailure.DEFER in on_failure else OnFailure.ACCEPT
        silence = failed(name, "no verdict within message_timeout", strictest)
        yield Entry(name=name, stages=stages, run=check, waits=True, silence=silence)
