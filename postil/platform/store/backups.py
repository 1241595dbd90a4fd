"""Copies of the database while it is in use, and of what a restore needs beside it.

SQLite's are made by its own online backup: a copy of one moment, however many write. PostgreSQL's are made by pg_dump,
as docs/server.md says; `backup` refuses there and says so. The files of the storage never change once written, so they
can be copied by any program, after the database.
"""

from datetime import datetime, timedelta
from pathlib import Path

from postil.errors import UnavailableError
from postil.platform.service import Service
from postil.platform.store.database_copies import BACKUPS, copy_sqlite

EVERY = timedelta(days=1)
NUM_KEPT = 7
_DAILY = "postil-{:%Y%m%d-%H%M%S}.db"


def backup(service: Service, target: Path | None = None) -> Path:
    """Copies the database as it is at one moment.

    Args:
        target: a folder; None takes `backups` in the data folder.

    Returns:
        The copy, "postil-<date>-<time>.db", whole and checked.

    Raises:
        UnavailableError: the database is PostgreSQL, which pg_dump copies; or it is damaged.
        CannotWriteError: there is no room, or the folder is read-only.
        TryAgainError: the database is locked or gone.
    """
    file = service.database.file
    if file is None:
        raise UnavailableError("platform.backups.postgres")
    folder = service.settings.data_dir / BACKUPS if target is None else target
    return copy_sqlite(file, folder / _DAILY.format(service.now()))


def backup_daily(service: Service) -> Path | None:
    """Makes the day's copy when the last one is a day old, and deletes those that are older than the newest seven.

    Returns:
        The new copy; None when it is not yet time, and on PostgreSQL.
    """
    if service.database.file is None:
        return None
    kept = list_backups(service)
    if kept and _made_at(kept[-1]) > service.now().replace(tzinfo=None) - EVERY:
        return None
    made = backup(service)
    for old in list_backups(service)[:-NUM_KEPT]:
        old.unlink(missing_ok=True)
    return made


def list_backups(service: Service) -> list[Path]:
    """The daily copies in the data folder, oldest first."""
    return sorted((service.settings.data_dir / BACKUPS).glob("postil-????????-??????.db"))


def _made_at(path: Path) -> datetime:
    return datetime.strptime(path.stem.removeprefix("postil-"), "%Y%m%d-%H%M%S")
