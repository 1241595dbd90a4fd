"""A copy of SQLite's file while it is in use, by its own online backup: the file as it is at one moment."""

import os
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from postil.errors import CannotWriteError, UnavailableError
from postil.operating_system import os_reason
from postil.platform.store.database_errors import explain
from postil.platform.store.sqlite import driver

# Below the data folder.
BACKUPS = "backups"
# Pages at a time, with a pause between: those who write meanwhile are not kept waiting.
_PAGES, _PAUSE_SECONDS = 2000, 0.01
_PATIENCE_SECONDS = 30


def copy_sqlite(file: Path, target: Path) -> Path:
    """Copies a database that may be in use; the copy appears under its name when it is whole and checked.

    Raises:
        UnavailableError: it is damaged.
        CannotWriteError: there is no room, or the folder is read-only.
        TryAgainError: it is locked or gone.
    """
    beside = target.with_name(f".{target.name}.tmp")
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        os.close(os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        _copy(file, beside)
        with beside.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(beside, target)
    except driver.Error as error:
        raise explain(error) or error from error
    except OSError as error:
        raise CannotWriteError("platform.backups.cannot_write", path=target, reason=os_reason(error)) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
    return target


def _copy(file: Path, target: Path) -> None:
    source = driver.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=_PATIENCE_SECONDS)
    with closing(source), closing(driver.connect(target)) as copy:
        source.backup(copy, pages=_PAGES, sleep=_PAUSE_SECONDS)
        if copy.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise UnavailableError("platform.database.damaged")
