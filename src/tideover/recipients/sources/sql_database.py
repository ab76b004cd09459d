"""Connections to PostgreSQL, MySQL, MariaDB and SQLite: read-only, and no wait without an end.

Invariants
    The password is read anew for each connection, stands in no URL of ours and in no text.
    Each statement runs in a read-only transaction, and the server is told to give up in time.
    A thread that waits can be woken from another one (`waking`).
"""

import math
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from tideover.config.model import Source
from tideover.config.values import source_rest
from tideover.recipients.sources.interface import SourceError
from tideover.recipients.sources.secret import hide, read_password
from tideover.recipients.sources.threads import Stop

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, CursorResult, Engine, TextClause

_DRIVERS: Final = {
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
_FORMS: Final = '"postgresql://…", "mysql://…", "mariadb://…" or "sqlite:PATH"'
_LONGEST_TEXT: Final = 300
_GRACE: Final = 1.0
"""Seconds more than the server has: it gives up first, and says why."""
_SQLITE_STEPS: Final = 10_000
"""Instructions of SQLite's machine between two looks at the clock: some 100 µs."""


class LostError(SourceError):
    """The server closed the connection, perhaps long ago."""


class Database:
    """One database. `timeout` in seconds: of connecting, and of one statement; `kept` so many
    connections are kept open.
    """

    def __init__(
        self, settings: Source, *, timeout: float, connect_timeout: float, kept: int
    ) -> None:
        """Nothing is opened yet, but the drivers are loaded. Blocks.

        Raises:
            SourceError: the settings can't be used.
        """
        self._settings = settings
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._secret: str | None = None
        self._work = threading.local()
        self._engine = self._sqlite() if self._is_sqlite() else self._server(kept)

    @contextmanager
    def reading(self, stop: Stop) -> "Iterator[Connection]":
        """A connection in a read-only transaction, which ends when `stop` is set.

        Raises:
            SourceError: whatever goes wrong, also in the block.
        """
        from sqlalchemy.exc import SQLAlchemyError

        self._work.stop = stop
        try:
            with self._engine.connect() as connection:
                driver = connection.connection.driver_connection
                stop.wake_by(lambda: _wake(driver))
                try:
                    self._begin(connection, stop)
                    yield connection
                    connection.rollback()  # here, where it can be woken; not when it is given back
                except BaseException:
                    connection.invalidate()
                    raise
                finally:
                    stop.wake_by(None)
        except (SQLAlchemyError, OSError, TypeError, ValueError) as error:
            kind = LostError if getattr(error, "connection_invalidated", False) else SourceError
            raise kind(self._told(error)) from None
        finally:
            stop.wake_by(None)

    @contextmanager
    def streaming(
        self, connection: "Connection", statement: "TextClause", rows: int
    ) -> "Iterator[CursorResult[Any]]":
        """The result of a statement, of which `rows` are held at once."""
        options = {"stream_results": True, "yield_per": rows}
        with closing(connection.execute(statement.execution_options(**options))) as result:
            cursor = result.cursor
            try:
                yield result
            except BaseException:
                _abandon(cursor)
                raise

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._engine.dispose()

    def _is_sqlite(self) -> bool:
        return (self._settings.url or "").startswith("sqlite:")

    def _begin(self, connection: "Connection", stop: Stop) -> None:
        milliseconds = max(1, math.ceil(self._timeout * 1000))
        match connection.dialect.name:
            case "postgresql":
                connection.exec_driver_sql(
                    f"SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = {milliseconds}"
                )
            case "mysql" | "mariadb":
                limit = (
                    f"max_statement_time = {milliseconds / 1000}"
                    if getattr(connection.dialect, "is_mariadb", False)
                    else f"max_execution_time = {milliseconds}"
                )
                connection.exec_driver_sql(f"SET SESSION {limit}")
                connection.exec_driver_sql("START TRANSACTION READ ONLY")
            case _:
                driver = connection.connection.driver_connection
                if isinstance(driver, sqlite3.Connection):
                    end = time.monotonic() + self._timeout
                    driver.set_progress_handler(
                        lambda: stop.is_set or time.monotonic() > end, _SQLITE_STEPS
                    )

    def _sqlite(self) -> "Engine":
        path = Path(source_rest(self._settings.url or ""))
        uri = f"file:{quote(str(path))}?mode=ro"

        def opened() -> sqlite3.Connection:
            try:
                if not S_ISREG(path.stat().st_mode):
                    raise SourceError(f"{path}: not a regular file")
            except OSError as error:
                raise SourceError(f"{path}: {error.strerror or error}") from None
            return sqlite3.connect(
                uri, uri=True, timeout=self._connect_timeout, check_same_thread=False
            )

        # opened anew each time: a file that was replaced is another file
        return _engine("sqlite://", 0, self._connect_timeout, creator=opened)

    def _server(self, kept: int) -> "Engine":
        from sqlalchemy import event

        url = _url(self._settings.url)
        self._secret = str(url.password) if url.password is not None else None
        arguments = _arguments(
            url.get_backend_name(), self._settings.ca_file, self._connect_timeout
        )
        engine = _engine(url, kept, self._connect_timeout, connect_args=arguments)
        # SQLAlchemy forgets the cursor of a connection that died
        event.listen(
            engine,
            "handle_error",
            lambda context: _abandon(getattr(context.execution_context, "cursor", None)),
        )

        @event.listens_for(engine, "do_connect")
        def connect(dialect: Any, _record: object, given: Any, named: Any) -> object:  # noqa: ANN401
            password = read_password(self._settings.password_file)
            if password is not None:
                named["password"] = self._secret = password
            driver = dialect.connect(*given, **named)
            if hasattr(
                driver, "_read_timeout"
            ):  # pymysql has one for the greeting and for all else
                driver._read_timeout = self._timeout + _GRACE  # noqa: SLF001
            # what SQLAlchemy itself asks a new connection is a wait, too
            self._work.stop.wake_by(lambda: _wake(driver))
            return driver

        return engine

    def _told(self, error: Exception) -> str:
        """What went wrong, in one line, without statement, parameters and password."""
        cause = getattr(error, "orig", None) or error
        said = cause.args[1] if len(cause.args) > 1 else cause
        secret = self._secret
        text = hide(str(said), secret, quote(secret, safe="") if secret else None)
        return text[:_LONGEST_TEXT] or type(cause).__name__


def _url(text: str | None) -> "URL":
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text or "")
    except (ArgumentError, ValueError):
        raise SourceError(f"url: is written like {_FORMS}") from None  # it may hold a password
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise SourceError(f"url: is written like {_FORMS}, not {url.drivername}:")
    return url.set(drivername=driver)


