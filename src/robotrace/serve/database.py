"""The database: connections, transactions, migrations; SQLite, or PostgreSQL by its URL.

Both behave alike: readers see one consistent state and wait for nobody, writers go one after the other.

SQLite runs in WAL mode, and a writer takes its lock when it begins (``BEGIN IMMEDIATE``): a transaction that reads
first and writes later would fail at once, without waiting, when another one wrote in between. With PostgreSQL that lock
is an advisory one, so that of two repeats the second finds the row of the first, whichever replica it came to.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, create_engine, event, func, select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import QueuePool

from robotrace.errors import ConfigurationError

__all__ = ["Database", "UnstorableText"]

_BUSY_TIMEOUT_MS = 30_000
_POOL_SIZE = 5
# Above the 40 threads that serve requests, so that a thread never waits for a connection.
_MAX_OVERFLOW = 59
# A PostgreSQL server takes 100 connections in all, for every replica; threads wait up to 30 s for one of these.
_POSTGRES_OVERFLOW = 25
_CONNECT_TIMEOUT_S = 10
# A replica whose machine is gone, or that stands still, would keep its locks for two hours, and nobody could write.
_POSTGRES_SETTINGS = {
    "idle_in_transaction_session_timeout": "'2min'",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
_WRITER = "robotrace_writer"
_migrating = threading.Lock()  # alembic has one context a process
_WRITE_LOCK = 0x726F_626F_7472_6163  # "robotrac": one of the 2**64 advisory locks of a PostgreSQL database


class UnstorableText(ValueError):
    """Text that PostgreSQL cannot store; SQLite could, and refuses it all the same."""

    def __init__(self) -> None:
        super().__init__("text with a NUL character cannot be stored")


class Database:
    """A database of a deployment; opened lazily, closed by :meth:`close`.

    Example::

        with database.write() as session:
            session.add(Episode(...))

    Args:
        url: ``sqlite`` with a path, or ``postgresql+psycopg``.

    Raises:
        ConfigurationError: What speaks to this database is not installed.
    """

    def __init__(self, url: URL) -> None:
        self._is_sqlite = url.get_backend_name() == "sqlite"
        options: dict[str, Any] = {"max_overflow": _MAX_OVERFLOW}
        if not self._is_sqlite:
            options = {
                "max_overflow": _POSTGRES_OVERFLOW,
                "pool_pre_ping": True,  # a server that was restarted costs a ping, not an error
                "connect_args": {"connect_timeout": _CONNECT_TIMEOUT_S},
            }
        try:
            # Parameters hold metadata and key hashes: not for exception texts, which end up in logs.
            self._engine = create_engine(url, pool_size=_POOL_SIZE, hide_parameters=True, **options)
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"PostgreSQL needs {error.name}; run: pip install 'robotrace-dev[postgres]'"
            ) from error
        event.listen(self._engine, "before_cursor_execute", _refuse_nul)
        if self._is_sqlite:
            event.listen(self._engine, "connect", _on_sqlite_connect)
            event.listen(self._engine, "begin", _on_sqlite_begin)
            readers = self._engine
        else:
            event.listen(self._engine, "connect", _on_postgres_connect)
            event.listen(self._engine, "begin", _on_postgres_begin)
            readers = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._readers = sessionmaker(readers)
        self._writers = sessionmaker(self._engine.execution_options(**{_WRITER: True}))
        self._locks: dict[str, list[Any]] = {}
        self._locks_changed = threading.Lock()

    @property
    def name(self) -> str:
        """What to call it: its file, or its URL without the password."""
        url = self._engine.url
        return str(url.database) if self._is_sqlite else url.render_as_string(hide_password=True)

    @property
    def place(self) -> str:
        """Where it is, to be shown: its file, or server and name without who logs in."""
        url = self._engine.url
        if self._is_sqlite:
            return str(url.database)
        port = f":{url.port}" if url.port else ""
        return f"{url.host or 'this machine'}{port}/{url.database or ''}"

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session on one consistent state of the database; nothing is committed."""
        with self._readers() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that holds the write lock; commits at the end, rolls back on an exception."""
        with self._writers.begin() as session:
            yield session

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A plain connection, for what works below the tables."""
        with self._engine.connect() as connection:
            yield connection

    @contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Work on something of this name that nobody else works on meanwhile, in no replica; no transaction is open.

        SQLite has one deployment, so a lock in this process is all it needs.
        """
        with self._exclusive_here(name):
            if self._is_sqlite:
                yield
                return
            engine = self._engine.execution_options(isolation_level="AUTOCOMMIT")
            key = func.hashtextextended(name, 0)
            with engine.connect() as connection:
                connection.execute(select(func.pg_advisory_lock(key)))
                try:
                    yield
                finally:
                    try:
                        connection.execute(select(func.pg_advisory_unlock(key)))
                    except DatabaseError:  # the connection broke, and the lock went with it
                        connection.invalidate()

    def migrate(self) -> None:
        """Bring the schema to this version's, in one transaction that holds the write lock.

        Raises:
            ConfigurationError: The database was made by a newer version, is none, or cannot be reached.
        """
        try:
            with _migrating, self._engine.execution_options(**{_WRITER: True}).connect() as connection:
                if self._is_sqlite:
                    _without_foreign_keys(connection)
                else:
                    command.upgrade(_alembic(connection), "head")
        except CommandError as error:
            raise ConfigurationError(f"{self.name} was made by a newer RoboTrace: {error}") from error
        except DatabaseError as error:
            raise ConfigurationError(f"{self.name} cannot be used: {str(error.orig).strip()}") from error

    def connections(self) -> list[tuple[str, float]]:
        """How many connections there are, by what they do."""
        pool = self._engine.pool
        if not isinstance(pool, QueuePool):
            return []
        return [("in_use", pool.checkedout()), ("idle", pool.checkedin())]

    def require_current(self) -> None:
        """Let a command work on a database that has this version's schema.

        Raises:
            ConfigurationError: It has another one, or is none.
        """
        try:
            found = self.schema()
        except DatabaseError as error:
            raise ConfigurationError(f"{self.name} cannot be used: {error.orig}") from error
        if found is None:  # of a start that came no further
            raise ConfigurationError(f"there is no deployment in {self.name}; robotrace serve makes one")
        if found != self.newest_schema():
            raise ConfigurationError(
                f"{self.name} is of another version of RoboTrace; start robotrace serve of this one once"
            )

    def server_version(self) -> str:
        """What the database is, with its version."""
        with self._engine.connect() as connection:
            version = ".".join(map(str, connection.dialect.server_version_info or ()))
        return f"{'SQLite' if self._is_sqlite else 'PostgreSQL'} {version}"

    def schema(self) -> str | None:
        """The revision of the schema that is there, None in an empty database."""
        with self._engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()

    def newest_schema(self) -> str:
        """The revision of this version's schema."""
        return str(self._scripts().get_current_head())

    def knows_schema(self, revision: str) -> bool:
        """Whether this version can migrate from a revision."""
        return any(script.revision == revision for script in self._scripts().walk_revisions())

    def try_writing(self) -> None:
        """Make a table under the write lock, as a migration would, and undo that.

        Raises:
            sqlalchemy.exc.DatabaseError: That is not permitted, or not possible.
        """
        with self._engine.execution_options(**{_WRITER: True}).connect() as connection:
            connection.exec_driver_sql("CREATE TABLE robotrace_check (id INTEGER)")
            connection.rollback()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @staticmethod
    def _scripts() -> ScriptDirectory:
        return ScriptDirectory.from_config(_alembic(None))

    @contextmanager
    def _exclusive_here(self, name: str) -> Iterator[None]:
        with self._locks_changed:
            entry = self._locks.setdefault(name, [threading.Lock(), 0])
            entry[1] += 1
        try:
            with entry[0]:
                yield
        finally:
            with self._locks_changed:
                entry[1] -= 1
                if not entry[1]:
                    del self._locks[name]


