"""The parameters of MAIL and RCPT: SIZE, BODY, SMTPUTF8, RET, ENVID, NOTIFY, ORCPT."""

import re
from dataclasses import dataclass

_XTEXT = re.compile(rb"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")  # RFC 3461 §4
_ORCPT = re.compile(rb"([A-Za-z0-9-]{1,40});(?:[!-*,-<>-~]|\+[0-9A-F]{2}|[\x80-\xff])+")
_NOTIFY = frozenset({b"SUCCESS", b"FAILURE", b"DELAY"})
MAX_ENVID = 100
MAX_ORCPT = 500


class ParameterError(ValueError):
    """A parameter we don't offer (`code` 555) or whose value is wrong (501).

    The text is fit for a reply.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class MailParameters:
    """Parameters of MAIL.

    `size` in octets; `body` "7BIT", "8BITMIME" or None; `ret` "FULL", "HDRS" or None; `envid`
    still xtext.
    """

    size: int | None = None
    body: str | None = None
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None


@dataclass(frozen=True, slots=True)
class RcptParameters:
    """Parameters of RCPT. `notify` holds upper-case keywords; `orcpt` is `type;xtext`."""

    notify: tuple[str, ...] = ()
    orcpt: str | None = None


NO_MAIL_PARAMETERS = MailParameters()
NO_RCPT_PARAMETERS = RcptParameters()


def _split(data: bytes) -> dict[bytes, bytes | None]:
    """`A=1 B` -> {A: 1, B: None}, keywords upper-case."""
    found: dict[bytes, bytes | None] = {}
    for word in data.split():
        keyword, equals, value = word.partition(b"=")
        keyword = keyword.upper()
        if keyword in found:
            raise ParameterError(501, "a parameter was given twice")
        if equals and not value:
            raise ParameterError(501, "a parameter lacks its value")
        found[keyword] = value if equals else None
    return found


def parse_mail(data: bytes) -> MailParameters:
    """The parameters behind MAIL's path.

    Raises:
        ParameterError: unknown or wrong.
    """
    if not data:
        return NO_MAIL_PARAMETERS
    size = body = ret = envid = None
    smtputf8 = False
    for keyword, value in _split(data).items():
        match keyword:
            case b"SIZE" if value is not None and value.isdigit() and len(value) <= 20:
                size = int(value)
            case b"BODY" if value is not None and value.upper() in (b"7BIT", b"8BITMIME"):
                body = value.upper().decode()
            case b"SMTPUTF8" if value is None:
                smtputf8 = True
            case b"RET" if value is not None and value.upper() in (b"FULL", b"HDRS"):
                ret = value.upper().decode()
            case b"ENVID" if value and len(value) <= MAX_ENVID and _XTEXT.fullmatch(value):
                envid = value.decode()
            case b"SIZE" | b"BODY" | b"SMTPUTF8" | b"RET" | b"ENVID":
                raise ParameterError(501, f"the value of {keyword.decode()} is not valid")
            case _:
                raise ParameterError(555, "this MAIL parameter is not offered here")
    return MailParameters(size, body, smtputf8, ret, envid)


def parse_rcpt(data: bytes) -> RcptParameters:
    """The parameters behind RCPT's path.

    Raises:
        ParameterError: unknown or wrong.
    """
    if not data:
        return NO_RCPT_PARAMETERS
    notify: tuple[str, ...] = ()
    orcpt = None
    for keyword, value in _split(data).items():
        match keyword:
            case b"NOTIFY" if value is not None:
                notify = _parse_notify(value)
            case b"ORCPT" if value and len(value) <= MAX_ORCPT and _ORCPT.fullmatch(value):
                orcpt = _text(value)
            case b"NOTIFY" | b"ORCPT":
                raise ParameterError(501, f"the value of {keyword.decode()} is not valid")
            case _:
                raise ParameterError(555, "this RCPT parameter is not offered here")
    return RcptParameters(notify, orcpt)


def _parse_notify(value: bytes) -> tuple[str, ...]:
    """RFC 3461 §4.1: NEVER alone, or a list of the others."""
    words = value.upper().split(b",")
    if words != [b"NEVER"] and (len(set(words)) != len(words) or not _NOTIFY.issuperset(words)):
        raise ParameterError(501, "the value of NOTIFY is not valid")
    return tuple(word.decode() for word in words)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ParameterError(501, "the value of ORCPT is not UTF-8") from None
