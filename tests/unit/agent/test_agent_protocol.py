"""Questions and answers: believed when the right key has signed them, whole, for what they are."""

from base64 import b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tideover.agent.keys import AgentKeyError, make_key, private_key, public_text
from tideover.agent.protocol import (
    LARGEST,
    Answer,
    ProtocolError,
    Question,
    Sealed,
    Verdict,
    asker_of,
    opened,
    parse_address,
    seal,
)

KEY, OTHER = Ed25519PrivateKey.from_private_bytes(b"a" * 32), Ed25519PrivateKey.generate()
PUBLIC = public_text(KEY)
QUESTION = Question(
    asker=PUBLIC, agent=public_text(OTHER), address="192.0.2.1", time=1.7e9, nonce="n" * 24
)
ANSWER = Answer(
    verdict=Verdict.UNKNOWN, reason="silence", address="192.0.2.1", time=1.7e9, nonce="n" * 24
)


@pytest.mark.parametrize("value", [QUESTION, ANSWER])
def test_what_is_sealed_is_opened(value):
    assert opened(seal(value, KEY), type(value), PUBLIC) == value


def test_the_example_of_the_page():
    """docs/agent.md: other implementations can check theirs with it."""
    question = replace(QUESTION, agent=PUBLIC)
    sealed = seal(question, KEY)
    assert sealed.body == (
        b'{"asker":"%(k)s","agent":"%(k)s","address":"192.0.2.1","time":1700000000.0,'
        b'"nonce":"nnnnnnnnnnnnnnnnnnnnnnnn","port":25}' % {b"k": PUBLIC.encode()}
    )
    assert b64encode(KEY.sign(b"tideover-agent-question-v1\n" + sealed.body)).decode() == (
        sealed.signature
    )
    page = (Path(__file__).resolve().parents[3] / "docs" / "agent.md").read_text()
    assert f"\n{sealed.body.decode()}\n" in page
    assert f"\n{sealed.signature}\n" in page


def test_an_answer_is_no_question_whoever_signed_it():
    forged = Sealed(seal(QUESTION, KEY).body, seal(ANSWER, KEY).signature)
    with pytest.raises(ProtocolError, match="signature"):
        opened(forged, Question, PUBLIC)


@given(st.integers(0, 200), st.integers(1, 255))
def test_no_octet_can_be_changed(place, change):
    sealed = seal(ANSWER, KEY)
    body = bytearray(sealed.body)
    body[place % len(body)] ^= change
    with pytest.raises(ProtocolError):
        opened(Sealed(bytes(body), sealed.signature), Answer, PUBLIC)


@pytest.mark.parametrize("signature", ["", "x" * 88, "ä" * 88, "=" * 88, seal(ANSWER, OTHER)])
def test_nothing_else_is_a_signature(signature):
    text = signature if isinstance(signature, str) else signature.signature
    with pytest.raises(ProtocolError):
        opened(Sealed(seal(ANSWER, KEY).body, text), Answer, PUBLIC)


@given(st.binary(max_size=300) | st.text(max_size=50).map(str.encode))
def test_rubbish_is_refused_and_sets_nothing_off(body):
    with pytest.raises(ProtocolError):
        asker_of(body)
    signature = b64encode(KEY.sign(b"tideover-agent-question-v1\n" + body)).decode()
    with pytest.raises(ProtocolError):
        opened(Sealed(body, signature), Question, PUBLIC)


def test_deep_and_large_bodies_are_refused():
    with pytest.raises(ProtocolError):
        asker_of(b'{"x":' + b"[" * LARGEST)
    with pytest.raises(ProtocolError, match="too large"):
        opened(Sealed(b" " * (LARGEST + 1), "x" * 88), Question, PUBLIC)


def test_addresses_have_one_spelling():
    assert str(parse_address("::ffff:192.0.2.1")) == "192.0.2.1"
    assert str(parse_address("2001:DB8::0:1")) == "2001:db8::1"
    assert [parse_address(text) for text in ("", "x", "1.2.3", "1.2.3.4.5", ":::")] == [None] * 5


def test_a_key_is_made_once_and_never_by_reading(tmp_path):
    file = tmp_path / "agent.key"
    with pytest.raises(AgentKeyError, match=r"tideover agent keygen"):
        private_key(file)
    made = make_key(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert public_text(private_key(file)) == public_text(made)
    with pytest.raises(AgentKeyError, match="there already"):
        make_key(file)
    file.chmod(0o644)
    with pytest.raises(AgentKeyError, match="others can read"):
        private_key(file)
