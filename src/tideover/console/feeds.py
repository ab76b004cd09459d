"""`PUT /v1/domains/{domain}/feed`: a primary pushes its feed.

Strangers learn nothing: whoever has no token hears 401, whether the domain is ours or not, before
a word of the body is read. Who has it is told why a feed is refused.
"""

import asyncio
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tideover.config.model import Config, Domain, Source
from tideover.config.values import parse_domain
from tideover.console.attempts import LIMIT, Attempts
from tideover.console.body import Body, GoneError
from tideover.console.interface import Feeds
from tideover.console.token import TokenError, fits
from tideover.console.upload import NoSpaceError, TooLargeError, Uploads
from tideover.events.event import EventSink
from tideover.events.recipient_records import FeedPushed, FeedPushRefused
from tideover.inbound.limits import client_network
from tideover.message.client_address import plain_address
from tideover.recipients.report import Refreshed
from tideover.recipients.sources.interface import SourceError

AT_ONCE: Final = 2
"""Pushes under way; more are told to come again."""
_PUSH_TIMEOUT: Final = 600.0
_SOURCE: Final = "feed:push"


class Refusal(Struct, frozen=True):
    """What is answered instead of 200: `reason` for the operator, and for the client unless it is
    a stranger; `retry` in seconds.
    """

    status: int
    reason: str
    retry: int | None = None


class FeedPushes:
    """Takes pushed feeds. `config_of` gives the configuration in use."""

    def __init__(
        self,
        uploads: Uploads,
        feeds: Feeds,
        config_of: Callable[[], Config],
        emit: EventSink,
        attempts: Attempts,
    ) -> None:
        self._uploads = uploads
        self._feeds = feeds
        self._config_of = config_of
        self._emit = emit
        self._attempts = attempts
        self._busy: set[str] = set()

    async def put(self, request: Request) -> Response:
        """Answer one push."""
        client = client_of(request)
        name = _domain_name(request.path_params["domain"])
        body = Body(request)
        denied = await self._denied(request, name, client)
        if denied is not None:
            await body.drain()
            return denied
        outcome = await self._take(request, body, name)
        if isinstance(outcome, Refusal):
            self._emit(
                FeedPushRefused(
                    domain=name, client=client, status=outcome.status, reason=outcome.reason
                )
            )
            await body.drain()
            headers = None if outcome.retry is None else {"Retry-After": str(outcome.retry)}
            return JSONResponse({"refused": outcome.reason}, outcome.status, headers)
        self._emit(
            FeedPushed(
                domain=name, client=client, entries=outcome.entries or 0, changed=outcome.changed
            )
        )
        return JSONResponse(
            {"domain": name, "entries": outcome.entries, "changed": outcome.changed}
        )

    # Who it is

    async def _denied(self, request: Request, name: str, client: str) -> Response | None:
        """What a client without the domain's token hears, or None for one that has it."""
        network, now = client_network(client), time.monotonic()
        if wait := self._attempts.wait(network, now):
            return Response(status_code=429, headers={"Retry-After": str(int(wait) + 1)})
        domain = self._config_of().domains.get(name)
        path = domain.feed_push_token_file if domain is not None else None
        reason = "wrong token" if path is not None else "no domain that takes pushed feeds"
        try:
            if await asyncio.to_thread(fits, path, _token(request)):
                return None
        except TokenError as error:
            reason = str(error)
        count = self._attempts.failed(network, now)
        if count in (1, LIMIT):  # not each: the log is not a stranger's to fill
            self._emit(FeedPushRefused(domain=name, client=client, status=401, reason=reason))
        return Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})

    # What it brings

    async def _take(self, request: Request, body: Body, name: str) -> Refreshed | Refusal:
        if name in self._busy or len(self._busy) >= AT_ONCE:
            return Refusal(503, "other pushes are under way", 10)
        if request.headers.get("content-encoding", "identity") != "identity":
            return Refusal(415, "a feed is sent as it is, without Content-Encoding")
        config = self._config_of()
        max_size = _settings(config, config.domains.get(name)).max_size
        if _length(request) > max_size:
            return Refusal(413, f"a feed may have {max_size} octets")
        self._busy.add(name)
        try:
            async with self._uploads.take(
                body.pieces(), max_size=max_size, keep_free=config.min_free_space
            ) as path, asyncio.timeout(_PUSH_TIMEOUT):  # fmt: skip
                return _judged(await self._feeds.push(name, path))
        except TooLargeError:
            return Refusal(413, f"a feed may have {max_size} octets")
        except NoSpaceError:
            return Refusal(503, "the disk is too full", 600)
        except TimeoutError:
            return Refusal(408, "the feed came too slowly, or took too long to check")
        except GoneError:
            return Refusal(400, "the client went away before the end of the feed")
        except KeyError:
            return Refusal(422, f"feeds of {name} are not taken by push")
        except SourceError as error:
            return Refusal(409 if _is_old(error) else 422, str(error))
        except OSError as error:
            return Refusal(503, f"the feed can't be written: {error.strerror}", 600)
        finally:
            self._busy.discard(name)


def _judged(result: Refreshed) -> Refreshed | Refusal:
    return result if result.refused is None else Refusal(422, result.refused)


def _is_old(error: SourceError) -> bool:
    """Whether the feed was refused for its serial: it is no mistake, only late."""
    return str(error).startswith("feed refused: serial ")


def _settings(config: Config, domain: Domain | None) -> Source:
    """The details of the domain's pushed feed."""
    named = domain.recipients if domain is not None else ()
    return config.sources.get(_SOURCE, Source()) if _SOURCE in named else Source()


def _length(request: Request) -> int:
    """What Content-Length says; 0 when it says nothing (h11 has checked that it is a number)."""
    return int(request.headers.get("content-length", "0"))


def _token(request: Request) -> bytes:
    """The bearer token (RFC 6750 §2.1), or nothing."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip().encode("latin-1") if scheme.lower() == "bearer" else b""


def _domain_name(text: str) -> str:
    """The domain in A-labels; "" for what is none."""
    try:
        return parse_domain(text) if len(text) <= 255 else ""
    except ValueError:
        return ""


def client_of(request: Request) -> str:
    """Who is asking: the peer, or whom a reverse proxy on this machine names last."""
    peer = plain_address(request.client.host) if request.client is not None else "127.0.0.1"
    forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    if not forwarded or not ip_address(peer).is_loopback:
        return peer
    try:
        return plain_address(str(ip_address(forwarded)))
    except ValueError:
        return peer
