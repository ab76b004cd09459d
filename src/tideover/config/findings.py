"""What checks can find, and what each finding means unless a profile says otherwise.

A finding belongs to one check. Its default is a verb or a score. The texts are what a client hears
when the finding is why it is refused; the check may have a better one.
"""

from types import MappingProxyType
from typing import Final, Literal

from msgspec import Struct

Verb = Literal["accept", "hold", "defer", "reject"]
Action = Verb | float


class Finding(Struct, frozen=True):
    """`check` that finds it, `action` it leads to, `meaning` for operators; `code`, `enhanced` and
    `text` of a refusal for this reason (a deferral says the same with 450 and class 4).
    """

    check: str
    action: Action
    meaning: str
    code: int = 550
    enhanced: str = "5.7.1"
    text: str = "Refused by local policy"


_ALL: dict[str, Finding] = {
    # early-talker
    "early-talker": Finding(
        "early-talker", "reject", "the client spoke before our greeting",
        554, "5.5.1", "You spoke before the greeting; a mail server waits for it",
    ),
    "early-pipelining": Finding(
        "early-talker", 3.0, "commands were sent ahead without having been offered PIPELINING",
        554, "5.5.1", "Commands were sent ahead of replies without PIPELINING having been offered",
    ),
    # trap
    "trapped": Finding(
        "trap", 5.0, "the client behaved as only bots do where no mail is taken: at the last MX, "
        "a trap, or with a honeypot",
        554, "5.7.1", "Your address is used by a program that sends to traps",
    ),
    "last-mx-first": Finding(
        "trap", 1.0, "the client turned to the last MX first, a trap, while all others were up",
        554, "5.7.1", "You turned to the last MX first; the best one has to be tried first",
    ),
    # reverse-dns
    "rdns-none": Finding(
        "reverse-dns", 2.0, "the client's address has no name in DNS",
        550, "5.7.25", "Your address has no name in DNS (PTR)",
    ),
    "rdns-unconfirmed": Finding(
        "reverse-dns", 1.0, "no name of the client's address leads back to it",
        550, "5.7.25", "The name of your address (PTR) does not lead back to it",
    ),
    # helo
    "helo-ours": Finding(
        "helo", "reject", "the client claims to be us, or one of our domains",
        550, "5.7.1", "You are not who your HELO says: that is us",
    ),
    "helo-bare-ip": Finding(
        "helo", 3.0, "an IP address without brackets as HELO name",
        550, "5.5.2", "Your HELO name is an IP address; a host name is wanted",
    ),
    "helo-wrong-literal": Finding(
        "helo", 3.0, "an address literal as HELO name that is not the client's address",
        550, "5.7.1", "Your HELO name is an address that is not yours",
    ),
    "helo-not-fqdn": Finding(
        "helo", 1.5, "the HELO name has no dot or is malformed",
        550, "5.5.2", "Your HELO name is not fully qualified",
    ),
    "helo-unresolvable": Finding(
        "helo", 1.5, "the HELO name has neither address nor MX in DNS",
        550, "5.7.1", "Your HELO name does not exist in DNS",
    ),
    # dns-lists
    "dns-listed": Finding(
        "dns-lists", 5.0, "a DNS list names the client, its HELO name or the sender's domain "
        "(each list has a weight of its own)",
        554, "5.7.1", "A DNS list names you",
    ),
    "dns-welcome": Finding(
        "dns-lists", -5.0, "a DNS list vouches for the client (each list has a weight of its own)",
    ),
    # sender-domain
    "sender-domain-missing": Finding(
        "sender-domain", 4.0, "the sender's domain does not exist",
        550, "5.1.8", "The domain of your sender address does not exist",
    ),
    "sender-domain-no-mail": Finding(
        "sender-domain", 4.0, "the sender's domain has neither MX nor address",
        550, "5.1.8", "The domain of your sender address takes no mail (no MX, no address)",
    ),
    "sender-null-mx": Finding(
        "sender-domain", "reject", "the sender's domain says that it takes no mail (RFC 7505)",
        550, "5.7.27", "The domain of your sender address takes no mail (null MX)",
    ),
    "sender-domain-invalid": Finding(
        "sender-domain", 3.0, "the sender's domain is no name that DNS could know",
        550, "5.1.7", "The domain of your sender address is invalid",
    ),
    # own-sender
    "own-sender": Finding(
        "own-sender", "reject", "a sender of one of our domains, from outside, without SPF pass",
        550, "5.7.1", "Mail of this domain does not come from outside; send it by its own server",
    ),
    # spf
    "spf-fail": Finding(
        "spf", 3.0, "SPF: the sender's domain says that this client may not send for it",
        550, "5.7.23", "SPF: the sender's domain does not let your address send for it",
    ),
    "spf-softfail": Finding("spf", 1.0, "SPF: the client is probably not allowed", 550, "5.7.23",
                            "SPF: your address is probably not allowed to send for this sender"),
    "spf-permerror": Finding("spf", 0.5, "SPF: the record is broken", 550, "5.7.24",
                             "SPF: the record of the sender's domain is broken"),
    "spf-none": Finding("spf", 0.0, "SPF: the sender's domain says nothing"),
    "spf-helo-fail": Finding(
        "spf", 2.0, "SPF of the HELO name: this client may not use it",
        550, "5.7.23", "SPF: your address may not use this HELO name",
    ),
    # dkim
    "dkim-fail": Finding("dkim", 0.5, "there are DKIM signatures and none is valid", 550, "5.7.20",
                         "No valid DKIM signature"),
    "dkim-none": Finding("dkim", 0.0, "no DKIM signature", 550, "5.7.20", "No DKIM signature"),
    # arc
    "arc-fail": Finding("arc", 0.5, "the ARC chain is broken", 550, "5.7.29",
                        "The ARC chain is broken"),
    # dmarc
    "dmarc-reject": Finding(
        "dmarc", "reject", "DMARC fails and the author's domain asks to reject",
        550, "5.7.26", "DMARC: the domain of your From address asks to refuse this message",
    ),
    "dmarc-quarantine": Finding(
        "dmarc", 5.0, "DMARC fails and the author's domain asks to quarantine", 550, "5.7.26",
        "DMARC: neither SPF nor DKIM speaks for the domain of your From address",
    ),
    "dmarc-fail": Finding("dmarc", 0.5, "DMARC fails; the author's domain asks for nothing"),
    # greylist
    "greylisted": Finding(
        "greylist", "defer", "not seen before: it may come again after a while",
        450, "4.7.1", "Greylisted; please try again in a few minutes",
    ),
    # rate-limits
    "rate-client": Finding("rate-limits", "defer", "too much from this client network",
                           450, "4.7.1", "Too much mail from your network; try again later"),
    "rate-sender": Finding("rate-limits", "defer", "too much from this sender domain",
                           450, "4.7.1", "Too much mail from this sender domain; try again later"),
    "rate-recipient": Finding("rate-limits", "defer", "too much for this recipient",
                              450, "4.2.1", "Too much mail for this recipient; try again later"),
    "rate-domain": Finding("rate-limits", "defer", "too much for this domain",
                           450, "4.7.1", "Too much mail for this domain; try again later"),
    # bounces
    "bounce-flood": Finding(
        "bounces", "defer", "too many bounces for this recipient or domain",
        450, "4.7.1", "Too many bounces for this recipient; try again later",
    ),
    "bounce-unsigned": Finding(
        "bounces", "reject", "a bounce to an address that never sends unsigned (BATV, SRS)",
        550, "5.7.1", "This address did not send what you return",
    ),
    "bounce-many": Finding(
        "bounces", "reject", "a bounce to several recipients: nobody sent such a message",
        550, "5.7.1", "A bounce has one recipient",
    ),
    # header
    "header-too-large": Finding("header", "reject", "header section too large",
                                552, "5.3.4", "The header section is too large"),
    "header-broken": Finding("header", 2.0, "a line in the header section is no header field",
                             550, "5.6.0", "The header section is malformed (RFC 5322)"),
    "header-several-from": Finding(
        "header", "reject", "several From fields: nobody could tell whose DMARC policy counts",
        550, "5.6.0", "The message has several From fields (RFC 5322 allows one)",
    ),
    "header-no-from": Finding("header", 2.0, "no From field", 550, "5.6.0",
                              "The message has no From field (RFC 5322)"),
    "header-no-date": Finding("header", 0.5, "no Date field", 550, "5.6.0",
                              "The message has no Date field (RFC 5322)"),
    "header-control": Finding("header", 2.0, "control characters in the header section",
                              550, "5.6.0", "Control characters in the header section"),
    "header-8bit": Finding("header", 0.5, "8-bit header fields without SMTPUTF8"),
    # loop
    "loop-ours": Finding("loop", "reject", "it has come through us several times",
                         554, "5.4.6", "This message has been here before; it goes in circles"),
    # honeypots
    "honeypot": Finding("honeypots", 5.0, "the session wrote to a honeypot (each counts)",
                        554, "5.7.1", "Refused by local policy"),
    # engines
    "rspamd-reject": Finding("rspamd", "reject", "rspamd says reject",
                             554, "5.7.1", "Spam message rejected"),
    "rspamd-defer": Finding("rspamd", "defer", "rspamd says soft reject",
                            451, "4.7.1", "Try again later"),
    "rspamd-quarantine": Finding("rspamd", "hold", "rspamd says quarantine"),
    "rspamd-spam": Finding("rspamd", 0.0, "rspamd says add header or rewrite subject"),
    "milter-reject": Finding("milters", "reject", "a milter says reject",
                             550, "5.7.1", "Refused by a content filter"),
    "milter-defer": Finding("milters", "defer", "a milter says tempfail",
                            451, "4.7.1", "Try again later"),
    "milter-quarantine": Finding("milters", "hold", "a milter says quarantine"),
    "milter-discard": Finding(
        "milters", "hold", "a milter says discard; nothing is dropped here, so it is held",
    ),
    "virus": Finding("clamav", "reject", "ClamAV knows it as malware",
                     554, "5.7.1", "The message carries malware"),
    "spamassassin-spam": Finding("spamassassin", "reject", "SpamAssassin says spam",
                                 554, "5.7.1", "Spam message rejected"),
    "engine-failed": Finding(
        "engines", "defer", "a content filter did not answer (its on_failure says what follows)",
        451, "4.7.0", "The content filter does not answer; try again later",
    ),
}  # fmt: skip

FINDINGS: Final = MappingProxyType(_ALL)

CHECKS: Final = (
    "early-talker", "trap", "reverse-dns", "helo", "dns-lists", "spf", "sender-domain",
    "own-sender", "bounces", "rate-limits", "greylist", "honeypots", "loop", "header", "dkim",
    "arc", "dmarc", "milters", "clamav", "rspamd", "spamassassin",
)  # fmt: skip
"""All checks, in the order in which their refusals count."""
