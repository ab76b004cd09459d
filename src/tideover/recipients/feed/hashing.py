"""From an address to the number that stands for it in a feed. Values only; the slow one takes long.

stage 1 = BLAKE2b (RFC 7693), 32 octets, keyed, over: salt, local part, "@", domain
fast    = the first 8 octets of stage 1, as a little-endian number
slow    = Argon2id (RFC 9106) of stage 1 with the same salt, 8 octets, as a little-endian number
"""

from hashlib import blake2b
from typing import Final

from tideover.recipients.feed.format import ENTRY, Cost

KEY: Final = 32
"""Octets of a hash key."""
SALT: Final = 16
"""Octets of a salt."""
_KEY_ID: Final = b"tideover feed key"


def key_id(key: bytes) -> str:
    """By what a key is known without being told: it can't be found from this."""
    return blake2b(_KEY_ID, key=key, digest_size=32).digest()[:ENTRY].hex()


class AddressHash:
    """Stage 1 for the addresses of one feed."""

    __slots__ = ("_begin", "_end", "salt")

    def __init__(self, key: bytes, salt: bytes, domain: str) -> None:
        self.salt = salt
        self._begin = blake2b(salt, key=key, digest_size=32)
        self._end = b"@" + domain.encode("ascii")

    def stage_one(self, local: str) -> bytes:
        """32 octets for a local part (`names.local_key`)."""
        state = self._begin.copy()
        # a client may send what is no UTF-8: it then has a hash that no feed holds
        state.update(local.encode("utf-8", "surrogatepass") + self._end)
        return state.digest()


def fast(stage_one: bytes) -> int:
    """The number of the fast profile."""
    return int.from_bytes(stage_one[:ENTRY], "little")


def slow(stage_one: bytes, salt: bytes, cost: Cost) -> int:
    """The number of the slow profile. Lets go of the GIL while it works.

    Raises:
        MemoryError: the memory that the cost asks for is not there.
    """
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    kdf = Argon2id(
        salt=salt,
        length=ENTRY,
        iterations=cost.iterations,
        lanes=cost.lanes,
        memory_cost=cost.memory,
    )
    return int.from_bytes(kdf.derive(stage_one), "little")
