"""The database: SQLite in the data folder, or PostgreSQL by address. Two verbs, one transaction each.

SQLite writers begin IMMEDIATE: a deferred transaction that wants to write when another one does fails at once instead
of waiting. The journal is a write-ahead log where this SQLite may have one (`sqlite.py`); no mmap; what is deleted is
overwritten. A file that was deleted or exchanged is noticed: nothing is written into one that has no name any more,
none is made in its place (`migrating.py` alone makes databases), and none is opened beside the log of the first.
Only the web process and the supervisor write; a run never opens the database.
"""

import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as NoConnectionLeft
from sqlalchemy.orm import Session

from postil.errors import TryAgainError, UnavailableError, UsageError
from postil.platform.store.database_errors import RETRY_SECONDS, explain
from postil.platform.store.sqlite import JOURNAL_MODE, driver

BUSY_TIMEOUT_SECONDS = 5.0
# Who finds all of these in use waits as for a lock.
POOL_CONNECTIONS, MORE_CONNECTIONS = 5, 20
_POOL: dict[str, Any] = {
    "pool_size": POOL_CONNECTIONS,
    "max_overflow": MORE_CONNECTIONS,
    "pool_timeout": BUSY_TIMEOUT_SECONDS,
    "hide_parameters": True,  # an error's text would show what somebody typed, and log it
}


@dataclass(frozen=True)
class Database:
    """Hands out transactions; safe to use from many threads."""

    engine: Engine

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that only reads.

        Raises:
            TryAgainError: the database is locked, unreachable or gone; it may be back soon.
            CannotWriteError, UnavailableError: see `database_errors.py`.
        """
        with _explained(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that writes: committed at the end, rolled back by an exception; errors as `reading`."""
        with _explained():
            connection = self.engine.connect().execution_options(postil_writes=True)
            with connection:
                with Session(connection, expire_on_commit=False) as session, session.begin():
                    yield session
                if self.is_sqlite and not _is_the_file(connection.info):  # written into a file that nobody will find
                    raise TryAgainError("platform.database.gone")

    def empty_log(self) -> None:
        """Moves all that SQLite's log holds into the file and empties the log: what was deleted is then in neither.

        Raises:
            TryAgainError: somebody reads for longer than a lock is waited for, or the database is gone.
        """
        if not self.is_sqlite:
            return
        with _explained(), closing(self.engine.raw_connection()) as connection:
            is_busy = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if is_busy:
            raise TryAgainError("platform.database.busy", retry_after_seconds=RETRY_SECONDS)

    @property
    def is_sqlite(self) -> bool:
        """False on PostgreSQL."""
        return self.engine.dialect.name == "sqlite"

    @property
    def file(self) -> Path | None:
        """SQLite's file; None on PostgreSQL."""
        return Path(str(self.engine.url.database)) if self.is_sqlite else None


def open_database(url: str, *, creates: bool = False, keeps_references: bool = True) -> Database:
    """Connects, when first used.

    Args:
        url: "sqlite:///path" or "postgresql+psycopg://user@host/name".
        creates: makes SQLite's file where there is none.
        keeps_references: False while tables are made anew, which would else delete what points at them.

    Raises:
        UsageError: the address is none of the two.
        UnavailableError: PostgreSQL's driver is not installed.
    """
    path = url.removeprefix("sqlite:///")
    if path == url:
        return _open_postgres(url)
    # Not parsed as an address: a folder's name may hold what has a meaning there, such as "?".
    engine = create_engine(
        URL.create("sqlite", database=path), module=driver, connect_args={"timeout": BUSY_TIMEOUT_SECONDS}, **_POOL
    )

    first: list[tuple[int, int]] = []  # the file that this process has opened

    def open_file(dialect: Any, record: Any, arguments: list[Any], named: dict[str, Any]) -> None:
        if first and _identity(path) not in (None, first[0]):
            raise DisconnectionError("another file lies where the database was")
        arguments[0], named["uri"] = f"file:{quote(path)}?mode={'rwc' if creates else 'rw'}", True

    def prepare(connection: driver.Connection, record: Any) -> None:
        _prepare_sqlite(connection, keeps_references)
        found = _identity(path)
        if found is not None and not first:
            first.append(found)
        record.info.update(path=path, file=found)

    event.listen(engine, "do_connect", open_file)
    event.listen(engine, "connect", prepare)
    event.listen(engine, "checkout", _refuse_other_file)
    event.listen(engine, "begin", _begin_sqlite)
    return Database(engine)


def _open_postgres(url: str) -> Database:
    # "postgres://" and "postgresql://" are what hosts hand out; SQLAlchemy would look for another driver
    spelled = re.sub(r"^postgres(ql)?(\+psycopg)?://", "postgresql+psycopg://", url)
    try:
        address = make_url(spelled)
    except ArgumentError:
        raise UsageError("platform.database.bad_url", kind="?") from None
    if address.drivername != "postgresql+psycopg":
        raise UsageError("platform.database.bad_url", kind=address.drivername)
    try:
        arguments = {"connect_timeout": int(BUSY_TIMEOUT_SECONDS), "client_encoding": "utf8"}
        engine = create_engine(address, pool_pre_ping=True, connect_args=arguments, **_POOL)
    except ImportError:
        raise UnavailableError("platform.database.no_driver") from None
    event.listen(engine, "connect", _prepare_postgres)
    return Database(engine)


@contextmanager
def _explained() -> Iterator[None]:
    """What the driver says becomes an error that a caller can act on; what it cannot explain passes."""
    try:
        yield
    except (DBAPIError, NoConnectionLeft, DisconnectionError, driver.Error) as error:
        explained = explain(error)
        if explained is None:
            raise
        raise explained from error


def _prepare_sqlite(connection: driver.Connection, keeps_references: bool) -> None:
    connection.isolation_level = None  # we begin transactions ourselves
    pragmas = {
        "journal_mode": JOURNAL_MODE,
        "synchronous": "FULL",
        "foreign_keys": "ON" if keeps_references else "OFF",
        "secure_delete": "ON",
        "mmap_size": "0",
    }
    for name, value in pragmas.items():
        connection.execute(f"PRAGMA {name}={value}").close()


def _begin_sqlite(connection: Any) -> None:
    writes = connection.get_execution_options().get("postil_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _prepare_postgres(connection: Any, record: Any) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":  # another one cannot hold what people write, or does not know what it holds
        raise UnavailableError("platform.database.encoding", encoding=encoding)
    connection.execute(f"SET lock_timeout = '{BUSY_TIMEOUT_SECONDS:.0f}s'")
    connection.execute("SET idle_in_transaction_session_timeout = '60s'")
    connection.commit()


def _refuse_other_file(connection: Any, record: Any, proxy: Any) -> None:
    """A connection to a file that has no name any more, or another file under it, is thrown away for a new one."""
    if not _is_the_file(record.info):
        raise DisconnectionError("the file of the database was deleted or exchanged")


def _is_the_file(info: Any) -> bool:
    return info.get("file") is not None and _identity(info["path"]) == info["file"]


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
