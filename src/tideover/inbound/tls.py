"""The certificate for STARTTLS: read from files and read again when they change, or self-made.

A changed file that can't be used never takes TLS away: the one in use stays, and an event says
why. Connections keep the context that they began with.
"""

import os
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tideover.events.event import EventSink
from tideover.events.records import CertificateLoaded, CertificateRejected

_SELF_MADE_DAYS = 3650
_RENEW_DAYS = 30


class CertificateError(Exception):
    """The configured certificate can't be used. The text names file and reason."""


class Certificate:
    """Holds the current `context`. `refresh` looks at the files and loads them when changed."""

    def __init__(
        self, certificate: Path, key: Path | None, sink: EventSink, *, self_made: bool = False
    ) -> None:
        self._certificate = certificate
        self._key = key
        self.sink = sink
        self._self_made = self_made
        self._stamp = self._look()
        self.context = self._load()

    def refresh(self) -> None:
        """Load the files again if they changed. Never raises."""
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self.context = self._load()
        except CertificateError as error:
            self.sink(CertificateRejected(reason=str(error)))

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in (self._certificate, self._key) if path)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        try:
            # a password callback, or a protected key would ask on the terminal
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
            found = x509.load_pem_x509_certificate(self._certificate.read_bytes())
            loaded = CertificateLoaded(
                subject=found.subject.rfc4514_string(),
                not_after=found.not_valid_after_utc.isoformat(),
                self_signed=self._self_made,
            )
        except (OSError, ValueError) as error:  # ValueError also of a name that can't be decoded
            reason = getattr(error, "strerror", None) or str(error)
            raise CertificateError(f"{self._certificate}: {reason}") from None
        self.sink(loaded)
        return context


def open_certificate(
    certificate: Path | None, key: Path | None, *, data_dir: Path, hostname: str, sink: EventSink
) -> Certificate:
    """The configured certificate, or a self-made one kept in `data_dir`.

    Raises:
        CertificateError: the configured one can't be used, or the self-made one not be written.
    """
    if certificate is not None:
        return Certificate(certificate, key, sink)
    path = data_dir / "tls" / f"{hostname}.pem"
    try:
        if _needs_making(path):
            _make(path, hostname)
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from None
    return Certificate(path, None, sink, self_made=True)


def _no_password() -> str:
    raise ValueError("the key is protected by a password; it must be readable without one")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _needs_making(path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> bool:
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return True
    return found.not_valid_after_utc - now() < timedelta(days=_RENEW_DAYS)


def _make(path: Path, hostname: str) -> None:
    """A self-signed certificate with its key in one file, put in place at once."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hostname[:64])])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=_SELF_MADE_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + made.public_bytes(serialization.Encoding.PEM)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(text)
    fresh.replace(path)
