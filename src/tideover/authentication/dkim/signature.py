"""A signature field, read: DKIM-Signature, and ARC-Message-Signature, which is much the same.

RFC 6376 §3.5 and §6.1.1; internationalized names as RFC 8616 has them.
"""

import re
from binascii import b2a_base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from tideover.authentication.dkim.body_hash import Covered
from tideover.authentication.dkim.canonical import relaxed_field, simple_field
from tideover.authentication.tags import TagError, base64, colon_list, compact, parse_tags
from tideover.message.fields import Field

DRIFT: Final = 300.0  # seconds by which a signer's clock may be ahead of ours, or behind
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]{1,12}")
_LENGTH: Final = re.compile(r"[0-9]{1,76}")
_QUOTED: Final = re.compile(r"=([0-9A-F]{2})")
_CANONICAL: Final = {"simple": False, "relaxed": True}


class SignatureRefused(Exception):  # noqa: N818 - an answer more than an error
    """It is not even tried. `result` is the word of RFC 8601 §2.7.1 for it."""

    def __init__(self, reason: str, result: str = "neutral") -> None:
        super().__init__(reason)
        self.result = result


class Signature(Struct, frozen=True, kw_only=True):
    """What a signature says: who signed (`domain`, `selector`: lower-case A-labels; `identity`
    as in `DkimResult`), what (`names` in lower case, `covered` of the body, whose SHA-256 is
    `body_hash`), how (`algorithm`, `relaxed`: the header's form), and the signature's `octets`.
    """

    field: Field
    domain: str
    selector: str
    identity: str
    algorithm: str
    octets: bytes
    body_hash: bytes
    names: tuple[bytes, ...]
    relaxed: bool
    covered: Covered

    @property
    def beginning(self) -> str:
        """The first characters of b=, which tell signatures apart (RFC 6008)."""
        return b2a_base64(self.octets[:6], newline=False).decode()

    @property
    def key_name(self) -> str:
        """Where DNS has the key."""
        return f"{self.selector}._domainkey.{self.domain}"


def dkim_signature(field: Field, tags: Mapping[str, str], *, now: float) -> Signature:
    """Read a DKIM-Signature whose tags these are. `now` is Unix time.

    Raises:
        SignatureRefused: it can't be valid.
    """
    if tags.get("v") != "1":
        raise SignatureRefused("v= is not 1")
    if "dns/txt" not in colon_list(tags.get("q", "dns/txt")):
        raise SignatureRefused("q= knows no way to the key but unknown ones")
    return read_signature(field, tags, now=now, identity=tags.get("i"))


def read_signature(
    field: Field, tags: Mapping[str, str], *, now: float, identity: str | None = None
) -> Signature:
    """Read what DKIM-Signature and ARC-Message-Signature have in common. `identity` is i=.

    Raises:
        SignatureRefused: it can't be valid.
    """
    for name in ("a", "b", "bh", "d", "h", "s"):
        if not tags.get(name):
            raise SignatureRefused(f"{name}= is missing")
    algorithm = tags["a"]
    if algorithm not in ("rsa-sha256", "ed25519-sha256"):
        weak = algorithm == "rsa-sha1"
        raise SignatureRefused(
            "rsa-sha1 proves nothing" if weak else "a= is no known algorithm",
            "policy" if weak else "neutral",
        )
    domain, selector = key_domain(tags["d"], "d="), key_domain(tags["s"], "s=")
    names = tuple(part.lower().encode() for part in colon_list(tags["h"]))
    if b"from" not in names:
        raise SignatureRefused("h= does not name From", "permerror")
    _check_times(tags, now)
    header, _, body = tags.get("c", "simple").partition("/")
    forms = (_CANONICAL.get(header), _CANONICAL.get(body or "simple"))
    if forms[0] is None or forms[1] is None:
        raise SignatureRefused("c= is no known canonicalization")
    return Signature(
        field=field,
        domain=domain,
        selector=selector,
        identity=_identity(identity, domain),
        algorithm=algorithm,
        octets=_octets(tags["b"], "b="),
        body_hash=_octets(tags["bh"], "bh="),
        names=names,
        relaxed=forms[0],
        covered=Covered(forms[1], _length(tags.get("l"))),
    )


