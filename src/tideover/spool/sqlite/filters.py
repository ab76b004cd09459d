"""`Filter` as SQL: generated WHERE clauses, values always as parameters."""

from collections.abc import Iterable
from typing import Final

from tideover.spool.ids import id_number
from tideover.spool.interface import Filter, State
from tideover.spool.sqlite.rows import ENCODE

Values = dict[str, object]

_PARKED: Final = frozenset({State.DEFERRED, State.HELD, State.DEAD})
_PARKED_INDEX: Final = "r.state IN ('deferred', 'held', 'dead')"  # lets SQLite use that index


def select_messages(wanted: Filter, after: int, limit: int) -> tuple[str, Values]:
    """A query for the ids, as one JSON array, of messages that match, in arrival order."""
    values: Values = {"after": after, "limit": limit}
    message = ["m.id > :after", *_message_terms(wanted, values)]
    recipient = _recipient_terms(wanted, wanted.states, values)
    if recipient and wanted.states and _PARKED.issuperset(wanted.states):
        message.append(
            f"m.id IN (SELECT r.message_id FROM recipient r WHERE {_all(recipient)})"  # noqa: S608
        )
    elif recipient:
        message.append(
            "EXISTS (SELECT 1 FROM recipient r "  # noqa: S608
            f"WHERE r.message_id = m.id AND {_all(recipient)})"
        )
    sql = f"SELECT m.id FROM message m WHERE {_all(message)} ORDER BY m.id LIMIT :limit"  # noqa: S608
    return f"SELECT json_group_array(id) FROM ({sql})", values  # noqa: S608


def select_recipients(
    wanted: Filter, states: Iterable[State], after: tuple[int, int], limit: int
) -> tuple[str, Values]:
    """A query for recipients that match and are in one of `states`: JSON pairs of message, index.

    Pages are in the order of message and index, each beginning after the pair `after`.
    """
    if wanted.states is not None:
        states = set(states).intersection(wanted.states)
    values: Values = {"after": after[0], "after_index": after[1], "limit": limit}
    terms = [
        "(r.message_id, r.idx) > (:after, :after_index)",
        *_recipient_terms(wanted, tuple(states), values),
    ]
    message = _message_terms(wanted, values)
    if message:
        message.append("m.id = r.message_id")
        terms.append(f"EXISTS (SELECT 1 FROM message m WHERE {_all(message)})")  # noqa: S608
    if wanted.ids is not None:
        terms.append("r.message_id IN (SELECT value FROM json_each(:ids_json))")
    sql = (
        f"SELECT r.message_id, r.idx FROM recipient r WHERE {_all(terms)} "  # noqa: S608
        "ORDER BY r.message_id, r.idx LIMIT :limit"
    )
    return f"SELECT json_group_array(json_array(message_id, idx)) FROM ({sql})", values  # noqa: S608


def _message_terms(wanted: Filter, values: Values) -> list[str]:
    terms = []
    if wanted.ids is not None:
        values["ids_json"] = ENCODE(list(_known_ids(wanted.ids))).decode()
        terms.append("m.id IN (SELECT value FROM json_each(:ids_json))")
    if wanted.received_before is not None:
        values["received_before"] = wanted.received_before
        terms.append("m.received_at < :received_before")
    if wanted.received_after is not None:
        values["received_after"] = wanted.received_after
        terms.append("m.received_at > :received_after")
    if wanted.sender is not None:
        values["sender"] = wanted.sender
        terms.append("lower(m.sender) = lower(:sender)")
    return terms


def _recipient_terms(wanted: Filter, states: tuple[State, ...] | None, values: Values) -> list[str]:
    terms = []
    if states is not None:
        values["states_json"] = ENCODE(list(states)).decode()
        terms.append("r.state IN (SELECT value FROM json_each(:states_json))")
        if states and _PARKED.issuperset(states):
            terms.append(_PARKED_INDEX)
    if wanted.domain is not None:
        values["domain"] = wanted.domain
        terms.append("r.domain = :domain")
    if wanted.recipient is not None:
        values["recipient"] = wanted.recipient
        terms.append("lower(r.address) = lower(:recipient)")
    if wanted.changed_before is not None:
        values["changed_before"] = wanted.changed_before
        terms.append("r.changed_at < :changed_before")
    return terms


def _known_ids(texts: Iterable[str]) -> Iterable[int]:
    """The numbers of those that are ids at all."""
    for text in texts:
        try:
            yield id_number(text)
        except ValueError:
            continue


def _all(terms: list[str]) -> str:
    return " AND ".join(terms)
