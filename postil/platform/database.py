"""The database: SQLite in the data folder, or PostgreSQL by address. Two verbs, one transaction each.

SQLite writers begin IMMEDIATE: a deferred transaction that wants to write when another one does fails at once instead
of waiting. `journal_mode=WAL` only from 3.51.3 on (before, a WAL reset can damage the file), `TRUNCATE` below; no mmap.
Only the web process and the supervisor write; a run never opens the database.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import Session

BUSY_TIMEOUT_SECONDS = 5.0
_SAFE_WAL = (3, 51, 3)


@dataclass(frozen=True)
class Database:
    """Hands out transactions; safe to use from many threads."""

    engine: Engine

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that only reads."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that writes: committed at the end, rolled back by an exception."""
        connection = self.engine.connect().execution_options(postil_writes=True)
        with connection, Session(connection, expire_on_commit=False) as session, session.begin():
            yield session

    @property
    def is_sqlite(self) -> bool:
        """False on PostgreSQL."""
        return self.engine.dialect.name == "sqlite"


def open_database(url: str) -> Database:
    """Connects.

    Args:
        url: "sqlite:///path" or "postgresql+psycopg://user@host/name".
    """
    if url.startswith("sqlite"):
        engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        engine = create_engine(url, pool_pre_ping=True)
    return Database(engine)


def _prepare_sqlite(connection: sqlite3.Connection, record: Any) -> None:
    connection.isolation_level = None  # we begin transactions ourselves
    journal = "WAL" if sqlite3.sqlite_version_info >= _SAFE_WAL else "TRUNCATE"
    for pragma in (f"journal_mode={journal}", "synchronous=FULL", "foreign_keys=ON", "mmap_size=0"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Any) -> None:
    writes = connection.get_execution_options().get("postil_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
