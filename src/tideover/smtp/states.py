"""The states of a server session and every move between them.

Two rules: every transition stands in this file, and this file knows nothing of bytes. A step that
the table lacks is a bug of the caller, never ignored. `docs/states.md` is drawn from these tables.
"""

from collections.abc import Mapping
from enum import IntEnum, auto


class State(IntEnum):
    """Where a server session stands (RFC 5321 §4.1.4)."""

    CONNECTED = auto()  # the greeting has not been sent
    NEW = auto()  # greeted, or TLS just established: no EHLO yet
    READY = auto()  # EHLO or HELO done, no transaction
    MAIL = auto()  # a transaction without accepted recipient
    RCPT = auto()  # a transaction with at least one recipient
    DATA = auto()  # reading a dot-stuffed body
    CHUNK = auto()  # reading the octets of one BDAT
    CHUNKS = auto()  # between two BDATs
    VERDICT = auto()  # the body is complete and awaits its reply
    TLS = auto()  # 220 to STARTTLS sent, handshake going on
    CLOSED = auto()


class Step(IntEnum):
    """What moves a session."""

    GREET = auto()
    HELLO = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    BDAT = auto()
    CHUNK_END = auto()  # the octets of a BDAT that is not the last are there
    BODY_END = auto()  # CRLF.CRLF, or the octets of BDAT LAST
    DONE = auto()  # the verdict on the message was given
    FAIL = auto()  # the transaction failed before its body was complete
    RESET = auto()
    STARTTLS = auto()
    SECURED = auto()
    CLOSE = auto()


_S, _T = State, Step
TRANSITIONS: Mapping[tuple[State, Step], State] = {
    (_S.CONNECTED, _T.GREET): _S.NEW,
    (_S.NEW, _T.HELLO): _S.READY,
    (_S.READY, _T.HELLO): _S.READY,
    **{(s, _T.RESET): _S.READY for s in (_S.READY, _S.MAIL, _S.RCPT, _S.CHUNKS)},
    (_S.NEW, _T.RESET): _S.NEW,
    (_S.READY, _T.MAIL): _S.MAIL,
    (_S.MAIL, _T.RCPT): _S.RCPT,
    (_S.RCPT, _T.RCPT): _S.RCPT,
    (_S.RCPT, _T.DATA): _S.DATA,
    (_S.DATA, _T.BODY_END): _S.VERDICT,
    (_S.RCPT, _T.BDAT): _S.CHUNK,
    (_S.CHUNKS, _T.BDAT): _S.CHUNK,
    (_S.CHUNK, _T.CHUNK_END): _S.CHUNKS,
    (_S.CHUNK, _T.BODY_END): _S.VERDICT,
    (_S.VERDICT, _T.DONE): _S.READY,
    **{(s, _T.FAIL): _S.READY for s in (_S.RCPT, _S.CHUNK, _S.CHUNKS)},
    (_S.NEW, _T.STARTTLS): _S.TLS,
    (_S.READY, _T.STARTTLS): _S.TLS,
    (_S.TLS, _T.SECURED): _S.NEW,
    **{(s, _T.CLOSE): _S.CLOSED for s in _S},
}

# In which states a command is in order; elsewhere it is answered 503 5.5.1.
# EHLO in a transaction is two steps: RESET, then HELLO.
IN_ORDER: Mapping[bytes, frozenset[State]] = {
    b"EHLO": frozenset({_S.NEW, _S.READY, _S.MAIL, _S.RCPT, _S.CHUNKS}),
    b"HELO": frozenset({_S.NEW, _S.READY, _S.MAIL, _S.RCPT, _S.CHUNKS}),
    b"MAIL": frozenset({_S.READY}),
    b"RCPT": frozenset({_S.MAIL, _S.RCPT}),
    b"DATA": frozenset({_S.RCPT}),
    b"BDAT": frozenset({_S.RCPT, _S.CHUNKS}),
    b"STARTTLS": frozenset({_S.NEW, _S.READY}),
}
