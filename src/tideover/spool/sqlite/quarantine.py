"""Damaged messages: out of the queue in one transaction, kept for a person to look at.

Nothing here deletes what is left of a message (I2, I3). A person lists them, reads what is left,
and may put one back into the queue as it is.
"""

from typing import Final

from tideover.events.records import MessageDamaged
from tideover.spool.ids import id_text
from tideover.spool.sqlite.statements import queries
from tideover.spool.sqlite.work import Transaction

_Q: Final = queries()


def quarantine(tx: Transaction, number: int, damage: str, now: float) -> None:
    """Move a message out of the queue. Its chunks stay where they are."""
    tx.execute(_Q["quarantine_store"], {"id": number, "now": now, "damage": damage})
    tx.execute(_Q["quarantine_recipients"], {"id": number})
    tx.execute(_Q["quarantine_message"], {"id": number})
    tx.events.append(MessageDamaged(message=id_text(number), reason=damage))
