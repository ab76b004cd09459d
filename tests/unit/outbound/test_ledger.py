"""Claims in hand: bounded in memory, their leases kept."""

from types import SimpleNamespace

from tideover.outbound.ledger import BATCH, HEADS, LEASE, Ledger


def claim(queue_id: str, octets: int = 10):
    return SimpleNamespace(message=SimpleNamespace(queue_id=queue_id), head=b"x" * octets)


def test_claims_get_small_when_much_is_in_memory_but_never_stop():
    ledger = Ledger()
    big = claim("big", HEADS)
    assert ledger.limit() == BATCH
    ledger.add(big, 0.0)
    assert ledger.limit() == 1
    ledger.remove(big)
    ledger.remove(big)
    assert (ledger.limit(), ledger.octets, len(ledger)) == (BATCH, 0, 0)


def test_leases_that_have_lost_a_third_of_their_time():
    ledger = Ledger()
    ledger.add(claim("old"), 0.0)
    ledger.add(claim("new"), LEASE / 2)
    assert ledger.aged(LEASE / 3) == ["old"]
    assert ledger.aged(LEASE) == ["old", "new"]
