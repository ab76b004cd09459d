"""Bodies reach the other side octet by octet the same, however they are cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.smtp.client_body import BodyEncoder, BodySizeError, Framing

LINES = st.lists(st.sampled_from([b"", b".", b"..", b".a", b"a", b"a.", b"\xff" * 3]), max_size=12)


def encode(framing: Framing, body: bytes, cuts: list[int]) -> bytes:
    encoder = BodyEncoder(framing, len(body))
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[a:b] for a, b in pairwise(edges)]
    return b"".join(
        encoder.encode(piece, last=n == len(pieces) - 1) for n, piece in enumerate(pieces)
    )


def unstuff(wire: bytes) -> bytes:
    """What a strict server makes of it, written the slow and plain way."""
    body = b""
    for line in wire.split(b"\r\n"):
        if line == b".":
            return body
        body += (line[1:] if line.startswith(b".") else line) + b"\r\n"
    raise AssertionError("no end of data")


@given(LINES, st.lists(st.integers(0, 60), max_size=6))
def test_dot_stuffing_round_trip(lines, cuts):
    body = b"".join(line + b"\r\n" for line in lines)
    wire = encode(Framing.DATA, body, cuts)
    assert unstuff(wire) == body
    assert wire.endswith(b".\r\n")
    assert b"\r\n" + wire == (b"\r\n" + body).replace(b"\r\n.", b"\r\n..") + b".\r\n"


@given(LINES, st.lists(st.integers(0, 60), max_size=6))
def test_bdat_is_the_octets_themselves(lines, cuts):
    body = b"\r\n".join(lines)
    assert encode(Framing.BDAT, body, cuts) == b"BDAT %d LAST\r\n" % len(body) + body


@pytest.mark.parametrize("cuts", [[], [4], [3]])
def test_data_adds_the_missing_last_line_end(cuts):
    assert encode(Framing.DATA, b"a\r\n.b", cuts) == b"a\r\n..b\r\n.\r\n"


def test_no_end_of_data_for_a_part():
    encoder = BodyEncoder(Framing.DATA, 10)
    encoder.encode(b"12345", last=False)
    with pytest.raises(BodySizeError, match="10 octets announced, 9 given"):
        encoder.encode(b"1234", last=True)
    with pytest.raises(BodySizeError):
        BodyEncoder(Framing.BDAT, 3).encode(b"1234", last=False)
