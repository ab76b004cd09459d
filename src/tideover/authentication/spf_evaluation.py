"""The evaluation of SPF records, includes and redirects and all (RFC 7208 §4.6 to §6.2).

It asks the resolver as it goes, so it suspends only where DNS does; and it keeps the trail of what
matched down to the innermost record. What records of strangers can cost is bounded: terms and void
look-ups by §4.6.4, questions to DNS and octets of records by limits of our own.
"""

import asyncio
import re
from collections.abc import Sequence
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, Final

from msgspec import Struct

from tideover.authentication.spf_macros import (
    MAX_EXPLANATION,
    MacroError,
    Template,
    explain_string,
    name_of,
    text_of,
    uses,
)
from tideover.authentication.spf_record import Directive, RecordError, SpfRecord, is_spf, parse
from tideover.dns.names import Names
from tideover.dns.resolver import DnsUnavailable, NoSuchName
from tideover.eager import run

MAX_TERMS: Final = 10  # that ask DNS
MAX_VOID: Final = 2
MAX_HOSTS: Final = 10  # of one mx; names of the client
MAX_QUESTIONS: Final = 40  # in all but names of the client; §4.6.4 would allow 111
MAX_OCTETS: Final = 16 * 1024  # of all records
PATIENCE: Final = 5.0
"""Seconds for all names of the client: their DNS is the client's own, and must not hold up what the
sender's says of a forger.
"""
_MAX_TEXT: Final = 80  # of a term or a name in a reason

# What a question can be asked about: no backslash, which DNS libraries take for an escape.
_ASKABLE: Final = re.compile(
    r"[\x20-\x2d\x2f-\x5b\x5d-\x7e]{1,63}(?:\.[\x20-\x2d\x2f-\x5b\x5d-\x7e]{1,63})*"
)
_NOT_PRINTABLE: Final = re.compile(r"[^\x20-\x7e]+")


class SpfPermError(Exception):
    """permerror (§2.6.7). The text is for operators."""


class SpfTempError(Exception):
    """temperror (§2.6.6). The text is for operators."""


class SpfClient(Struct, frozen=True, kw_only=True):
    """The client: its address as text, as a number, and as %{i} writes it."""

    text: str
    value: int
    is_ipv4: bool
    dotted: str


class Verdict(Struct, frozen=True):
    """What a record says. `trail` holds what matched, as written, the outermost first; `domain` is
    the one whose `explanation` counts.
    """

    result: str
    trail: tuple[str, ...] = ()
    explanation: Template | None = None
    domain: str = ""


