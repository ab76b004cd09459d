"""Who writes in the tests of backscatter: forgers of many kinds, honest people, and their DNS.

Each kind has a domain of its own below "example", whose mail goes to MX_ADDRESS. A test serves
the tables here by a real DNS server (`zones`), or gives them to checks (`names`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from tideover.testing.dns import FakeNames
from tideover.testing.signing import dkim_signed, public_record, rsa_key

MX_ADDRESS = "127.25.9.1"
HONEST = "127.25.9.20"
BOT = "127.25.9.66"
OWN = "127.25.9.30"
"""The host that SPF of example.com, a domain of ours, names."""

HELO = "helo.hosts.example"
"""The name in HELO, which the client chose: it leads to BOT."""

UNPROVEN = "neither SPF nor DKIM proves"


@dataclass(frozen=True, slots=True)
class Kind:
    """`spf` is the record of its domain, None: none; `dmarc` that of its policy.

    `sender` is the reverse path where it isn't an address of the domain, `author` the domain in
    From where it is another. `signer` is the domain of a DKIM signature, `spoilt` what is wrong
    with that. `why` is what the evidence says, `refused` the beginning of what a strict profile
    answers, "" when it takes it. `proven`: reports may go to the sender.
    """

    name: str
    why: str = UNPROVEN
    spf: str | None = None
    dmarc: str | None = None
    mx: bool = True
    sender: str | None = None
    author: str = ""
    signer: str = ""
    spoilt: str = ""
    client: str = BOT
    refused: str = ""
    proven: bool = False
    notify: str = ""

    @property
    def domain(self) -> str:
        return f"{self.name}.example"

    def reverse_path(self, number: int) -> str:
        """The sender of a message."""
        return f"v{number}@{self.domain}" if self.sender is None else self.sender


FORGED = (
    Kind("nospf"),
    Kind("curious", notify="SUCCESS,FAILURE,DELAY"),
    Kind("strict", spf="ip4:192.0.2.1 -all"),
    Kind("soft", spf="ip4:192.0.2.1 ~all"),
    Kind("neutral", spf="?all"),
    Kind("open", spf="+all"),
    Kind("wide", spf="ip4:0.0.0.0/0 -all"),
    Kind("halves", spf="ip4:0.0.0.0/1 ip4:128.0.0.0/1 -all"),
    Kind("including", spf="include:open.example -all"),
    Kind("redirecting", spf="redirect=open.example"),
    Kind("chosen", spf="a:%{h} -all"),
    Kind("nearby", spf="a:mx.hosts.example/0 -all"),
    Kind("there", spf="exists:mx.hosts.example -all"),
    Kind("broken", spf="ip4:300.0.0.1 -all"),
    Kind("missing", mx=False),
    Kind("null-mx", mx=False, refused="550 5.7.27"),
    Kind("servfail", why="DMARC of servfail.example: temperror"),
    Kind("null", sender="", why="null sender"),
    Kind("literal", sender="v@[192.0.2.9]", why="no reverse path that could be proven"),
    Kind("own", sender="user@example.com", refused="550 5.7.1", author="example.com"),
    Kind("rejecting", dmarc="p=reject", refused="550 5.7.26", why="rejecting.example: fail"),
    Kind("watching", dmarc="p=none", why="DMARC of watching.example: fail"),
    # their own domain is proven, and they write in another's name
    Kind("bulk", spf=f"ip4:{BOT} -all", author="watching.example",
         why="DMARC of watching.example: fail"),
    Kind("foreign", signer="bulk.example"),
    Kind("mangled", signer="mangled.example", spoilt="body"),
    Kind("partial", signer="partial.example", spoilt="length"),
    Kind("trial", signer="trial.example", spoilt="testing"),
    Kind("expired", signer="expired.example", spoilt="expired"),
    Kind("headless", signer="headless.example", spoilt="from"),
    Kind("suffix", signer="example"),
    # names of those who are proven
    Kind("impostor", sender="v@by-spf.example"),
    Kind("below", sender="v@nothing.by-spf.example", client=HONEST),
    Kind("quoted", sender='"v@by-spf.example"@nospf.example', client=HONEST),
)  # fmt: skip

PROVEN = (
    Kind("by-spf", spf=f"ip4:{HONEST} -all", client=HONEST, proven=True,
         why="SPF passes for by-spf.example"),
    Kind("by-dkim", signer="by-dkim.example", proven=True,
         why="a DKIM signature of by-dkim.example"),
    # an organization that signs for its names (relaxed alignment)
    Kind("by-both", spf=f"ip4:{HONEST} -all", dmarc="p=reject", client=HONEST, proven=True,
         signer="by-both.example", sender="v@mail.by-both.example",
         why="a DKIM signature of by-both.example"),
)  # fmt: skip
SILENT = Kind("silent", spf=f"ip4:{HONEST} -all", client=HONEST, proven=True, notify="NEVER",
              why="SPF passes for silent.example")  # fmt: skip
"""Proven, and wants no report."""

KINDS = (*FORGED, *PROVEN, SILENT)


@cache
def message(kind: Kind) -> bytes:
    """The message that all of a kind send; fields may be put above it."""
    author = kind.author or kind.domain
    text = (
        f"From: Vera <vera@{author}>\r\nTo: user@example.com\r\nSubject: Our offer\r\n"
        f"Date: Sat, 21 Nov 2026 10:00:00 +0000\r\n\r\nDear all,\r\nplease see below.\r\n"
    ).encode()
    if not kind.signer:
        return text
    body = text.partition(b"\r\n\r\n")[2]
    tags = {"d": kind.signer, "s": "trial" if kind.spoilt == "testing" else "s1"}
    tags |= {
        "length": {"l": str(len(body))},
        "expired": {"t": "1", "x": "2"},
        "from": {"h": "to:subject:date"},
    }.get(kind.spoilt, {})
    signed = dkim_signed(text, rsa_key(), tags)
    if kind.spoilt == "length":
        return signed + b"Buy this!\r\n"
    return signed.replace(b"Dear", b"Poor") if kind.spoilt == "body" else signed


def _texts() -> dict[str, list[str]]:
    key = public_record(rsa_key())
    texts = {"example.com": [f"v=spf1 ip4:{OWN} -all"]}
    for kind in KINDS:
        if kind.spf is not None:
            texts[kind.domain] = [f"v=spf1 {kind.spf}"]
        if kind.dmarc is not None:
            texts[f"_dmarc.{kind.domain}"] = [f"v=DMARC1; {kind.dmarc}"]
        if kind.signer:
            texts[f"s1._domainkey.{kind.signer}"] = [key]
    texts["trial._domainkey.trial.example"] = [public_record(rsa_key(), after="; t=y")]
    return texts


def _mails() -> dict[str, list[tuple[int, str]]]:
    domains = [kind.domain for kind in KINDS if kind.mx]
    to_us = [(10, "mx.hosts.example")]
    mails = dict.fromkeys((*domains, "mail.by-both.example", "example.com"), to_us)
    return mails | {"null-mx.example": [(0, "")]}


_ADDRESSES: Mapping[str, list[str]] = {"mx.hosts.example": [MX_ADDRESS], HELO: [BOT]}


def names() -> FakeNames:
    """The DNS of all of them."""
    return FakeNames(
        txt=_texts(), mx=_mails(), a=_ADDRESSES,
        broken=["servfail.example", "_dmarc.servfail.example"],
    )  # fmt: skip


def zones() -> dict[str, str]:
    """The same as zones for `DnsServer`, which must be told to fail for servfail.example."""
    lines = [f'{name}. TXT "{text}"' for name, texts in _texts().items() for text in texts]
    lines += [f"{name}. MX {n} {host}." for name, mx in _mails().items() for n, host in mx]
    lines += [f"{name}. A {a}" for name, addresses in _ADDRESSES.items() for a in addresses]
    tops = ("example", "com", "net", "org", "arpa")
    return {
        top: "".join(f"{line}\n" for line in lines if line.partition(". ")[0].endswith(f".{top}"))
        for top in tops
    }