def _alembic(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _without_foreign_keys(connection: Connection) -> None:
    # A batch migration replaces a table by a copy: with foreign keys on, dropping the old one would cascade. The switch
    # does nothing inside a transaction, hence the driver's connection; the pool does not get it back.
    driver: Any = connection.connection.driver_connection
    driver.execute("PRAGMA foreign_keys=OFF").close()
    try:
        command.upgrade(_alembic(connection), "head")
    finally:
        connection.invalidate()


def _refuse_nul(
    connection: Connection, cursor: object, statement: str, parameters: Any, context: object, executemany: bool
) -> None:
    # JSON columns may hold one: it is escaped there. Several rows without a value of their own come as None.
    for row in parameters if executemany else (parameters,):
        for value in row.values() if isinstance(row, dict) else row or ():
            if isinstance(value, str) and "\0" in value:
                raise UnstorableText


def _on_sqlite_connect(connection: Any, record: object) -> None:
    # The driver's own transaction handling begins lazily and never IMMEDIATE; off, _on_sqlite_begin decides.
    connection.isolation_level = None
    for pragma in (f"busy_timeout={_BUSY_TIMEOUT_MS}", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _on_sqlite_begin(connection: Connection) -> None:
    writer = connection.get_execution_options().get(_WRITER, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")


def _on_postgres_connect(connection: Any, record: object) -> None:
    connection.autocommit = True  # what is set in a transaction goes with its rollback
    for name, value in _POSTGRES_SETTINGS.items():
        connection.execute(f"SET {name} = {value}")
    connection.autocommit = False


def _on_postgres_begin(connection: Connection) -> None:
    if connection.get_execution_options().get(_WRITER, False):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")
