"""Whether a token is the one in a file. The file is read each time: a changed one counts at once.

Everything here blocks.
"""

import hmac
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Final

SHORTEST: Final = 16
"""Characters of a token at least; a shorter one is none."""
_LARGEST: Final = 4096
_NONE: Final = secrets.token_bytes(32)


class TokenError(Exception):
    """The token file can't be used. The text is for the operator, and names no token."""


def fits(path: Path | None, given: bytes) -> bool:
    """Whether `given` is the token in this file; never, without a file. Takes as long for a wrong
    token as for the right one.

    Raises:
        TokenError: the file can't be read, or holds no token that could be used.
    """
    wanted = _NONE if path is None else sha256(_read(path)).digest()
    return hmac.compare_digest(sha256(given).digest(), wanted)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            token = file.read(_LARGEST + 1).strip()
    except OSError as error:
        raise TokenError(f"{path}: {error.strerror or error}") from None
    if not SHORTEST <= len(token) <= _LARGEST or len(token.split()) != 1:
        raise TokenError(f"{path}: a token is one word of at least {SHORTEST} characters")
    return token
