"""The database: connections, transactions, migrations.

SQLite runs in WAL mode, so readers and one writer do not wait for each other. A writer takes its lock when it begins
(``BEGIN IMMEDIATE``): a transaction that reads first and writes later would fail at once, without waiting, when another
one wrote in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session, sessionmaker

from robotrace.errors import ConfigurationError

__all__ = ["Database"]

_BUSY_TIMEOUT_MS = 30_000
_POOL_SIZE = 5
# Above the 40 threads that serve requests, so that a thread never waits for a connection.
_MAX_OVERFLOW = 59
_WRITER = "robotrace_writer"


class Database:
    """A database of a deployment; opened lazily, closed by :meth:`close`.

    Example::

        with database.write() as session:
            session.add(Episode(...))
    """

    def __init__(self, url: URL) -> None:
        # Parameters hold metadata and key hashes: not for exception texts, which end up in logs.
        self._engine = create_engine(url, pool_size=_POOL_SIZE, max_overflow=_MAX_OVERFLOW, hide_parameters=True)
        event.listen(self._engine, "connect", _on_connect)
        event.listen(self._engine, "begin", _on_begin)
        self._readers = sessionmaker(self._engine)
        self._writers = sessionmaker(self._engine.execution_options(**{_WRITER: True}))

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

    def migrate(self) -> None:
        """Bring the schema to this version's.

        Raises:
            ConfigurationError: The database was made by a newer version, or is none.
        """
        try:
            with self._engine.execution_options(**{_WRITER: True}).connect() as connection:
                _upgrade(connection)
        except CommandError as error:
            raise ConfigurationError(f"{self._engine.url.database} was made by a newer RoboTrace: {error}") from error
        except DatabaseError as error:
            raise ConfigurationError(f"{self._engine.url.database} cannot be used: {error.orig}") from error

    def require_current(self) -> None:
        """Let a command work on a database that has this version's schema.

        Raises:
            ConfigurationError: It has another one, or is none.
        """
        try:
            with self.connect() as connection:
                found = MigrationContext.configure(connection).get_current_revision()
        except DatabaseError as error:
            raise ConfigurationError(f"{self._engine.url.database} cannot be used: {error.orig}") from error
        if found != ScriptDirectory.from_config(_config()).get_current_head():
            name = self._engine.url.database
            raise ConfigurationError(
                f"{name} is of another version of RoboTrace; start robotrace serve of this one once"
            )

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    # A batch migration replaces a table by a copy: with foreign keys on, dropping the old one would cascade. The switch
    # does nothing inside a transaction, hence the driver's connection; the pool does not get it back.
    driver: Any = connection.connection.driver_connection
    driver.execute("PRAGMA foreign_keys=OFF").close()
    try:
        command.upgrade(config, "head")
    finally:
        connection.invalidate()


def _on_connect(connection: Any, record: object) -> None:
    # The driver's own transaction handling begins lazily and never IMMEDIATE; off, _on_begin decides.
    connection.isolation_level = None
    for pragma in (f"busy_timeout={_BUSY_TIMEOUT_MS}", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _on_begin(connection: Connection) -> None:
    writer = connection.get_execution_options().get(_WRITER, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")
