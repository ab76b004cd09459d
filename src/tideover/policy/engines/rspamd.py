"""rspamd over HTTP: the message goes to /checkv2 of a worker; the verdict comes as JSON."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from tideover.policy.engines.http_post import HttpPlace
from tideover.policy.engines.inquiry import EngineError, Inquiries, shown, shown_size
from tideover.policy.engines.rspamd_answer import result_of
from tideover.policy.interface import About, Check, Message, Result
from tideover.policy.services import Services


def make(services: Services) -> Check | None:
    """The check, or None where no rspamd is configured."""
    settings, hostname = services.config.rspamd, services.config.hostname
    if settings.url is None:
        return None
    place = HttpPlace(f"{settings.url.rstrip('/')}/checkv2")
    inquiries = Inquiries("rspamd", settings)

    async def ask(about: About, message: Message) -> Result:
        headers = [("MTA-Name", hostname), *_headers(about, message)]
        if wanted := about.transaction.get("rspamd_settings") or settings.settings:
            headers.append(("Settings-ID", wanted))
        if settings.password_file is not None:
            password = await asyncio.to_thread(_password, settings.password_file)
            headers.append(("Password", password))
        raw = await place.post(headers, shown(message))
        return result_of(raw, message, smtputf8=about.smtputf8)

    async def check(about: About) -> Result:
        return await inquiries.make(about, ask)

    return check


def _headers(about: About, message: Message) -> Iterator[tuple[str, str]]:
    client = about.client
    yield "Content-Length", str(shown_size(message))
    yield "IP", client.address
    yield "Helo", client.helo
    if (reverse := about.results.get("reverse-dns")) and reverse.evidence.get("name"):
        yield "Hostname", reverse.evidence["name"]
    yield "From", f"<{about.sender or ''}>"
    for recipient in message.recipients:
        yield "Rcpt", f"<{recipient.address}>"
    yield "Queue-Id", message.queue_id
    if client.tls:
        version, _, cipher = client.tls.partition(" ")
        yield "TLS-Version", version
        yield "TLS-Cipher", cipher


def _password(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            password = file.readline(4096).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"password_file {path}: {error}") from None
    if not password:
        raise EngineError(f"password_file {path}: its first line is empty")
    return password
