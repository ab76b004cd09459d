"""Messages that prove themselves: each body is made from its number, and can be made again."""

import hashlib

_LINE = 76


def mail(number: int, size: int = 2000) -> bytes:
    """Message `number`: header, then about `size` octets of body, with lines that begin with dots.

    Lines end in CRLF; the same number and size always give the same octets.
    """
    header = (
        f"From: sender{number}@example.net\r\nTo: user@example.com\r\nSubject: number {number}\r\n"
        f"Message-ID: <{number}@example.net>\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n\r\n"
    )
    seed = hashlib.sha256(b"%d" % number).hexdigest()
    text = (seed * 2)[: _LINE - 1]
    lines = max(1, size // (_LINE + 2))
    body = "".join(f"{'.' if n % 7 == 0 else ''}{text[n % 32 :]}\r\n" for n in range(lines))
    return (header + body).encode()


def number_of(body: bytes) -> int:
    """The number of a message that `mail` made, whatever headers stand before its own.

    Raises:
        ValueError: it is none.
    """
    found = body.find(b"Message-ID: <")
    if found < 0:
        raise ValueError("not a message of ours")
    return int(body[found + 13 : body.index(b"@", found)])
