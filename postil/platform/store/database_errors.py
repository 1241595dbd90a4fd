"""What a database's driver says, as errors that a caller can act on.

A lock, a lost connection, a file that is read-only or gone: 503, the same call may work later. A full disk: 507. A
damaged file: unavailable until somebody restores it. Anything else is a bug and stays what it is.
"""

import re
from typing import Any

from sqlalchemy.exc import DBAPIError

from postil.errors import CannotWriteError, PostilError, TryAgainError, UnavailableError
from postil.platform.store.sqlite import driver

# The low byte of SQLite's codes is the kind of fault.
_SQLITE = {
    driver.SQLITE_BUSY: "busy",
    driver.SQLITE_LOCKED: "busy",
    driver.SQLITE_READONLY: "read_only",
    driver.SQLITE_PERM: "read_only",
    driver.SQLITE_IOERR: "disk",
    driver.SQLITE_FULL: "full",
    driver.SQLITE_CANTOPEN: "gone",
    driver.SQLITE_CORRUPT: "damaged",
    driver.SQLITE_NOTADB: "damaged",
}
# By the beginning of PostgreSQL's SQLSTATE.
_POSTGRES = {
    "08": "unreachable",
    "25006": "read_only",
    "28": "unreachable",
    "3D": "unreachable",
    "40": "busy",
    "53100": "full",
    "53": "busy",
    "55P03": "busy",
    "57014": "busy",
    "57P": "unreachable",
    "XX001": "damaged",
    "XX002": "damaged",
}
RETRY_SECONDS = 5


def explain(error: BaseException) -> PostilError | None:
    """The error that says what is wrong with the database, or None for what is wrong with a question to it."""
    original = error.orig if isinstance(error, DBAPIError) else error
    kind = _sqlite_kind(original) if isinstance(original, driver.Error) else _other_kind(original)
    match kind:
        case "busy":
            return TryAgainError("platform.database.busy", retry_after_seconds=RETRY_SECONDS)
        case "read_only":
            return TryAgainError("platform.database.read_only", retry_after_seconds=RETRY_SECONDS)
        case "gone":
            return TryAgainError("platform.database.gone", retry_after_seconds=RETRY_SECONDS)
        case "unreachable":
            return TryAgainError("platform.database.unreachable", retry_after_seconds=RETRY_SECONDS)
        case "disk":
            return TryAgainError("platform.database.disk", retry_after_seconds=RETRY_SECONDS)
        case "full":
            return CannotWriteError("platform.database.full")
        case "damaged":
            return UnavailableError("platform.database.damaged")
        case _:
            return None


def _sqlite_kind(error: driver.Error) -> str | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _SQLITE:
        return _SQLITE[code & 0xFF]
    # A file that was exchanged for an empty one is as good as gone.
    return "gone" if str(error).startswith("no such table") else None


def _other_kind(error: Any) -> str | None:
    if type(error).__name__ == "DisconnectionError":  # SQLite's file, see `database.py`
        return "gone"
    if type(error).__name__ == "TimeoutError":  # every connection is in use
        return "busy"
    state = getattr(error, "sqlstate", None)
    if state is None:
        return (
            "unreachable" if re.fullmatch(r"(Operational|Connection\w*|Interface)Error", type(error).__name__) else None
        )
    return next((_POSTGRES[start] for start in (state, state[:3], state[:2]) if start in _POSTGRES), None)
