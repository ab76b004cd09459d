"""message.envelope: evidence that older versions stored is still read."""

import msgspec

from tideover.message.envelope import Evidence


def test_evidence_without_the_fields_that_came_later() -> None:
    stored = b'{"sender_authenticated":null,"notes":["honeypot: x"]}'
    evidence = msgspec.json.decode(stored, type=Evidence)
    assert evidence == Evidence(notes=("honeypot: x",))
    assert evidence.authentication == ""


def test_evidence_that_a_later_version_stored() -> None:
    stored = b'{"sender_authenticated":true,"authentication":"SPF","more":1}'
    evidence = msgspec.json.decode(stored, type=Evidence)
    assert (evidence.sender_authenticated, evidence.authentication) == (True, "SPF")
