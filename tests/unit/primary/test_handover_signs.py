"""Replies of real servers, by what they say of the handover."""

import pytest

from tideover.primary.handover_signs import SIGNS, sign_of

# Postfix, Exim, sendmail, Exchange, qmail, Courier, OpenSMTPD, Haraka, Stalwart, James, Gmail …
SAID = {
    "no-relay": [
        "554 5.7.1 <user@example.com>: Relay access denied",
        "454 4.7.1 <user@example.com>: Relay access denied",
        "550 relay not permitted",
        "550 relay not permitted!",
        "550 5.7.1 <user@example.com>... Relaying denied",
        "550 5.7.1 <user@example.com>... Relaying denied. Proper authentication required.",
        "550 5.7.1 Unable to relay for user@example.com",
        "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
        "550 5.7.64 TenantAttribution; Relay Access Denied SMTP",
        "550 5.1.2 Relay not allowed.",
        "550 I cannot deliver mail for <user@example.com>",
        "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
        "513 Relaying denied.",
        "554 Relay rejected for policy reasons.",
        "550 5.7.1 Relaying to <user@example.com> prohibited (DNS)",
        "550 We do not relay non-local mail, sorry.",
    ],
    "no-xclient": [
        "550 5.7.0 Error: insufficient authorization",
        "550 XCLIENT command used when not advertised",
    ],
    "login": [
        "530 5.7.0 Authentication required",
        "530 5.7.1 Client was not authenticated",
        "530 SMTP authentication is required.",
        "550 5.7.1 You must authenticate first to send mail",
    ],
    "blocked": [
        (
            "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using a.spamhaus.org; "
            "https://www.spamhaus.org/query/ip/192.0.2.10"
        ),
        "550 5.7.1 Service unavailable, Client host [192.0.2.10] blocked using Spamhaus. S3140",
        "554 5.7.1 <unknown[192.0.2.10]>: Client host rejected: Access denied",
        "550 5.7.606 Access denied, banned sending IP [192.0.2.10]",
        "550 JunkMail rejected - mx2.example.org [192.0.2.10]:41 is in an RBL: see dnsbl.example",
        "550 192.0.2.10 blocked by bl.spamcop.net",
        "554 mx2.example.org: your host is blocked",
        "550 Your IP address is blocked",
        "554 5.7.1 rejected because 192.0.2.10 is in a black list at dnsbl.example",
    ],
    "limited": [
        "421 4.7.0 mail.example.com Error: too many connections from 192.0.2.10",
        "450 4.7.1 Error: too much mail from 192.0.2.10",
        "421 4.7.0 mail.example.com Error: too many new TLS sessions from 192.0.2.10",
        "421 Too many concurrent SMTP connections; please try again later.",
        "421 4.3.2 Too many open connections.",
        "421 4.3.2 Connection rate limit exceeded.",
        "421 4.4.2 Message submission rate for this client has exceeded the configured limit",
        (
            "421 4.3.2 The maximum number of concurrent connections has exceeded a limit, closing "
            "transmission channel"
        ),
        "451 4.7.500 Server busy. Please try again later from [192.0.2.10]. (S77714)",
        "452 4.4.5 Rate limit exceeded, try again later.",
        (
            "421 4.7.28 Our system has detected an unusual rate of unsolicited mail coming from "
            "your IP address."
        ),
        "451 Sender rate overlimit - 120.3 / 1h",
        "421 Too many concurrent connections from this client (G2)",
        "450 4.7.1 Error: too many recipients from 192.0.2.10",
        "451 4.7.1 Received too many messages from a new or untrusted IP (G28)",
    ],
    "greylisted": [
        (
            "450 4.2.0 <user@example.com>: Recipient address rejected: Greylisted, see "
            "http://postgrey.schweikert.ch/help/example.com.html"
        ),
        "450 4.7.1 <user@example.com>: Recipient address rejected: Greylisted for 5 minutes",
        "451 4.7.1 Greylisting in action, please come back in 00:05:00",
        "451 Temporary failure, please try again later.",
        "451 4.7.1 Try again later",
        "450 4.3.2 Service currently unavailable",
        "451 greylisted",
        "452 4.2.2 Greylisted, please try again in a few moments.",
        "451 4.7.1 Gray-listed, please try again later",
    ],
    "spf": [
        (
            "550 5.7.23 <user@example.com>: Recipient address rejected: rejected due to: SPF "
            "fail - not authorized. Please see http://www.openspf.net/Why?s=mfrom;id=a@example.net"
        ),
        (
            "550 5.7.1 sender address rejected: domain of ann@example.net does not designate "
            "192.0.2.10 as permitted sender"
        ),
        "550 [SPF] 192.0.2.10 is not allowed to send mail from example.net.",
        "550 5.7.23 The message was rejected because of Sender Policy Framework violation",
        "550 5.7.23 SPF MAIL FROM validation failed.",
        "550 SPF check failed.",
    ],
    "dmarc": [
        "550 5.7.1 rejected by DMARC policy for example.net",
        (
            "550 5.7.509 Access denied, sending domain example.net fails DMARC verification "
            "and has a DMARC policy of reject"
        ),
        (
            "550 5.7.26 Unauthenticated email from example.net is not accepted due to its DMARC "
            "policy."
        ),
        "554 5.7.1 Email rejected per DMARC policy.",
    ],
    "name": [
        "504 5.5.2 <mx2>: Helo command rejected: need fully-qualified hostname",
        "450 4.7.1 <mx2.example.org>: Helo command rejected: Host not found",
        "450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.10]",
        "450 4.7.1 Client host rejected: cannot find your reverse hostname, [192.0.2.10]",
        "550 5.7.25 The IP address sending this message does not have a PTR record setup",
        "550 5.7.25 Reverse DNS validation failed.",
        "450 4.7.1 Client host 192.0.2.10 has no PTR record (G1F)",
    ],
}
NOTHING = [
    "554 5.7.1 Message rated as spam",
    "550 5.7.1 This message was blocked by our spam filter",
    "550 5.7.1 Message blocked by content policy: attachment .exe",
    "554 5.7.1 Message contains a URL listed on a blocklist",
    "550 5.7.1 Sender is blacklisted by the recipient",
    "550 5.7.1 You are on the recipient's blocklist",
    "550 5.7.1 <bad.example>: Sender domain blocked using dbl.spamhaus.org",
    "554 5.7.1 Service unavailable; Helo command [x] blocked using dbl.spamhaus.org",
    "552 5.2.2 Mailbox is over limit",
    (
        "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required; "
        "Delivery restriction check failed because the sender was not authenticated when sending "
        "to this group"
    ),
    "550 5.7.1 Command rejected: mailing list members only, please authenticate",
    (
        "550 5.1.1 <user@example.com>: Recipient address rejected: User unknown in virtual mailbox "
        "table"
    ),
    "550 5.1.1 The email account that you tried to reach does not exist.",
    "550 5.4.1 Recipient address rejected: Access denied",
    "554 5.7.1 <user@example.com>: Recipient address rejected: Access denied",
    "550 Unrouteable address",
    "550 Invalid recipient: <user@example.com>",
    "552 5.2.2 <user@example.com>: Recipient address rejected: Mailbox is full / Over quota",
    "452 4.2.2 The email account that you tried to reach is over quota",
    (
        "450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents "
        "additional messages from being delivered"
    ),
    "450 4.2.1 <user@example.com>: Mailbox received too much email in a short period of time (G30)",
    "554 5.7.1 Spam message rejected",
    "554 5.7.1 Gtube pattern",
    "550 5.7.1 Message contains a virus (Eicar-Signature)",
    "550 5.7.1 Message rejected due to content restrictions",
    "552 5.3.4 Message size exceeds fixed limit",
    "452 4.3.1 Insufficient system storage",
    "451 4.3.0 Temporary server error. Please try again later. PRX2",
    "451 Temporary local problem - please try later",
    "451 4.3.5 Server configuration error",
    "452 4.5.3 Too many recipients",
    "450 4.1.8 <a@example.net>: Sender address rejected: Domain not found",
    "550 Sender verify failed",
    "421 4.7.0 mail.example.com Error: too many errors",
    "451 4.7.24 SPF check: temporary error",
    "450 4.4.0 <user@example.com>: Temporary DMARC DNS lookup failure (G1E)",
    "550 5.1.1 <relay.access.denied@example.com>: User unknown",
    "550 5.1.1 spf-greylisted-by-dnsbl@example.com unknown",
    "250 2.0.0 Ok: queued as 4XYZ; relay access denied",
    "354 End data with <CR><LF>.<CR><LF>",
    "connection refused",
    "timed out: no answer to EHLO, too many connections",
    "",
]
CASES = [(word, reply) for word, replies in SAID.items() for reply in replies]