def key_domain(text: str, tag: str) -> str:
    """d= or s= in lower-case A-labels.

    Raises:
        SignatureRefused: DNS could not know it.
    """
    name = text.lower()
    if not name.isascii():
        import idna  # tables of 1 MB that few signatures need

        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise SignatureRefused(f"{tag} is no domain name") from None
    if len(name) > 253 or not all(map(_LABEL.fullmatch, name.split("."))):
        raise SignatureRefused(f"{tag} is no domain name")
    return name


def signing_input(
    fields: Sequence[Field], field: Field, names: Sequence[bytes], *, relaxed: bool
) -> bytes:
    """What is signed: the named fields, each name's lowest first, then the signature itself
    without its b= (§3.7, §5.4.2). Names without a field stand for nothing.
    """
    canonical = relaxed_field if relaxed else simple_field
    parts = [canonical(each) for each in _chosen(fields, field, names)]
    parts.append(canonical(without_signature(field)))
    return b"\r\n".join(parts)


def without_signature(field: Field) -> Field:
    """The field with the value of b=, and the white space around that, taken out."""
    specs = field.value.split(b";")
    for number, spec in enumerate(specs):
        name, equals, _ = spec.partition(b"=")
        if name.strip() == b"b":
            specs[number] = name + equals
    value = b";".join(specs)
    head = field.raw[: field.raw.index(b":") + 1]
    return Field(field.name, value, head + value + b"\r\n")


def tags_of(field: Field) -> dict[str, str]:
    """The tags of a signature field.

    Raises:
        SignatureRefused: its value is no tag list.
    """
    try:
        return parse_tags(field.value)
    except TagError as error:
        raise SignatureRefused(f"bad syntax: {error}") from None


def _chosen(fields: Sequence[Field], own: Field, names: Sequence[bytes]) -> Iterator[Field]:
    wanted = set(names)
    left: dict[bytes, list[Field]] = {}
    for field in fields:
        if field.key in wanted and field is not own:
            left.setdefault(field.key, []).append(field)
    for name in names:
        if stack := left.get(name):
            yield stack.pop()


def _check_times(tags: Mapping[str, str], now: float) -> None:
    signed, expires = (_time(tags.get(name), name) for name in ("t", "x"))
    if signed is not None and expires is not None and expires <= signed:
        raise SignatureRefused("x= is not after t=", "permerror")
    if signed is not None and signed > now + DRIFT:
        raise SignatureRefused("t= lies in the future", "policy")
    if expires is not None and expires + DRIFT < now:
        raise SignatureRefused("expired (x=)", "policy")


def _time(value: str | None, tag: str) -> int | None:
    if value is None:
        return None
    if not _NUMBER.fullmatch(value):
        raise SignatureRefused(f"{tag}= is no time")
    return int(value)


def _length(value: str | None) -> int | None:
    if value is None:
        return None
    if not _LENGTH.fullmatch(value):
        raise SignatureRefused("l= is no length")
    return int(value)


def _octets(value: str, tag: str) -> bytes:
    try:
        return base64(value)
    except TagError:
        raise SignatureRefused(f"{tag} is no base64") from None


def _identity(value: str | None, domain: str) -> str:
    """i=, whose domain is d= or below it. A local part that can't be shown is left out."""
    if value is None:
        return f"@{domain}"
    local, at, host = _unquoted(compact(value)).rpartition("@")
    if not at:
        raise SignatureRefused("i= has no domain")
    host = key_domain(host, "the domain of i=")
    if host != domain and not host.endswith(f".{domain}"):
        raise SignatureRefused("i= is not within d=", "permerror")
    return f"{local if local.isprintable() else ''}@{host}"


def _unquoted(value: str) -> str:
    """The value without its dkim-quoted-printable (§2.11)."""
    octets = _QUOTED.sub(lambda match: chr(int(match[1], 16)), value)
    if octets == value:
        return value
    try:
        return octets.encode("latin-1").decode()
    except (UnicodeEncodeError, UnicodeDecodeError):
        raise SignatureRefused("i= is no text") from None
