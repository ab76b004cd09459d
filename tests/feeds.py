"""Small feeds for tests."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import structs

from tideover.recipients.feed.format import Cost
from tideover.recipients.feed.keys import public_text
from tideover.recipients.feed.reader import Feed, open_feed
from tideover.recipients.feed.slow import SlowHash
from tideover.recipients.feed.writer import FeedPlan, Recipients, Written, write_feed

DOMAIN = "example.com"
NOW = 1_795_000_000.0
SIGNING_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(100, 132)))
SIGNER = public_text(SIGNING_KEY)
CHEAP = Cost(iterations=1, lanes=1, memory=64)
FAST = FeedPlan(domain=DOMAIN)
SLOW = FeedPlan(domain=DOMAIN, slow=CHEAP)


def write(
    out: Path,
    *names: str,
    plan: FeedPlan = FAST,
    serial: int | None = None,
    signing_key: Ed25519PrivateKey = SIGNING_KEY,
    now: float = NOW,
    recipients: Recipients | None = None,
) -> Written:
    """A feed of these names."""
    return write_feed(
        out,
        structs.replace(plan, serial=serial),
        recipients or Recipients(names=names),
        signing_key=signing_key,
        now=now,
    )


def read(path: Path, **others: object) -> Feed:
    """The feed in a file."""
    arguments = {"signer": SIGNER, "domain": DOMAIN, "slow": SlowHash(), **others}
    return open_feed(path, **arguments)  # type: ignore[arg-type]