class Evaluation:
    """One evaluation, and what it has used up so far. Not to be used twice."""

    def __init__(
        self, client: SpfClient, names: Names, *, domain: str, local: str, helo: str
    ) -> None:
        self._client = client
        self._names = names
        self._ascii = local.isascii()
        self._values = {
            "s": f"{local}@{domain}",
            "l": local,
            "o": domain,
            "i": client.dotted,
            "h": helo if helo and helo.isascii() else "unknown",
            "v": "in-addr" if client.is_ipv4 else "ip6",
        }
        self._terms = self._voids = self._questions = self._octets = 0
        self._client_has: list[str] | None = None

    async def of(self, domain: str) -> Verdict:
        """The verdict of one domain's record (§4.6).

        Raises:
            SpfPermError, SpfTempError: as their names say.
        """
        record = await self._record(domain)
        if record is None:
            return Verdict("none")
        client = self._client
        mine = "ip4" if client.is_ipv4 else "ip6"
        for directive in record.directives:
            kind = directive.kind
            trail: tuple[str, ...] = ()
            if kind in ("ip4", "ip6"):
                if kind != mine or client.value & directive.mask != directive.network:
                    continue
            elif kind == "include":
                inner = await self._included(directive, domain)
                if inner is None:
                    continue
                trail = inner.trail
            elif kind != "all" and not await self._asks(directive, domain):
                continue
            return Verdict(directive.result, (directive.text, *trail), record.explanation, domain)
        if record.redirect is not None:
            return await self._redirected(record.redirect, record.redirect_text, domain)
        return Verdict("neutral")

    async def explain(self, template: Template, domain: str, receiver: str, now: float) -> str:
        """What a domain says about its fail (§6.2): printable ASCII, "" for nothing usable."""
        if self._is_beyond_dns(template):
            return ""
        try:
            name = name_of(template, await self._filled(template, domain))
            texts = await self._names.txt(name) if _ASKABLE.fullmatch(name) else ()
            if len(texts) != 1 or len(texts[0]) > 2 * MAX_EXPLANATION:
                return ""
            text = explain_string(texts[0].decode("ascii"))
        except (NoSuchName, DnsUnavailable, MacroError, UnicodeDecodeError):
            return ""
        values = await self._filled(text, domain)
        values |= {"c": self._client.text, "r": receiver, "t": str(int(now))}
        return _NOT_PRINTABLE.sub("?", text_of(text, values)).strip()

    async def _record(self, domain: str) -> SpfRecord | None:
        """The record of a domain (§4.4, §4.5)."""
        found = [text for text in await self._answer("txt", domain) if is_spf(text)]
        if not found:
            return None
        if len(found) > 1:
            raise SpfPermError(f"{domain[:_MAX_TEXT]} has several SPF records")
        self._octets += len(found[0])
        if self._octets > MAX_OCTETS:
            raise SpfPermError("the records together are too large")
        try:
            return parse(found[0])
        except RecordError as error:
            raise SpfPermError(f"{domain[:_MAX_TEXT]}: {error}") from None

    async def _included(self, directive: Directive, domain: str) -> Verdict | None:
        """What the included record says if that is a match (§5.2)."""
        self._count_term()
        name = await self._target(directive, domain)
        if name is None:
            return None
        inner = await self.of(name)
        if inner.result == "none":
            raise SpfPermError(f"no SPF record at {directive.text[:_MAX_TEXT]}")
        return inner if inner.result == "pass" else None

    async def _redirected(self, template: Template, text: str, domain: str) -> Verdict:
        """What the record at another name says in place of this one (§6.1)."""
        self._count_term()
        if self._is_beyond_dns(template):
            return Verdict("neutral")
        verdict = await self.of(name_of(template, await self._filled(template, domain)))
        if verdict.result == "none":
            raise SpfPermError(f"no SPF record at {text[:_MAX_TEXT]}")
        trail = (text, *verdict.trail) if verdict.trail else ()
        return Verdict(verdict.result, trail, verdict.explanation, verdict.domain)

    async def _asks(self, directive: Directive, domain: str) -> bool:
        """Whether a, mx, exists or ptr matches (§5.3, §5.4, §5.5, §5.7)."""
        self._count_term()
        name = await self._target(directive, domain)
        if name is None:
            return False
        match directive.kind:
            case "a":
                return self._covers(await self._of_a_term("address", name), directive)
            case "exists":
                return bool(await self._of_a_term("a", name))
            case "mx":
                hosts = [host for _, host in sorted(await self._of_a_term("mx", name)) if host]
                if len(hosts) > MAX_HOSTS:
                    raise SpfPermError(f"{name[:_MAX_TEXT]} has more than {MAX_HOSTS} MX")
                for host in hosts:
                    if self._covers(await self._answer("address", host), directive):
                        return True
                return False
            case _:
                return any(_is_within(one, name) for one in await self._names_of_client())

    def _covers(self, addresses: Sequence[str], directive: Directive) -> bool:
        drop = 32 - directive.bits4 if self._client.is_ipv4 else 128 - directive.bits6
        mine = self._client.value >> drop
        return any(self._number(one) >> drop == mine for one in addresses)

    def _number(self, address: str) -> int:
        return int.from_bytes(inet_pton(AF_INET if self._client.is_ipv4 else AF_INET6, address))

    async def _target(self, directive: Directive, domain: str) -> str | None:
        """The name that a mechanism is about; None: nothing, so that it can't match."""
        template = directive.domain
        if template is None:
            return domain
        if self._is_beyond_dns(template):
            return None
        return name_of(template, await self._filled(template, domain))

    def _is_beyond_dns(self, template: Template) -> bool:
        """Local parts beyond ASCII make no names (RFC 8616 §4)."""
        return not self._ascii and uses(template, "sl")

    async def _filled(self, template: Template, domain: str) -> dict[str, str]:
        """What the macros in it stand for."""
        self._values["d"] = domain
        if uses(template, "p"):
            found = await self._names_of_client()
            below = [name for name in found if _is_within(name, domain)]
            self._values["p"] = domain if domain in below else [*below, *found, "unknown"][0]
        return self._values

    async def _names_of_client(self) -> list[str]:
        """Those that lead back to it (§5.5); those of which DNS says nothing are passed over."""
        if self._client_has is None:
            self._client_has = []
            begun = run(self._look_up_client(self._client_has))
            if isinstance(begun, asyncio.Task):
                try:
                    await asyncio.wait((begun,), timeout=PATIENCE)
                    if begun.done():
                        begun.result()
                finally:
                    begun.cancel()
        return self._client_has

    async def _look_up_client(self, names: list[str]) -> None:
        for name in (await self._quietly("ptr", self._client.text))[:MAX_HOSTS]:
            found = await self._quietly("address", name)
            if any(self._number(one) == self._client.value for one in found):
                names.append(name.removesuffix(".").lower())

    def _count_term(self) -> None:
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise SpfPermError(f"more than {MAX_TERMS} terms that ask DNS")

    async def _of_a_term(self, kind: str, name: str) -> Sequence[Any]:
        """The answer to what a mechanism asks; too many empty ones end it all (§4.6.4)."""
        found = await self._answer(kind, name)
        if not found:
            self._voids += 1
            if self._voids > MAX_VOID:
                raise SpfPermError(f"more than {MAX_VOID} look-ups without an answer")
        return found

    async def _answer(self, kind: str, name: str) -> Sequence[Any]:
        self._questions += 1
        if self._questions > MAX_QUESTIONS:
            raise SpfPermError(f"more than {MAX_QUESTIONS} questions to DNS")
        try:
            return await self._ask(kind, name)
        except DnsUnavailable as error:
            raise SpfTempError(str(error)) from None

    async def _quietly(self, kind: str, name: str) -> Sequence[Any]:
        try:
            return await self._ask(kind, name)
        except DnsUnavailable:
            return ()

    async def _ask(self, kind: str, name: str) -> Sequence[Any]:
        """Records of a kind, "address" being that of the client's; () for none."""
        if kind == "address":
            kind = "a" if self._client.is_ipv4 else "aaaa"
        try:
            if kind == "ptr":
                return await self._names.ptr(name)
            name = name.removesuffix(".").lower()
            if not _ASKABLE.fullmatch(name):
                return ()
            match kind:
                case "txt":
                    return await self._names.txt(name)
                case "mx":
                    return await self._names.mx(name)
                case "a":
                    return await self._names.a(name)
                case _:
                    return await self._names.aaaa(name)
        except NoSuchName:
            return ()


def _is_within(name: str, domain: str) -> bool:
    return name == domain or name.endswith(f".{domain}")
