"""Questions and answers between a backup and the agent beside its primary, signed by both.

A body is one JSON object; its signature (Ed25519, RFC 8032) over a context and the body's octets
stands in the header `SIGNATURE`, in base64. `docs/agent.md` tells it for other implementations.
Pure: no I/O, no clock.
"""

from base64 import b64decode, b64encode
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from tideover.message.client_address import plain_address

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PATH: Final = "/v1/reach"
SIGNATURE: Final = "Tideover-Signature"
LARGEST: Final = 2048
"""Octets of a body at most, of either kind."""
WINDOW: Final = 60.0
"""Seconds that a question's time may be away from the agent's clock."""

_QUESTION: Final = b"tideover-agent-question-v1\n"
_ANSWER: Final = b"tideover-agent-answer-v1\n"
_SIGNATURE_TEXT: Final = 88  # 64 octets in base64

Key = Annotated[str, Meta(min_length=44, max_length=44)]
Nonce = Annotated[str, Meta(min_length=16, max_length=64)]
Port = Annotated[int, Meta(ge=1, le=65535)]


class ProtocolError(Exception):
    """What came is no question or answer that may be believed. The text is for our operator."""


class Verdict(StrEnum):
    """Whether the primary's packets get to an address."""

    REACHABLE = "reachable"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


class Question(Struct, frozen=True, kw_only=True):
    """Can you reach this address? `asker` and `agent` are the public keys of both, so that no
    question serves elsewhere. `time` is Unix time; `nonce` is chance, used once.
    """

    asker: Key
    agent: Key
    address: Annotated[str, Meta(max_length=45)]
    time: float
    nonce: Nonce
    port: Port = 25


class Answer(Struct, frozen=True, kw_only=True):
    """What the agent found. `nonce` and `address` are the question's; `time` is when it was found
    out, in Unix time: a verdict is kept for some minutes.
    """

    verdict: Verdict
    reason: Annotated[str, Meta(max_length=500)]
    address: Annotated[str, Meta(max_length=45)]
    time: float
    nonce: Nonce


_Kind = TypeVar("_Kind", Question, Answer)


class Sealed(Struct, frozen=True):
    """A body and its signature, as they travel."""

    body: bytes
    signature: str


def seal(value: Question | Answer, key: "Ed25519PrivateKey") -> Sealed:
    """Sign it."""
    body = msgspec.json.encode(value)
    return Sealed(body, b64encode(key.sign(_context(type(value)) + body)).decode())


def opened(sealed: Sealed, kind: type[_Kind], key: str) -> _Kind:
    """What is in it, when `key` (base64) has signed it.

    Raises:
        ProtocolError: nobody knows who wrote it, or it is none.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if len(sealed.body) > LARGEST or len(sealed.signature) != _SIGNATURE_TEXT:
        raise ProtocolError("it is too large, or not signed")
    try:
        public = Ed25519PublicKey.from_public_bytes(b64decode(key, validate=True))
        public.verify(b64decode(sealed.signature, validate=True), _context(kind) + sealed.body)
        return msgspec.json.decode(sealed.body, type=kind)
    except InvalidSignature:
        raise ProtocolError("its signature is wrong") from None
    except (ValueError, RecursionError):  # also msgspec's and binascii's errors
        raise ProtocolError("it is not in the right form") from None


def asker_of(body: bytes) -> str:
    """The key that a question names, of which nothing is proven yet.

    Raises:
        ProtocolError: it is no question.
    """
    try:
        return msgspec.json.decode(body, type=Question).asker
    except (ValueError, RecursionError):
        raise ProtocolError("it is not in the right form") from None


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """A client's address in its one spelling; None when it is none."""
    try:
        return ip_address(plain_address(text))
    except ValueError:
        return None


def _context(kind: type[Question] | type[Answer]) -> bytes:
    return _QUESTION if kind is Question else _ANSWER