def _arguments(backend: str, ca_file: Path | None, connect_timeout: float) -> dict[str, object]:
    """What the driver is told."""
    if backend == "postgresql":
        # keepalives end a wait for a server that vanished without a word
        arguments: dict[str, object] = {
            "connect_timeout": max(2, math.ceil(connect_timeout)),
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "application_name": "tideover",
            "prepare_threshold": None,  # poolers between us and the server can't keep them
        }
        if ca_file is not None:
            arguments |= {"sslmode": "verify-full", "sslrootcert": str(ca_file)}
        return arguments
    arguments = {
        "connect_timeout": connect_timeout,
        "read_timeout": connect_timeout,
        "write_timeout": connect_timeout,
        "program_name": "tideover",
    }
    if ca_file is not None:
        arguments |= {
            "ssl_ca": str(ca_file),
            "ssl_verify_cert": True,
            "ssl_verify_identity": True,
        }
    return arguments


def _engine(
    url: "str | URL",
    kept: int,
    timeout: float,
    **more: Any,  # noqa: ANN401
) -> "Engine":
    from sqlalchemy import NullPool, QueuePool, create_engine

    if kept:
        more |= {
            "pool_size": kept, "max_overflow": 0, "pool_timeout": timeout,
            "poolclass": QueuePool,
        }  # fmt: skip
    else:
        more["poolclass"] = NullPool
    return create_engine(url, hide_parameters=True, **more)


def _wake(driver: Any) -> None:  # noqa: ANN401
    """End whatever a connection waits for, from another thread."""
    if isinstance(driver, sqlite3.Connection):
        driver.interrupt()
        return
    holder = getattr(driver, "_sock", driver)  # of pymysql; psycopg's connection has a fileno()
    with socket.socket(fileno=os.dup(holder.fileno())) as shared:
        shared.shutdown(socket.SHUT_RDWR)


def _abandon(cursor: Any) -> None:  # noqa: ANN401
    """Close a cursor that has more to say, without listening to it."""
    if (unread := getattr(cursor, "_result", None)) is not None:
        unread.unbuffered_active = False  # else pymysql reads all that is left
    if cursor is not None:
        with suppress(Exception):  # its connection may be dead
            cursor.close()
