"""Arguments of commands, judged by themselves: what they say, or the reply that refuses them."""

from tideover.smtp import answers, parameters
from tideover.smtp.address import PathError, parse_path
from tideover.smtp.events import MailFrom, RcptTo
from tideover.smtp.offer import ServerOptions
from tideover.smtp.replies import Reply, reply

_MAX_NAME = 255


def read_name(argument: bytes) -> str | None:
    """The name behind EHLO or HELO; None when there is none, or none that could be shown."""
    name = argument.strip()
    if not 0 < len(name) <= _MAX_NAME or not name.isascii():
        return None
    text = name.decode("ascii")
    return text if text.isprintable() else None


def read_mail(argument: bytes, options: ServerOptions) -> MailFrom | Reply:
    """MAIL's argument (RFC 5321 §4.1.1.2), SIZE checked against the limit (RFC 1870 §6.1)."""
    if argument[:5].upper() != b"FROM:":
        return answers.MAIL_SYNTAX
    try:
        sender, rest = parse_path(argument[5:])
        found = parameters.parse_mail(rest)
    except PathError as error:
        return reply(501, "5.1.7", str(error))
    except parameters.ParameterError as error:
        return reply(error.code, "5.5.4", str(error))
    if (found.smtputf8 and not options.smtputf8) or (found.body and not options.eight_bit_mime):
        return answers.NOT_OFFERED
    if found.size is not None and found.size > options.max_size:
        return answers.TOO_BIG
    if sender is not None and not found.smtputf8 and not sender.is_ascii:
        return answers.UTF8_NEEDED
    return MailFrom(sender, found)


def read_rcpt(argument: bytes, *, smtputf8: bool) -> RcptTo | Reply:
    """RCPT's argument (RFC 5321 §4.1.1.3); `<postmaster>` alone may lack a domain (§4.5.1)."""
    if argument[:3].upper() != b"TO:":
        return answers.RCPT_SYNTAX
    try:
        recipient, rest = parse_path(argument[3:])
        found = parameters.parse_rcpt(rest)
    except PathError as error:
        return reply(501, "5.1.3", str(error))
    except parameters.ParameterError as error:
        return reply(error.code, "5.5.4", str(error))
    if recipient is None:
        return answers.RCPT_SYNTAX
    if not recipient.domain and recipient.local.lower() != "postmaster":
        return answers.NO_DOMAIN
    if not recipient.is_ascii and not smtputf8:
        return answers.UTF8_NEEDED
    if found.orcpt is not None and not found.orcpt.isascii() and not smtputf8:
        # there is a form of it in ASCII (RFC 6533 §3); primaries would be told this one as it is
        return reply(501, "5.5.4", "the value of ORCPT needs SMTPUTF8")
    return RcptTo(recipient, found)


def read_bdat(argument: bytes) -> tuple[int, bool] | None:
    """`"1024 LAST"` -> (1024, True); None when malformed (RFC 3030 §2)."""
    words = argument.split()
    if not 1 <= len(words) <= 2 or not words[0].isdigit() or len(words[0]) > 20:
        return None
    if len(words) == 2 and words[1].upper() != b"LAST":
        return None
    return int(words[0]), len(words) == 2
