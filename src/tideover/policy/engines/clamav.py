"""ClamAV: the message is streamed to clamd (INSTREAM), which names the malware that it knows."""

import struct
from collections.abc import AsyncIterator
from typing import Final

from tideover.config.policy_values import SocketAddress
from tideover.policy.engines.dialogue import dialogue
from tideover.policy.engines.inquiry import EngineError, Inquiries, not_shown, plain, shown
from tideover.policy.interface import About, Check, Found, Message, Result
from tideover.policy.services import Services
from tideover.smtp.replies import reply

_LENGTH: Final = struct.Struct("!I")
_FOUND: Final = " FOUND"


def make(services: Services) -> Check | None:
    """The check, or None where no clamd is configured."""
    settings = services.config.clamav
    if settings.socket is None:
        return None
    address, inquiries = settings.socket, Inquiries("clamav", settings)

    async def ask(_: About, message: Message) -> Result:
        return await _ask(address, message)

    async def check(about: About) -> Result:
        return await inquiries.make(about, ask)

    return check


async def _ask(address: SocketAddress, message: Message) -> Result:
    return _result(await dialogue(address, _question(message)))


async def _question(message: Message) -> AsyncIterator[bytes]:
    """The command, the message in pieces with their lengths, and a length of 0."""
    yield b"zINSTREAM\0"
    async for piece in shown(message):
        if piece:
            yield _LENGTH.pack(len(piece)) + piece
    yield _LENGTH.pack(0)


def _result(answer: bytes) -> Result:
    """What an answer means: "stream: OK", "stream: NAME FOUND", or "... ERROR"."""
    if not answer.endswith(b"\0"):
        raise EngineError("closed the connection without a whole answer")
    text = plain(answer[:-1].decode("utf-8", "replace"))
    what = text.removeprefix("stream: ")
    if what == "OK":
        return Result(evidence={"clamav": "nothing found"})
    if what.endswith(_FOUND):
        name = what.removesuffix(_FOUND)
        said = reply(554, "5.7.1", f"The message carries malware: {name}")
        return Result(
            found=(Found(name="virus", reason=name, reply=said),), evidence={"clamav": name}
        )
    if "size limit exceeded" in text:
        return not_shown("clamav", "larger than clamd's StreamMaxLength")
    raise EngineError(f"answers: {text}")
