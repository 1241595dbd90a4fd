"""Which SQLite the service speaks with, the same one everywhere in a process.

Python's own is as old as the system that built it. Below 3.51.3 the write-ahead log must not be used (its reset can
damage the file), and without it every commit holds all readers off for two or three fsyncs. `pysqlite3` brings a
newer SQLite with it, and is a requirement on the platforms that it has wheels for (decision 0011). Two copies of SQLite
that open one file in one process would undo each other's locks, so nothing else here imports `sqlite3`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3 as driver
else:
    try:
        import pysqlite3 as driver
    except ImportError:
        import sqlite3 as driver

_SAFE_WAL = (3, 51, 3)

__all__ = ["JOURNAL_MODE", "driver"]

JOURNAL_MODE = "WAL" if driver.sqlite_version_info >= _SAFE_WAL else "TRUNCATE"
