"""Opens a connection to a directory, with TLS from the start or after STARTTLS (RFC 4511 §4.14).

Invariants
    Certificates are always checked.
    Nothing that came before the TLS handshake is read after it.
"""

import asyncio
import os
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tideover.recipients.sources.interface import SourceError
from tideover.recipients.sources.ldap_connection import LdapConnection
from tideover.recipients.sources.ldap_message import one_line, read_message, reason
from tideover.recipients.sources.ldap_query import Server

if TYPE_CHECKING:
    import sansldap

_STARTTLS: Final = "1.3.6.1.4.1.1466.20037"


async def connect(server: Server, ca_file: Path | None) -> LdapConnection:
    """Connect; with TLS and a certificate that was checked where the server's entry says so.

    Raises:
        SourceError: it can't be reached, or its certificate is not accepted.
    """
    import sansldap

    session = sansldap.LDAPClient()
    context = await asyncio.to_thread(_context, ca_file) if server.tls or server.starttls else None
    sock: socket.socket | None = None
    try:
        sock = await _dial(server)
        if server.starttls:
            await _starttls(server, session, sock)
        theirs, sock = sock, None  # from here on the loop closes it, also when it fails
        reader, writer = await asyncio.open_connection(
            sock=theirs, ssl=context, server_hostname=server.host if context else None
        )
    except ssl.SSLCertVerificationError as error:
        raise SourceError(
            f"{server}: its certificate is not accepted: {error.verify_message}"
        ) from None
    except ssl.SSLError as error:
        raise SourceError(f"{server}: TLS fails: {error.reason or error}") from None
    except OSError as error:
        # asyncio's own text of a failed connect repeats the address instead of the reason
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise SourceError(f"{server}: {why or error}") from None
    finally:
        if sock is not None:
            sock.close()
    return LdapConnection(server, reader, writer, session)


def _context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no certificate in it"
        raise SourceError(f"ca_file {ca_file}: {why}") from None


async def _dial(server: Server) -> socket.socket:
    """A connected socket; each address of the host has its turn."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    last: OSError = OSError("no address")
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            last = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise last


async def _starttls(server: Server, session: "sansldap.LDAPClient", sock: socket.socket) -> None:
    """Ask for TLS (RFC 4511 §4.14). Reads the answer to its last octet and not one more, so that
    what an attacker put behind it meets the handshake.
    """
    import sansldap

    loop = asyncio.get_running_loop()

    async def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = await loop.sock_recv(sock, count - len(data))
            if not more:
                raise ConnectionResetError(None, "closed the connection at STARTTLS")
            data += more
        return data

    session.extended_request(_STARTTLS)
    await loop.sock_sendall(sock, session.data_to_send())
    try:
        answer = await read_message(session, exactly)
    except ValueError as error:
        raise SourceError(
            f"{server}: can't understand the server: {one_line(str(error))}"
        ) from None
    if not isinstance(answer, sansldap.ExtendedResponse) or answer.result.result_code != 0:
        why = reason(getattr(answer, "result", None))
        raise SourceError(f"{server}: STARTTLS is refused: {why}")
