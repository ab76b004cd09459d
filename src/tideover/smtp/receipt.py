"""Proof that a message is in safe hands, without which no final 250 can be written.

Invariant I1: a `Receipt` is made in two places only: by a spool, after the commit that holds
the message is durable, and by the client side from the next hop's own 250 to the final dot.
`tests/unit/test_layers.py` checks that nothing else calls the constructor.
"""

from dataclasses import dataclass

from tideover.smtp.replies import Reply


@dataclass(frozen=True, slots=True)
class Receipt:
    """Custody of one message: `queue_id` names it in the reply, the log and the spool.

    `reply` is the next hop's own 2xx to the final dot, which the client is told, when the message
    passed through and lies with that hop.
    """

    queue_id: str
    reply: Reply | None = None
