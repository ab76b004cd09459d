"""An OpenLDAP server of its own: configuration and data below one directory, ports on 127.0.0.1.

Nothing of the system's instance is used but its programs and schema files. It has people below
`ou=people,dc=example,dc=com`, and a schema with the attributes that Active Directory has.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tideover.testing.ports import free_port

BASE = "dc=example,dc=com"
PEOPLE = f"ou=people,{BASE}"
READER = f"cn=reader,{BASE}"
PASSWORD = "ldap-Geheim*42"  # noqa: S105 - of a server that only tests see
_ADMIN = f"cn=admin,{BASE}"
_MODULES = Path("/usr/lib/ldap")
_SCHEMAS = Path("/etc/ldap/schema")
_START_TIMEOUT = 10.0

_CONFIG = """\
include {schemas}/core.schema
include {schemas}/cosine.schema
include {schemas}/inetorgperson.schema
include {schemas}/misc.schema
attributetype ( 1.2.840.113556.1.2.210 NAME 'proxyAddresses'
  EQUALITY caseIgnoreMatch SUBSTR caseIgnoreSubstringsMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
objectclass ( 1.2.840.113556.1.5.9.1 NAME 'mailRecipient' SUP top AUXILIARY
  MAY ( proxyAddresses $ mail $ mailLocalAddress ) )
pidfile {root}/pid
modulepath {modules}
moduleload back_mdb
{settings}
database mdb
suffix "{base}"
rootdn "{admin}"
rootpw {password}
directory {root}/data
maxsize 268435456
dbnosync
{database}
access to attrs=userPassword by anonymous auth by * none
access to * by {readers} read by anonymous auth by * none
"""

_TREE = f"""\
dn: {BASE}
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: {PEOPLE}
objectClass: organizationalUnit
ou: people

dn: {READER}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: {PASSWORD}
"""


def why_missing() -> str | None:
    """Why no slapd can be run here, or None."""
    missing = [name for name in ("slapd", "ldapmodify") if _program(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class Slapd:
    """One server. As a context manager: started, and stopped at the end.

    With `certificate` and `key` (PEM files) it offers STARTTLS at `url` and serves ldaps at
    `tls_url`. Only `READER` with `PASSWORD` may read, unless `anonymous`. `settings` are lines of
    slapd.conf for the server, `database` for its database.
    """

    def __init__(
        self,
        directory: Path,
        *,
        certificate: Path | None = None,
        key: Path | None = None,
        anonymous: bool = False,
        settings: str = "",
        database: str = "",
    ) -> None:
        self.directory = directory
        self.port, self.tls_port = free_port(), free_port()
        self.url = f"ldap://127.0.0.1:{self.port}"
        self.tls_url = f"ldaps://127.0.0.1:{self.tls_port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._tls = certificate is not None
        if certificate is not None:
            settings += f"\nTLSCertificateFile {certificate}\nTLSCertificateKeyFile {key}"
        (directory / "data").mkdir(parents=True)
        self._config = directory / "slapd.conf"
        self._config.write_text(
            _CONFIG.format(
                schemas=_SCHEMAS, modules=_MODULES, root=directory, base=BASE, admin=_ADMIN,
                password=PASSWORD, settings=settings, database=database,
                readers="*" if anonymous else "users",
            )
        )  # fmt: skip

    def __enter__(self) -> Self:
        self.start()
        try:
            self.add(_TREE)
        except BaseException:
            self.stop()  # __exit__ is not called
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until its port answers.

        Raises:
            RuntimeError: it does not start.
        """
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                self._spawn()  # again: someone may have had the port for a moment
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                return
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"slapd does not start: {self.log()[-2000:]}")

    def _spawn(self) -> None:
        urls = f"{self.url} {self.tls_url}" if self._tls else self.url
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(_program("slapd")), "-d", "none", "-f", self._config, "-h", urls],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Stop it; what it holds stays."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Let it die at once."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it hang: connections are taken, and nothing is answered."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def add(self, ldif: str) -> None:
        """Add entries, or change them where the text has a `changetype`."""
        done = subprocess.run(
            [str(_program("ldapmodify")), "-a", "-x", "-H", self.url, "-D", _ADMIN,
             "-w", PASSWORD],
            input=ldif, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"ldapmodify: {done.stderr}")

    def add_person(self, uid: str, **attributes: str | list[str]) -> None:
        """Add a person below `PEOPLE`."""
        self.add(person(uid, **attributes))

    def remove_person(self, uid: str) -> None:
        """Remove a person."""
        self.add(f"dn: uid={uid},{PEOPLE}\nchangetype: delete\n")

    def log(self) -> str:
        """What it logged."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(how)
            process.send_signal(signal.SIGCONT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def person(uid: str, **attributes: str | list[str]) -> str:
    """LDIF (RFC 2849) of one person with these attributes."""
    lines = [
        f"dn: uid={uid},{PEOPLE}",
        "objectClass: inetOrgPerson",
        "objectClass: mailRecipient",
        f"uid: {uid}",
        f"cn: {uid}",
        f"sn: {uid}",
    ]
    for name, values in attributes.items():
        several = [values] if isinstance(values, str) else values
        lines += [f"{name}: {value}" for value in several]
    return "\n".join(lines) + "\n\n"
