"""All checks that there are: this file alone names them. Made anew for each configuration."""

from collections.abc import Iterator, Mapping, Sequence

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
)
from tideover.policy.engines import clamav, milters, rspamd, spamassassin
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
    yield _entry("early-talker", early_talker.make(services), _HELO, _MAIL)
    yield _entry("reverse-dns", reverse_dns.make(services), _CONNECT)
    yield _entry("helo", helo.make(services), _HELO)
    yield _entry("dns-lists", dns_lists.make(services), _CONNECT, _HELO, _MAIL)
    yield _entry("sender-domain", sender_domain.make(services), _MAIL)
    yield _entry("spf", spf.make(services), _MAIL)
    yield _entry("own-sender", own_sender.make(services), _MAIL, needs=("spf",))
    yield _entry("bounces", bounces.make(services), _RCPT, _DATA)
    yield _entry("rate-limits", rate_limits.make(services), _RCPT)
    yield _entry("greylist", greylist.make(services), _RCPT)
    yield _entry("honeypots", honeypots.make(services), _RCPT, _MESSAGE)
    yield _entry("loop", loop.make(services), _MESSAGE)
    yield _entry("header", header.make(services), _MESSAGE)
    yield _entry("dkim", dkim.make(services), _MESSAGE)
    yield _entry("arc", arc.make(services), _MESSAGE)
    yield _entry("dmarc", dmarc.make(services), _MESSAGE, needs=("dkim", "arc"))
    yield from _engine("milters", milters.make(services), _RCPT, _MESSAGE)
    yield from _engine("clamav", clamav.make(services), _MESSAGE)
    yield from _engine("rspamd", rspamd.make(services), _MESSAGE)
    yield from _engine("spamassassin", spamassassin.make(services), _MESSAGE)


def _entry(name: str, check: Check, *stages: Stage, needs: tuple[str, ...] = ()) -> Entry:
    return Entry(name=name, stages=stages, run=check, needs=needs)


def _engine(name: str, check: Check | None, *stages: Stage) -> Iterator[Entry]:
    if check is not None:
        yield Entry(name=name, stages=stages, run=check, waits=True)
