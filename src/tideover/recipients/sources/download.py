"""One file over HTTP(S), whole or not at all.

Only an answer 200 whose end is known counts: by Content-Length, by chunks (RFC 9112 §6) or by
the trailer of gzip (RFC 1952); everything that ends early is an error. Octets are counted after
decompression. Redirects are followed a few times, never from https to http, and neither token
nor password goes to another origin. No proxy: what the environment of a service says of proxies is
seldom meant for it, and a list of recipients is no matter for a third party.
"""

import asyncio
import os
import ssl
import zlib
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from tideover import __version__
from tideover.config.values import is_address, write_size
from tideover.recipients.sources.interface import SourceError

if TYPE_CHECKING:
    import httpx

MAX_REDIRECTS: Final = 5
CONNECT_TIMEOUT: Final = 30.0
SILENCE_TIMEOUT: Final = 60.0
"""Seconds without any octet after which the server counts as gone."""
_BATCH: Final = 1 << 20
_MAX_VALIDATOR: Final = 1000


class _Validators(Struct, frozen=True, omit_defaults=True):
    """What tells one content from the next: by the server's word, and by our own look."""

    etag: str | None = None
    modified: str | None = None
    digest: str = ""


async def download(
    url: str,
    target: Path,
    *,
    validators: str | None,
    max_size: int,
    token: str | None = None,
    ca_file: Path | None = None,
) -> str | None:
    """Fetch `url` into `target` (made or replaced, mode 0600; gone again after an error).

    `validators` is what the last call returned for the content that is in use. Returns the new
    ones (opaque), or None when that content is still the right one (RFC 9110 §13.1): then there is
    no `target`. `max_size` in octets; `token` is a bearer token (RFC 6750); `ca_file` has the
    authorities to trust instead of the system's. Waits at most `SILENCE_TIMEOUT` for each piece;
    bound the whole with `asyncio.timeout`.

    Raises:
        SourceError: it can't be had, or not whole. Holds no query, token or password.
    """
    import httpx  # 50 ms that only lists over HTTP need

    known = _known(validators)
    try:
        context = await asyncio.to_thread(_context, ca_file)
        timeout = httpx.Timeout(SILENCE_TIMEOUT, connect=CONNECT_TIMEOUT)
        async with httpx.AsyncClient(
            verify=context, timeout=timeout, trust_env=False, follow_redirects=False
        ) as client:
            return await _fetch(client, httpx.URL(url), target, known, max_size, token)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, zlib.error) as error:
        raise SourceError(f"{name_of(url)}: {_reason(error)}") from None


