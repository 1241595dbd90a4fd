"""From an older database to the tables of today: revisions in `migrations/versions`, run in one transaction.

A new database is made here, too. SQLite's is copied to `backups/` before an older one is touched; on PostgreSQL nothing
older is touched before somebody says `postil migrate`, since only they can make a backup.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, inspect, text

from postil.errors import CannotWriteError, ConflictError, TryAgainError
from postil.operating_system import os_reason
from postil.platform.store.database import Database, open_database
from postil.platform.store.database_copies import BACKUPS, copy_sqlite
from postil.platform.store.database_health import check_file_system, check_sqlite
from postil.platform.store.secrets import SECRET_KEY
from postil.platform.store.sqlite import driver

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER = Path(__file__).parent / "migrations"
# The newest revision, said again here so that starting a service need not read them all; held equal by a test.
HEAD = "0001"
VERSIONS_TABLE = "alembic_version"
_LOCK = 5_067_837  # any number: who migrates on PostgreSQL holds it


def migrate(url: str) -> str | None:
    """Makes or renews every table, whole or not at all; a second caller waits and finds nothing to do.

    Args:
        url: as `open_database` takes it.

    Returns:
        The revision that was there before; None for a new database.

    Raises:
        ConflictError: the database was made by a newer Postil.
        CannotWriteError: a new file cannot be made, or the copy of the old one.
        TryAgainError, UnavailableError: as `Database.writing`.
    """
    from alembic import command

    with _opened(url) as database:
        before = find_revision(database)
        _refuse_unknown(before)
        if before == HEAD:
            return before
        if before is not None and database.file is not None:
            copy_sqlite(database.file, database.file.parent / BACKUPS / _copy_name(before))
        with database.writing() as session:
            connection = session.connection()
            if not database.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
            command.upgrade(alembic_config(connection), "head")
            _refuse_lost_references(connection)
        return before


def prepare_database(url: str) -> None:
    """What a start does: makes a new database, renews an older one where that is safe, and looks at it.

    Raises:
        ConflictError: `postil migrate` must be said first, or the database was made by a newer Postil.
        UnavailableError: it is damaged, or SQLite's file lies where SQLite must not be used.
        TryAgainError, CannotWriteError: as `migrate`.
    """
    with _opened(url) as database:
        if database.file is not None:
            check_file_system(database.file.parent)
            check_sqlite(database)
        revision = find_revision(database)
    if revision == HEAD:
        return
    if revision is not None and not database.is_sqlite:
        _refuse_unknown(revision)
        raise ConflictError("platform.migrating.needed", revision=revision, head=HEAD)
    migrate(url)


def find_revision(database: Database) -> str | None:
    """Which revision a database is at; None for an empty one.

    Raises:
        ConflictError: there are tables in it that are not ours.
    """
    with database.reading() as session:
        connection = session.connection()
        if inspect(connection).has_table(VERSIONS_TABLE):
            return connection.execute(text(f"SELECT version_num FROM {VERSIONS_TABLE}")).scalar()
        if inspect(connection).get_table_names():
            raise ConflictError("platform.migrating.foreign")
        return None


def is_current(url: str) -> bool:
    """True when nothing is to be migrated."""
    with _opened(url) as database:
        return find_revision(database) == HEAD


def alembic_config(connection: Connection) -> "Config":
    """Alembic's settings for a connection whose transaction is ours."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@contextmanager
def _opened(url: str) -> Iterator[Database]:
    database = open_database(url, creates=True, keeps_references=False)
    try:
        if database.file is not None and not database.file.exists():
            _make_file(database.file)
        yield database
    finally:
        database.engine.dispose()


def _make_file(path: Path) -> None:
    """An empty file that only its owner reads.

    Raises:
        TryAgainError: the data folder has been in use: its database was taken away, and an empty one would hide that.
        CannotWriteError: the folder is not there or cannot be written.
    """
    if (path.parent / SECRET_KEY).exists():
        raise TryAgainError("platform.database.gone")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise CannotWriteError("platform.data_dir", path=path.parent, reason=os_reason(error)) from error


def _refuse_unknown(revision: str | None) -> None:
    if revision is None or revision == HEAD:
        return
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory(str(FOLDER)).walk_revisions()}
    if revision not in known:
        raise ConflictError("platform.migrating.newer", revision=revision, head=HEAD)


def _refuse_lost_references(connection: Connection) -> None:
    """SQLite does not watch references while tables are made anew: they are checked at the end."""
    if connection.dialect.name != "sqlite":
        return
    broken: list[Any] = list(connection.exec_driver_sql("PRAGMA foreign_key_check"))
    if broken:
        raise driver.IntegrityError(f"a revision left references that lead nowhere: {broken[:3]}")


def _copy_name(revision: str) -> str:
    return f"before-{HEAD}-from-{revision}-{datetime.now():%Y%m%d-%H%M%S}.db"