@pytest.mark.parametrize(("keyword", "reply"), CASES)
def test_what_servers_say_of_us(keyword: str, reply: str) -> None:
    sign = sign_of(reply, "RCPT")
    assert sign is not None
    assert sign.keyword == keyword


@pytest.mark.parametrize("reply", NOTHING)
def test_what_is_no_sign(reply: str) -> None:
    assert sign_of(reply, "RCPT") is None


@pytest.mark.parametrize(("keyword", "reply"), CASES)
def test_where_the_client_is_known_it_is_about_him(keyword: str, reply: str) -> None:
    sign = sign_of(reply, "RCPT", told="XCLIENT")
    assert (sign is not None) == (keyword in ("no-relay", "no-xclient", "login"))


@pytest.mark.parametrize(
    "reply", ["500 5.5.2 Error: command not recognized", "502 5.5.1 not implemented"]
)
def test_an_answer_to_xclient(reply: str) -> None:
    sign = sign_of(reply, "XCLIENT")
    assert sign is not None
    assert sign.keyword == "no-xclient"
    assert sign_of(reply, "RCPT") is None
    assert sign_of("421 4.3.2 going down", "XCLIENT") is None


def test_each_says_what_to_do() -> None:
    assert {sign.keyword for sign in SIGNS} == SAID.keys()
    assert all("`tideover handover`" in sign.cure for sign in SIGNS)
    assert all(str(sign).startswith("the primary ") for sign in SIGNS)


def test_a_hostile_reply_costs_little() -> None:
    for filler in ("a", "<", "a@", "helo name ", "too many ", " "):
        assert sign_of("550 " + filler * 100_000, "RCPT") is None


def test_an_outage_is_no_greylisting() -> None:
    said = "4.3.2 Service currently unavailable"
    assert sign_of(f"450 {said}", "CONNECT") is None
    assert sign_of(f"421 {said}", "RCPT") is None
    assert sign_of(f"450 {said}", "RCPT") is not None