def name_of(url: str) -> str:
    """The URL as it may be shown: without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        return "the URL"


async def _fetch(
    client: "httpx.AsyncClient",
    url: "httpx.URL",
    target: Path,
    known: _Validators,
    max_size: int,
    token: str | None,
) -> str | None:
    secret = token is not None or url.userinfo
    if secret and url.scheme != "https" and not _is_loopback(url.host):
        raise ValueError("a token or password is not sent in clear; use https")
    headers = {"User-Agent": f"Tideover/{__version__}", "Accept-Encoding": "gzip"}
    if known.etag is not None:
        headers["If-None-Match"] = known.etag
    if known.modified is not None:
        headers["If-Modified-Since"] = known.modified
    home = (url.scheme, url.host, url.port)
    for _ in range(MAX_REDIRECTS + 1):
        is_home = (url.scheme, url.host, url.port) == home
        bearer = {"Authorization": f"Bearer {token}"} if token is not None and is_home else {}
        async with client.stream("GET", url, headers={**headers, **bearer}) as response:
            if response.has_redirect_location:
                url = _next(url, response.headers["Location"])
            elif response.status_code == 304 and (known.etag or known.modified):
                return None
            elif response.status_code != 200:
                raise SourceError(f"{name_of(str(url))}: answered {response.status_code}")
            else:
                return await _store(response, target, known, max_size)
    raise SourceError(f"{name_of(str(url))}: more than {MAX_REDIRECTS} redirects")


def _next(url: "httpx.URL", location: str) -> "httpx.URL":
    """Where a redirect leads."""
    new = url.join(location)
    if new.scheme not in ("http", "https") or (url.scheme == "https" and new.scheme == "http"):
        raise SourceError(f"{name_of(str(url))}: redirects to something that is not https")
    user = url.userinfo if (new.scheme, new.netloc) == (url.scheme, url.netloc) else b""
    return new.copy_with(userinfo=user)


def _is_loopback(host: str) -> bool:
    from ipaddress import ip_address

    return host == "localhost" or (is_address(host) and ip_address(host).is_loopback)


async def _store(
    response: "httpx.Response", target: Path, known: _Validators, max_size: int
) -> str | None:
    """Take the body in; it is checked to be whole before this returns."""
    length = response.headers.get("Content-Length", "")
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip", "x-gzip", ""):
        raise ValueError(f"sent in the coding {coding[:40]!r}, which was not asked for")
    zipped = coding.endswith("gzip")
    if not length and "Transfer-Encoding" not in response.headers and not zipped:
        raise ValueError("has no Content-Length: whether it is whole can't be told")
    if length.isdecimal() and not zipped and int(length) > max_size:
        raise _too_large(max_size)
    sink = _Sink(target, max_size, zipped=zipped)
    try:
        waiting = bytearray()
        async for piece in response.aiter_raw():
            waiting += piece
            if len(waiting) >= _BATCH:
                await asyncio.to_thread(sink.take, bytes(waiting))
                waiting.clear()
        digest = await asyncio.to_thread(sink.end, bytes(waiting))
    except BaseException:
        sink.drop()
        raise
    new = _Validators(digest=digest)
    if _is_settled(response):
        new = _Validators(
            etag=_kept(response.headers.get("ETag")),
            modified=_kept(response.headers.get("Last-Modified")),
            digest=digest,
        )
    gained = not (known.etag or known.modified) and (new.etag or new.modified)
    if digest == known.digest and not gained:  # from a server without validators
        await asyncio.to_thread(sink.drop)
        return None
    return msgspec.json.encode(new).decode()


def _is_settled(response: "httpx.Response") -> bool:
    """Whether validators tell this content from the next: what is changed twice within a second
    has the same time, and often the same ETag, for both (RFC 9110 §8.8.2.2). Then it is read once
    more in full.
    """
    modified, date = (_time(response.headers.get(name)) for name in ("Last-Modified", "Date"))
    return modified is None or date is None or date - modified > 1.0


def _time(value: str | None) -> float | None:
    """Unix seconds of an HTTP date."""
    try:
        return parsedate_to_datetime(value).timestamp() if value else None
    except (ValueError, OverflowError):
        return None


class _Sink:
    """Decompresses, counts, digests and writes. Everything here blocks."""

    def __init__(self, target: Path, max_size: int, *, zipped: bool) -> None:
        self._target = target
        self._max_size = max_size
        self._unzip = zlib.decompressobj(31) if zipped else None
        self._digest = blake2b(digest_size=16)
        self._size = 0
        self._file: BinaryIO = open(target, "wb", opener=_private)  # noqa: SIM115 - closed in end, drop

    def take(self, data: bytes) -> None:
        """Take a piece, as sent."""
        if self._unzip is None:
            self._write(data)
            return
        while True:
            # piece by piece: a few octets may stand for gigabytes
            plain = self._unzip.decompress(data, _BATCH)
            self._write(plain)
            data = self._unzip.unconsumed_tail
            if self._unzip.eof and (data := self._unzip.unused_data):
                self._unzip = zlib.decompressobj(31)  # members follow one another, RFC 1952 §2.2
            elif not data and len(plain) < _BATCH:
                break

    def end(self, data: bytes) -> str:
        """Take the last piece; returns the digest of all."""
        self.take(data)
        if self._unzip is not None and not self._unzip.eof:
            raise ValueError("ends before its end (truncated gzip)")
        self._file.close()
        return self._digest.hexdigest()

    def drop(self) -> None:
        """Leave nothing."""
        self._file.close()
        self._target.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._max_size:
            raise _too_large(self._max_size)
        self._digest.update(data)
        self._file.write(data)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _too_large(max_size: int) -> ValueError:
    return ValueError(f"larger than max_size, {write_size(max_size)}")


def _known(validators: str | None) -> _Validators:
    try:
        return msgspec.json.decode(validators or "{}", type=_Validators)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return _Validators()


def _kept(value: str | None) -> str | None:
    """A validator that can be sent back as it came."""
    good = value and len(value) <= _MAX_VALIDATOR and value.isascii() and value.isprintable()
    return value if good else None


def _context(ca_file: Path | None) -> ssl.SSLContext:
    if ca_file is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise SourceError(f"{ca_file}: {error.strerror or 'no certificates in it'}") from None


def _reason(error: Exception) -> str:
    """The innermost cause in one line: what httpx says itself is often only its last step."""
    text = str(error)
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {seen.verify_message}"
        if isinstance(seen, ConnectionRefusedError):
            return "connection refused"
        seen = seen.__cause__ or seen.__context__
    if "without sending complete" in text or "incomplete chunked" in text:
        return "ends before its end (truncated)"
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    if not text or type(error).__name__.endswith("Timeout"):
        text = f"{type(error).__name__} {text}".strip()
    return " ".join(text.split())[:200]
