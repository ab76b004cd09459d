"""Sources of recipients that a test can fill, take down and bring back: one class a kind."""

import http.server
import json
import shutil
import ssl
import sys
import tempfile
import threading
import time
from pathlib import Path

import trustme

from feeds import SIGNER, write
from tideover.testing.daemon import Daemon
from tideover.testing.mariadb import Mariadb
from tideover.testing.ports import free_port
from tideover.testing.postgresql import Postgresql
from tideover.testing.slapd import PASSWORD, PEOPLE, READER, Slapd

REFRESH = 'refresh = "500ms"\nretry = "500ms"\n'


class Source:
    """`spec` is what the domain names; `details` TOML for its table, `domain` for the domain's.

    `silence_when_down` is what an unknown recipient hears while the source is down.
    """

    spec = ""
    details = REFRESH
    domain = ""
    top = ""
    more = ""
    silence_when_down = "450"

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir(parents=True, exist_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.down()

    def toml(self) -> str:
        return f"[sources.{json.dumps(self.spec)}]\n{self.details}{self.more}"

    def set(self, *names: str) -> None:
        raise NotImplementedError

    def down(self) -> None:
        raise NotImplementedError

    def up(self) -> None:
        raise NotImplementedError


class File(Source):
    details = ""

    def __init__(self, place):
        super().__init__(place)
        self.path = place / "list"
        self.away = place / "away"
        self.spec = f"file:{self.path}"
        self.details = 'refresh = "500ms"\n'

    def set(self, *names):
        temporary = self.place / "new"
        temporary.write_text("".join(f"{name}\n" for name in names))
        temporary.replace(self.path)

    def down(self):
        if self.path.exists():
            self.path.replace(self.away)

    def up(self):
        self.away.replace(self.path)


class Aliases(File):
    details = ""

    def __init__(self, place):
        super().__init__(place)
        self.details += 'format = "aliases"\n'

    def set(self, *names):
        super().set(*(f"{name}: /dev/null" for name in names))


class Command(File):
    """A program that prints the file; without the file it fails."""

    def __init__(self, place):
        super().__init__(place)
        self.spec = f"command:cat {self.path}"
        self.details = REFRESH


class Https(Source):
    """A web server with a certificate of its own authority."""

    name = "list"

    def __init__(self, place):
        super().__init__(place)
        self.port = free_port()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(place / "ca.pem"))
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self.tls)
        self.spec = f"https://localhost:{self.port}/{self.name}"
        self.details = REFRESH + f'ca_file = "{place}/ca.pem"\n'
        self.server = None
        self.up()

    def set(self, *names):
        (self.place / self.name).write_text("".join(f"{name}\n" for name in names))

    def up(self):
        place = str(self.place)

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, directory=place, **kwargs)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.server.socket = self.tls.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self):
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None


class Feed(File):
    """A signed, hashed feed. While it is not expired it is believed, also when it is gone."""

    silence_when_down = "550"
    domain = f'feed_signer = "{SIGNER}"\n'

    def __init__(self, place):
        super().__init__(place)
        self.spec = f"feed:{self.path}"
        self.details = REFRESH
        self.serial = 0

    def set(self, *names):
        self.serial += 1
        write(self.path, *names, serial=self.serial, now=time.time())


class FeedOverHttps(Https):
    silence_when_down = "550"
    domain = f'feed_signer = "{SIGNER}"\n'

    def __init__(self, place):
        super().__init__(place)
        self.spec = f"feed:{self.spec}"
        self.serial = 0

    def set(self, *names):
        self.serial += 1
        write(self.place / self.name, *names, serial=self.serial, now=time.time())


class Sqlite(File):
    """A database in a file. Taking it away takes it down."""

    query = "SELECT address FROM users"

    def __init__(self, place):
        super().__init__(place)
        self.spec = "sql:mail"
        self.details = f'{REFRESH}url = "sqlite:{self.path}"\nquery = "{self.query}"\n'

    def set(self, *names):
        import sqlite3

        base = sqlite3.connect(self.path)
        with base:
            base.execute("CREATE TABLE IF NOT EXISTS users (address TEXT)")
            base.execute("DELETE FROM users")
            base.executemany("INSERT INTO users VALUES (?)", [(f"{n}@example.com",) for n in names])
        base.close()


class SqliteLookup(Sqlite):
    query = "SELECT 1 FROM users WHERE address = :address"

    def __init__(self, place):
        super().__init__(place)
        self.details += 'mode = "lookup"\n'


class _Server(Source):
    """A database server."""

    make = Postgresql
    query = "SELECT address FROM users"
    mode = "full"

    def __init__(self, place):
        super().__init__(place)
        # a directory that other users may enter, unlike pytest's
        self.root = Path(tempfile.mkdtemp(prefix="tideover-sources-"))
        self.root.chmod(0o755)
        self.server = self.make(self.root / "server")
        self.spec = "sql:mail"

    def __enter__(self):
        self.server.__enter__()
        self.server.execute("CREATE TABLE users (address VARCHAR(200))")
        (self.place / "password").write_text(sys.modules[self.make.__module__].PASSWORD)
        self.details = (
            f'{REFRESH}url = "{self.server.url()}"\nquery = "{self.query}"\nmode = "{self.mode}"\n'
            f'password_file = "{self.place}/password"\n'
        )
        return self

    def __exit__(self, *_):
        self.server.__exit__(None, None, None)
        shutil.rmtree(self.root)

    def set(self, *names):
        rows = ", ".join(f"('{name}@example.com')" for name in names)
        self.server.execute("DELETE FROM users", f"INSERT INTO users VALUES {rows}")

    def down(self):
        self.server.stop()

    def up(self):
        self.server.start()


class PostgresqlFull(_Server):
    pass


class PostgresqlLookup(_Server):
    query = "SELECT 1 FROM users WHERE address = :address"
    mode = "lookup"


class MariadbFull(_Server):
    make = Mariadb


class MariadbLookup(PostgresqlLookup):
    make = Mariadb


class Ldap(Source):
    mode = "full"

    def __init__(self, place):
        super().__init__(place)
        self.slapd = Slapd(place)
        self.spec = "ldap:directory"
        self.present: set[str] = set()

    def __enter__(self):
        self.slapd.__enter__()
        (self.place / "password").write_text(PASSWORD)
        self.details = (
            f'{REFRESH}url = "{self.slapd.url}"\nbase = "{PEOPLE}"\nbind_dn = "{READER}"\n'
            f'password_file = "{self.place}/password"\nmode = "{self.mode}"\n'
        )
        return self

    def __exit__(self, *_):
        self.slapd.__exit__(None, None, None)

    def set(self, *names):
        for name in sorted(set(names) - self.present):
            self.slapd.add_person(name, mail=f"{name}@example.com")
        for name in sorted(self.present - set(names)):
            self.slapd.remove_person(name)
        self.present = set(names)

    def down(self):
        self.slapd.stop()

    def up(self):
        self.slapd.start()


class LdapLookup(Ldap):
    mode = "lookup"


def daemon_of(make, source: Source, *others: str, **settings) -> Daemon:
    """A daemon, not started, whose domain has this source."""
    return make(
        sources=[source.spec, *others],
        domain=source.domain + settings.pop("domain", ""),
        more=source.toml() + settings.pop("more", ""),
        **settings,
    )
