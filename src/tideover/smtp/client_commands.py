"""The commands of one transaction, and whether the server can take the message at all. Pure."""

from tideover.smtp.capabilities import Capabilities
from tideover.smtp.client_values import Addressee, Command, Mail
from tideover.smtp.replies import Reply, reply


def envelope_commands(mail: Mail, offered: Capabilities) -> list[tuple[Command, bytes]]:
    """MAIL and all RCPTs.

    Raises:
        ValueError: an address would break out of its command line.
    """
    commands = [(Command.MAIL, mail_command(mail, offered))]
    commands += [(Command.RCPT, rcpt_command(one, offered)) for one in mail.recipients]
    return commands


def mail_command(mail: Mail, offered: Capabilities) -> bytes:
    """MAIL with the parameters that the server offered.

    RFC 5321 §4.1.1.2, RFC 1870 §3, RFC 6152 §2, RFC 6531 §3.4, RFC 3461 §4.3 and §4.4.

    Raises:
        ValueError: the address would break out of its command line.
    """
    line = f"MAIL FROM:<{mail.sender}>"
    if offered.size_offered and mail.size:  # an inquiry has no size
        line += f" SIZE={mail.size}"
    if mail.body is not None and offered.eight_bit_mime:
        line += f" BODY={mail.body}"
    if mail.smtputf8 and offered.smtputf8:
        line += " SMTPUTF8"
    if offered.dsn:
        if mail.ret is not None:
            line += f" RET={mail.ret}"
        if mail.envid is not None:
            line += f" ENVID={mail.envid}"
    return _wire(line)


def rcpt_command(recipient: Addressee, offered: Capabilities) -> bytes:
    """RCPT, with NOTIFY and ORCPT when DSN was offered (RFC 5321 §4.1.1.3, RFC 3461 §4.1, §4.2).

    Raises:
        ValueError: the address would break out of its command line.
    """
    line = f"RCPT TO:<{recipient.address}>"
    if offered.dsn:
        if recipient.notify:
            line += f" NOTIFY={','.join(recipient.notify)}"
        if recipient.orcpt is not None:
            line += f" ORCPT={recipient.orcpt}"
    return _wire(line)


def _wire(line: str) -> bytes:
    # The server side lets no such address in. That no command can be smuggled is checked where
    # commands are made all the same.
    if "\n" in line or "\r" in line or "\0" in line:
        raise ValueError(f"line break in {line!r}")
    return line.encode() + b"\r\n"


def unmet_need(mail: Mail, offered: Capabilities, *, eight_bit: bool) -> Reply | None:
    """Our own permanent refusal of a message that this server can't take, or None.

    `eight_bit` says that the content holds octets over 127; it matters only when the server lacks
    8BITMIME. We don't convert: a signature would break.
    """
    if mail.smtputf8 and not offered.smtputf8:
        return reply(553, "5.6.7", "Message needs SMTPUTF8, which the next hop lacks")
    if mail.body == "8BITMIME" and eight_bit and not offered.eight_bit_mime:
        return reply(554, "5.6.3", "Message needs 8BITMIME, which the next hop lacks")
    if offered.size is not None and mail.size > offered.size:
        return reply(
            552, "5.3.4", f"Message of {mail.size} octets exceeds the next hop's {offered.size}"
        )
    return None
