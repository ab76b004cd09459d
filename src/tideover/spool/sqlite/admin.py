"""What a person orders: hold, release, remove; domains on hold; quarantine.

Which recipients are meant is looked up by the reader, a page at a time; the writer changes a page
in one transaction and looks at each state again, so nobody waits long and nothing leased is hit.
"""

from collections.abc import Sequence
from typing import Final

from msgspec.json import Decoder
from msgspec.structs import asdict

from tideover.message.envelope import QueueId
from tideover.spool.ids import id_text
from tideover.spool.interface import DomainHold, State
from tideover.spool.sqlite.rows import ENCODE
from tideover.spool.sqlite.settle import remove_messages
from tideover.spool.sqlite.statements import queries
from tideover.spool.sqlite.work import Transaction

_Q: Final = queries()
_decode_sizes = Decoder(list[tuple[int, int]]).decode

Pairs = Sequence[tuple[int, int]]
"""Recipients: message and index."""

PAGE: Final = 1000
CAN_HOLD: Final = (State.QUEUED, State.DEFERRED)
CAN_RELEASE: Final = (State.HELD, State.DEFERRED, State.DEAD)
CAN_REMOVE: Final = (State.QUEUED, State.DEFERRED, State.HELD, State.DEAD)


def hold(tx: Transaction, pairs: Pairs, reason: str, now: float) -> int:
    """Queued and deferred ones of these become held."""
    pairs_json = ENCODE(pairs).decode()
    return tx.execute(_Q["hold"], {"pairs_json": pairs_json, "reason": reason, "now": now})


def release(tx: Transaction, pairs: Pairs, now: float) -> int:
    """Held, deferred and dead ones of these become queued."""
    return tx.execute(_Q["release"], {"pairs_json": ENCODE(pairs).decode(), "now": now})


def remove(tx: Transaction, pairs: Pairs, states: Sequence[State]) -> Sequence[QueueId]:
    """Delete those of these recipients that are still in one of `states`, and messages that have
    none left to be tried. Returns the messages that lost recipients.
    """
    values = {"pairs_json": ENCODE(pairs).decode(), "states_json": ENCODE(states).decode()}
    gone = tx.conn.execute(_Q["remove_recipients"], values).fetchall()
    numbers = sorted({row[0] for row in gone})
    finished = tx.value(_Q["finished_messages"], {"ids_json": ENCODE(numbers).decode()})
    sizes = dict(_decode_sizes(str(finished)))
    if sizes:
        remove_messages(tx, sizes)
    return [id_text(number) for number in numbers]


def hold_domain(tx: Transaction, hold: DomainHold) -> None:
    """Remember that a domain is on hold."""
    tx.execute(_Q["domain_hold_store"], asdict(hold))


def release_domain(tx: Transaction, domain: str) -> bool:
    """Forget it. Returns whether it was on hold."""
    return tx.execute(_Q["domain_hold_delete"], (domain,)) > 0
